"""Files of windows: streams of metadata as JSON lines, JSON array or Parquet, and sets of output files."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runs.storage import atomic_write, read_json, remove_leftovers, write_json
from .text_files import MAX_RECORD, is_parquet, open_text, read_lines

__all__ = [
    "FORMS",
    "FinishedFiles",
    "OutputFiles",
    "metadata_form",
    "metadata_schema",
    "open_metadata",
    "read_metadata",
    "render",
]
__all__ += ["read_metadata", "render"]

FORMS = ("jsonl", "json", "parquet")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

_UNWRITABLE = {getattr(errno, name) for name in "EACCES EEXIST EISDIR ENAMETOOLONG ENOENT ENOTDIR EPERM EROFS".split()}


def metadata_schema(merged: bool = False):
    """Return the Arrow schema of windows' metadata; ``merged`` adds the number of peaks merged into one."""
    import pyarrow as pa

    text, whole = pa.string(), pa.int64()
    piece = {"start": whole, "end": whole, "genomic_start": whole, "genomic_end": whole, "strand": text}
    piece |= {"rbp": text, "cell": text, "complete": pa.bool_()} | ({"n_peaks": whole} if merged else {})
    window = {"sequence": text, "seq_id": text, "chrom": text, "start": whole, "end": whole, "strand": text}
    window |= {"local_start": whole, "local_end": whole, "method": text, "seq_len": whole}
    window |= {"binding_sites": pa.float64(), "eclip_regions": pa.list_(pa.struct(list(piece.items())))}
    return pa.schema(list(window.items()))


def render(records: list[dict], form: str, schema=None) -> Any:
    """Render records for `open_metadata`.

    Parameters
    ----------
    records : list of dict
        Metadata of one window or more.
    form : str
        One of `FORMS`.
    schema : pyarrow.Schema, optional
        Needed for ``parquet``.

    Returns
    -------
    str or pyarrow.Table
        A table for ``parquet``, else text.
    """
    if form == "parquet":
        import pyarrow as pa

        return pa.Table.from_pylist(records, schema)
    return ("\n" if form == "jsonl" else ",\n").join(map(_encode, records))


@contextmanager
def open_metadata(path: str | PathLike, form: str, schema=None) -> Iterator[Callable[[Any], None]]:
    """Open a file of metadata for writing; the file appears when the block is left without an error.

    ``jsonl`` has one object per line, ``json`` is an array with one object per line, ``parquet`` has one row group per
    call.

    Parameters
    ----------
    path : path
        File to write.
    form : str
        One of `FORMS`.
    schema : pyarrow.Schema, optional
        Needed for ``parquet``.

    Yields
    ------
    callable
        Writes what `render` returned.
    """
    with atomic_write(path, "wb" if form == "parquet" else "w") as handle:
        if form == "parquet":
            import pyarrow.parquet as pq

            with pq.ParquetWriter(handle, schema, compression="zstd") as writer:
                yield writer.write_table
            return
        before, between, after = ("", "\n", "\n") if form == "jsonl" else ("[\n", ",\n", "\n]\n")
        separators = iter([before])

        def write(text: str) -> None:
            handle.write(next(separators, between))
            handle.write(text)

        yield write
        handle.write(after)


def metadata_form(path: str | PathLike) -> str:
    """Tell the form of a file of metadata, one of `FORMS`, from its content.

    Raises
    ------
    InputError
        If the file is missing or empty.
    """
    if is_parquet(path):
        return "parquet"
    with open_text(path) as handle:
        first = next((line.strip() for line in handle if line.strip()), "")
    if not first:
        raise InputError(f"{path}: the file is empty, wanted window metadata (jsonl, json or parquet)")
    return "json" if first[0] == "[" else "jsonl"


def read_metadata(
    path: str | PathLike, form: str, columns: Sequence[str] | None = None, max_line: int = MAX_RECORD
) -> Iterator[tuple[str, dict]]:
    """Read the records of a file of metadata one by one; a ``json`` file is read as a whole.

    Parameters
    ----------
    path : path
        File to read, gzipped or plain.
    form : str
        One of `FORMS`; see `metadata_form`.
    columns : sequence of str, optional
        Columns to read of a Parquet file; default all. Columns that the file does not have are ignored.
    max_line : int
        Most characters of a line, or of a ``json`` file.

    Yields
    ------
    (str, dict)
        Where the record is (``line 7``, ``record 7``), and the record.

    Raises
    ------
    InputError
        If a record is not a JSON object, a Parquet file cannot be read, or a line is too long; names file and place.
    """
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                names = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
                batches = file.iter_batches(4096, columns=names)
                records = (record for batch in batches for record in batch.to_pylist())
                yield from ((f"record {number}", record) for number, record in enumerate(records, start=1))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {error}") from None
        return
    with open_text(path) as handle:
        if form == "jsonl":
            values = ((f"line {number}", line) for number, line in read_lines(handle, path, max_line))
        else:
            text = handle.read(max_line + 1)
            if len(text) > max_line:
                raise InputError(f"{path}: a JSON array of more than {max_line:,} characters, wanted jsonl or parquet")
            try:
                values = ((f"record {number}", value) for number, value in enumerate(json.loads(text), start=1))
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: cannot be read as JSON ({error})") from None
        for where, value in values:
            try:
                record = json.loads(value) if form == "jsonl" else value
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: {where}: cannot be read as JSON ({error})") from None
            if not isinstance(record, dict):
                raise InputError(f"{path}: {where}: found no JSON object, wanted one window")
            yield where, record


