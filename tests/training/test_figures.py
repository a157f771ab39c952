"""Figures of training: what their axes say."""

from __future__ import annotations

from LAMAR.training import figures


def axes_of(history, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: drawn.append(figure))
    figures.plot_learning_curves({"fold_0": history}, "auroc", tmp_path / "curves.png")
    return drawn[0].axes


def test_epochs_of_a_warm_up_are_explained_below_the_axis(monkeypatch, tmp_path):
    training = [{"epoch": 1.0, "loss": 0.6}, {"epoch": 1.0, "eval_loss": 0.6, "eval_auroc": 0.8}]
    left, right = axes_of([{"epoch": -0.5, "loss": 0.7, "phase": "warmup"}, *training], monkeypatch, tmp_path)
    assert left.get_xlabel() == "epoch (before 0: warm-up, the head alone is trained)"
    assert right.get_xlabel() == "epoch"
    assert [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == ":"] == [0]


def test_without_a_warm_up_there_is_nothing_to_explain(monkeypatch, tmp_path):
    left, _ = axes_of([{"epoch": 1.0, "loss": 0.6}], monkeypatch, tmp_path)
    assert left.get_xlabel() == "epoch"
    assert not [line for line in left.lines if line.get_linestyle() == ":"]
