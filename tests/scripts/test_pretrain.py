"""pretrain.py, run on small corpora whose structure is known."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sequence_files import window

from LAMAR import EsmForMaskedLM, EsmForSequenceClassification, LamarTokenizer, load_pretrained, named_config
from LAMAR.alphabet import VOCABULARY
from LAMAR.data.corpora import read_corpus
from LAMAR.data_collator_patch import MaskedLMCollator
from LAMAR.statistics.markov import MarkovChain, MarkovCounts
from LAMAR.training import pretraining as pretraining_module
from LAMAR.training.masked_validation import MaskedWindows, closing_table, evaluate, evaluate_sparsely
from LAMAR.training.pretraining import Schedule
from LAMAR.training.window_batches import TrainingBatches

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "finetune_scripts" / "pretrain.py"
NEXT = {"A": "C", "C": "G", "G": "T", "T": "A"}

spec = importlib.util.spec_from_file_location("pretrain", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def cycles(n: int, seed: int) -> list[str]:
    """Sequences of 30 to 90 nt in which C follows A, G C, T G and A T, nine times in ten."""
    rng = random.Random(seed)
    sequences = []
    for _ in range(n):
        letters = [rng.choice("ACGT")]
        for _ in range(rng.randint(29, 89)):
            letters.append(NEXT[letters[-1]] if rng.random() < 0.9 else rng.choice("ACGT"))
        sequences.append("".join(letters))
    return sequences


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "cycles.fa"
    path.write_text("".join(f">r{i}\n{sequence}\n" for i, sequence in enumerate(cycles(300, seed=1))))
    return path


SHAPE = ["--hidden_size", 32, "--intermediate_size", 64, "--num_attention_heads", 2, "--num_hidden_layers", 2]
# The rule alone makes sequences share long runs.
BASE = ["--exclude_run", 0, "--model_max_length", 66, "--token_budget", 700, "--val_fraction", 0.1, "--markov_order", 3]
BASE += ["--max_steps", 30, "--peak_lr", 3e-3, "--save_steps", 10, "--logging_steps", 5, "--warmup_ratio", 0]


def arguments(data: Path, output: Path, *more, shape=SHAPE) -> list[str]:
    return [str(word) for word in ("--data_path", data, "--output_dir", output, *shape, *BASE, *more)]


def run(data: Path, output: Path, *more, shape=SHAPE) -> dict:
    assert script.main(arguments(data, output, *more, shape=shape)) == 0
    return json.loads((output / "eval_results.json").read_text())


def log(output: Path, *without: str) -> list[dict]:
    with (output / "log.csv").open(newline="") as handle:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(handle)]


def same_run(one: Path, two: Path) -> bool:
    """Weights, and the log but for the speed, are equal to the last bit."""
    files = [path / "model.safetensors" for path in (one, two)]
    rows = [log(path, "tokens_per_s") for path in (one, two)]
    return files[0].read_bytes() == files[1].read_bytes() and rows[0] == rows[1]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "run"
    run(data, output)
    return output


# ------------------------------------------------------------------------------------------------ parts


def test_trapezoid_by_hand():
    schedule = Schedule.plan("trapezoid", 100, 10, 0.2)
    assert [schedule.factor(step) for step in (0, 4, 9, 10, 50, 80)] == [0.1, 0.5, 1, 1, 1, 1]
    assert [schedule.factor(step) for step in (81, 90, 99, 100)] == pytest.approx([0.95, 0.5, 0.05, 0])
    schedule.end_early(40, 0.2)
    assert (schedule.decay_start, schedule.end) == (40, 50)
    assert schedule.factor(45) == 0.5


def test_linear_by_hand_and_a_schedule_without_a_fall():
    schedule = Schedule.plan("linear", 100, 50, 0.2)
    assert [schedule.factor(step) for step in (24, 50, 75, 99)] == pytest.approx([0.5, 1, 0.5, 0.02])
    constant = Schedule.plan("trapezoid", 100, 0, 0)
    assert {constant.factor(step) for step in range(100)} == {1.0}
    constant.end_early(30, 0)
    assert constant.end == 30


def test_the_head_at_labelled_positions_only_gives_the_same_logits_and_loss():
    torch.manual_seed(0)
    model = EsmForMaskedLM(named_config("lamar-tiny")).eval()
    ids = torch.randint(5, 9, (3, 20))
    labels = torch.where(torch.rand(3, 20) < 0.3, ids, -100)
    with torch.no_grad():
        whole = model(ids, labels=labels)
        part = model(ids, labels=labels, labelled_only=True)
    assert part.logits.shape == (labels.ne(-100).sum(), 10)
    torch.testing.assert_close(part.logits, whole.logits[labels.ne(-100)], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(part.loss, whole.loss, atol=1e-6, rtol=1e-5)


def test_validation_masks_depend_on_the_seed_and_not_on_the_batches():
    sequences = cycles(40, seed=3)
    one, two = (MaskedWindows(sequences, 50, seed=1, token_budget=budget) for budget in (200, 5_000))
    assert np.array_equal(one.hidden, two.hidden)
    assert not np.array_equal(one.hidden, MaskedWindows(sequences, 50, seed=2).hidden)
    nucleotides = sum(map(len, sequences))
    assert len(one.hidden) == pytest.approx(0.15 * nucleotides, abs=5 * math.sqrt(0.13 * nucleotides))
    for validation in (one, two):
        ids = torch.cat([b["input_ids"][b["labels"] != -100] for b in validation.batches()])
        labels = torch.cat([b["labels"][b["labels"] != -100] for b in validation.batches()])
        assert (ids == 4).all(), "all of them hidden"
        assert sorted(labels.tolist()) == sorted(one.windows.ids[one.hidden].tolist())
    shares = [two.batches(rank, 2) for rank in (0, 1)]
    assert sum(map(len, shares)) == len(two.batches())
    few = MaskedWindows(sequences, 50, max_nucleotides=300)
    assert 300 <= (few.windows.lengths - 2).sum() < 350


class LeftNeighbour(torch.nn.Module):
    """Knows the letter after a shown A, C, G or T to be the next one of the cycle with 70 %, and nothing else."""

    def __init__(self):
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask, labels, labelled_only):
        probabilities = torch.full((*input_ids.shape, 10), 1e-9)
        probabilities[..., 5:9] = 0.25
        for letter, following in NEXT.items():
            rows, columns = (input_ids[:, :-1] == VOCABULARY.index(letter)).nonzero(as_tuple=True)
            probabilities[rows, columns + 1, 5:9] = 0.1
            probabilities[rows, columns + 1, VOCABULARY.index(following)] = 0.7
        return SimpleNamespace(logits=probabilities.log()[labels != -100])


def test_an_eighth_hidden_at_a_time_shows_the_neighbours():
    validation = MaskedWindows(cycles(40, seed=3), 50, mask_rate=0.4, seed=1)
    ids, hidden = validation.windows.ids, validation.hidden

    def expected(hidden_too: np.ndarray) -> float:
        """Loss by hand: 70 % or 10 % after a shown letter, a quarter after a hidden one and at the 5' end."""
        before, here = ids[hidden - 1], ids[hidden]
        follows = [VOCABULARY[b] in NEXT and NEXT[VOCABULARY[b]] == VOCABULARY[h] for b, h in zip(before, here)]
        blind = np.isin(hidden - 1, hidden_too) | (before == 0)
        return -np.log(np.where(blind, 0.25, np.where(follows, 0.7, 0.1))).mean()

    model = LeftNeighbour()
    assert evaluate(model, validation)["loss"] == pytest.approx(expected(hidden), abs=1e-5)
    sparsely = evaluate_sparsely(model, validation)
    assert sparsely["n_hidden"] == len(hidden)
    # No two neighbours are hidden at once: those drawn are eight apart in the list of hidden positions.
    assert sparsely["loss"] == pytest.approx(expected(np.zeros(0)), abs=1e-5)
    assert sparsely["loss"] < evaluate(model, validation)["loss"] - 0.05


