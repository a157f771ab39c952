"""Division of the windows of `LAMAR.genomics.cut_windows` into training and validation windows."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..alphabet import LETTERS
from ..data.folds import assign_groups
from ..data.kmers import SharedRuns
from ..data.sequences import is_missing, parse_region
from ..data.window_files import FinishedFiles, OutputFiles, metadata_form, open_metadata, read_metadata, render
from ..errors import InputError, quoted
from ..runs.provenance import provenance
from ..runs.storage import atomic_write
from .choices import GROUPS
from .intervals import canonical_chromosomes, merge

__all__ = ["divide_windows"]

logger = logging.getLogger(__name__)

SIDES = ("train", "val")
COLUMNS = {"sequence": str, "seq_id": str, "chrom": str, "start": int, "end": int}
NORMALIZED = re.compile(f"[{LETTERS}]+")
COMPARED_WINDOWS, COMPARED_NUCLEOTIDES = 20_000, 8_000_000  # per side; comparing takes some 60 bytes per nucleotide
RUN = 30  # nt in a row that count as shared
RECORDS_AT_ONCE = 4096


def divide_windows(
    metadata: str | PathLike,
    output: str | PathLike | None = None,
    *,
    val_fraction: float = 0.02,
    group: str = "region",
    seed: int = 42,
    overwrite: bool = False,
    notice: str | None = None,
) -> FinishedFiles:
    """Divide windows into a training and a validation part, and write both as files.

    ``preprocess/train_val_split.py`` describes the files. Groups are drawn at random and never divided, until the
    fraction of windows is met as nearly as possible. A complete earlier output with the same arguments is left as it
    is.

    Parameters
    ----------
    metadata : path
        Metadata of the windows: JSON lines, JSON or Parquet.
    output : path, optional
        Prefix of the output files; default that of the metadata.
    val_fraction : float
        Share of windows for validation, above 0 and below 1.
    group : {"none", "chrom", "region"}
        Windows that stay together: none, those of one chromosome, or those of one region and of regions that overlap
        on the genome, on either strand.
    seed : int
        Seed of the draw.
    overwrite : bool
        Replace outputs of another run.
    notice : str, optional
        What the data are, for the ``data`` entry of the record.

    Returns
    -------
    LAMAR.data.window_files.FinishedFiles
        Its record counts windows, groups and nucleotides of both sides, and the validation windows that share 30 nt
        in a row with a training window.

    Raises
    ------
    InputError
        If the metadata cannot be read, all windows are in one group, or an output exists that is of another run.
    """
    began = time.monotonic()
    metadata = Path(metadata)
    if not 0 < val_fraction < 1:
        raise InputError(f"`val_fraction`: found {val_fraction}, wanted more than 0 and less than 1")
    if group not in GROUPS:
        raise InputError(f"`group`: found {group!r}, wanted one of {', '.join(GROUPS)}")
    form = metadata_form(metadata)
    output = Path(output) if output is not None else _default_prefix(metadata, form)
    if not output.name:
        raise InputError(f"`output`: found {output}, wanted a prefix such as prep/clip")
    arguments = {"metadata": metadata, "val_fraction": val_fraction, "group": group, "seed": seed}
    arguments |= {"output": output, "overwrite": overwrite}
    report = ({"data": notice} if notice else {}) | provenance(arguments, seed=seed, inputs=[metadata])
    names = [f"{side}.{form}" for side in SIDES] + [f"{side}_sequences.txt" for side in SIDES]
    outputs = OutputFiles(output, names, "split.json")
    outputs.refuse([metadata])
    if outputs.are_complete(report, ("metadata",)):
        return outputs.already_complete()
    groups, lengths = _read_groups(metadata, form, group)
    validation = _draw(groups, val_fraction, seed, group)
    compared = _choose_compared(validation, lengths, seed)
    for side, members in zip(SIDES, (~validation, validation)):
        counts = {"windows": members.sum(), "nucleotides": lengths[members].sum()}
        report[side] = counts | {"groups": len(np.unique(groups[members]))}
    with outputs.folder():
        sequences = _write_sides(metadata, form, outputs, report, validation, compared)
        report["val_fraction_reached"] = round(float(validation.mean()), 6)
        report[f"sharing_{RUN}mer"] = _sharing(sequences, bool(compared.all()))
        outputs.finish(report | {"wall_time_s": round(time.monotonic() - began, 3)})
    return outputs.finished(_summary(report))


def _default_prefix(metadata: Path, form: str) -> Path:
    """Return the prefix of a file of metadata: ``prep/clip`` for ``prep/clip_metadata.jsonl``."""
    name = metadata.name.removesuffix(".gz").removesuffix(f".{form}")
    return metadata.with_name(name.removesuffix("_metadata") or name)


def _read_groups(path: Path, form: str, group: str) -> tuple[np.ndarray, np.ndarray]:
    """Return group and length in nt of every window, int64 (n,) each."""
    region_of, spans, codes, lengths = {}, [], [], []
    for where, record in read_metadata(path, form):
        _check_record(record, f"{path}: {where}")
        region = record["chrom"], record["seq_id"]
        code = region_of.setdefault(region, len(spans))
        if code == len(spans):
            header = parse_region(record["seq_id"])
            spans.append([header.start, header.end] if header else [record["start"], record["end"]])
        spans[code] = [min(spans[code][0], record["start"]), max(spans[code][1], record["end"])]
        codes.append(code)
        lengths.append(len(record["sequence"]))
    if not codes:
        raise InputError(f"{path}: found no window")
    codes, lengths = np.array(codes), np.array(lengths)
    if group == "none":
        return np.arange(len(codes)), lengths
    chrom = canonical_chromosomes(pd.Series([name for name, _ in region_of], dtype=object))
    if group == "chrom":
        return pd.factorize(chrom)[0][codes], lengths
    start, end = zip(*spans)
    return merge(pd.DataFrame({"chrom": chrom, "start": start, "end": end}), stranded=False)[1][codes], lengths


def _check_record(record: dict, where: str) -> None:
    """Refuse metadata of a window that lack a field, or hold another kind of value."""
    for name, kind in COLUMNS.items():
        if not isinstance(record.get(name), kind):
            wanted = "text" if kind is str else "an integer"
            raise InputError(f"{where}: {name}: found {quoted(record.get(name))}, wanted {wanted}")
    if not 0 <= record["start"] < record["end"] < 2**31:
        place = f"found start {record['start']} and end {record['end']}"
        raise InputError(f"{where}: {place}, wanted 0 <= start < end")
    if not NORMALIZED.fullmatch(record["sequence"]) or is_missing(record["sequence"]):
        raise InputError(f"{where}: sequence: found {record['sequence'][:20]!r}, wanted letters of ACGTN")


def _draw(groups: np.ndarray, fraction: float, seed: int, kind: str) -> np.ndarray:
    """Return whether each window is for validation, bool (n,)."""
    if groups.max() == 0:
        found = f"found all {len(groups)} windows in one {GROUPS[kind]}"
        raise InputError(f"`group` {kind}: {found}, wanted two or more to divide")
    validation = assign_groups(groups, np.zeros(len(groups), dtype=np.int64), [1 - fraction, fraction], seed) == 1
    if validation.all() or not validation.any():
        # Every group is larger than the smaller part should be: the smallest group comes nearest.
        small = groups == np.bincount(groups).argmin()
        validation = small if fraction <= 0.5 else ~small
    if abs(validation.mean() - fraction) > fraction / 2:
        logger.warning(
            "`val_fraction` %g: %g of the windows are for validation, as groups stay whole", fraction, validation.mean()
        )
    return validation


def _choose_compared(validation: np.ndarray, lengths: np.ndarray, seed: int) -> np.ndarray:
    """Draw windows of each side that are few enough to compare; bool (n,)."""
    chosen = np.zeros(len(lengths), dtype=bool)
    rng = np.random.default_rng(seed)
    for side in (~validation, validation):
        drawn = rng.permutation(np.flatnonzero(side))[:COMPARED_WINDOWS]
        chosen[drawn[np.cumsum(lengths[drawn]) <= COMPARED_NUCLEOTIDES]] = True
    return chosen


def _write_sides(
    path: Path, form: str, outputs: OutputFiles, report: dict, validation: np.ndarray, compared: np.ndarray
) -> tuple[list[str], list[str]]:
    """Write all files but the record; return the sequences to compare, of the training and the validation part."""
    schema = None
    if form == "parquet":
        import pyarrow.parquet as pq

        schema = pq.read_schema(path)
    sequences, records = ([], []), ([], [])
    with ExitStack() as stack:
        write = [stack.enter_context(open_metadata(name, form, schema)) for name in outputs.paths[:2]]
        lines = [stack.enter_context(atomic_write(name)) for name in outputs.paths[2:]]

        def flush(side: int) -> None:
            if records[side]:
                write[side](render(records[side], form, schema))
                lines[side].writelines(f"{record['sequence']}\n" for record in records[side])
                records[side].clear()

        for (_, record), side, kept in zip(read_metadata(path, form), validation.astype(int).tolist(), compared):
            records[side].append(record)
            if kept:
                sequences[side].append(record["sequence"])
            if len(records[side]) == RECORDS_AT_ONCE:
                flush(side)
        flush(0)
        flush(1)
        outputs.retract(report)
    return sequences


def _sharing(sequences: Sequence[list[str]], all_compared: bool) -> dict:
    """Count the validation windows that share a run with a training window."""
    train, val = sequences
    return {
        "val_windows_sharing": SharedRuns(train, val).records_sharing(RUN),
        "val_windows_compared": len(val),
        "train_windows_compared": len(train),
        "all_were_compared": all_compared,
    }


def _summary(report: dict) -> str:
    """Return the counts of both sides as aligned text."""
    lines = [f"{'':<6}{'windows':>12}{'groups':>12}{'nucleotides':>14}"]
    for side in SIDES:
        lines.append(f"{side:<6}" + "{windows:>12,}{groups:>12,}{nucleotides:>14,}".format(**report[side]))
    sharing = report[f"sharing_{RUN}mer"]
    compared = f"{sharing['val_windows_compared']:,} and {sharing['train_windows_compared']:,} drawn at random"
    part = "" if sharing["all_were_compared"] else f" (of {compared}: there may be more)"
    number = f"{sharing['val_windows_sharing']:,}{part}"
    lines.append(f"validation windows that share {RUN} nt in a row with a training window: {number}")
    return "\n".join(lines)