@dataclass(frozen=True)
class FinishedFiles:
    """Complete output of a run.

    Attributes
    ----------
    paths : tuple of Path
        The files.
    record : Path
        JSON file with inputs, arguments and counts.
    text : str
        Summary for the user.
    """

    paths: tuple[Path, ...]
    record: Path
    text: str


class OutputFiles:
    """The files that one run writes under one prefix; a JSON record, written last, marks them as complete.

    Parameters
    ----------
    prefix : Path
        Folder and beginning of the files' names.
    names : sequence of str
        The files are called ``<prefix>_<name>``.
    record : str
        Name of the record.
    """

    def __init__(self, prefix: Path, names: Sequence[str], record: str):
        self.prefix = prefix
        *self.paths, self.record = (prefix.with_name(f"{prefix.name}_{name}") for name in (*names, record))
        self._begun = self.record.with_name(f".{self.record.name}.begun")

    def are_complete(self, wanted: Mapping[str, Any], inputs: Sequence[str], ignore: Sequence[str] = ()) -> bool:
        """Return whether all files exist, made with the same arguments from inputs of the same content.

        Files of such a run that was killed while they appeared are no obstacle: they are made again.

        Parameters
        ----------
        wanted : mapping
            Result of `LAMAR.runs.provenance.provenance` for this run.
        inputs : sequence of str
            Names of the arguments that are input files or None.
        ignore : sequence of str
            Names of arguments that may differ, besides ``output`` and ``overwrite``.

        Raises
        ------
        InputError
            If one of the files exists, is not of this run, and the argument ``overwrite`` is false.
        """
        if wanted["arguments"]["overwrite"]:
            return False

        def identity(record: Mapping[str, Any]) -> tuple[dict, list]:
            arguments = record["arguments"]
            others = {*inputs, *ignore, "output", "overwrite"}.symmetric_difference(arguments)
            return {name: arguments[name] for name in others}, [
                record["inputs"].get(arguments[name]) for name in inputs
            ]

        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            earlier = read_json(self.record)
            if earlier["files"] == self._sizes() and identity(earlier) == identity(wanted):
                return True
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            if identity(read_json(self._begun)) == identity(wanted):
                return False
        for path in (self.record, *self.paths):
            if path.exists():
                raise InputError(
                    f"`output` {self.prefix}: {path} exists and is not of this run; `overwrite` replaces it"
                )
        return False

    def refuse(self, inputs: Sequence[Path]) -> None:
        """Raise an `InputError` if one of the files would replace an input."""
        for path in (*self.paths, self.record):
            if any(path.exists() and path.samefile(file) for file in inputs if Path(file).exists()):
                raise InputError(f"`output` {self.prefix}: {path} is an input of this run, wanted another prefix")

    def _sizes(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in self.paths}

    @contextmanager
    def folder(self) -> Iterator[None]:
        """Make the folder of the files; if the block fails, remove the folders that were made."""
        made = [folder for folder in self.prefix.absolute().parents if not folder.exists()]
        try:
            self.prefix.parent.mkdir(parents=True, exist_ok=True)
            for path in (*self.paths, self.record, self._begun):
                remove_leftovers(path)
            yield
        except BaseException as error:
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()
            if isinstance(error, OSError) and error.errno in _UNWRITABLE:
                raise InputError(f"`output` {self.prefix}: cannot be written ({error.strerror})") from None
            raise

    def retract(self, record: Mapping[str, Any]) -> None:
        """Remove an earlier run's record, and its files that this run will not replace.

        To be called when all files of this run are written and about to appear. ``record`` is kept in a hidden file
        until `finish`, so that a kill in between leaves files that the next start knows for its own.
        """
        write_json(self._begun, record)
        with suppress(OSError, ValueError, KeyError, TypeError):
            for name in read_json(self.record)["files"]:
                if name not in {path.name for path in self.paths}:
                    self.record.with_name(Path(name).name).unlink()
        self.record.unlink(missing_ok=True)

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the record, with the sizes of the files."""
        write_json(self.record, {**record, "files": self._sizes()})
        self._begun.unlink(missing_ok=True)

    def finished(self, summary: str) -> FinishedFiles:
        """Return the files with a summary that ends in their names."""
        names = ", ".join(map(str, (*self.paths, self.record)))
        return FinishedFiles(tuple(self.paths), self.record, f"{summary}\noutputs: {names}")

    def already_complete(self) -> FinishedFiles:
        """Return the files of an earlier run, with a summary that says that nothing was done."""
        text = f"{self.record}: complete already with these arguments, nothing done (`overwrite` does it again)"
        return FinishedFiles(tuple(self.paths), self.record, text)
