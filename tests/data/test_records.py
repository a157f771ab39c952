"""Named sequences to be analysed: names that keep the coordinates of a header."""

from __future__ import annotations

import pytest

from LAMAR.data.records import genome_positions, read_records
from LAMAR.errors import InputError


def test_coordinates_after_a_name_with_blanks(cases_folder, caplog):
    records = read_records(None, cases_folder / "fasta_names" / "space.fa")
    assert [name for name, _ in records] == ["site1::chr1:100-130(+)", "site2::chr1:200-230(+)"]
    for (name, sequence), start in zip(records, (100, 200)):
        region, positions = genome_positions(name, len(sequence))
        assert region == ("chr1", start, start + 30, "+")
        assert positions.tolist() == list(range(start, start + 30))
    assert caplog.messages == []


def test_coordinates_of_another_length_are_named(cases_folder, caplog):
    path = cases_folder / "fasta_names" / "samtools.fa"
    [(name, sequence)] = read_records(None, path)
    assert name == "chr1:101-130"
    assert genome_positions(name, len(sequence)) is None
    found = f"{path}: found what looks like coordinates in the headers of 1 of 1 records, which are not used"
    [message] = caplog.messages
    assert message.startswith(f"{found} (first: 'chr1:101-130'), wanted chr1:100-110")
    assert "samtools and UCSC count from 1" in message


def test_names_that_differ_by_their_coordinates_differ(tmp_path):
    path = tmp_path / "a.fa"
    path.write_text(">QKI site::chr1:0-4\nACGT\n>QKI site::chr1:8-12\nACGT\n")
    assert [name for name, _ in read_records(None, path)] == ["QKI::chr1:0-4", "QKI::chr1:8-12"]
    path.write_text(">QKI site::chr1:0-4\nACGT\n>QKI::chr1:0-4 again\nACGT\n")
    with pytest.raises(InputError, match=r"record QKI::chr1:0-4: found twice"):
        read_records(None, path)
