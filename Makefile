# make demo   installs what is missing and runs the whole pipeline on synthetic data
# make test   installs what is missing and runs every test
#
# Variables:  PYTHON       interpreter for a new .venv, 3.11 or 3.12 (default: the first that fits)
#             PIP_ARGS     further arguments of pip install, such as another package index
#             PYTEST_ARGS  further arguments of pytest, such as -x or -m "not slow"
#             FUZZ_ARGS    those of tests/fuzz/run_fuzz.py, KILL_ARGS those of run_kills.py, such as --seed 1

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench fuzz kill clean

PYTHON ?=
PIP_ARGS ?=
PYTEST_ARGS ?=
FUZZ_ARGS ?=
KILL_ARGS ?=

PY := .venv/bin/python
STAMP := .venv/.setup-complete
INSTALL := $(PY) -m pip install --quiet --no-input --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
CHECK_VERSION := import sys; v = sys.version_info[:2]; print("%d.%d" % v); sys.exit(not (3, 11) <= v <= (3, 12))

# Prints the packages with missing files, because pip regards what an interrupted installation left as installed.
define INCOMPLETE_PACKAGES
import csv, sys
from importlib.metadata import distributions
from pathlib import Path

for package in distributions():
    if package.metadata["Name"] == "LAMAR" or not Path(package.locate_file("")).is_relative_to(sys.prefix):
        continue
    record = package.read_text("RECORD") or ""
    files = [row[0] for row in csv.reader(record.splitlines()) if row and not row[0].endswith(".pyc")]
    if not files or not all(package.locate_file(file).exists() for file in files):
        print(package.metadata["Name"])
endef
export INCOMPLETE_PACKAGES

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## create .venv and install everything, extras included (once)

# The stamp comes last, so that the next call continues a set-up that was interrupted.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@if [ -e .venv/.creating ] || { [ -e .venv ] && ! $(PY) -m pip --version >/dev/null 2>&1; }; then \
		echo "== set-up: .venv is unusable, its creation was interrupted or its Python is gone: creating it again"; \
		rm -rf .venv; \
	fi
	@if [ ! -e .venv ]; then \
		python=; seen=; \
		for candidate in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3); do \
			if version=$$("$$candidate" -c '$(CHECK_VERSION)' 2>/dev/null); then python=$$candidate; break; fi; \
			seen="$$seen $$candidate ($${version:-does not run})"; \
		done; \
		if [ -z "$$python" ]; then \
			echo "error: wanted Python 3.11 or 3.12, found$$seen; name one with make setup PYTHON=..." >&2; exit 2; \
		fi; \
		echo "== set-up 1/3: new environment .venv with Python $$version ($$python)"; \
		mkdir .venv && touch .venv/.creating && "$$python" -m venv .venv && rm .venv/.creating || { \
			echo "error: $$python -m venv failed (Debian and Ubuntu have it in the package python3-venv)" >&2; exit 2; \
		}; \
	elif version=$$($(PY) -c '$(CHECK_VERSION)'); then \
		echo "== set-up 1/3: environment .venv is there (Python $$version)"; \
	else \
		echo "error: .venv holds Python $$version, wanted 3.11 or 3.12; remove .venv and call make again" >&2; exit 2; \
	fi
	@echo "== set-up 2/3: installing LAMAR and its libraries, the versions of constraints.txt (minutes the first time)"
	@$(INSTALL) -e .
	@echo "== set-up 3/3: installing the extras: bigwig, cnn (TensorFlow), interpret, lora, dev"
	@$(INSTALL) -e ".[bigwig,cnn,interpret,lora,dev]"
	@incomplete=$$($(PY) -I -c "$$INCOMPLETE_PACKAGES") || exit 1; \
	if [ -n "$$incomplete" ]; then \
		echo "== set-up: repairing incomplete packages:" $$incomplete; \
		$(INSTALL) --force-reinstall --no-deps $$incomplete; \
	fi
	@touch $@
	@echo "== set-up done"

# One step of the demo: title, command line of the environment's Python.
step = @echo && echo "== demo: $(1)" && $(PY) $(2)

demo: setup  ## the whole pipeline on synthetic data, outputs in demo/
	@mkdir -p demo && date +%s > demo/.started
	$(call step,synthetic data set with planted binding sites,preprocess/make_demo_data.py)
	@echo && echo "== demo: windows for self-supervised training" && bash preprocess/run_prep.sh
	$(call step,labelled sets with their composition baselines,preprocess/make_rbp_dataset.py)
	$(call step,fine-tuning on one RNA-binding protein,finetune_scripts/finetune_rbp.py)
	$(call step,frozen embeddings beside their baselines,evalEmbeddings/LAMAR_CNN_clip_data.py)
	$(call step,figures and report of the evaluation,evalEmbeddings/plot_results.py)
	@echo
	@echo "== demo done in $$(( $$(date +%s) - $$(cat demo/.started) )) s. Outputs:"
	@echo "   data          $(CURDIR)/demo/data"
	@find "$(CURDIR)/demo" -type d -exec test -e '{}/run.json' \; -print -prune | sort | sed 's|^|   results       |'
	@echo "   The data are SYNTHETIC: invented sequences, planted sites. These numbers show that the pipeline works and"
	@echo "   say nothing about any protein. For real data, name it: finetune_scripts/finetune_rbp.py --data_path ..."

test: setup  ## the whole test suite, slow tests included
	@echo "== tests: the whole suite"
	@$(PY) -m pytest $(PYTEST_ARGS)

lint: setup  ## ruff check and ruff format --check
	@echo "== lint: ruff check"
	@$(PY) -m ruff check .
	@echo "== lint: ruff format --check"
	@$(PY) -m ruff format --check .

bench: setup  ## side-by-side timings, each tests/benchmarks/bench_*.py in turn
	@failed=; \
	for benchmark in tests/benchmarks/bench_*.py; do \
		[ -e "$$benchmark" ] || { echo "no benchmark in tests/benchmarks yet"; break; }; \
		echo "== benchmark: $$benchmark"; \
		$(PY) "$$benchmark" || failed="$$failed $$benchmark"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

fuzz: setup  ## 10,000 damaged files to the readers of users' files, an hour or two
	@$(PY) tests/fuzz/run_fuzz.py $(FUZZ_ARGS)

kill: setup  ## 100 kills of each long script, whose tables must not change
	@$(PY) tests/fuzz/run_kills.py $(KILL_ARGS)

clean:  ## remove caches and build artefacts; .venv, demo/ and models/ stay
	@echo "== clean: caches and build artefacts"
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis ./*.egg-info
	@find . -name .venv -prune -o -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
