"""Readers of BED, narrowPeak and peak folders: values, and an error that names file and line for each fault."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from LAMAR.errors import InputError
from LAMAR.genomics.peaks import merge_named_peaks, read_bed5, read_index, read_peaks

NARROW = "chr9\t100\t160\tQKI\t1000\t-\t3.5\t4.25\t-1\t{summit}\n"


def write(folder, text, name="peaks.bed"):
    path = folder / name
    path.write_text(text)
    return path


def test_narrow_peak(tmp_path):
    path = write(tmp_path, NARROW.format(summit=12) + "MT\t5\t6\t.\t.\t+\t0\t-1\t-1\t-1\n", "X.narrowPeak")
    peaks = read_peaks(path)
    first, second = peaks.iloc[0], peaks.iloc[1]
    assert (first.chrom, first.start, first.end, first.strand, first.summit) == ("chr9", 100, 160, "-", 12)
    assert (first.log2fc, first.neg_log10_p, first.score, first.rbp, first["name"]) == (3.5, 4.25, 1000, "X", "QKI")
    assert second.chrom == "chrM"
    assert second.summit == -1
    assert np.isnan([second.score, second.neg_log10_p]).all()
    assert peaks[["start", "end", "summit"]].dtypes.eq("int64").all()


@pytest.mark.parametrize(
    "text",
    ["chr1\t5\t9\n", "chr1 5 9\n", "chr1\t5\t9", "chr1\t5\t9\r\n", "# c\nchr1\t5\t9\n\n", "\n\nchr1\t5\t9\n   \n"],
)
def test_bed3_in_many_spellings(tmp_path, text):
    path = tmp_path / "a.bed"
    path.write_bytes(text.encode())
    peaks = read_peaks(path)
    assert peaks[["chrom", "start", "end", "strand"]].to_numpy().tolist() == [["chr1", 5, 9, "."]]
    assert peaks["log2fc"].isna().all()


def test_bed12_is_not_taken_for_narrow_peak(tmp_path):
    line = "chr1\t5\t90\tn\t0\t+\t5\t90\t0,0,255\t1\t85\t0\n"
    peaks = read_peaks(write(tmp_path, line))
    assert peaks["log2fc"].isna().all()
    assert peaks["summit"].tolist() == [-1]


@pytest.mark.parametrize(
    ("summit", "wanted"),
    [("0", 0), ("59", 59), ("-1", -1), (".", -1), ("60", -2), ("-2", -2), ("1.5", -2), ("NA", -2), ("9" * 30, -2)],
)
def test_summits_that_cannot_be_used_do_no_harm_where_none_is_read(tmp_path, summit, wanted):
    peaks = read_peaks(write(tmp_path, NARROW.format(summit=5) + NARROW.format(summit=summit)))
    assert peaks["summit"].tolist() == [5, wanted]
    assert peaks["summit"].dtype == np.int64


def test_values_in_columns_that_the_user_names(tmp_path):
    yeo = write(tmp_path, "chr1\t5\t9\t40\t-1.5\t-\nchr1\t15\t19\t0.25\t3\t+\n")
    peaks = read_peaks(yeo, fc_column=5, p_column=4)
    assert peaks[["log2fc", "neg_log10_p"]].to_numpy().tolist() == [[-1.5, 40], [3, 0.25]]
    # These columns are not name and score then.
    assert peaks["name"].tolist() == [".", "."]
    assert peaks["score"].isna().all()
    assert peaks["strand"].tolist() == ["-", "+"]
    # Without them the file has neither value.
    assert read_peaks(yeo)[["log2fc", "neg_log10_p"]].isna().all(axis=None)
    # One of the two, in a narrowPeak file; the other column stays.
    narrow = write(tmp_path, NARROW.format(summit=1).replace("\t-1\t", "\t2.5\t"), "n.narrowPeak")
    peaks = read_peaks(narrow, p_column=9)
    assert peaks[["log2fc", "neg_log10_p", "summit"]].to_numpy().tolist() == [[3.5, 2.5, 1]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"p_column": 3}, "`p_column`: found 3, wanted the number of a column"),
        ({"fc_column": 6}, "`fc_column`: found 6, wanted the number of a column"),
        ({"p_column": 0}, "`p_column`: found 0, wanted the number of a column"),
        ({"fc_column": 4, "p_column": 4}, "`fc_column`, `p_column`: found 4 for both, wanted two columns"),
        ({"fc_column": 5, "p_column": 8}, "`p_column` 8: found 6 columns in line 1 of "),
        ({"fc_column": 4}, "line 1: column 4 (log2fc): found 'name', wanted a number"),
    ],
)
def test_columns_of_values_that_a_file_cannot_have(tmp_path, columns, message):
    path = write(tmp_path, "chr1\t5\t9\tname\t3\t+\n")
    with pytest.raises(InputError) as error:
        read_peaks(path, **columns)
    assert message in str(error.value)


def test_track_line_is_passed_over_and_named(tmp_path, caplog):
    path = write(tmp_path, "track name=x\nbrowser position chr1\nchr1\t5\t9\n")
    assert len(read_peaks(path)) == 1
    assert f"{path}: line 1: passed over 2 track" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t5\t9\n5\tchr1\t9\n", "line 2: column 2 (start): found 'chr1', wanted an integer"),
        ("# c\nchr1\t5\t9\nchr1\t9\t5\n", "line 3: found start 9 and end 5, wanted start < end"),
        ("chr1\t5\t5\n", "line 1: found start 5 and end 5, wanted start < end"),
        ("\nchr1\t-5\t5\n", "line 2: found start -5, wanted 0 or more"),
        ("chr1\t5\n", "line 1: found 2 columns, wanted 3"),
        ("chr1\t5\t9\nchr1\t5\n", "line 2: found 2 columns, wanted 3"),
        ("chr1\t5\t9\nchr1\t5\t9\tx\n", "line 2: found 4 columns, wanted 3"),
        ("chr1\t5\t9\tn\nchr1\t5\t9\n", "line 2: found 3 columns, wanted 4 as in line 1"),
        ("chr1\t5\t9\t.\t+\t3\n", "line 1: column 5 (score): found '+', wanted a number"),
        ("chr1\t5\t9\t.\t3\tforward\n", "line 1: column 6 (strand): found 'forward'"),
        ("chr1\t5\t9.5\n", "line 1: column 3 (end): found '9.5', wanted an integer"),
        ("chr1\t5\t99999999999999999999\n", "line 1: column 3 (end)"),
        ("chr1\t5\t9999999999\n", "line 1: found end 9999999999, wanted less than"),
        ("\t5\t9\n", "line 1: found no chromosome name"),
        ("", "holds no interval"),
        ("# only\n# comments\n", "holds no interval"),
        (">chr1:5-9\nACGT\n", "FASTA header"),
        ("chr1\t1_000\t2_000\n", "line 1: column 2 (start): found '1_000', wanted an integer"),
        ("chr1\t5\t٩\n", "line 1: column 3 (end): found '٩', wanted an integer"),
        (NARROW.format(summit=1).replace("3.5", "."), "line 1: column 7 (log2fc): found '.', wanted a number"),
        (NARROW.format(summit=1).replace("3.5", "nan"), "line 1: column 7 (log2fc): found 'nan', wanted a number"),
    ],
)
def test_faults_name_file_and_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_peaks(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_number_that_only_python_reads_has_its_line(cases_folder):
    with pytest.raises(InputError, match=r"underscore\.bed: line 2: column 2 \(start\): found '1_000', wanted an int"):
        read_peaks(cases_folder / "bed_error_without_line" / "underscore.bed")


@pytest.mark.parametrize("field", ["inf", "-inf", "1e400", "18446744073709551616", "0x1", "NA", "", "1,0"])
def test_a_field_that_is_no_integer_has_its_line_and_no_warning(tmp_path, field):
    with pytest.raises(InputError, match=rf"line 2: column 2 \(start\): found '{field}', wanted an integer"):
        read_peaks(write(tmp_path, f"chr1\t10\t20\nchr1\t{field}\t2000\n"))


def test_truncated_gzip(tmp_path):
    path = tmp_path / "a.bed.gz"
    path.write_bytes(gzip.compress(b"chr1\t5\t9\n" * 1000)[:-20])
    with pytest.raises(InputError, match=r"a\.bed\.gz: the gzip stream ends early"):
        read_peaks(path)


def test_bed5_needs_a_score(tmp_path):
    table = read_bed5(write(tmp_path, "1\t5\t9\t.\t3\n2\t5\t9\t.\t1\n"))
    assert table["score"].tolist() == [3.0, 1.0]
    assert table["chrom"].tolist() == ["chr1", "chr2"]
    assert table["strand"].tolist() == [".", "."]
    for text, message in [
        ("chr1\t5\t9\tn\t1\nchr1\t5\t9\tn\t.\n", "line 2: column 5 (score): found '.', wanted a number"),
        ("chr1\t5\t9\tn\t-1\n", "line 1: column 5 (score): found -1.0, wanted 0 or more"),
        ("chr1\t5\t9\tn\t1e400\n", "line 1: column 5 (score): found inf, wanted 0 or more"),
        ("chr1\t5\t9\tn\tnan\n", "line 1: column 5 (score): found 'nan', wanted a number"),
        ("chr1\t5\t9\tn\n", "line 1: found 4 columns, wanted 5"),
    ]:
        with pytest.raises(InputError) as error:
            read_bed5(write(tmp_path, text))
        assert message in str(error.value)


def test_folder_with_and_without_index(tmp_path):
    write(tmp_path, "chr1\t5\t9\n", "A1.bed")
    with gzip.open(tmp_path / "B2.bed.gz", "wt") as handle:
        handle.write("chr2\t5\t9\n")
    write(tmp_path, "not a peak file", "notes.txt")
    assert read_peaks(tmp_path)["rbp"].tolist() == ["A1", "B2"]
    write(tmp_path, "accession\ttarget\tcell\nB2\tQKI\tK562\nA1\tPUM2\tHepG2\n", "index.tsv")
    peaks = read_peaks(tmp_path)
    assert peaks[["rbp", "cell", "accession"]].to_numpy().tolist() == [["QKI", "K562", "B2"], ["PUM2", "HepG2", "A1"]]
    index = read_index(tmp_path / "index.tsv")
    assert read_peaks(tmp_path, index[index["rbp"] == "PUM2"])["chrom"].tolist() == ["chr1"]
    # A file in such a folder is known by the index as well.
    assert read_peaks(tmp_path / "A1.bed")["rbp"].tolist() == ["PUM2"]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("accession\ttarget\nA1\tQKI\n", "row 1: found no column 'cell'"),
        ("accession\ttarget\tcell\nA1\tQKI\tK562\nA1\tQKI\tK562\n", "row 3: found accession 'A1' a second time"),
        ("accession\ttarget\tcell\nC3\tQKI\tK562\n", "found no file C3.bed.gz"),
    ],
)
def test_faults_of_the_index(tmp_path, index, message):
    write(tmp_path, "chr1\t5\t9\n", "A1.bed")
    write(tmp_path, index, "index.tsv")
    with pytest.raises(InputError) as error:
        read_peaks(tmp_path)
    assert message in str(error.value)


def test_two_files_of_one_name(tmp_path):
    write(tmp_path, "chr1\t5\t9\n", "Q.bed")
    write(tmp_path, "chr1\t5\t9\n", "Q.narrowPeak")
    with pytest.raises(InputError, match=r"found Q\.bed and Q\.narrowPeak, wanted one file"):
        read_peaks(tmp_path)


def test_folder_without_peak_files(tmp_path):
    with pytest.raises(InputError, match=r"found no \*\.bed"):
        read_peaks(tmp_path)


@pytest.mark.shared
def test_every_peak_of_encode(shared_dir):
    peaks = read_peaks(shared_dir / "data" / "eclip_peaks")
    assert len(peaks) == 939_120
    assert peaks["rbp"].nunique() == 168
    assert (peaks["log2fc"] >= 3).all()
    assert peaks["accession"].nunique() == 250


def test_merged_peaks_name_all_rbps_once_and_keep_strands_apart():
    rows = [("chr1", 10, 20, "+"), ("chr1", 15, 30, "+"), ("chr1", 25, 40, "+"), ("chr1", 12, 18, "-")]
    peaks = pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])
    merged = merge_named_peaks(peaks.assign(rbp=["QKI", "FUS", "QKI", "FUS"], cell=["K562", "K562", "HepG2", "K562"]))
    assert merged.to_dict("list") == {
        "chrom": ["chr1", "chr1"],
        "start": [10, 12],
        "end": [40, 18],
        "strand": ["+", "-"],
        "rbp": ["FUS;QKI", "FUS"],
        "cell": ["HepG2;K562", "K562"],
        "n_peaks": [3, 1],
    }
