"""CSV tables of results, read and checked: every error names the file and the row."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError, excerpt
from ..runs.storage import active_text
from ..statistics import metrics as statistics
from .tables import METRICS

__all__ = ["check_metrics", "read_csv", "refuse_cells"]


def read_csv(path: Path, text: Sequence[str], numeric: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV table and check its columns; text stays as it is, empty cells of numbers become NaN.

    Parameters
    ----------
    path : path
    text, numeric : sequence of str
        Columns that must be there.
    optional : sequence of str
        Numeric columns that may be missing.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        Names the file and the row (the header is row 1): if it is not a CSV file, lacks a column or records, or has
        cells that are missing or, in numeric columns, are not finite numbers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                dtype=dict.fromkeys(text, str),
                keep_default_na=False,  # a protein may be called NA
                na_values={name: [""] for name in (*numeric, *optional)},
                float_precision="round_trip",
                index_col=False,
                low_memory=False,  # one type per column
            )
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # parsing errors are ValueErrors
        raise InputError(f"{path}: cannot be read as a table of results: {error}") from None
    if missing := [name for name in (*text, *numeric) if name not in table]:
        raise InputError(f"{path}: found no column {missing[0]}, wanted {', '.join((*text, *numeric))}")
    if table.empty:
        raise InputError(f"{path}: found a header and no records")
    for name in text:
        refuse_cells(path, table, name, table[name].isna(), "as many cells as the header has")
        table[name] = table[name].map(active_text)
    for name in (*numeric, *(name for name in optional if name in table)):
        if not pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_bool_dtype(table[name]):
            values = pd.to_numeric(table[name].astype(str).where(table[name].notna()), errors="coerce")
            refuse_cells(path, table, name, values.isna() & table[name].notna(), "a number")
            table[name] = values
        refuse_cells(path, table, name, np.isinf(table[name]), "a finite number")
    return table


def refuse_cells(path: Path, table: pd.DataFrame, column: str, bad, wanted: str) -> None:
    """Raise an `InputError` that names the first row of ``table`` where ``bad`` is true, if there is one.

    Parameters
    ----------
    path : path
        File that the table was read from.
    table : DataFrame, n rows
    column : str
    bad : bool, shape (n,)
    wanted : str
        What the cells should be, in words.
    """
    if np.any(bad):
        row = int(np.flatnonzero(bad)[0])
        cell = table[column].iloc[row]
        cell = "an empty cell" if pd.isna(cell) or cell == "" else excerpt(cell)
        raise InputError(f"{path}: row {row + 2}: column {column}: found {cell}, wanted {wanted}")


def check_metrics(path: Path, table: pd.DataFrame, metrics: Sequence[str] = METRICS) -> None:
    """Raise an `InputError` for a value that its metric cannot take; NaN, an undefined metric, is accepted.

    Parameters
    ----------
    path : path
        File that the table was read from.
    table : DataFrame
    metrics : sequence of str
        Columns to check.
    """
    for name in metrics:
        metric = statistics.METRICS[name]
        outside = (table[name] < metric.low) | (table[name] > metric.high)
        refuse_cells(path, table, name, outside, f"{metric.low:g} to {metric.high:g}")
