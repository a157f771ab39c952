"""Joint training on many tracks: labels, loss, batches, exact resume."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from track_sets import MOTIFS, TRACKS, make_track_set

from LAMAR.configuration import named_config
from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification
from LAMAR.statistics.track_metrics import UNKNOWN, summarise_tracks, track_table
from LAMAR.tokenization import VOCABULARY
from LAMAR.training import multi_rbp
from LAMAR.training.multi_rbp import LOG_COLUMNS, train_jointly
from LAMAR.training.multi_rbp_data import WindowOrder, prepare_joint_data, subsample_rows
from LAMAR.training.multi_rbp_model import masked_track_loss, predict_logits, set_prior_bias, track_weights
from LAMAR.training.multi_rbp_options import JointOptions

OPTIONS = JointOptions(
    max_steps=12,
    batch_size=16,
    head_lr=3e-3,
    encoder_lr=1e-3,
    warmup_steps=2,
    decay_ratio=0.25,
    eval_steps=4,
    save_steps=3,
    dev_windows=40,
)


@pytest.fixture(scope="module")
def data():
    return prepare_joint_data(make_track_set())


def new_model(data, head: str = "mean") -> EsmForSequenceClassification:
    torch.manual_seed(0)
    names = dict(enumerate(data.names))
    config = named_config("lamar-tiny", head_type=head, head_channels=8, id2label=names, loss_type="bce")
    return EsmForSequenceClassification(config)


def trained(data, options, folder):
    folder.mkdir(exist_ok=True)
    model = new_model(data)
    return model, train_jointly(model, data, options, folder, folder / "log.csv")


# --------------------------------------------------------------------------------------------------- loss


def test_loss_by_hand():
    # Logit ln 3 is probability 3/4: bound costs ln 4/3, not bound ln 4. Unknown labels cost and weigh nothing.
    logits = torch.full((2, 3), math.log(3))
    labels = torch.tensor([[1, 0, UNKNOWN], [UNKNOWN, UNKNOWN, 1]], dtype=torch.int8)
    loss, weight = masked_track_loss(logits, labels, torch.tensor([1.0, 2.0, 4.0]))
    assert float(loss) == pytest.approx(math.log(4 / 3) + 2 * math.log(4) + 4 * math.log(4 / 3))
    assert float(weight) == 7
    assert loss.dtype == torch.float32


def test_unknown_labels_have_no_gradient():
    logits = torch.zeros(1, 2, requires_grad=True)
    loss, _ = masked_track_loss(logits, torch.tensor([[UNKNOWN, 1]], dtype=torch.int8), torch.ones(2))
    loss.backward()
    assert logits.grad.tolist() == [[0.0, -0.5]]


@pytest.mark.parametrize(("power", "wanted"), [(0.0, [1, 1]), (1.0, [0.5, 1.5]), (-1.0, [1.5, 0.5])])
def test_track_weights_by_hand(power, wanted):
    assert track_weights(np.array([10, 30]), power).tolist() == pytest.approx(wanted)


def test_prior_bias_is_the_share_of_bound_windows(data):
    model = new_model(data)
    set_prior_bias(model, *data.track_counts(data.train))
    bound = (data.labels[data.train] == 1).sum(0)
    known = (data.labels[data.train] != UNKNOWN).sum(0)
    found = model.classifier.out_proj.bias.sigmoid().tolist()
    assert found == pytest.approx(((bound + 0.5) / (known + 1)).tolist(), rel=1e-5)


# --------------------------------------------------------------------------------------------------- data


def test_data_are_the_sets_windows_and_labels(data):
    source = make_track_set()
    kept = np.flatnonzero(source.windows["part"] != "test")
    labels, mask = source.labels(kept)
    assert np.array_equal(data.labels, np.where(mask == 1, labels, UNKNOWN))
    assert data.names == source.names
    assert data.window_length == 31
    assert data.input_ids.shape == (len(kept), 33)
    text = "".join(VOCABULARY[token] for token in data.input_ids[5][1:-1])
    assert text == source.windows["sequence"][kept[5]]
    parts = source.windows["part"].to_numpy()[kept]
    assert (parts[data.train] == "train").all()
    assert (parts[data.dev] == "dev").all()
    assert len(data.train) + len(data.dev) == len(kept)
    assert np.array_equal(data.is_background, source.windows["kind"].to_numpy()[kept] == "background")


def test_shorter_windows_are_padded():
    source = make_track_set()
    source.windows["sequence"] = [text[: 31 - i % 3] for i, text in enumerate(source.windows["sequence"])]
    found = prepare_joint_data(source)
    lengths = source.windows["sequence"].str.len()[source.windows["part"] != "test"].to_numpy()
    assert (found.input_ids != 1).sum(1).tolist() == (lengths + 2).tolist()
    assert found.window_length == 31
    # Padding changes no logit.
    model = new_model(found).eval()
    rows = np.arange(6)
    alone = np.concatenate([predict_logits(model, found, rows[i : i + 1]) for i in rows])
    assert predict_logits(model, found, rows) == pytest.approx(alone, abs=1e-5)


def test_held_out_targets_leave_with_the_windows_that_only_they_bind(data):
    source = make_track_set()
    # A window that a held-out target and another one bind.
    both = int(np.flatnonzero(source.labels(np.arange(len(source)))[0][:, 0])[0])
    shared = replace(source, bound=_with_pair(source, both, 2))
    found = prepare_joint_data(shared, hold_out=["PUM2"])
    assert found.names == ["QKI_K562", "TARDBP_HepG2"]
    sequences = {tuple(ids) for ids in found.input_ids.tolist()}
    everything = prepare_joint_data(shared)
    for ids, labels in zip(everything.input_ids.tolist(), everything.labels):
        only_held_out = 1 in labels[:2] and 1 not in labels[2:]
        assert (tuple(ids) in sequences) is not only_held_out
    assert found.counts["held_out_tracks"] == 2
    assert found.counts["held_out_windows"] == len(everything.labels) - len(found.labels) > 10
    # What the other tracks are told of the windows that stay is what they were told before.
    before = {tuple(ids): labels[2:].tolist() for ids, labels in zip(everything.input_ids.tolist(), everything.labels)}
    for ids, labels in zip(found.input_ids.tolist(), found.labels.tolist()):
        assert before[tuple(ids)] == labels


def _with_pair(source, row: int, track: int):
    rows, ids = source.bound.pairs()
    return type(source.bound).from_pairs(np.append(rows, row), np.append(ids, track), len(source))


def _all_unknown(source):
    rows, ids = np.nonzero(np.ones((len(source), len(source.tracks))))
    is_train = source.windows["part"].eq("dev").to_numpy()[rows]
    unknown = type(source.unknown).from_pairs(rows[is_train], ids[is_train], len(source))
    kept = ~source.windows["part"].eq("dev").to_numpy()[source.bound.pairs()[0]]
    pairs = source.bound.pairs()
    bound = type(source.bound).from_pairs(pairs[0][kept], pairs[1][kept], len(source))
    return replace(source, unknown=unknown, bound=bound)


def _without_dev(source):
    return source.take(np.flatnonzero(source.windows["part"] != "dev"))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (_without_dev, {}, "folder/windows: found no window of part dev, wanted one or more"),
        (_all_unknown, {}, "folder/windows: found only unknown labels in part dev"),
        (lambda s: s, {"hold_out": ["PUM1"]}, r"`hold_out`: found 'PUM1', wanted targets of .* \(similar: PUM2\)"),
        (lambda s: s, {"hold_out": list(MOTIFS)}, "`hold_out`: found all 3 targets of"),
        (lambda s: s, {"min_sites": 1000}, "found no track with 1000 or more bound windows in the train part"),
    ],
)
def test_sets_that_cannot_be_trained_on_are_refused(change, options, message):
    with pytest.raises(InputError, match=message):
        prepare_joint_data(change(make_track_set()), source="folder/windows", **options)


def test_tracks_with_few_sites_are_left_out_and_named(caplog):
    source = make_track_set()
    counts = source.counts(source.rows("train"))[0]
    least = int(counts.min()) + 1
    found = prepare_joint_data(source, min_sites=least)
    gone = [name for name, n in zip(source.names, counts) if n < least]
    assert found.names == [name for name in source.names if name not in gone]
    assert gone[0] in caplog.text
    assert found.counts["few_sites_tracks"] == len(gone)


def test_each_pass_sees_each_window_once_whatever_step_is_asked_first():
    rows, lengths = np.arange(100, 153), np.full(53, 31)
    order = WindowOrder(rows, lengths, 10, seed=3)
    first, second = ([order(step) for step in range(5 * n, 5 * n + 5)] for n in range(2))
    for batches in (first, second):
        seen = np.concatenate(batches)
        assert len(set(seen.tolist())) == 50
        assert set(seen.tolist()) <= set(rows.tolist())
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(WindowOrder(rows, lengths, 10, seed=3)(7), second[2])
    assert not np.array_equal(WindowOrder(rows, lengths, 10, seed=4)(0), first[0])
    with pytest.raises(InputError, match="`batch_size`: found 54 over all processes, wanted at most 53 windows"):
        WindowOrder(rows, lengths, 54, seed=0)


def test_windows_of_similar_length_share_a_batch():
    rng = np.random.default_rng(0)
    rows, lengths = rng.permutation(1_000), rng.integers(45, 102, 1_000)
    order = WindowOrder(rows, lengths, 10, seed=0)
    batches = [order(step) for step in range(100)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(1_000))
    length = dict(zip(rows.tolist(), lengths.tolist()))
    spans = [max(found) - min(found) for found in ([length[row] for row in batch] for batch in batches)]
    # 320 windows of 57 lengths: ten successive ones span two lengths or so, ten random ones some 45.
    assert np.mean(spans) < 4
    # In random order: long batches do not all come last.
    means = [np.mean([length[row] for row in batch]) for batch in batches[:32]]
    assert abs(np.corrcoef(means, np.arange(32))[0, 1]) < 0.5


def test_dev_sample_is_fixed_and_in_order():
    rows = np.arange(50, 90)
    assert subsample_rows(rows, 40, 0) is rows
    sample = subsample_rows(rows, 10, 0)
    assert len(sample) == 10
    assert (np.diff(sample) > 0).all()
    assert set(sample.tolist()) <= set(rows.tolist())
    assert np.array_equal(sample, subsample_rows(rows, 10, 0))


# ------------------------------------------------------------------------------------------------- training


class Killed(Exception):
    """Stands for the end of a process."""


def rows_of(result):
    return [{key: row[key] for key in LOG_COLUMNS if key != "windows_per_s"} for row in result.rows]


def equal(first, second) -> bool:
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("at", [2, 5, 11])
def test_a_killed_run_ends_with_the_same_weights_and_log(at, data, tmp_path, monkeypatch):
    whole, wanted = trained(data, OPTIONS, tmp_path / "whole")
    step = multi_rbp._Run._step

    def until_killed(run):
        if run.state.step == at:
            raise Killed
        return step(run)

    with monkeypatch.context() as patch:
        patch.setattr(multi_rbp._Run, "_step", until_killed)
        with pytest.raises(Killed):
            trained(data, OPTIONS, tmp_path / "cut")
    resumed, found = trained(data, OPTIONS, tmp_path / "cut")
    assert equal(resumed, whole)
    assert rows_of(found) == rows_of(wanted)
    assert [row["step"] for row in found.rows] == [4, 8, 12]
    assert (found.steps, found.windows, found.best_step) == (12, 192, wanted.best_step)


def test_a_run_made_longer_is_the_long_run(data, tmp_path):
    long, wanted = trained(data, replace(OPTIONS, max_steps=20), tmp_path / "long")
    trained(data, OPTIONS, tmp_path / "short")
    extended, found = trained(data, replace(OPTIONS, max_steps=20), tmp_path / "short")
    assert equal(extended, long)
    assert rows_of(found)[-1] == rows_of(wanted)[-1]
    # Its learning rate had fallen after step 15: an end before that cannot be had any more.
    with pytest.raises(InputError, match=r"`max_steps`: found 6, wanted more: .* holds 20 steps"):
        trained(data, replace(OPTIONS, max_steps=6), tmp_path / "short")


def test_rates_rise_stay_and_fall_and_differ_for_encoder_and_head(data, tmp_path, monkeypatch):
    rates = []
    step = multi_rbp._Run._step

    def noted(run):
        loss = step(run)
        rates.append([group["lr"] for group in run.optimizer.param_groups])
        return loss

    monkeypatch.setattr(multi_rbp._Run, "_step", noted)
    trained(data, OPTIONS, tmp_path / "run")
    # Two steps of warm-up; the fall is the last quarter of twelve, and its first step is still at the peak.
    factors = [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3]
    assert [rate[-1] for rate in rates] == pytest.approx([3e-3 * factor for factor in factors])
    assert [rate[0] for rate in rates] == pytest.approx([1e-3 * factor for factor in factors])


def test_minutes_end_the_training_after_the_rate_has_fallen(data, tmp_path, monkeypatch):
    # A clock by which each step takes a second: it is read before and after.
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)), monotonic=time.monotonic)
    monkeypatch.setattr(multi_rbp, "time", clock)
    options = replace(OPTIONS, max_steps=100_000, max_minutes=0.5, eval_steps=1000, save_steps=1000)
    _, result = trained(data, options, tmp_path / "run")
    # Three quarters of 30 s are over after 23 steps; a quarter of all steps is then 23 / 3, rounded to 8.
    assert result.steps == 31
    assert result.seconds == 31
    assert [row["step"] for row in result.rows] == [31]
    assert result.rows[-1]["learning_rate"] == pytest.approx(OPTIONS.head_lr / 8)


def test_the_model_ends_with_the_weights_of_the_best_step(data, tmp_path):
    # A rate that ruins the model in the end.
    options = replace(OPTIONS, head_lr=0.3, encoder_lr=0.1, warmup_steps=0, eval_steps=2)
    model, result = trained(data, options, tmp_path / "run")
    areas = [row["dev_auroc"] for row in result.rows]
    assert result.best_step == result.rows[int(np.argmax(areas))]["step"]
    rows = subsample_rows(data.dev, options.dev_windows, options.seed)
    found = summarise_tracks(track_table(data.labels[rows], predict_logits(model, data, rows)), np.ones(len(TRACKS)))
    assert found["auroc"] == pytest.approx(max(areas))
    assert len(list((tmp_path / "run").glob("best-*.safetensors"))) <= 2


def test_planted_motifs_are_learned(data, tmp_path):
    options = replace(OPTIONS, max_steps=120, eval_steps=60, save_steps=60)
    _, result = trained(data, options, tmp_path / "run")
    assert result.rows[-1]["dev_auroc"] > 0.75
    assert result.rows[-1]["train_loss"] < result.rows[0]["train_loss"]


def test_a_loss_that_is_no_number_ends_the_run(data, tmp_path):
    with pytest.raises(InputError, match=r"`encoder_lr` 1e\+30: the loss became nan before step"):
        trained(data, replace(OPTIONS, encoder_lr=1e30, warmup_steps=0), tmp_path / "run")


def test_progress_counts_windows_and_shows_loss_and_dev_auroc(data, tmp_path, progress_at_once, monkeypatch):
    monkeypatch.setattr(multi_rbp, "LOSS_S", 0.0)
    _, result = trained(data, OPTIONS, tmp_path)
    lines = progress_at_once()
    at_five = next(line for line in lines if ", step 5" in line)
    assert at_five.startswith("training: 80 of 192 windows (41 %), loss ")
    assert f"dev AUROC {result.rows[0]['dev_auroc']:.4g}" in at_five
    assert at_five.endswith(" left")
    # What is shown does not change what is recorded.
    monkeypatch.setattr(multi_rbp, "LOSS_S", 1e9)
    _, quiet = trained(data, OPTIONS, tmp_path / "quiet")
    assert [row["train_loss"] for row in quiet.rows] == [row["train_loss"] for row in result.rows]
