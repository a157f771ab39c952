"""Cutting CLIP regions into windows for self-supervised training, with the eCLIP peaks in each."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

from ..data.sequences import check_span, find_region, parse_region, read_fasta, record_name
from ..data.window_files import FORMS, FinishedFiles, OutputFiles, metadata_schema, open_metadata
from ..errors import InputError, excerpt
from ..runs import storage
from ..runs.provenance import provenance
from .intervals import IntervalIndex, canonical_chromosome, is_standard
from .peaks import merge_named_peaks, read_bed5, read_peaks
from .window_metadata import Record
from .window_processes import BATCH_NUCLEOTIDES, Context, process_all
from .window_report import Tally, check_counts, closing_table, summarise, warn_of_omissions
from .windows import WindowRule

__all__ = ["cut_windows"]

BATCH_RECORDS = 20_000


def cut_windows(
    fasta: str | PathLike,
    output: str | PathLike,
    *,
    bed: str | PathLike | None = None,
    eclip: str | PathLike | None = None,
    format: str = "jsonl",
    rule: WindowRule | None = None,
    merge_peaks: bool = False,
    orient: bool = False,
    exclude_chroms: Sequence[str] = (),
    keep_nonstandard: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    notice: str | None = None,
) -> FinishedFiles:
    """Cut regions into windows, note the peaks in each, and write both as files.

    ``preprocess/preprocess.py`` describes the files. A complete earlier output with the same arguments is left as it
    is. Neither ``workers`` nor the order of other regions changes a byte of the output.

    Parameters
    ----------
    fasta : path
        Regions, with coordinates in their headers; gzipped or plain.
    output : path
        Prefix of the output files, with the folder.
    bed : path, optional
        BED5 of the regions; the score is the number of binding sites.
    eclip : path, optional
        Peaks: BED3 or more columns, narrowPeak, or a folder of them with index.tsv.
    format : {"jsonl", "json", "parquet"}
        Form of the metadata.
    rule : WindowRule, optional
        Rule that draws the windows; default `WindowRule()`.
    merge_peaks : bool
        Merge overlapping peaks on one strand first.
    orient : bool
        Read regions without strand on the strands of their peaks.
    exclude_chroms : sequence of str
        Chromosomes whose regions are left out.
    keep_nonstandard : bool
        Keep regions outside chr1-22, chrX, chrY.
    workers : int
        Number of processes.
    overwrite : bool
        Replace outputs of another run.
    notice : str, optional
        What the data are, for the ``data`` entry of the statistics.

    Returns
    -------
    LAMAR.data.window_files.FinishedFiles

    Raises
    ------
    InputError
        If an input cannot be read, inputs do not fit each other, an output exists that is of another run, or an
        argument cannot work.
    """
    began = time.monotonic()
    rule = rule or WindowRule()
    output = _check(fasta, output, eclip, format, orient, workers)
    fasta, bed, eclip = (None if path is None else Path(path) for path in (fasta, bed, eclip))
    arguments = {"fasta": fasta, "bed": bed, "eclip": eclip, "output": output, "format": format}
    arguments |= {"overwrite": overwrite, "max_len": rule.max_len, "stride": rule.stride, "sampling": rule.sampling}
    arguments |= {"jitter": rule.jitter, "merge_peaks": merge_peaks, "orient": orient}
    arguments |= {"exclude_chroms": list(exclude_chroms), "keep_nonstandard": keep_nonstandard, "seed": rule.seed}
    arguments |= {"workers": workers}
    inputs = [path for path in (fasta, bed, eclip) if path is not None]
    stats = ({"data": notice} if notice else {}) | provenance(arguments, seed=rule.seed, inputs=inputs)
    outputs = OutputFiles(output, ["sequences.txt", f"metadata.{format}"], "stats.json")
    outputs.refuse(inputs)
    if outputs.are_complete(stats, ("fasta", "bed", "eclip"), ignore=("workers",)):
        return outputs.already_complete()
    context, n_read = _read_context(rule, bed, eclip, format, merge_peaks, orient)
    tally = Tally(0 if context.peaks is None else len(context.peaks))
    with outputs.folder():
        with (
            storage.atomic_write(outputs.paths[0]) as sequences,
            open_metadata(outputs.paths[1], format, context.schema) as write,
        ):
            batches = _read_batches(fasta, rule, keep_nonstandard, exclude_chroms, tally)
            for result in process_all(batches, context, workers):
                sequences.write(result.sequences)
                for part in result.metadata:
                    write(part)
                tally.counts.update(result.counts)
                tally.covered[result.peak_rows] = True
            check_counts(tally, context, fasta, bed, eclip, exclude_chroms)
            stats |= summarise(tally, context, n_read)
            outputs.retract(stats)
        outputs.finish(stats | {"wall_time_s": round(time.monotonic() - began, 3)})
    warn_of_omissions(tally, stats, fasta, bed, eclip)
    return outputs.finished(closing_table(stats))


def _check(fasta, output, eclip, format: str, orient: bool, workers: int) -> Path:
    """Refuse arguments that cannot work; return the prefix of the output."""
    if fasta is None:
        raise InputError("`fasta`: not given, wanted a FASTA file of regions")
    if output is None or not Path(output).name:
        raise InputError(f"`output`: found {output or 'nothing'}, wanted a prefix such as prep/clip")
    if orient and eclip is None:
        raise InputError("`orient`: found no `eclip`, wanted the peaks that tell the strand")
    if format not in FORMS:
        raise InputError(f"`format`: found {format!r}, wanted one of {', '.join(FORMS)}")
    if workers < 1:
        raise InputError(f"`workers`: found {workers}, wanted 1 or more")
    return Path(output)


def _read_context(rule: WindowRule, bed, eclip, form: str, merge_peaks: bool, orient: bool) -> tuple[Context, int]:
    """Read peaks and BED lines; return them with the number of peaks read."""
    peaks, bed_index, n_read = None, None, 0
    if eclip is not None:
        table = read_peaks(eclip)[["chrom", "start", "end", "strand", "rbp", "cell"]]
        n_read, peaks = len(table), IntervalIndex(merge_named_peaks(table) if merge_peaks else table)
    if bed is not None:
        bed_index = IntervalIndex(read_bed5(bed)[["chrom", "start", "end", "strand", "score"]])
    schema = metadata_schema(merge_peaks) if form == "parquet" else None
    return Context(rule, peaks, bed_index, form, schema, orient), n_read


def _read_batches(
    path: str | PathLike, rule: WindowRule, keep_nonstandard: bool, exclude_chroms: Sequence[str], tally: Tally
) -> Iterator[list[Record]]:
    """Yield the checked regions of a FASTA file in batches of bounded records and nucleotides of their windows."""
    canonical = functools.cache(canonical_chromosome)
    excluded = {canonical(name) for name in exclude_chroms}
    batch, nucleotides = [], 0
    for header, sequence in read_fasta(path):
        tally.counts["total", "read"] += 1
        name = record_name(header, len(sequence))
        region = parse_region(header) or find_region(header, len(sequence))
        if region is None:
            tally.skip("no_coordinates", name)
            continue
        length = region.end - region.start
        check_span(region, len(sequence), f"{path}: record {excerpt(name)}", " (are they counted from 1?)")
        chrom = canonical(region.chrom)
        if not keep_nonstandard and not is_standard(chrom):
            tally.skip("nonstandard_chromosome", name)
            continue
        if chrom in excluded:
            tally.skip("excluded_chromosome", name)
            continue
        tally.counts["total", "nucleotides"] += length
        batch.append(Record(name, chrom, *region[1:], sequence))
        nucleotides += rule.nucleotides(length)
        del sequence  # it may be a whole chromosome, while the next one is read
        if len(batch) >= BATCH_RECORDS or nucleotides >= BATCH_NUCLEOTIDES:
            yield batch
            batch, nucleotides = [], 0
    if batch:
        yield batch
