"""Messages about cells, names and headers of 70 kB are as short as about others, whatever reads them."""

from __future__ import annotations

import json
import logging

import pytest
from sequence_files import write

from LAMAR.cli.arguments import OneLineParser, names, positive
from LAMAR.data.corpus_files import read_records as read_corpus
from LAMAR.data.labelled import load_labelled
from LAMAR.data.records import read_records
from LAMAR.data.sequences import check_lengths, read_fasta
from LAMAR.data.splits import make_split
from LAMAR.data.text_files import read_table
from LAMAR.errors import InputError
from LAMAR.evaluation.checked_csv import read_csv
from LAMAR.genomics.annotation import read_gtf
from LAMAR.genomics.divide_windows import divide_windows
from LAMAR.genomics.peaks import read_bed5, read_index, read_peaks
from LAMAR.interpretation.variants import read_variants
from LAMAR.tasks import HEADS

WORD, WORDS = "x" * 70_000, "many words " * 7_000
WINDOW = {"sequence": "ACGT", "seq_id": "r", "chrom": "chr1", "start": 1, "end": 5}
GTF = 'chr1\t.\texon\tSTART\t9\t.\tSTRAND\t.\tgene_id "g"; transcript_id "t";\n'

#: Text of a file with a long value in place of @, and what reads it.
READERS = {
    "label": ("sequence,label\nACGT,@\n", load_labelled),
    "sequence": ("sequence,label\n@,1\n", load_labelled),
    "header": ("sequence,@\nACGT,1\n", load_labelled),
    "columns": ("sequence,label\nACGT,1," + "@" * 3 + "\n", load_labelled),
    "repeated column": ("sequence,@,@\nACGT,1,1\n", load_labelled),
    "chromosome": ("sequence,label,chrom\nACGT,1,a @\n", load_labelled),
    "strand": ("sequence,label,strand\nACGT,1,@\n", load_labelled),
    "start": ("sequence,label,chrom,start,end\nACGT,1,chr1,@,9\n", load_labelled),
    "multilabel": ("sequence,label\nACGT,@\n", lambda path: load_labelled(path, task="multilabel")),
    "name of a record": (">@\nAC!T\n", lambda path: list(read_fasta(path))),
    "name without sequence": (">@\n", lambda path: list(read_fasta(path))),
    "name twice": (">@\nACGT\n>@\nACGT\n", lambda path: read_records(None, path)),
    "text": ("ACGT@\n", lambda path: list(read_corpus(path))),
    "columns of a corpus": ("@,b\nACGT,1\n", lambda path: list(read_corpus(path))),
    "json": ('{"@": 1}\n', lambda path: list(read_corpus(path))),
    "window": (json.dumps(WINDOW | {"chrom": ["@"]}), divide_windows),
    "start of a peak": ("chr1\t@\t9\n", read_peaks),
    "strand of a peak": ("chr1\t1\t9\ta\t1\t@\n", read_peaks),
    "score": ("chr1\t1\t9\ta\t@\n", read_bed5),
    "accession": ("accession\ttarget\tcell\n@\tA\tK\n@\tB\tK\n", read_index),
    "start of an exon": (GTF.replace("START", "@").replace("STRAND", "+"), read_gtf),
    "strand of an exon": (GTF.replace("START", "1").replace("STRAND", "@"), read_gtf),
    "columns of variants": ("chrom,@\nchr1,2\n", read_variants),
    "results": ("dataset,auroc\nA,@\n", lambda path: read_csv(path, ["dataset"], ["auroc"])),
}  # fmt: skip


@pytest.mark.parametrize("long", [WORD, WORDS], ids=["word", "words"])
@pytest.mark.parametrize("case", READERS)
def test_a_long_cell_gives_a_short_message(tmp_path, case, long):
    text, read = READERS[case]
    path = write(tmp_path / "a.csv", text.replace("@", long))
    with pytest.raises(InputError) as raised:
        read(path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert len(message) - len(str(path)) < 320


def test_ids_of_records_are_cut(tmp_path, caplog):
    rows = "".join(f"{WORDS},{sequence},{i % 2}\n" for i, sequence in enumerate(["ACGT", "ACGA"] * 2))
    for part in ("train", "test"):
        write(tmp_path / f"{part}.csv", f"id,sequence,label\n{rows}")
    dataset = load_labelled(tmp_path)
    for call in (lambda: make_split(dataset), lambda: check_lengths(dataset, None, 5)):
        with pytest.raises(InputError) as raised:
            call()
        assert len(str(raised.value)) < 400
    with caplog.at_level(logging.WARNING):
        make_split(dataset, allow_duplicates=True)
    assert max(map(len, caplog.messages)) < 400


def test_names_of_choices_and_arguments_are_cut(capsys):
    with pytest.raises(InputError) as raised:
        HEADS.choose(WORDS)
    assert len(str(raised.value)) < 300
    parser = OneLineParser()
    parser.add_argument("--n", type=positive(int))
    parser.add_argument("--names", type=names)
    for argv in (["--n", WORD], ["--n", "-" + "1" * 4000], ["--names", "," * 70_000], ["--other", WORD]):
        with pytest.raises(SystemExit):
            parser.parse_args(argv)
        assert len(capsys.readouterr().err) < 300


def test_the_header_of_a_table_is_cut(tmp_path):
    with pytest.raises(InputError) as raised:
        read_table(write(tmp_path / "a.csv", f"{WORD},{WORD}\n1,2\n"))
    assert len(str(raised.value)) - len(str(tmp_path)) < 200
