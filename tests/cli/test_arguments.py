"""Argument types and parsers that scripts share."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import pytest

from LAMAR.cli.arguments import (
    OneLineParser,
    finite,
    fraction,
    names,
    not_negative,
    output_prefix,
    parse_or_demo,
    path,
    positive,
    region,
    target,
    usable_workers,
)


@pytest.mark.parametrize(
    ("kind", "valid", "invalid"),
    [
        (positive(int), {"1": 1, "2147483647": 2**31 - 1}, ["0", "-1", "2147483648", "1.5", "one", ""]),
        (positive(float), {"0.5": 0.5, "1e-9": 1e-9}, ["0", "-1", "inf", "nan", "x"]),
        (not_negative(int), {"0": 0, "7": 7}, ["-1", "2147483648", "1.0"]),
        (not_negative(float), {"0": 0.0, "1.5": 1.5}, ["-0.1", "inf", "nan"]),
        (finite, {"-2.5": -2.5}, ["inf", "nan"]),
        (fraction, {"0": 0.0, "0.999": 0.999}, ["1", "-0.1", "nan"]),
        (path, {"a/b": Path("a/b")}, ["", "  "]),
        (output_prefix, {"prep/clip": Path("prep/clip"), "clip": Path("clip")}, ["", "prep/", "..", "a/.."]),
        (names, {"QKI": ["QKI"], "QKI, PUM2,": ["QKI", "PUM2"]}, ["", " , "]),
        (region, {"20-60": (20, 60), "0-1": (0, 1)}, ["60-20", "5-5", "20", "-1-5", "1-2-3", "20:60"]),
        (target, {"predicted": "predicted", "0": 0, "12": 12}, ["-1", "best", "1.0", "٣"]),
    ],
)
def test_argument_types(kind, valid, invalid):
    for text, value in valid.items():
        assert kind(text) == value
    for text in invalid:
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            kind(text)


def test_an_error_is_one_line_that_names_the_flag(capsys):
    parser = OneLineParser(prog="script")
    parser.add_argument("--epochs", type=positive(int))
    for text, message in (("0", "found 0, wanted more than 0"), ("few", "invalid int value: 'few'")):
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args(["--epochs", text])
        assert stopped.value.code == 2
        assert capsys.readouterr().err == f"error: argument --epochs: {message} (--help lists the options)\n"


def test_without_input_the_demo_set_fills_what_is_not_given():
    parser = OneLineParser()
    parser.add_argument("--data_path")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=42)
    demo = {"epochs": 3, "head": "cnn"}
    assert vars(parse_or_demo(parser, ["--data_path", "x"], demo)) == {
        "data_path": "x", "epochs": 10, "seed": 42, "demo": False,
    }  # fmt: skip
    assert vars(parse_or_demo(parser, ["--seed", "1"], demo)) == {
        "data_path": None, "epochs": 3, "seed": 1, "demo": True,
    }  # fmt: skip
    assert parse_or_demo(parser, ["--epochs", "5"], demo).epochs == 5


def test_more_workers_than_cores_are_reduced_and_reported(monkeypatch, caplog):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_workers(8) == 8
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert usable_workers(100) == 8
    assert "--workers 100: using 8" in caplog.text
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert usable_workers(4) == 4
