"""Readers of peaks and regions: BED, narrowPeak, and folders of them with an index.

Coordinates are 0-based and half-open. Chromosome names become UCSC's (``9`` is ``chr9``).
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Mapping
from itertools import pairwise
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.text_files import open_text, read_table
from ..errors import InputError, quoted
from .intervals import canonical_chromosomes, merge

__all__ = ["merge_named_peaks", "read_bed5", "read_index", "read_peaks", "value_columns"]

logger = logging.getLogger(__name__)

# https://genome.ucsc.edu/FAQ/FAQformat.html#format12 (narrowPeak); ENCODE's eCLIP peaks have the log2 fold change
# over the size-matched input in column 7 and -log10 of its p-value in column 8.
_COLUMNS = ["chrom", "start", "end", "name", "score", "strand", "log2fc", "neg_log10_p", "q_value", "summit"]
_TYPES = {"chrom": str, "start": np.int64, "end": np.int64, "name": str, "score": np.float64, "strand": str}
_TYPES |= {"log2fc": np.float64, "neg_log10_p": np.float64, "summit": str}
_VALUES = {"fc_column": "log2fc", "p_column": "neg_log10_p"}
_FIXED = ("chrom", "start", "end", "strand")  # columns that cannot hold a value instead
_PEAK_FILE = re.compile(r"(.+?)(?:\.(?:bed|narrowpeak|np))(?:\.gz)?", re.IGNORECASE)
_NO_DATA = ("#", "track", "browser")
_LARGEST = 2**31  # bases; no chromosome is longer, and sums of coordinates stay far from the limit of int64
_NO_SUMMIT, _BAD_SUMMIT = -1, -2


def value_columns(*, fc_column: int | None = None, p_column: int | None = None) -> dict[str, int]:
    """Return the columns of the values that thresholds apply to, by name, where they are not those of narrowPeak.

    Parameters
    ----------
    fc_column, p_column : int, optional
        Columns of the log2 fold change and of -log10 p, counted from 1; None for those of narrowPeak.

    Returns
    -------
    dict of int
        Column from 0 of ``log2fc`` and ``neg_log10_p``, those that are given.

    Raises
    ------
    InputError
        If a column is that of the coordinates or of the strand, or both are one column.
    """
    given = {"fc_column": fc_column, "p_column": p_column}
    given = {parameter: number for parameter, number in given.items() if number is not None}
    for parameter, number in given.items():
        if number < 1 or number - 1 in map(_COLUMNS.index, _FIXED):
            raise InputError(
                f"`{parameter}`: found {number}, wanted the number of a column, counted from 1, other than those of "
                "the coordinates (1 to 3) and of the strand (6)"
            )
    if len(given) > len(set(given.values())):
        raise InputError(f"`fc_column`, `p_column`: found {fc_column} for both, wanted two columns")
    return {_VALUES[parameter]: number - 1 for parameter, number in given.items()}


def _read_lines(path: str | PathLike) -> tuple[list[str], np.ndarray]:
    """Return the lines with data, and the number of each in the file, counted from 1."""
    with open_text(path) as handle:
        lines = handle.read().split("\n")
    kept = [i for i, line in enumerate(lines) if not line.startswith(_NO_DATA) and line and not line.isspace()]
    tracks = [i + 1 for i, line in enumerate(lines) if line.startswith(("track", "browser"))]
    if tracks:
        logger.warning("%s: line %d: passed over %d track or browser lines", path, tracks[0], len(tracks))
    return [lines[i] for i in kept], np.asarray(kept, dtype=np.int64) + 1


def _is_readable(field: str, kind: type, needs_score: bool) -> bool:
    if kind is str:
        return True
    # Python reads 1_000 and digits of other alphabets, the fast reader does not.
    if "_" in field or not field.isascii():
        return False
    try:
        return not np.isnan(kind(field))
    except (ValueError, OverflowError):
        return field == "." and not needs_score


def _bad_field(
    rows: list[str], numbers: np.ndarray, separator: str | None, names: Mapping[int, str], strict: bool
) -> str:
    """Describe the first field that is not a number, for files that the fast reader refused."""
    for number, row in zip(numbers, rows):
        fields = row.split(separator)
        for column, name in names.items():
            if not _is_readable(fields[column], _TYPES[name], strict or name != "score"):
                kind = "an integer" if _TYPES[name] is np.int64 else "a number"
                return f"line {number}: column {column + 1} ({name}): found {fields[column][:40]!r}, wanted {kind}"
    return "cannot be read as BED"


def _column_names(width: int, values: Mapping[str, int]) -> dict[int, str]:
    """Return the names of the columns that are read, by position, of a file of that many columns."""
    # Only narrowPeak has ten columns; from the seventh on, other forms of BED hold display settings.
    names = _COLUMNS if width == len(_COLUMNS) else _COLUMNS[: min(width, 6)]
    read = {column: name for column, name in enumerate(names) if name in _TYPES and name not in values}
    return dict(sorted((read | {column: name for name, column in values.items()}).items()))


def _read_bed(
    path: str | PathLike, least: int, form: str, values: Mapping[str, int], needs_score: bool = False
) -> tuple[pd.DataFrame, np.ndarray]:
    """Read and check the columns that a BED file has; return them with the line number of each row."""
    rows, numbers = _read_lines(path)
    if not rows:
        raise InputError(f"{path}: the file holds no interval, wanted {form}")
    if rows[0].startswith(">"):
        raise InputError(f"{path}: line {numbers[0]}: found a FASTA header, wanted {form}")
    separator = "\t" if "\t" in rows[0] else None
    widths = np.fromiter((len(row.split(separator)) for row in rows), np.int64, len(rows))
    if widths[0] < least:
        raise InputError(f"{path}: line {numbers[0]}: found {widths[0]} columns, wanted {least} or more ({form})")
    if (widths != widths[0]).any():
        i = int(np.argmax(widths != widths[0]))
        line = f"{path}: line {numbers[i]}"
        raise InputError(f"{line}: found {widths[i]} columns, wanted {widths[0]} as in line {numbers[0]}")
    if values and max(values.values()) >= widths[0]:
        name = max(values, key=values.get)
        parameter = next(parameter for parameter in _VALUES if _VALUES[parameter] == name)
        raise InputError(
            f"`{parameter}` {values[name] + 1}: found {widths[0]} columns in line {numbers[0]} of {path}, wanted "
            f"{values[name] + 1} or more"
        )
    names = _column_names(int(widths[0]), values)
    # BED writes "." where there is no score.
    types = _TYPES if needs_score else _TYPES | {"score": str}
    try:
        with np.errstate(invalid="ignore"):  # infinity as an integer, which is then refused
            table = pd.read_csv(
                io.StringIO("\n".join(rows)),
                sep=separator or r"\s+",
                header=None,
                names=range(widths[0]),
                usecols=list(names),
                dtype={column: types[name] for column, name in names.items()},
                keep_default_na=False,
                na_filter=False,
                quoting=csv.QUOTE_NONE,
                index_col=False,
            ).rename(columns=names)
        if "score" in table and not needs_score:
            table["score"] = pd.to_numeric(table["score"].where(table["score"] != "."))
    except (ValueError, OverflowError):
        raise InputError(f"{path}: {_bad_field(rows, numbers, separator, names, needs_score)}") from None
    _check(path, table, numbers)
    return table, numbers


def _check(path: str | PathLike, table: pd.DataFrame, lines: np.ndarray) -> None:
    """Refuse rows that are not intervals; name the file and the line."""

    def refuse(bad: np.ndarray, message) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(f"{path}: line {lines[row]}: {message(table.iloc[row])}")

    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    refuse(table["chrom"].to_numpy(str) == "", lambda row: "found no chromosome name in column 1")
    refuse(start < 0, lambda row: f"found start {row.start}, wanted 0 or more")
    refuse(start >= end, lambda row: f"found start {row.start} and end {row.end}, wanted start < end")
    refuse(end >= _LARGEST, lambda row: f"found end {row.end}, wanted less than {_LARGEST}")
    if "strand" in table:
        refuse(
            ~np.isin(table["strand"].to_numpy(str), ["+", "-", "."]),
            lambda row: f"column 6 (strand): found {row.strand[:40]!r}, wanted '+', '-' or '.'",
        )


def _summits(table: pd.DataFrame) -> np.ndarray:
    """Return the offset of each summit, int64; those that cannot be used are refused where summits are read."""
    text = table["summit"]
    number = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    is_whole = np.mod(number, 1) == 0
    is_inside = is_whole & (number >= 0) & (number < (table["end"] - table["start"]).to_numpy())
    is_absent = (number == _NO_SUMMIT) | (text == ".").to_numpy()
    return np.where(is_inside, number, np.where(is_absent, _NO_SUMMIT, _BAD_SUMMIT)).astype(np.int64)


def read_bed5(path: str | PathLike) -> pd.DataFrame:
    """Read CLIP regions from a BED5 file, gzipped or plain.

    Parameters
    ----------
    path : path
        File to read.

    Returns
    -------
    DataFrame
        chrom (canonical), start, end (int64), name, score (float64: number of overlapping binding sites) and strand
        (``.`` where column 6 is absent), in the order of the file.

    Raises
    ------
    InputError
        If there are fewer than five columns, a score is not a number, start is not below end, and the like; names the
        file and the line.
    """
    form = "BED5, the score being the number of overlapping binding sites"
    table, lines = _read_bed(path, 5, form, {}, needs_score=True)
    score = table["score"].to_numpy()
    wrong = (score < 0) | ~np.isfinite(score)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{path}: line {lines[row]}: column 5 (score): found {score[row]}, wanted 0 or more")
    if "strand" not in table:
        table["strand"] = "."
    table["chrom"] = canonical_chromosomes(table["chrom"])
    return table[["chrom", "start", "end", "name", "score", "strand"]]


def read_index(path: str | PathLike) -> pd.DataFrame:
    """Read ``index.tsv`` of a folder of peaks.

    Parameters
    ----------
    path : path
        The file; columns accession, target and cell.

    Returns
    -------
    DataFrame
        Columns accession, rbp (from ``target``), cell, and any further ones.

    Raises
    ------
    InputError
        If a column is missing, or an accession occurs twice.
    """
    columns, rows = read_table(path)
    missing = [name for name in ("accession", "target", "cell") if name not in columns]
    if missing:
        raise InputError(f"{path}: row 1: found no column {missing[0]!r}, wanted accession, target and cell")
    index = pd.DataFrame(columns).rename(columns={"target": "rbp"})
    twice = index["accession"].duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        raise InputError(f"{path}: row {rows[row]}: found accession {quoted(index['accession'][row])} a second time")
    return index


def _read_peak_file(path: Path, rbp: str, cell: str, accession: str, values: Mapping[str, int]) -> pd.DataFrame:
    """Read one file of peaks as `read_peaks` returns it; an empty file is an error."""
    table, _ = _read_bed(path, 3, "BED with chrom, start and end, or narrowPeak", values)
    table["summit"] = _summits(table) if "summit" in table else _NO_SUMMIT
    for name in ("name", "strand"):
        if name not in table:
            table[name] = "."
    for name in ("score", "log2fc", "neg_log10_p"):
        if name not in table:
            table[name] = np.nan
    # narrowPeak has -1 where no p-value was computed.
    table["neg_log10_p"] = table["neg_log10_p"].mask(table["neg_log10_p"] == -1)
    table["chrom"] = canonical_chromosomes(table["chrom"])
    table["rbp"], table["cell"], table["accession"], table["source"] = rbp, cell, accession, path.name
    return table[[*_COLUMNS[:8], "summit", "rbp", "cell", "accession", "source"]]


def read_peaks(
    path: str | PathLike,
    index: pd.DataFrame | None = None,
    *,
    fc_column: int | None = None,
    p_column: int | None = None,
) -> pd.DataFrame:
    """Read a file of peaks, or all files of a folder.

    Parameters
    ----------
    path : path
        BED with three columns or more, or narrowPeak, gzipped or plain; or a folder of ``*.bed``, ``*.narrowPeak``
        (``.gz``). ``index.tsv`` in the folder, or beside the file (columns accession, target, cell; a file is called
        ``<accession>.bed.gz``), names the RBP and the cell line of each file. Columns 7, 8 and 10 are read from files
        with ten columns, as in narrowPeak.
    index : DataFrame, optional
        Rows of `read_index` to read; other files of the folder are ignored.
    fc_column, p_column : int, optional
        Columns of the log2 fold change and of -log10 p in every file, counted from 1, where they are not 7 and 8 of
        ten. In the BED of Yeo's laboratory (github.com/YeoLab/eclip) they are 5 and 4.

    Returns
    -------
    DataFrame, one row per peak
        chrom (canonical), start, end (int64), name, score, strand (``.`` where absent), log2fc, neg_log10_p
        (float64, NaN where absent), summit (int64, offset from start, -1 where absent, -2 where column 10 holds no
        offset inside the peak), rbp, cell, accession, source (file name). Without an index, rbp and accession are the
        file's name and cell is "".

    Raises
    ------
    InputError
        If a file is missing, or a line or row is malformed; names the file and the line or row. Also what
        `value_columns` raises.
    """
    path, values = Path(path), value_columns(fc_column=fc_column, p_column=p_column)
    if not path.is_dir():
        match = _PEAK_FILE.fullmatch(path.name)
        name = match[1] if match else path.name
        if index is None and (path.parent / "index.tsv").is_file():
            index = read_index(path.parent / "index.tsv")
        if index is not None and (index["accession"] == name).any():
            row = index[index["accession"] == name].iloc[0]
            return _read_peak_file(path, row["rbp"], row["cell"], name, values)
        return _read_peak_file(path, name, "", name, values)
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if match := _PEAK_FILE.fullmatch(file.name):
            if match[1] in files:
                raise InputError(f"{path}: found {files[match[1]].name} and {file.name}, wanted one file of a name")
            files[match[1]] = file
    if not files:
        raise InputError(f"{path}: found no *.bed, *.narrowPeak or *.bed.gz file in the folder")
    if index is None and (path / "index.tsv").is_file():
        index = read_index(path / "index.tsv")
    if index is None:
        tables = [_read_peak_file(file, name, "", name, values) for name, file in files.items()]
    else:
        missing = [name for name in index["accession"] if name not in files]
        if missing:
            wanted = f"{missing[0]}.bed.gz, which {path / 'index.tsv'} names"
            raise InputError(f"{path}: found no file {wanted} ({len(missing)} of {len(index)} are missing)")
        tables = [
            _read_peak_file(files[row.accession], row.rbp, row.cell, row.accession, values)
            for row in index[["accession", "rbp", "cell"]].itertuples(index=False)
        ]
    return pd.concat(tables, ignore_index=True)


def merge_named_peaks(peaks: pd.DataFrame) -> pd.DataFrame:
    """Merge overlapping peaks on one strand.

    Parameters
    ----------
    peaks : DataFrame with chrom, start, end, strand, rbp, cell
        Peaks of any RBPs.

    Returns
    -------
    DataFrame
        The same columns, with the distinct names of ``rbp`` and of ``cell`` sorted and joined by ";", and ``n_peaks``,
        the number of peaks merged into one.
    """
    merged, row = merge(peaks)
    for column in ("rbp", "cell"):
        code, names = pd.factorize(peaks[column].to_numpy(object), sort=True)
        keys = np.unique(row * len(names) + code)
        bounds = np.searchsorted(keys, np.arange(len(merged) + 1) * len(names))
        members = names[keys % len(names)].tolist()
        merged[column] = [";".join(members[a:b]) for a, b in pairwise(bounds.tolist())]
    merged["n_peaks"] = np.bincount(row, minlength=len(merged))
    return merged
