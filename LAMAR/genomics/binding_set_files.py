"""Files of labelled sets: one folder per RBP and cell line, a summary, and a run that can be resumed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import pandas as pd

from ..data.window_files import FinishedFiles
from ..errors import InputError, counted, excerpt, quoted, shortened
from ..runs import RunFolder, storage
from .binding_sets import BindingSet, SetOptions, Sources, build_set, set_name
from .choices import MATCHES, NEGATIVES
from .peaks import read_index, read_peaks
from .site_windows import warn_of_absent_values
from .worker_processes import worker_pool

__all__ = ["make_binding_sets"]

logger = logging.getLogger(__name__)

FOLDER_NAME = re.compile(r"(?!\.)[\w.+()-]{1,100}")
RESERVED = ("units", "run.json", "summary.csv")
SUMMARY = ["rbp", "cell", "n_positives", "n_negatives", "n_train", "n_dev", "n_test", "gc_auroc", "dinucleotide_auroc"]
SUMMARY += ["test_sharing_30mer", "longest_shared_run", "status"]


def make_binding_sets(
    peaks: str | PathLike,
    fasta: str | PathLike,
    output_dir: str | PathLike,
    *,
    gtf: str | PathLike | None = None,
    rbp: Sequence[str] | None = None,
    cell: Sequence[str] | None = None,
    options: SetOptions | None = None,
    workers: int = 1,
    overwrite: bool = False,
    on_set: Callable[[BindingSet], object] | None = None,
) -> FinishedFiles:
    """Make labelled sets from eCLIP peaks and write them into a folder.

    ``preprocess/make_rbp_dataset.py`` describes the files. An interrupted run resumes. A set that cannot be made is
    left out, with a warning and a line in the summary.

    Parameters
    ----------
    peaks : path
        A narrowPeak or BED file, or a folder of them with index.tsv.
    fasta : path
        A genome, or regions with coordinates in their headers.
    output_dir : path
        Folder of the sets.
    gtf : path, optional
        Gene annotation: kinds of region, and genes for negatives from the genome.
    rbp, cell : sequence of str, optional
        RBPs and cell lines to make sets of; default all. One ``rbp`` names the RBP of a single file without index.
    options : SetOptions, optional
        How sets are made; default `SetOptions()`.
    workers : int
        Number of processes; the output is the same.
    overwrite : bool
        Replace the sets in the folder.
    on_set : callable, optional
        Called with each `BindingSet` that is made.

    Returns
    -------
    LAMAR.data.window_files.FinishedFiles
        Folders of all sets, the run's record, and a summary.

    Raises
    ------
    InputError
        If an input cannot be read, names match no peaks, options contradict the inputs, or no set can be made.
    """
    options = options or SetOptions()
    paths = _check_inputs(peaks, fasta, output_dir, gtf, options)
    table, rbp, cell = _read_all_peaks(paths["peaks"], rbp, cell, options)
    sets = _choose_sets(table, rbp, cell, paths["peaks"])
    inputs = [paths[name] for name in ("peaks", "fasta", "gtf") if paths[name]]
    # Opened before the run's folder is made: what is wrong with the inputs must leave nothing behind.
    storage.require_files(inputs)
    sources = Sources.open(table, paths["fasta"], paths["gtf"])
    warn_of_absent_values(table)
    arguments = {name: paths[name] for name in ("peaks", "fasta", "gtf")}
    arguments |= {"rbp": rbp, "cell": cell, "output_dir": paths["output_dir"], **asdict(options)}
    with RunFolder.open(
        paths["output_dir"], arguments=arguments, seed=options.seed, inputs=inputs, overwrite=overwrite
    ) as folder:
        todo = [key for key in sets if not folder.done(set_name(*key))]
        if len(todo) < len(sets):
            logger.info("%d of %d sets are there already", len(sets) - len(todo), len(sets))
        for key, result in _build_all(todo, sources, options, paths, workers):
            if isinstance(result, BindingSet):
                _write_set(folder, set_name(*key), result)
                if on_set:
                    on_set(result)
            elif len(sets) == 1:
                folder.discard()
                raise InputError(result)
            else:
                logger.warning("left out: %s", result)
            folder.save_unit(set_name(*key), _summary_row(key, result))
        rows = {set_name(*key): folder.load_unit(set_name(*key)) for key in sets}
        made = [name for name, row in rows.items() if row["status"] == "made"]
        if not made:
            folder.discard()
            problem = next(iter(rows.values()))["status"]
            raise InputError(f"`peaks` {peaks}: none of {len(sets)} sets could be made; {problem}")
        summary = folder.file("summary.csv")
        storage.write_csv(summary, rows.values(), SUMMARY)
        folder.finish({"sets": len(made), "left_out": len(sets) - len(made)})
    text = f"{counted(len(made), 'set')} made, {len(sets) - len(made)} left out: {paths['output_dir'] / 'summary.csv'}"
    return FinishedFiles(tuple(paths["output_dir"] / name for name in made), paths["output_dir"] / "run.json", text)


def _check_inputs(peaks, fasta, output_dir, gtf, options: SetOptions) -> dict[str, Path | None]:
    """Return the paths by parameter; refuse what is missing before anything is read."""
    paths = {"peaks": peaks, "fasta": fasta, "output_dir": output_dir}
    for name, value in paths.items():
        if value is None:
            raise InputError(f"`{name}`: not given, wanted a path")
    if MATCHES[options.match].needs_gtf and gtf is None:
        raise InputError(f"`match` {options.match}: needs `gtf`, which tells the kinds of region")
    return {name: Path(value) for name, value in paths.items()} | {"gtf": Path(gtf) if gtf else None}


def _read_all_peaks(
    path: Path, rbp: Sequence[str] | None, cell: Sequence[str] | None, options: SetOptions
) -> tuple[pd.DataFrame, list[str] | None, list[str] | None]:
    """Read the peaks; return them with the RBPs and cell lines wanted.

    Around a single file, the folder is read too where negatives need other RBPs and an index.tsv lists the file.
    """
    rbp, cell = (None if names is None else list(names) for names in (rbp, cell))
    columns = {"fc_column": options.fc_column, "p_column": options.p_column}
    table = read_peaks(path, **columns)
    if path.is_dir():
        return table, rbp, cell
    needs_others = NEGATIVES[options.negatives].needs_other_rbps
    index = path.parent / "index.tsv"
    if index.is_file() and table["accession"].iloc[0] in read_index(index)["accession"].tolist():
        rbp, cell = rbp or table["rbp"].unique().tolist(), cell or table["cell"].unique().tolist()
        return read_peaks(path.parent, **columns) if needs_others else table, rbp, cell
    if needs_others:
        others = " or ".join(kind.name for kind in NEGATIVES.values() if not kind.needs_other_rbps)
        raise InputError(
            f"`negatives` {options.negatives}: found the one file {path}, wanted a folder with peaks of other RBPs; "
            f"or choose `negatives` {others}"
        )
    if rbp and len(rbp) == 1:
        table["rbp"] = rbp[0]
    return table, rbp, cell


def _choose_sets(
    peaks: pd.DataFrame, rbp: list[str] | None, cell: list[str] | None, path: Path
) -> list[tuple[str, str]]:
    """Return RBP and cell line of the sets to make, in the order of the peaks."""
    wanted = peaks
    for parameter, names in (("rbp", rbp), ("cell", cell)):
        present = peaks[parameter].unique().tolist()
        if missing := [name for name in names or () if name not in present]:
            raise InputError(
                f"`{parameter}`: found no peaks of {quoted(missing[0])} in {path}, wanted some of "
                f"{shortened(map(excerpt, sorted(present)), 40)}"
            )
        if names:
            wanted = wanted[wanted[parameter].isin(names)]
    sets = list(dict.fromkeys(zip(wanted["rbp"], wanted["cell"])))
    if not sets:
        found = f"{','.join(rbp)} in {','.join(cell)}"
        raise InputError(f"`rbp`, `cell`: found no peaks of {found} in {path}")
    _check_names(sets, path)
    return sets


def _check_names(sets: list[tuple[str, str]], path: Path) -> None:
    """Refuse sets whose folders would have one name, or a name that no folder can have."""
    known: dict[str, tuple[str, str]] = {}
    for rbp, cell in sets:
        name = set_name(rbp, cell)
        # Some file systems do not distinguish upper and lower case.
        first = known.setdefault(name.lower(), (rbp, cell))
        if first != (rbp, cell):
            raise InputError(
                f"`peaks` {path}: found RBP {first[0]!r} in {first[1]!r} and {rbp!r} in {cell!r}, which "
                f"would both be called {name}; wanted different names"
            )
        if not (rbp and FOLDER_NAME.fullmatch(name)) or name.lower() in RESERVED:
            raise InputError(
                f"`peaks` {path}: found RBP {rbp[:50]!r} and cell line {cell[:50]!r}, wanted names that a "
                "folder can have: up to 100 letters, digits, '_', '-', '+', '.', '(', ')', no '.' at the beginning"
            )


_in_worker: dict = {}


def _start_worker(peaks: pd.DataFrame, fasta: Path, gtf: Path | None, options: SetOptions) -> None:
    """Open the sequence once in each process; a handle on an indexed file cannot be sent there."""
    _in_worker.update(sources=Sources.open(peaks, fasta, gtf), options=options)


def _build(key: tuple[str, str], sources: Sources, options: SetOptions) -> BindingSet | str:
    """Return one set, or the message of why it cannot be made."""
    try:
        return build_set(*key, sources, options)
    except InputError as error:
        return str(error)


def _build_in_worker(key: tuple[str, str]) -> BindingSet | str:
    return _build(key, **_in_worker)


def _build_all(
    keys: list[tuple[str, str]], sources: Sources, options: SetOptions, paths: dict[str, Path | None], workers: int
) -> Iterator[tuple[tuple[str, str], BindingSet | str]]:
    """Yield each RBP and cell line with its set, or the message of why it cannot be made."""
    if workers <= 1 or len(keys) <= 1:
        yield from ((key, _build(key, sources, options)) for key in keys)
        return
    shared = (sources.peaks, paths["fasta"], paths["gtf"], options)
    with worker_pool(min(workers, len(keys)), _start_worker, *shared) as pool:
        yield from zip(keys, pool.map(_build_in_worker, keys))


def _write_set(folder: RunFolder, name: str, made: BindingSet) -> None:
    """Write the files of one set."""
    target = folder.folder(name, empty=True)
    for file, text in {**made.files, "report.txt": made.text}.items():
        with storage.atomic_write(target / file) as handle:
            handle.write(text)
    storage.write_json(target / "report.json", made.report)


def _summary_row(key: tuple[str, str], result: BindingSet | str) -> dict:
    """Return the set's row of summary.csv."""
    row = dict.fromkeys(SUMMARY) | {"rbp": key[0], "cell": key[1]}
    if not isinstance(result, BindingSet):
        return row | {"status": result}
    report = result.report
    row |= {f"n_{side}": report[side]["kept"] for side in ("positives", "negatives")}
    row |= {f"n_{part}": size for part, size in report["split"]["sizes"].items()}
    row |= {name: report["split"][name] for name in ("test_sharing_30mer", "longest_shared_run")}
    for features in ("gc", "dinucleotide"):
        row[f"{features}_auroc"] = report["composition"]["auroc"][features]["value"]
    return row | {"status": "made"}
