"""pretrain.py, run on small corpora whose structure is known."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrain_runs import SCRIPT, SHAPE, arguments, cycles, log, make_corpus, run, same_run, script, start
from sequence_files import window

from LAMAR import EsmForMaskedLM, EsmForSequenceClassification, LamarTokenizer, load_pretrained
from LAMAR.data.corpora import read_corpus
from LAMAR.data_collator_patch import MaskedLMCollator
from LAMAR.statistics.markov import MarkovChain, MarkovCounts
from LAMAR.training.masked_validation import MaskedWindows, closing_table
from LAMAR.training.window_batches import TrainingBatches


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "run"
    run(data, output)
    return output


# ------------------------------------------------------------------------------------------------ one run


def test_progress_has_steps_losses_and_speed(data, tmp_path, progress_at_once, capsys):
    run(data, tmp_path / "out", "--max_steps", 12)
    lines = [line for line in progress_at_once() if line.startswith("pre-training")]
    at_eleven = next(line for line in lines if "11 of 12 steps (91 %)" in line)
    for figure in (", loss ", ", tokens ", ", tokens per s ", ", validation loss ", " left"):
        assert figure in at_eleven
    assert capsys.readouterr().out == ""


def test_outputs(finished, data):
    names = sorted(path.name for path in finished.iterdir() if not path.name.startswith("."))
    wanted = "checkpoints config.json eval_results.json log.csv loss_curve.png model.safetensors run.json"
    assert names == sorted([*wanted.split(), "tokenizer_config.json", "training_args.bin", "units", "vocab.txt"])
    rows = log(finished)
    assert list(rows[0]) == ["step", "tokens", "train_loss", "validation_loss", "learning_rate", "tokens_per_s"]
    # A row where the curve is logged, and where there is a checkpoint: at 24 the rate begins to fall.
    assert [int(row["step"]) for row in rows] == [5, 10, 15, 20, 24, 25, 30]
    assert [row["step"] for row in rows if row["validation_loss"]] == ["10", "20", "30"]
    # Six steps fall: the rate is that of the last step before the row.
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == pytest.approx([3e-3] * 6 + [3e-3 / 6])
    results = json.loads((finished / "eval_results.json").read_text())
    assert (results["steps"], results["tokens"]) == (30, int(rows[-1]["tokens"]))
    assert results["loss"] == float(rows[-1]["validation_loss"])
    assert results["perplexity"] == pytest.approx(math.exp(results["loss"]))
    assert results["padding"] <= 0.05
    by_letter = results["by_nucleotide"].values()
    assert sum(f["n_hidden"] for f in by_letter) == results["n_hidden"]
    assert sum(f["n_hidden"] * f["accuracy"] for f in by_letter) == pytest.approx(
        results["n_hidden"] * results["accuracy"]
    )
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished"
    assert [Path(name).name for name in record["inputs"]] == ["cycles.fa"]


def test_the_checkpoint_loads_everywhere_and_reproduces_its_loss(finished, data):
    model = EsmForMaskedLM.from_pretrained(finished).eval()
    corpus = read_corpus([data], val_fraction=0.1, exclude_run=0)
    validation = MaskedWindows(corpus.heldout, 64)
    ids, offsets = validation.windows.ids.astype(np.int64), validation.windows.offsets
    hidden = ids.copy()
    hidden[validation.hidden] = 4
    losses = []
    with torch.no_grad():
        for a, b in zip(offsets, offsets[1:]):  # one window after the other, without padding
            log_probabilities = model(torch.from_numpy(hidden[None, a:b])).logits[0].log_softmax(-1)
            losses += [-log_probabilities[i - a, ids[i]].item() for i in validation.hidden if a <= i < b]
    results = json.loads((finished / "eval_results.json").read_text())
    assert len(losses) == results["n_hidden"]
    assert np.mean(losses) == pytest.approx(results["loss"], abs=1e-5)
    assert LamarTokenizer.from_pretrained(finished)("ACGT")["input_ids"] == [0, 5, 7, 8, 6, 2]
    _, report = load_pretrained(EsmForSequenceClassification, finished, new_head=True, num_labels=2)
    assert len(report.matched) == len(EsmForMaskedLM(model.config).esm.state_dict())


def test_the_markov_figures_are_those_of_the_chain_on_the_same_positions(finished, data):
    results = json.loads((finished / "eval_results.json").read_text())["markov"]
    assert results["left"]["order"] == results["two_sided"]["order"] == 1
    corpus = read_corpus([data], val_fraction=0.1, exclude_run=0)
    validation = MaskedWindows(corpus.heldout, 64)
    letters = {5: 0, 6: 1, 7: 2, 8: 3}
    counts = MarkovCounts(1)
    for block in corpus.blocks():
        counts.add(np.array([letters.get(i, 4) for i in block.ids], dtype=np.uint8))
    codes = np.array([letters.get(i, 4) for i in validation.windows.ids], dtype=np.uint8)
    found = MarkovChain(counts, 1, results["left"]["prior"]).left(codes, validation.hidden)
    truth = codes[validation.hidden]
    assert results["left"]["loss"] == pytest.approx(-found[np.arange(len(truth)), truth].mean())
    assert results["left"]["accuracy"] == pytest.approx((found.argmax(1) == truth).mean())
    # Nine in ten by the rule, and a quarter of the others: 0.925, or a little less at the first letters.
    assert 0.85 < results["left"]["accuracy"] < 0.95
    assert results["two_sided"]["loss"] < results["left"]["loss"]


def test_it_learns_a_rule(data, tmp_path):
    """From composition (ln 4 = 1.386) to near the chain that the sequences were drawn from."""
    results = run(data, tmp_path / "out", "--max_steps", 400, "--save_steps", 400)
    assert results["loss"] < 0.8
    assert results["accuracy"] > 0.75
    assert f"{results['loss']:.4f}" in closing_table(results)
    assert f"{results['sparsely']['loss']:.4f}" in closing_table(results)
    assert f"{results['markov']['two_sided']['loss']:.4f}" in closing_table(results)


def test_a_seed_repeats_bit_for_bit(finished, data, tmp_path):
    run(data, tmp_path / "again")
    assert same_run(tmp_path / "again", finished)
    run(data, tmp_path / "other", "--seed", 1)
    assert not same_run(tmp_path / "other", finished)


def test_streaming_trains_the_same_weights(finished, data, tmp_path):
    """One file without copies, smaller than a block: then both ways have the same batches."""
    run(data, tmp_path / "streamed", "--streaming")
    assert same_run(tmp_path / "streamed", finished)


def test_the_loss_of_a_step_is_the_mean_over_its_positions(data, tmp_path):
    """Batches of unequal size are accumulated by position; at a rate of next to nothing the model stays as it was."""
    more = ("--accum_steps", 3, "--peak_lr", 1e-30, "--logging_steps", 1, "--max_steps", 4)
    run(data, tmp_path / "out", *more)
    batches = TrainingBatches(
        read_corpus([data], val_fraction=0.1, exclude_run=0), MaskedLMCollator(seed=42), 64, 700, 42
    )
    model, _ = load_pretrained(EsmForMaskedLM, tmp_path / "out")
    losses = []
    with torch.no_grad():
        for batch, _ in zip(batches, range(12)):
            n = batch["labels"].ne(-100).sum().item()
            losses.append((model(**batch).loss.item() * n, n))
    expected = [sum(x for x, _ in losses[i : i + 3]) / sum(n for _, n in losses[i : i + 3]) for i in range(0, 12, 3)]
    assert len({n for _, n in losses}) > 3
    assert [float(row["train_loss"]) for row in log(tmp_path / "out")] == pytest.approx(expected, abs=1e-5)


# ------------------------------------------------------------------------------------------------ from a checkpoint


def test_training_goes_on_from_a_checkpoint(finished, data, tmp_path):
    before = json.loads((finished / "eval_results.json").read_text())
    after = run(data, tmp_path / "out", "--pretrain_path", finished, "--peak_lr", 1e-30, "--max_steps", 2, shape=())
    assert after["loss"] == pytest.approx(before["loss"], abs=1e-6)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["weights"]["pretrain_path"] == str(finished)
    assert len(record["weights"]["sha256"]) == 64


def test_region_rates_need_regions_and_train(data, tmp_path, capsys):
    assert script.main(arguments(data, tmp_path / "no", "--region_rates", 0.3, 0.1)) == 2
    assert "--region_rates: found no eclip_regions" in capsys.readouterr().err
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(json.dumps(window(sequence, (5, 15))) for sequence in cycles(100, seed=2)))
    weighted = run(path, tmp_path / "weighted", "--region_rates", 0.3, 0.1, "--max_steps", 5)
    plain = run(path, tmp_path / "plain", "--max_steps", 5)
    assert weighted["n_hidden"] == plain["n_hidden"], "validation masks do not depend on the regions"
    assert weighted["loss"] != plain["loss"]


# ------------------------------------------------------------------------------------------------ ways of training


def test_a_table_of_one_column_is_a_corpus(cases_folder, tmp_path):
    corpus = cases_folder / "one_column_csv" / "corpus.csv"
    results = run(corpus, tmp_path / "out", "--max_steps", 2)
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(corpus.read_text().replace("sequence", "Window", 1))
    again = run(renamed, tmp_path / "again", "--max_steps", 2, "--sequence_column", "window")
    assert again["loss"] == results["loss"]
    arguments = json.loads((tmp_path / "again" / "run.json").read_text())["arguments"]
    assert arguments["sequence_column"] == "window"


def test_gradient_checkpointing_changes_nothing(finished, data, tmp_path):
    plain = json.loads((finished / "eval_results.json").read_text())
    less_memory = run(data, tmp_path / "out", "--gradient_checkpointing")
    assert less_memory["loss"] == pytest.approx(plain["loss"], abs=1e-4)


def test_bfloat16_is_near_float32(finished, data, tmp_path):
    plain = json.loads((finished / "eval_results.json").read_text())
    coarse = run(data, tmp_path / "out", "--bf16")
    assert coarse["loss"] == pytest.approx(plain["loss"], abs=0.02)
    assert coarse["loss"] != plain["loss"]
    model = EsmForMaskedLM.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# ------------------------------------------------------------------------------------------------ mistakes

MISTAKES = {
    "missing data": (["--data_path", "nowhere.fa"], "nowhere.fa"),
    "empty": (["--data_path", "EMPTY"], "empty"),
    "protein": (["--data_path", "PROTEIN"], "found 'L'"),
    "missing weights": (["--pretrain_path", "nowhere.safetensors"], "nowhere.safetensors"),
    "other shape": (["--pretrain_path", "FINISHED", "--num_hidden_layers", "3"], "num_hidden_layers"),
    "other architecture": (["--pretrain_path", "FOREIGN"], "not LAMAR weights"),
    "config": (["--config", "lamar-huge"], "--config"),
    "heads": (["--num_attention_heads", "5"], "num_attention_heads"),
    "fp16": (["--fp16"], "--fp16"),
    "budget": (["--token_budget", "50"], "--token_budget"),
    "spans of regions": (["--span_length", "3", "--region_rates", "0.3", "0.1"], "--span_length"),
    "attention": (["--attention", "eager", "--flash_attention"], "--flash_attention"),
    "flash": (["--flash_attention"], "flash"),
    "tokenizer": (["--tokenizer_path", "nowhere"], "nowhere"),
    "report_to": (["--report_to", "no_such_logger"], "--report_to: found 'no_such_logger', wanted none"),
    "nothing held out": (["--val_fraction", "1e-9"], "--val_fraction"),
    "nothing hidden": (["--val_mask_rate", "1e-12"], "--val_mask_rate"),
    "nothing left": (["--exclude_run", "12"], "--exclude_run"),
    "excluded by no run": (["--exclude", "EMPTY"], "--exclude_run 0"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(data, finished, tmp_path, capsys, case):
    if case in ("fp16", "flash") and torch.cuda.is_available():
        pytest.skip("a CUDA device is visible")
    (tmp_path / "empty.fa").touch()
    (tmp_path / "protein.fa").write_text(">p\nMKVLAA\n")
    torch.save({"bert.embeddings.word_embeddings.weight": torch.zeros(9, 4)}, tmp_path / "foreign.bin")
    names = {"EMPTY": "empty.fa", "PROTEIN": "protein.fa", "FOREIGN": "foreign.bin"}
    extra, wanted = MISTAKES[case]
    words = [str(finished) if w == "FINISHED" else str(tmp_path / names[w]) if w in names else w for w in extra]
    shape = () if case in ("other architecture", "config") else SHAPE
    assert script.main(arguments(data, tmp_path / "out", *words, shape=shape)) == 2
    error = capsys.readouterr().err
    assert wanted in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


OUT_OF_RANGE = "--mask_rate 0|--mask_rate 1|--max_minutes 0|--region_rates 0.3|--decay_ratio 1|--batch_size 4|"
OUT_OF_RANGE += "--markov_order 13|--model_max_length 5"


@pytest.mark.parametrize("extra", map(str.split, OUT_OF_RANGE.split("|")), ids=" ".join)
def test_values_out_of_range_exit_2(data, tmp_path, capsys, extra):
    with pytest.raises(SystemExit) as stopped:
        script.main(arguments(data, tmp_path / "out", *extra))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert extra[0] in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("save_steps", [10, 1], ids=["at once", "after a checkpoint"])
def test_a_loss_that_explodes_is_named(data, tmp_path, capsys, save_steps):
    """What stands in the way of the corrected command goes, unless it is work."""
    more = ("--peak_lr", "1e30", "--save_steps", save_steps)
    assert script.main(arguments(data, tmp_path / "out", *more)) == 2
    assert "--peak_lr 1e+30: the loss became nan" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("checkpoints/checkpoint-*")) == [] or save_steps == 1
    assert (tmp_path / "out").exists() == (save_steps == 1)


# ------------------------------------------------------------------------------------------------ as processes


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batches(data, tmp_path):
    """A batch each a step, or two of one process: over a first pass the same batches, so the same but for rounding."""
    # Without --standalone it would want a fixed port, which another program may have.
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    process = start(data, tmp_path / "two", "--max_steps", 10, launcher=launcher)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert output.count("masked nucleotides in") == 1, "one process speaks"
    run(data, tmp_path / "one", "--max_steps", 10, "--accum_steps", 2)
    rows = [log(tmp_path / name, "tokens_per_s") for name in ("one", "two")]
    for one, two in zip(*rows, strict=True):
        assert [one[key] for key in ("step", "tokens", "learning_rate")] == [
            two[key] for key in ("step", "tokens", "learning_rate")
        ]
        assert float(one["train_loss"]) == pytest.approx(float(two["train_loss"]), abs=1e-4)
    results = [json.loads((tmp_path / name / "eval_results.json").read_text()) for name in ("one", "two")]
    assert results[0]["n_hidden"] == results[1]["n_hidden"]
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], abs=1e-4)
    assert results[0]["passes"] == 1


@pytest.mark.slow
def test_without_arguments_it_runs_on_the_demo_set(tmp_path):
    """From another folder, as a new user would call it."""
    process = subprocess.run(
        [sys.executable, SCRIPT, "--output_dir", tmp_path / "out"], capture_output=True, text=True, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("SYNTHETIC") == 2
    results = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    assert results["data"].startswith("SYNTHETIC")
    assert results["loss"] < math.log(4)
