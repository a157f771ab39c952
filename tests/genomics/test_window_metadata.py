"""Metadata of windows against the genome, letter for letter, and their files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LAMAR.alphabet import reverse_complement
from LAMAR.data.window_files import metadata_form, metadata_schema, open_metadata, read_metadata, render
from LAMAR.genomics.intervals import IntervalIndex
from LAMAR.genomics.window_metadata import DescribedWindows, Record
from LAMAR.genomics.windows import WindowRule

intervals = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 300), st.integers(1, 80), st.sampled_from("+-.")),
    max_size=25,
)


def frame(rows) -> pd.DataFrame:
    table = pd.DataFrame([(c, a, a + n, s) for c, a, n, s in rows], columns=["chrom", "start", "end", "strand"])
    return table.astype({"chrom": object, "start": np.int64, "end": np.int64, "strand": object})


GENOME = {name: "".join(np.random.default_rng(i).choice(list("ACGT"), 3000)) for i, name in enumerate(["chr1", "chr2"])}


@given(
    regions=st.lists(
        st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 900), st.integers(1, 900), st.sampled_from("+-.")),
        min_size=1,
        max_size=6,
    ),
    peaks=intervals,
    bed=intervals,
)
def test_windows_and_peaks_agree_with_the_genome_letter_for_letter(regions, peaks, bed):
    batch = []
    for chrom, start, length, strand in regions:
        sequence = GENOME[chrom][start : start + length]
        sequence = reverse_complement(sequence) if strand == "-" else sequence
        name = f"{chrom}:{start}-{start + length}({strand})"
        batch.append(Record(name, chrom, start, start + length, strand, sequence))
    peaks, bed = frame(peaks).assign(rbp="X", cell="Y"), frame(bed).assign(score=[float(i) for i in range(len(bed))])
    described = DescribedWindows(batch, WindowRule(50, 20, jitter=5), IntervalIndex(peaks), IntervalIndex(bed))
    records = described.records(0, len(described))
    assert [record["sequence"] for record in records] == described.sequences(0, len(described))
    assert records == described.records(0, 1) + described.records(1, len(described))
    count = {True: 0, False: 0}
    for record in records:
        here = GENOME[record["chrom"]][record["start"] : record["end"]]
        assert record["sequence"] == (reverse_complement(here) if record["strand"] == "-" else here)
        source = next(known for known in batch if known.seq_id == record["seq_id"])
        assert source.sequence[record["local_start"] : record["local_end"]] == record["sequence"]
        assert record["seq_len"] == len(record["sequence"]) == record["local_end"] - record["local_start"]

        def touches(row, record=record):
            strands = {row.strand, record["strand"]} - {"."}
            apart = row.end <= record["start"] or record["end"] <= row.start
            return row.chrom == record["chrom"] and not apart and len(strands) < 2

        wanted = [row for row in peaks.itertuples() if touches(row)]
        found = record["eclip_regions"]
        assert sorted((max(w.start, record["start"]), min(w.end, record["end"]), w.strand) for w in wanted) == sorted(
            (piece["genomic_start"], piece["genomic_end"], piece["strand"]) for piece in found
        )
        assert sum(piece["complete"] for piece in found) == sum(
            record["start"] <= w.start and w.end <= record["end"] for w in wanted
        )
        for piece in found:
            count[piece["complete"]] += 1
            part = GENOME[record["chrom"]][piece["genomic_start"] : piece["genomic_end"]]
            part = reverse_complement(part) if record["strand"] == "-" else part
            assert record["sequence"][piece["start"] : piece["end"]] == part
        assert record["binding_sites"] == max((row.score for row in bed.itertuples() if touches(row)), default=None)
    for kind, complete in (("complete", True), ("partial", False)):
        assert sum(n for (name, _), n in described.counts.items() if name == kind) == count[complete]


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_metadata_read_back_as_written(form, tmp_path):
    peaks = frame([("chr1", 5, 10, "-"), ("chr1", 8, 90, ".")]).assign(rbp=["A", "B;Ü"], cell="K562", n_peaks=[1, 2])
    batch = [Record(f"chr1:{i}-{i + 60}", "chr1", i, i + 60, ".", "A" * 60) for i in (0, 70)]
    described = DescribedWindows(batch, WindowRule(40, 20), IntervalIndex(peaks))
    records, schema = described.records(0, len(described)), metadata_schema(merged=True)
    path = tmp_path / "metadata"
    with open_metadata(path, form, schema) as write:
        for part in (records[:1], records[1:]):
            write(render(part, form, schema))
        assert not path.exists()
    assert metadata_form(path) == form
    assert [record for _, record in read_metadata(path, form)] == records
    where = "record 2" if form != "jsonl" else "line 2"
    assert [place for place, _ in read_metadata(path, form)][1] == where
