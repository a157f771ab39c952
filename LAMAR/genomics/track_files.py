"""Files of a set of windows labelled for many tracks: one folder with its report and the run's record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

from ..data.tracks import TRACKS, WINDOWS, write_track_set
from ..data.window_files import FinishedFiles
from ..errors import InputError
from ..runs import RunFolder, storage
from .annotation import read_gtf
from .genome import open_genome
from .site_windows import warn_of_absent_values
from .track_sets import describe, make_track_set, read_excluded
from .track_windows import TrackOptions, read_track_peaks

__all__ = ["make_track_dataset"]

logger = logging.getLogger(__name__)

UNIT = "set"


def make_track_dataset(
    peaks: Sequence[str | PathLike],
    fasta: str | PathLike,
    output_dir: str | PathLike,
    *,
    background: Sequence[str | PathLike] = (),
    gtf: str | PathLike | None = None,
    exclude: Sequence[str | PathLike] = (),
    rbps: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
    options: TrackOptions | None = None,
    overwrite: bool = False,
    notice: str = "",
) -> FinishedFiles:
    """Make windows labelled for every track from eCLIP peaks, and write them into a folder.

    ``preprocess/make_track_dataset.py`` describes windows, labels and files. A finished set of the same arguments is
    left as it is.

    Parameters
    ----------
    peaks : sequence of path
        Folders of narrowPeak or BED files with index.tsv, or such files.
    fasta : path
        A genome, or regions with coordinates in their headers.
    output_dir : path
        Folder of the set.
    background : sequence of path
        FASTA files of transcripts, or folders of them, to take background windows from.
    gtf : path, optional
        Gene annotation to take background windows from instead.
    exclude : sequence of path
        Files or folders of sequences that must not be trained on.
    rbps, cells : sequence of str, optional
        RBPs and cell lines to read peaks of; default all.
    options : TrackOptions, optional
        How windows are made and labelled; default `TrackOptions()`.
    overwrite : bool
        Replace the set in the folder.
    notice : str
        What the report of demonstration data says of them.

    Returns
    -------
    LAMAR.data.window_files.FinishedFiles
        The files of the set, the run's record, and the report as text.

    Raises
    ------
    InputError
        If an input is missing or cannot be read, arguments contradict each other, or no set can be made of the peaks;
        nothing is left in the folder then.
    """
    for name, value in (("peaks", peaks), ("fasta", fasta), ("output_dir", output_dir)):
        if not value:
            raise InputError(f"`{name}`: not given, wanted a path")
    if background and gtf:
        raise InputError("`background` and `gtf`: found both, wanted one source of background windows")
    options = options or TrackOptions()
    inputs = [*peaks, fasta, *background, *exclude, *([gtf] if gtf else [])]
    # Read before the run's folder is made: what is wrong with the inputs must leave nothing behind.
    storage.require_files(inputs)
    table = read_track_peaks(peaks, rbps, cells, fc_column=options.fc_column, p_column=options.p_column)
    warn_of_absent_values(table)
    arguments = {"peaks": list(peaks), "fasta": fasta, "background": list(background), "gtf": gtf}
    arguments |= {"exclude": list(exclude), "rbps": rbps, "cells": cells, "output_dir": output_dir, **asdict(options)}
    with RunFolder.open(
        output_dir, arguments=arguments, seed=options.seed, inputs=inputs, overwrite=overwrite
    ) as folder:
        report = folder.find_unit(UNIT)
        if report is not None:
            logger.info("made earlier, nothing to do: %s", output_dir)
        else:
            data, report = make_track_set(
                table,
                open_genome(fasta),
                options,
                named=rbps or (),
                excluded=read_excluded(exclude, options.exclude_run),
                transcripts=background,
                annotation=read_gtf(gtf) if gtf else None,
            )
            paths = [folder.file(name) for name in (WINDOWS, TRACKS, "report.txt", "report.json")]
            write_track_set(folder.path, data)
            report = ({"data": notice} if notice else {}) | report
            with storage.atomic_write(paths[2]) as handle:
                handle.write(describe(report))
            storage.write_json(paths[3], report)
            report = folder.save_unit(UNIT, report)
        folder.finish({key: report[key] for key in ("tracks", "windows", "windows_by_kind")})
    files = tuple(Path(output_dir, name) for name in (WINDOWS, TRACKS, "report.txt", "report.json"))
    return FinishedFiles(files, Path(output_dir, "run.json"), describe(report) + f"outputs: {output_dir}")