# ------------------------------------------------------------------------------------------------ one run


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
    assert weighted["n_hidden"] == plain["n_hidden"], "validation masks as ever"
    assert weighted["loss"] != plain["loss"]


# ------------------------------------------------------------------------------------------------ going on


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("step", "damage"), [(10, None), (24, None), (24, "scheduler.pt"), (24, "optimizer.pt")])
def test_interrupted_after_a_checkpoint_equals_uninterrupted(
    finished, data, tmp_path, monkeypatch, capsys, step, damage, caplog
):
    original = pretraining_module._Progress.on_step_end

    def stop(self, args, state, control, **kwargs):
        if state.global_step == step + 3:
            raise Killed
        return original(self, args, state, control, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(pretraining_module._Progress, "on_step_end", stop)
        with pytest.raises(Killed):
            script.main(arguments(data, tmp_path / "run"))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    newest = max((tmp_path / "run" / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    if not damage:
        assert script.main(arguments(data, tmp_path / "run", "--max_steps", step - 1)) == 2
        assert f"--max_steps: found {step - 1}, wanted more" in capsys.readouterr().err
    if damage == "scheduler.pt":
        (newest / damage).unlink()
    elif damage:
        os.truncate(newest / damage, 100)
    run(data, tmp_path / "run", "--resume_training")
    assert not damage or f"{newest} is damaged ({damage}" in caplog.text
    assert same_run(tmp_path / "run", finished)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["starts"] == (2 if damage else 3)
    kept, whole = (json.loads((path / "eval_results.json").read_text()) for path in (tmp_path / "run", finished))
    assert {k: kept[k] for k in ("tokens", "padding", "passes")} == {
        k: whole[k] for k in ("tokens", "padding", "passes")
    }


def test_a_finished_run_is_not_trained_again(finished, data, monkeypatch, capsys):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(pretraining_module.Trainer, "train", lambda *a, **k: pytest.fail("trained again"))
    run(data, finished)
    assert (finished / "model.safetensors").stat().st_mtime_ns == before
    assert script.main(arguments(data, finished, "--peak_lr", 1)) == 2
    assert "--peak_lr" in capsys.readouterr().err


def test_a_longer_run_goes_on_before_the_fall_and_equals_one_that_was_always_longer(data, tmp_path):
    run(data, tmp_path / "extended")
    assert {p.name for p in (tmp_path / "extended" / "checkpoints").glob("checkpoint-*")} == {
        "checkpoint-24",
        "checkpoint-30",
    }
    # Not at a multiple of --logging_steps, so that the rows differ there: the straight run has none at step 24.
    run(data, tmp_path / "extended", "--max_steps", 50)
    run(data, tmp_path / "straight", "--max_steps", 50)
    extended, straight = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("extended", "straight"))
    assert extended == straight
    losses = [{row["step"]: row["validation_loss"] for row in log(tmp_path / n)} for n in ("extended", "straight")]
    assert losses[0] | {"24": ""} == losses[1] | {"24": ""}


def test_a_shorter_run_never_replaces_a_longer_one(data, tmp_path, monkeypatch, capsys):
    """Whatever it was before: the folder holds one model, and figures are of that one."""
    output = tmp_path / "out"
    for steps in (4, 8):
        run(data, output, "--max_steps", steps)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    minutes = json.loads((output / "eval_results.json").read_text())["training_minutes"]
    for name, limit in (("--max_steps", 4), ("--max_steps", 7), ("--max_minutes", minutes / 2)):
        assert script.main(arguments(data, output, "--max_steps", 9, name, limit)) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {name}: found {limit}, wanted ")
        assert "--overwrite" in error
        assert error.count("\n") == 1
        assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr(pretraining_module.Trainer, "train", lambda *a, **k: pytest.fail("trained again"))
        assert run(data, output, "--max_steps", 8)["steps"] == 8
    record = json.loads((output / "run.json").read_text())
    assert (record["status"], record["summary"]["steps"]) == ("finished", 8)
    run(data, tmp_path / "straight", "--max_steps", 8)
    assert (output / "model.safetensors").read_bytes() == (tmp_path / "straight" / "model.safetensors").read_bytes()
    assert run(data, output, "--max_steps", 4, "--overwrite")["steps"] == 4


def test_a_longer_run_that_is_killed_leaves_no_figures_of_the_shorter_one(data, tmp_path, monkeypatch):
    output = tmp_path / "out"
    run(data, output, "--max_steps", 4)

    def kill(*arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(script, "write_checkpoint", kill)
        with pytest.raises(Killed):
            script.main(arguments(data, output, "--max_steps", 8))
    assert script.main(arguments(data, output, "--max_steps", 4)) == 2
    assert run(data, output, "--max_steps", 8)["steps"] == 8


@pytest.mark.parametrize("precision", [(), ("--bf16",)], ids=["float32", "bfloat16"])
def test_killed_after_its_last_step_a_run_ends_with_what_it_trained(data, tmp_path, monkeypatch, precision):
    more = ("--max_steps", 8, *precision)
    run(data, tmp_path / "whole", *more)
    with monkeypatch.context() as patched:
        patched.setattr(script, "write_checkpoint", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            script.main(arguments(data, tmp_path / "killed", *more))
    run(data, tmp_path / "killed", *more)
    assert same_run(tmp_path / "killed", tmp_path / "whole")
    kept, whole = (json.loads((tmp_path / name / "eval_results.json").read_text()) for name in ("killed", "whole"))
    assert kept["loss"] == whole["loss"]


def test_a_linear_schedule_cannot_be_made_longer(data, tmp_path, capsys):
    run(data, tmp_path / "out", "--schedule", "linear", "--max_steps", 4)
    assert not list((tmp_path / "out").glob("checkpoints/*"))
    assert script.main(arguments(data, tmp_path / "out", "--schedule", "linear", "--max_steps", 8)) == 2
    assert "--max_steps" in capsys.readouterr().err


@pytest.mark.parametrize("schedule", ["trapezoid", "linear"])
def test_time_ends_a_run_cleanly(data, tmp_path, capsys, schedule):
    more = ("--max_steps", 1_000_000, "--max_minutes", 0.03, "--schedule", schedule, "--logging_steps", 1)
    results = run(data, tmp_path / "out", *more, "--save_steps", 1_000_000)
    rows = log(tmp_path / "out")
    assert 5 < results["steps"] < 5_000
    assert rows[-1]["step"] == str(results["steps"])
    assert float(rows[-1]["validation_loss"]) == results["loss"]
    rates = [float(row["learning_rate"]) for row in rows]
    if schedule == "trapezoid":
        falling = sum(rate < 3e-3 * (1 - 1e-9) for rate in rates)
        assert falling == pytest.approx(0.2 * results["steps"], abs=2)
        assert rates[-1] == pytest.approx(3e-3 / (falling + 1))
    else:
        assert min(rates) > 2.9e-3
    again = run(data, tmp_path / "out", *more, "--save_steps", 1_000_000)
    assert again == results
    for change in (("--max_minutes", 0.02), ("--max_steps", results["steps"] - 1)):
        assert script.main(arguments(data, tmp_path / "out", *more, *change)) == 2
        assert f"{change[0]}: found {change[1]}, wanted" in capsys.readouterr().err
    if schedule == "trapezoid":
        assert run(data, tmp_path / "out", *more, "--max_steps", results["steps"]) == results


def test_time_that_is_up_in_the_fall_ends_it(data, tmp_path):
    """The fall has begun by --max_steps and would last longer than there is time."""
    more = ("--max_steps", 100_000, "--max_minutes", 0.02, "--decay_ratio", 0.99999, "--save_steps", 100_000)
    results = run(data, tmp_path / "out", *more, "--logging_steps", 1)
    assert 2 < results["steps"] < 5_000
    assert float(log(tmp_path / "out")[-1]["learning_rate"]) > 2.8e-3


# ------------------------------------------------------------------------------------------------ ways of training


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


def test_steps_and_warm_up_follow_from_what_is_given():
    def parsed(*more):
        found = script.parse_arguments(["--data_path", "x", *more])
        return found.max_steps, found.warmup_steps

    assert parsed() == (10_000, 500)
    assert parsed("--max_steps", "400") == (400, 20)
    assert parsed("--max_steps", "400", "--max_minutes", "5", "--warmup_ratio", "0.1") == (400, 40)
    assert parsed("--max_minutes", "5") == (10_000_000, 500)
    assert parsed("--max_minutes", "5", "--warmup_steps", "7") == (10_000_000, 7)


def test_batch_size_is_a_budget_of_full_windows():
    parsed = script.parse_arguments(["--data_path", "x", "--batch_size", "7", "--model_max_length", "100"])
    assert parsed.token_budget == 700
    assert script.parse_arguments(["--data_path", "x"]).token_budget == 8192


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


def start(data: Path, output: Path, *more, launcher=(sys.executable,)) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*map(str, launcher), str(SCRIPT), *arguments(data, output, *more)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_killed_and_restarted_equals_uninterrupted(data, tmp_path):
    """SIGKILL in the middle, twice, once wherever it hits; weights and loss curve are those of an undisturbed run."""
    more = ("--max_steps", 300, "--save_steps", 7)
    run(data, tmp_path / "whole", *more)
    rng, folder = random.Random(3), tmp_path / "killed"
    for kill in (1, 2):
        process = start(data, folder, *more)
        reached = 0
        while process.poll() is None and reached < 60 * kill:
            steps = [int(path.name.split("-")[1]) for path in folder.glob("checkpoints/checkpoint-*")]
            reached = max(steps, default=0)
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        assert process.poll() is None, process.communicate()[0]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (folder / "model.safetensors").exists()
    output, _ = (process := start(data, folder, *more)).communicate(timeout=300)
    assert process.returncode == 0, output
    assert "going on from step" in output
    assert same_run(folder, tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batches(data, tmp_path):
    """A batch each a step, or two of one process: over a first pass the same batches, so the same but for rounding."""
    # Without --standalone it would want a fixed port, which another program may have.
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    process = start(data, tmp_path / "two", "--max_steps", 10, launcher=launcher)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert output.count("hidden nucleotides in") == 1, "one process speaks"
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
