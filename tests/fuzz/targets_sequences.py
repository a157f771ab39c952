"""Targets that read sequences and labelled sets."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
from mutations import damage_files
from targets import Target, attempt, finite, in_letters, letters, write

from LAMAR.data import corpora, corpus_files, labelled, records, sequences, splits
from LAMAR.prediction import records as predicted

__all__ = ["TARGETS"]

N = 12


def _rows(n: int = N, seed: int = 0) -> list[tuple[str, int]]:
    return [(letters(30 + i % 5, seed * 1000 + i), i % 2) for i in range(n)]


def _fasta(rows, name: str = "r") -> str:
    return "".join(f">{name}{i} chr{1 + i % 3}:{i * 50}-{i * 50 + len(s)}(+)\n{s}\n" for i, (s, _) in enumerate(rows))


# --------------------------------------------------------------------------------------------------------- FASTA


def make_fasta(folder: Path) -> None:
    text = _fasta(_rows()) + ">plain\nACGUacgun\nRYKM\n\n>chr1:10-20(-)\nACGTACGTAC\n>samtools chr2:5-14\nACGTACGTAC\n"
    write(folder / "r.fa", text)
    write(folder / "r.fa.gz", text)


def read_fasta(folder: Path) -> None:
    def check(path: Path) -> None:
        found = list(sequences.read_fasta(path))
        in_letters(sequence for _, sequence in found)
        assert all(len(r.place) == len(r.sequence) for r in predicted.fasta_records(path))
        assert len(records.read_records(None, path)) == len(found)

    attempt(*(lambda path=path: check(path) for path in (folder / "r.fa", folder / "r.fa.gz")))


def make_pairs(folder: Path) -> None:
    for seed, part in enumerate(("", ".train", ".test")):
        for side in ("positives", "negatives"):
            write(folder / f"QKI{'_B' if part else ''}{part}.{side}.fa", _fasta(_rows(6, seed), side))


def check_labelled(data: labelled.LabelledSet) -> None:
    assert len(data)
    in_letters(data.sequences)
    finite(data.labels)
    for split in ("auto", "random", "cluster"):
        parts = splits.make_split(data, split, drop_duplicates=True).part_of(len(data))
        assert len(parts) == len(data)


def read_pairs(folder: Path) -> None:
    attempt(
        *(lambda name=name: check_labelled(labelled.load_labelled(folder, name=name)) for name in ("QKI", "QKI_B")),
        lambda: labelled.set_names(folder),
    )


# -------------------------------------------------------------------------------------------------------- tables


def _table(rows, separator: str = ",") -> str:
    header = ["sequence", "label", "id", "chrom", "start", "end", "strand"]
    lines = [(s, y, f"r{i}", f"chr{1 + i % 3}", i * 50, i * 50 + len(s), "+-."[i % 3]) for i, (s, y) in enumerate(rows)]
    return "\n".join(separator.join(map(str, line)) for line in [header, *lines]) + "\n"


def make_csv_folder(folder: Path) -> None:
    for seed, part in enumerate(("train", "dev", "test")):
        write(folder / f"{part}.csv", _table(_rows(seed=seed)))


def read_csv_folder(folder: Path) -> None:
    def by_chromosome() -> None:
        data = labelled.load_labelled(folder)
        splits.make_split(data, "chromosome", test_chroms=["chr1"], drop_duplicates=True)

    attempt(lambda: check_labelled(labelled.load_labelled(folder)), by_chromosome)


def make_tables(folder: Path) -> None:
    write(folder / "two.tsv", "# made up\n" + _table(_rows(), "\t"))
    write(folder / "numbers.csv.gz", "seq,labels\n" + "".join(f"{s},{i / 7:.3f}\n" for i, (s, _) in enumerate(_rows())))
    write(folder / "many.csv", "sequence,label\n" + "".join(f"{s},{y};0;{1 - y}\n" for s, y in _rows()))
    columns = "".join(f"{s}\tTRUE\t{y}\n" for s, y in _rows())
    write(folder / "columns.tsv", f"RNA\tbound_0\tbound_1\n{columns}")


def read_tables(folder: Path) -> None:
    multilabel = {"task": "multilabel"}

    def load(name: str, **options) -> None:
        data = labelled.load_labelled(folder / name, **options)
        in_letters(data.sequences)
        finite(data.labels)

    attempt(
        lambda: check_labelled(labelled.load_labelled(folder / "two.tsv")),
        lambda: load("numbers.csv.gz", task="regression"),
        lambda: load("many.csv", nlabels=3, **multilabel),
        lambda: load("columns.tsv", nlabels=2, sequence_column="rna", label_column="bound", **multilabel),
        lambda: labelled.set_names(folder),
    )


def make_arrow(folder: Path) -> None:
    from datasets import Dataset, DatasetDict

    parts = {part: [*zip(*_rows(seed=seed))] for seed, part in enumerate(("train", "test"))}
    made = {part: Dataset.from_dict({"sequence": s, "label": y}) for part, (s, y) in parts.items()}
    DatasetDict(made).save_to_disk(str(folder / "set"))


def read_arrow(folder: Path) -> None:
    check_labelled(labelled.load_labelled(folder / "set"))


# ---------------------------------------------------------------------------------------------------------- HDF5


def make_hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "set.h5", "w") as file:
        for seed, part in enumerate(("train", "valid", "test")):
            rows = _rows(6, seed)
            x = np.zeros((6, 35, 4), dtype=np.float32)
            for i, (sequence, _) in enumerate(rows):
                x[i, np.arange(len(sequence)), ["ACGT".index(letter) for letter in sequence]] = 1
            file.create_dataset(f"X_{part}", data=x, compression="gzip" if part == "train" else None)
            file[f"Y_{part}"] = np.array([[y] for _, y in rows])


def damage_hdf5(rng: Random, folder: Path) -> None:
    """Damage the file, or replace an array by another kind of thing."""
    import h5py

    path = folder / "set.h5"
    if rng.random() < 0.4:
        damage_files(rng, folder)
        return
    types = ["i1", "u8", "f2", "f8", "c8", "S4", "?", h5py.string_dtype(), [("a", "f4"), ("b", "i4")], "V8", "(2,)f4"]
    shapes = [(), (0,), (6,), (6, 35), (6, 4, 35), (6, 35, 4), (6, 35, 5), (6, 0, 4), (1, 1, 1, 1), (7, 35, 4), (6, 1)]
    huge = [(10**9, 100, 4), (6, 10**9, 4), (2**40, 1), (10**12,), (10**6, 10**6, 4)]
    with h5py.File(path, "a") as file:
        for _ in range(rng.choice([1, 1, 2])):
            key = rng.choice(list(file) or ["X_train"])
            one = file.get(key)
            values = one[()] if isinstance(one, h5py.Dataset) and one.size and one.size < 10**6 else np.zeros(3)
            if key in file:
                del file[key]
            kind = rng.choice("gone group soft hard loop external virtual empty dtype shape huge values string".split())
            if kind == "group":
                file.create_group(key)["inside"] = values
            elif kind == "soft":
                file[key] = h5py.SoftLink(rng.choice(["/nowhere", "/Y_test", "Y_test", "/", f"/{key}", "../x", "a/b"]))
            elif kind == "loop":
                file[key], file["other"] = h5py.SoftLink("/other"), h5py.SoftLink(f"/{key}")
            elif kind == "external":
                file[key] = h5py.ExternalLink(rng.choice(["/etc/passwd", "set.h5", "nowhere.h5"]), "/Y_test")
            elif kind == "virtual":
                layout = h5py.VirtualLayout(shape=np.shape(values) or (1,), dtype="f4")
                file.create_virtual_dataset(key, layout, fillvalue=1)
            elif kind == "empty":
                file[key] = h5py.Empty("f4")
            elif kind == "dtype":
                file.create_dataset(key, np.shape(values), dtype=rng.choice(types))
            elif kind == "shape":
                file.create_dataset(key, rng.choice(shapes), dtype="f4", fillvalue=rng.choice([0, 1]))
            elif kind == "huge":
                chunks = rng.choice([None, True])
                file.create_dataset(key, rng.choice(huge), dtype=rng.choice(["f4", "i1"]), chunks=chunks)
            elif kind == "values":
                wrong = rng.choice([np.nan, np.inf, 2, -1, 0.5, 1e30, 0])
                changed = np.array(values, dtype=np.float64)
                changed.flat[: rng.choice([1, changed.size])] = wrong
                file[key] = changed
            elif kind == "string":
                file[key] = "ACGT" * rng.choice([1, 1000])


def read_hdf5(folder: Path) -> None:
    check_labelled(labelled.load_labelled(folder / "set.h5"))


# ------------------------------------------------------------------------------------------------------- corpora


def make_corpus(folder: Path) -> None:
    import pandas as pd

    rows = [letters(60, i) for i in range(20)]
    regions = [{"start": 3, "end": 9}, {"start": 20, "end": 30}]
    write(folder / "a" / "r.fa", _fasta([(row, 0) for row in rows]))
    write(folder / "a" / "lines.txt.gz", "\n".join(rows) + "\n")
    write(folder / "a" / "table.csv", "id,sequence\n" + "".join(f"{i},{row}\n" for i, row in enumerate(rows)))
    import json

    objects = [{"sequence": row, "eclip_regions": regions} for row in rows]
    write(folder / "a" / "windows.jsonl", "".join(json.dumps(one) + "\n" for one in objects))
    write(folder / "a" / "windows.json", json.dumps(objects))
    pd.DataFrame(objects).to_parquet(folder / "a" / "windows.parquet")
    write(folder / "a" / "one.tsv", "sequence\n" + "\n".join(rows) + "\n")


def damage_tables(rng: Random, folder: Path) -> None:
    """Damage a file, or give a Parquet file columns of other types."""
    tables = sorted(folder.rglob("*.parquet"))
    if not tables or rng.random() < 0.6:
        damage_files(rng, folder)
    else:
        damage_parquet(rng, rng.choice(tables))


def damage_parquet(rng: Random, path: Path) -> None:
    """Write a Parquet file with a column, or a few of its cells, of another type, without a column, or without rows."""
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    name, n = rng.choice(table.column_names), table.num_rows
    values = [
        None,
        "",
        "NA",
        "x",
        "ACGT",
        b"ACGT",
        b"\xff",
        0,
        -1,
        2**62,
        1.5,
        float("nan"),
        1e300,
        True,
        [],
        [1],
        [-1],
    ]
    values += [
        [2**31 - 1],
        ["a"],
        [None],
        {"start": 1},
        [{"start": 1}],
        [{"start": 1, "end": 5}],
        decimal.Decimal("1.5"),
    ]
    kind, value = rng.choice(["all", "one", "drop", "rename", "rows", "twice", "null"]), rng.choice(values)
    if kind in ("all", "one"):
        cells = table[name].to_pylist()
        cells = [value] * n if kind == "all" else [value, *cells[1:]]
        try:
            column = pa.array(cells, table[name].type if kind == "one" else None)
        except (pa.ArrowException, TypeError, OverflowError, ValueError):
            column = pa.array([value] * n)
        table = table.set_column(table.column_names.index(name), name, column)
    elif kind == "drop":
        table = table.drop_columns([name])
    elif kind == "rename":
        table = table.rename_columns(["x" if one == name else one for one in table.column_names])
    elif kind == "rows":
        table = table.slice(0, rng.choice([0, 1]))
    elif kind == "twice":
        table = table.append_column(name, table[name])
    else:
        table = table.set_column(table.column_names.index(name), name, pa.nulls(n))
    pq.write_table(table, path)


def read_corpus(folder: Path) -> None:
    options = {"val_fraction": 0.3, "exclude_run": 0, "keep_duplicates": True}

    def whole(**more) -> None:
        corpus = corpora.read_corpus([folder / "a"], **options, **more)
        in_letters(corpus.heldout)
        assert sum(len(block) for block in corpus.blocks()) == corpus.counts["training"]

    def each(path: Path) -> None:
        in_letters(record.sequence for record in corpus_files.read_records(path))

    calls = [lambda path=path: each(path) for path in sorted((folder / "a").glob("*"))]
    attempt(*calls, whole, lambda: whole(streaming=True))


def make_inputs(folder: Path) -> None:
    import pandas as pd

    rows = [letters(40, i) for i in range(6)]
    write(folder / "t.csv", "name,seq\n" + "".join(f"n{i},{row}\n" for i, row in enumerate(rows)))
    write(folder / "t.tsv.gz", "sequence\tid\n" + "".join(f"{row}\tn{i}\n" for i, row in enumerate(rows)))
    pd.DataFrame({"id": range(6), "sequence": rows}).to_parquet(folder / "t.parquet")


def read_inputs(folder: Path) -> None:
    def check(name: str) -> None:
        in_letters(record.sequence for record in predicted.both_strands(predicted.table_records(folder / name)))

    attempt(*(lambda name=name: check(name) for name in ("t.csv", "t.tsv.gz", "t.parquet")))


TARGETS = [
    Target("fasta", make_fasta, read_fasta),
    Target("fasta_pairs", make_pairs, read_pairs),
    Target("csv_folder", make_csv_folder, read_csv_folder),
    Target("labelled_tables", make_tables, read_tables),
    Target("arrow_folder", make_arrow, read_arrow),
    Target("hdf5", make_hdf5, read_hdf5, damage_hdf5),
    Target("corpus", make_corpus, read_corpus, damage_tables),
    Target("sequence_tables", make_inputs, read_inputs, damage_tables),
]
