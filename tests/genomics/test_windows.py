"""Where windows lie: by length, on either strand, with the peaks in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LAMAR.errors import InputError
from LAMAR.genomics.windows import (
    CLASSES,
    METHODS,
    WindowRule,
    place_windows,
    to_genomic,
    to_local,
)

NO_PEAKS = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)


def windows_of(length: int, rule: WindowRule, peaks=(), name: str = "r") -> list[tuple[int, int, str]]:
    peaks = np.asarray(peaks, np.int64).reshape(-1, 2)
    placed = place_windows(np.array([length]), [name], rule, np.zeros(len(peaks), np.int64), peaks)
    return [(a, b, METHODS[m]) for _, a, b, m in zip(*(column.tolist() for column in placed))]


def test_windows_by_length_that_one_can_write_down():
    rule = WindowRule(max_len=100, stride=40)
    assert windows_of(100, rule) == [(0, 100, "whole")]
    assert windows_of(101, rule) == [(0, 100, "sliding"), (1, 101, "sliding")]
    assert windows_of(180, rule) == [(0, 100, "sliding"), (40, 140, "sliding"), (80, 180, "sliding")]
    assert [a for a, *_ in windows_of(190, rule)] == [0, 40, 80, 90]
    assert {m for *_, m in windows_of(1200, rule)} == {"sliding"}
    assert [m for *_, m in windows_of(1201, rule)] == ["uniform"] * 3  # sqrt(12.01) rounded down
    assert [m for *_, m in windows_of(2500, rule)] == ["uniform"] * 5


def test_the_other_rule_changes_at_four_windows_and_strides_by_half():
    rule = WindowRule(max_len=100, stride=7, sampling="doc")
    assert windows_of(100, rule) == [(0, 100, "whole")]
    assert [(a, m) for a, _, m in windows_of(399, rule)] == [(x, "sliding") for x in (0, 50, 100, 150, 200, 250, 299)]
    assert [m for *_, m in windows_of(400, rule, [[10, 20]])] == ["uniform"] * 2


def test_a_peak_window_without_jitter_is_centred_and_moved_into_the_sequence():
    rule = WindowRule(max_len=100, stride=50, jitter=0)
    for peak, start in (([1000, 1020], 960), ([0, 10], 0), ([4990, 5000], 4900)):
        assert (start, start + 100, "peak") in windows_of(5000, rule, [peak])
    twice = windows_of(5000, rule, [[1000, 1020], [1005, 1015]])
    assert [m for *_, m in twice].count("peak") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"max_len": 7, "stride": 4}, "`max_len`: found 7"),
        ({"stride": 0}, "`stride`: found 0"),
        ({"stride": 513}, "`stride`: found 513"),
        ({"jitter": -1}, "`jitter`: found -1"),
        ({"seed": -1}, "`seed`: found -1"),
        ({"sampling": "all"}, "`sampling`: found 'all'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(arguments, named):
    with pytest.raises(InputError, match=named):
        WindowRule(**arguments)


@st.composite
def rules(draw) -> WindowRule:
    max_len = draw(st.integers(8, 60))
    stride = draw(st.integers(1, max_len))
    sampling, jitter = draw(st.sampled_from(["default", "doc"])), draw(st.none() | st.integers(0, 100))
    return WindowRule(max_len, stride, sampling, jitter, draw(st.integers(0, 5)))


@given(rule=rules(), length=st.integers(1, 1500), data=st.data())
def test_windows_are_different_inside_and_as_the_class_says(rule, length, data):
    starts = data.draw(st.lists(st.integers(0, length - 1), max_size=8))
    peaks = [[a, data.draw(st.integers(a + 1, min(a + 40, length)))] for a in sorted(starts)]
    placed = windows_of(length, rule, peaks)
    kind = CLASSES[rule.length_class(length)]
    assert placed == sorted(placed)
    assert len({(a, b) for a, b, _ in placed}) == len(placed) > 0
    assert all(0 <= a < b <= length and b - a == min(length, rule.max_len) for a, b, _ in placed)
    if kind == "short":
        assert placed == [(0, length, "whole")]
    elif kind == "medium":
        assert {m for *_, m in placed} == {"sliding"}
        assert set().union(*(range(a, b) for a, b, _ in placed)) == set(range(length))  # every base is covered
        assert max(b[0] - a[0] for a, b in zip(placed, placed[1:])) <= rule.step
    else:
        assert {m for *_, m in placed} <= {"peak", "uniform"}
        if rule.sampling == "default":
            for a, b in peaks:
                assert any(x <= (a + b) // 2 < y for x, y, m in placed if m == "peak")
        else:
            assert len(placed) == int((length / rule.max_len) ** 0.5)


@given(rule=rules(), lengths=st.lists(st.integers(1, 1500), min_size=1, max_size=6), data=st.data())
def test_windows_of_a_sequence_do_not_depend_on_the_others(rule, lengths, data):
    names = [f"chr1:{i}-{i + n}" for i, n in enumerate(lengths)]
    together = place_windows(np.array(lengths), names, rule, *NO_PEAKS)
    order = data.draw(st.permutations(range(len(lengths))))
    turned = place_windows(np.array(lengths)[order], [names[i] for i in order], rule, *NO_PEAKS)
    for place, i in enumerate(order):
        one, two = together.record == i, turned.record == place
        assert together.start[one].tolist() == turned.start[two].tolist()
        assert together.method[one].tolist() == turned.method[two].tolist()


def test_seed_and_name_change_what_is_random():
    rules = [WindowRule(max_len=100, stride=50, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (windows_of(100_000, rule) for rule in rules)
    assert one == same != other
    assert windows_of(100_000, rules[0], name="another") != one


@given(
    start=st.integers(0, 10**9),
    length=st.integers(1, 10**6),
    strand=st.sampled_from("+-."),
    data=st.data(),
)
def test_local_and_genomic_coordinates_undo_each_other(start, length, strand, data):
    a = data.draw(st.integers(0, length - 1))
    b = data.draw(st.integers(a + 1, length))
    genomic = to_genomic(start, start + length, strand, a, b)
    assert start <= genomic[0] < genomic[1] <= start + length
    assert genomic[1] - genomic[0] == b - a
    assert tuple(map(int, to_local(start, start + length, strand, *genomic))) == (a, b)
