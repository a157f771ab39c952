"""The file of a calibration: what is written is read back, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest

from LAMAR.data.track_calibration import read_calibration, write_calibration
from LAMAR.errors import InputError
from LAMAR.runs.storage import read_json, write_json
from LAMAR.statistics.calibration import fit_calibration

NAMES = ["a", "b", "c"]


def windows_of_three_tracks():
    """Logits, labels, and which of 900 windows are background; track b has twice as many sites as a, c has none."""
    rng = np.random.default_rng(1)
    labels = np.zeros((900, 3), dtype=np.int8)
    labels[:100, 0] = labels[100:300, 1] = 1
    return rng.normal(size=(900, 3)) + 2 * labels, labels, np.arange(900) >= 300


def test_file_gives_back_the_calibration(tmp_path):
    logits, labels, is_background = windows_of_three_tracks()
    calibration = fit_calibration(logits, labels, is_background, NAMES, prior=0.01)
    write_calibration(tmp_path / "calibration.json", calibration)
    for path in (tmp_path, tmp_path / "calibration.json"):
        read = read_calibration(path, NAMES)
        assert (read.names, read.prior, read.negatives) == (NAMES, 0.01, "background")
        assert (read.n_bound.tolist(), read.n_background.tolist()) == ([100, 200, 0], [600] * 3)
        assert read.probabilities(logits) == pytest.approx(calibration.probabilities(logits), rel=1e-4)
        assert read.p_values(logits) == pytest.approx(calibration.p_values(logits), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["tracks"].pop("b"), "found 2 tracks that are not the model's 3 .such as b."),
        (lambda content: content["tracks"].update(a=content["tracks"].pop("a")), "their order differs"),
        (lambda content: content["tracks"]["a"].pop("slope"), "not a calibration .KeyError: 'slope'."),
        (lambda content: content["tracks"]["a"]["quantiles"].pop(), "not a calibration"),
        (lambda content: content.update(format_version=99), "found another format than version 1"),
        (lambda content: content["tracks"]["a"].update(slope="1.5"), "wanted finite numbers"),
        (lambda content: content["tracks"]["b"].update(slope=True, intercept=1e999), "wanted finite numbers"),
        (lambda content: content["tracks"]["a"].update(n_background="7"), "wanted finite numbers"),
        (lambda content: content["tracks"]["a"].update(n_bound=-7), "found a negative number of windows"),
        (lambda content: content["tracks"]["c"]["tail"].update(scale=[1]), "not a calibration"),
        (lambda content: content["tracks"]["c"]["tail"].update(scale=0), "found a tail of another form"),
        (lambda content: content["tracks"]["c"]["tail"].update(shape=9), "found a tail of another form"),
        (lambda content: content["tracks"]["a"]["quantiles"].reverse(), "found quantiles that descend"),
        (lambda content: content["tracks"]["a"]["quantiles"].__setitem__(3, "x"), "wanted finite numbers"),
        (lambda content: content.update(negatives=["x"]), "found negatives .*, wanted background, unbound"),
        (lambda content: content.update(prior="0.5"), "found prior '0.5', wanted a number above 0"),
        (lambda content: content.update(prior=-1), "found prior -1, wanted a number above 0"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change, message, tmp_path):
    write_calibration(tmp_path / "calibration.json", fit_calibration(*windows_of_three_tracks(), NAMES))
    content = read_json(tmp_path / "calibration.json")
    change(content)
    write_json(tmp_path / "calibration.json", content)
    with pytest.raises(InputError, match=message):
        read_calibration(tmp_path, NAMES)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"calibration\.json: cannot be read"):
        read_calibration(tmp_path)
