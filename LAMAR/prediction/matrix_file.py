"""The file ``matrix.parquet``: the logits of all tiles and tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..runs import storage
from .predictor import TileScores

__all__ = ["MATRIX_NAME", "write_matrix"]

MATRIX_NAME = "matrix.parquet"


def write_matrix(
    path: Path, names: Sequence[str], parts: Iterable[tuple[Sequence[str], TileScores]], meaning: str
) -> None:
    """Write one row per tile: ``record``, ``start``, ``end`` (0-based, half-open, in the record) and logits, float32.

    Parameters
    ----------
    path : Path
    names : sequence of str, length k
        Tracks: names of the other columns.
    parts : iterable of (sequence of str, TileScores)
        Names of the records of n tiles, and the tiles. Each part becomes a row group: only one is in memory.
    meaning : str
        Kept in the metadata of the file, under ``meaning``.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    fields = [("record", pa.dictionary(pa.int32(), pa.string())), ("start", pa.int64()), ("end", pa.int64())]
    fields += [(name, pa.float32()) for name in names]
    schema = pa.schema(fields, metadata={"meaning": meaning})
    with storage.atomic_write(path, "wb") as handle, ParquetWriter(handle, schema) as writer:
        for records, tiles in parts:
            columns = [pa.array(records, type=fields[0][1]), pa.array(tiles.starts), pa.array(tiles.ends)]
            columns += [pa.array(column) for column in tiles.logits.T]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
