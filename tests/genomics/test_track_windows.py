"""Windows around clustered peaks and their labels, by cases that can be worked out by hand; background windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from LAMAR.alphabet import reverse_complement
from LAMAR.data.kmers import RunIndex
from LAMAR.data.sequences import write_fasta
from LAMAR.errors import InputError
from LAMAR.genomics.annotation import read_gtf
from LAMAR.genomics.genome import open_genome
from LAMAR.genomics.track_background import (
    background_windows,
    chromosome_of,
    gene_candidates,
    peak_runs,
    read_transcripts,
    transcript_candidates,
)
from LAMAR.genomics.track_windows import (
    TrackOptions,
    cluster_centers,
    label_windows,
    read_track_peaks,
    site_windows,
    track_table,
)


def peaks_of(*rows: tuple) -> pd.DataFrame:
    """Peaks from (track, start, end) and what differs from a strong peak on the plus strand of chr1."""
    records = []
    for track, start, end, *others in rows:
        rbp, cell = track.split("_")
        record = {"chrom": "chr1", "start": start, "end": end, "strand": "+", "log2fc": 5.0, "neg_log10_p": 9.0}
        record |= {"rbp": rbp, "cell": cell, "accession": f"file_{track}", "track": track}
        records.append(record | (others[0] if others else {}))
    return pd.DataFrame(records)


def state(track: str, *rows: tuple, **options) -> str:
    """Label of a track in the window around base 1000 of chr1, plus strand."""
    peaks = peaks_of(*rows)
    tracks = track_table(peaks)
    windows = pd.DataFrame({"chrom": ["chr1"], "center": [1000], "strand": ["+"]})
    bound, unknown = label_windows(windows, peaks, tracks, TrackOptions(**options))
    number = tracks["track"].tolist().index(track)
    assert not set(bound.ids) & set(unknown.ids)
    return "bound" if number in bound.ids else "unknown" if number in unknown.ids else "not bound"


HERE = ("OTHER_K562", 990, 1010)  # so that K562 has a peak in the window


# Of the window 950-1051, the middle 30 nt are 985-1015.
@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (900, 1100, "bound"),
        (1014, 1030, "bound"),
        (1015, 1030, "unknown"),
        (970, 986, "bound"),
        (970, 985, "unknown"),
        (999, 1000, "bound"),
        # 149 and 150 bases lie between the peak and the middle.
        (1164, 1170, "unknown"),
        (1165, 1170, "not bound"),
        (800, 836, "unknown"),
        (800, 835, "not bound"),
    ],
)
def test_a_peak_and_the_middle_of_the_window(start, end, wanted):
    assert state("A_K562", HERE, ("A_K562", start, end)) == wanted
    # Another chromosome or strand is no place for it.
    elsewhere = [{"chrom": "chr2"}, {"strand": "-"}]
    assert {state("A_K562", HERE, ("A_K562", start, end, place)) for place in elsewhere} == {"not bound"}
    assert state("A_K562", HERE, ("A_K562", start, end, {"strand": "."})) == wanted


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (1050, 1060, "not bound"),
        (1051, 1060, "unknown"),
        (900, 951, "not bound"),
        (900, 950, "unknown"),
        (990, 1010, "not bound"),
    ],
)
def test_a_cell_line_without_a_peak_in_the_window_is_unknown(start, end, wanted):
    far = ("B_HepG2", 90_000, 90_100)
    assert state("B_HepG2", HERE, far, ("A_HepG2", start, end)) == wanted
    # The other cell line is not touched by it.
    assert state("C_K562", HERE, ("C_K562", 90_000, 90_100), ("A_HepG2", start, end)) == "not bound"


def test_weak_peaks_are_unknown_and_tell_of_their_cell_line():
    for weak in ({"log2fc": 2.9}, {"neg_log10_p": 2.9}):
        assert state("A_K562", HERE, ("A_K562", 990, 1010, weak)) == "unknown"
        assert state("B_HepG2", HERE, ("B_HepG2", 9000, 9100), ("A_HepG2", 990, 1010, weak)) == "not bound"
        both = ("A_K562", 990, 1010, weak), ("A_K562", 1000, 1020)
        assert state("A_K562", *both) == state("A_K562", *both[::-1]) == "bound"
    assert state("A_K562", HERE, ("A_K562", 990, 1010, {"log2fc": 2.9}), min_log2fc=2.5) == "bound"
    # A file without these columns has no threshold to fail.
    assert state("A_K562", HERE, ("A_K562", 990, 1010, {"log2fc": np.nan, "neg_log10_p": np.nan})) == "bound"


def test_other_lengths_and_distances():
    # Middle 10 nt: 995-1005; 20 bases from it: up to 975 and from 1025.
    for start, end, wanted in ((1004, 1005, "bound"), (1005, 1009, "unknown"), (1024, 1030, "unknown")):
        assert state("A_K562", HERE, ("A_K562", start, end), core=10, near=20, cluster=5) == wanted
    assert state("A_K562", HERE, ("A_K562", 1025, 1030), core=10, near=20, cluster=5) == "not bound"
    assert state("A_K562", HERE, ("A_K562", 1005, 1030), core=10, near=0, cluster=5) == "not bound"


def test_labels_do_not_depend_on_the_size_of_blocks(monkeypatch):
    rng = np.random.default_rng(3)
    starts = rng.integers(0, 20_000, 400)
    names = [f"R{i % 7}_{'K562' if i % 3 else 'HepG2'}" for i in range(400)]
    peaks = peaks_of(*((name, start, start + 40) for name, start in zip(names, starts)))
    tracks = track_table(peaks)
    windows = pd.DataFrame({"chrom": "chr1", "center": np.arange(100, 20_000, 57), "strand": "+"})
    whole = label_windows(windows, peaks, tracks, TrackOptions())
    monkeypatch.setattr("LAMAR.genomics.track_windows._ROWS_AT_ONCE", 11)
    pieces = label_windows(windows, peaks, tracks, TrackOptions())
    for one, two in zip(whole, pieces):
        np.testing.assert_array_equal(one.ids, two.ids)
        np.testing.assert_array_equal(one.offsets, two.offsets)
        assert len(one) == len(windows)


def test_tracks_are_ordered_and_join_their_experiments():
    peaks = peaks_of(("B_K562", 1, 5), ("A_K562", 1, 5), ("B_K562", 9, 12, {"accession": "another"}))
    table = track_table(peaks)
    assert table["track"].tolist() == ["A_K562", "B_K562"]
    assert table["accession"].tolist() == ["file_A_K562", "another;file_B_K562"]
    assert table["n_peaks"].tolist() == [1, 2]
    assert table["id"].tolist() == [0, 1]


def centers(starts: list[int], distance: int = 25, strand: str = "+") -> list[int]:
    peaks = peaks_of(*(("A_K562", start, start + 1, {"strand": strand}) for start in starts))
    return cluster_centers(peaks, distance)["center"].tolist()


def test_clusters_of_centers():
    assert centers([100]) == [100]
    assert centers([100, 125]) == [112]
    assert centers([100, 126]) == [100, 126]
    # A cluster does not grow from peak to peak: 100-125, then 126-151, then 152.
    assert centers([152, 126, 100, 125, 151, 112]) == [112, 138, 152]
    assert centers([100, 100, 101], distance=0) == [100, 101]
    # The centre of 10-21 and of 10-20 is base 15.
    for end in (20, 21):
        assert cluster_centers(peaks_of(("A_K562", 10, end)), 25)["center"].tolist() == [15]


def test_strands_and_chromosomes_are_clustered_apart():
    places = [{"strand": "+"}, {"strand": "-"}, {"strand": "."}, {"chrom": "chr2"}]
    peaks = peaks_of(*(("A_K562", 100 + i, 101 + i, place) for i, place in enumerate(places)))
    found = cluster_centers(peaks, 25)
    assert sorted(zip(found["chrom"], found["strand"], found["center"])) == [
        ("chr1", "+", 100), ("chr1", "-", 101), ("chr1", ".", 102), ("chr2", "+", 103),
    ]  # fmt: skip


def test_every_peak_of_a_cluster_overlaps_the_middle():
    rng = np.random.default_rng(0)
    peaks = peaks_of(*((f"A{i}_K562", start, start + 1) for i, start in enumerate(rng.integers(0, 3000, 300))))
    for core, cluster in ((30, 28), (9, 7), (2, 0)):
        options = TrackOptions(core=core, cluster=cluster)
        windows = cluster_centers(peaks, cluster)
        bound, _ = label_windows(windows, peaks, track_table(peaks), options)
        assert set(bound.ids) == set(range(300))
        assert bound.lengths.min() > 0


@pytest.fixture
def genome(tmp_path) -> Path:
    """chr1, chr8 and chr10 of 3,000 random nt each."""
    rng = np.random.default_rng(1)
    records = [(name, "".join(rng.choice(list("ACGT"), 3000))) for name in ("chr1", "chr8", "chr10")]
    write_fasta(tmp_path / "genome.fa", records)
    return tmp_path / "genome.fa"


def clusters(*rows: tuple[str, int, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chrom", "center", "strand"])


def test_windows_of_a_genome(genome):
    with open_genome(genome) as source:
        wanted = clusters(("chr1", 500, "+"), ("chr1", 500, "-"), ("chr8", 1000, "+"), ("chr10", 50, "+"))
        windows, dropped = site_windows(wanted, source, TrackOptions())
        forward = source.extract(pd.DataFrame({"chrom": ["chr1"], "start": [450], "end": [551]}))[0]
    assert not any(dropped.values())
    by_strand = windows[windows["chrom"] == "chr1"].set_index("strand")
    assert by_strand.loc["+", ["start", "end", "sequence"]].tolist() == [450, 551, forward]
    assert by_strand.loc["-", "sequence"] == reverse_complement(forward)
    assert dict(zip(windows["chrom"], windows["part"])) == {"chr1": "train", "chr8": "test", "chr10": "dev"}
    assert windows.loc[windows["chrom"] == "chr10", ["start", "end"]].to_numpy().tolist() == [[0, 101]]


def test_windows_at_an_end_stay_centered(genome):
    rows = [("chr1", center, "+") for center in (50, 49, 22, 21, 2949, 2950, 2977, 2978, 3000)]
    with open_genome(genome) as source:
        windows, dropped = site_windows(clusters(*rows), source, TrackOptions())
    spans = dict(zip(windows["center"], zip(windows["start"], windows["end"])))
    assert spans == {50: (0, 101), 49: (0, 99), 22: (0, 45), 2949: (2899, 3000), 2950: (2901, 3000), 2977: (2955, 3000)}
    assert (dropped["too_short"], dropped["center_outside"]) == (2, 1)


def test_windows_that_cannot_be_read_are_counted(tmp_path):
    rng = np.random.default_rng(2)
    sequence = "".join(rng.choice(list("ACGT"), 400))
    with_n = sequence[:300] + "N" + sequence[301:]
    write_fasta(tmp_path / "g.fa", [("chr1", with_n), ("chr8", sequence[:200]), ("chrUn_X", sequence[200:])])
    rows = [("chr1", 340, "+"), ("chr1", 100, "+"), ("chr8", 100, "+"), ("chrUn_X", 100, "+")]
    with open_genome(tmp_path / "g.fa") as source:
        windows, dropped = site_windows(clusters(*rows), source, TrackOptions())
    # One sequence is in chr1 (train) and chr8 (test): the test window stays.
    assert windows[["chrom", "center", "part"]].to_numpy().tolist() == [["chr8", 100, "test"]]
    assert {name: number for name, number in dropped.items() if number} == {
        "nonstandard_chromosome": 1, "ambiguous_bases": 1, "repeated_sequence": 1,
    }  # fmt: skip


def test_chromosomes_that_the_sequence_lacks(genome):
    rows = clusters(("chr1", 500, "+"), ("chr9", 500, "+"), ("chr9", 600, "+"), ("chrUn_X", 5, "+"))
    with open_genome(genome) as source:
        with pytest.raises(InputError, match="found no chromosome chr9, on which peaks lie"):
            site_windows(rows, source, TrackOptions())
        windows, dropped = site_windows(rows, source, TrackOptions(allow_missing=True))
        assert (len(windows), dropped["chromosome_absent"]) == (1, 2)
        with pytest.raises(InputError, match="found no chromosome chr9"):
            site_windows(rows.iloc[1:], source, TrackOptions(allow_missing=True))


def test_training_windows_that_share_a_run_are_left_out(genome):
    rows = clusters(("chr1", 500, "+"), ("chr1", 900, "+"), ("chr8", 500, "+"))
    with open_genome(genome) as source:
        windows, _ = site_windows(rows, source, TrackOptions())
        texts = dict(zip(zip(windows["chrom"], windows["center"]), windows["sequence"]))
        # 30 nt of one training window, 29 of the other, and 30 of a test window.
        seen = [texts["chr1", 500][60:90], texts["chr1", 900][:29], texts["chr8", 500][:30]]
        windows, dropped = site_windows(rows, source, TrackOptions(), RunIndex(seen, 30))
    assert sorted(zip(windows["chrom"], windows["center"])) == [("chr1", 900), ("chr8", 500)]
    assert dropped["excluded"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"core": 60}, "`core` 60, `min_length` 45"),
        ({"window": 40}, "`window` 40"),
        ({"cluster": 29}, "`cluster`: found 29, wanted at most `core` - 2 = 28"),
        ({"exclude_run": 46}, "`exclude_run`: found 46"),
        ({"dev_chroms": ["9"]}, "`dev_chroms`: found chr9 in `test_chroms` too"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(InputError, match=message):
        TrackOptions(**options)


def test_chromosomes_in_headers():
    assert chromosome_of("ENST1.5 cdna chromosome:GRCh38:1:9848276:9910263:-1 gene:X") == "chr1"
    assert chromosome_of("hg19_ct_NM_1 range=chr22:100-200 5'pad=0 strand=-") == "chr22"
    assert chromosome_of("chr7:100-200(+)") == "chr7"
    assert chromosome_of("ENST1 QKI::chr7:100-200(+)") == chromosome_of("ENST1 7:100-200(+) QKI") == "chr7"
    assert chromosome_of("ENST1 score:1-5") is None
    assert chromosome_of("ENST00000284984") is None
    assert chromosome_of("ENST1|ENSG1|processed_transcript|") is None


def test_parts_of_transcripts(tmp_path):
    rng = np.random.default_rng(4)
    texts = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(1500)]
    known = [("a range=chr8:1-61 x", texts[0]), ("b range=chr10:1-61 x", texts[1]), ("c range=chr2:1-61 x", texts[2])]
    write_fasta(tmp_path / "t.fa", known + [(f"t{i}", text) for i, text in enumerate(texts)])
    table = read_transcripts([tmp_path / "t.fa"], TrackOptions())
    assert len(table) == 1500
    assert table["name"].tolist()[:3] == ["a", "b", "c"]
    assert table["part"].tolist()[:3] == ["test", "dev", "train"]
    shares = table["part"].iloc[3:].value_counts(normalize=True)
    # 80, 10 and 10 %, give or take four standard errors of 1,497 draws.
    assert abs(shares["train"] - 0.8) < 0.042
    assert abs(shares["dev"] - 0.1) < 0.031
    assert abs(shares["test"] - 0.1) < 0.031
    assert read_transcripts([tmp_path / "t.fa"], TrackOptions())["part"].equals(table["part"])


def runs_of(sequences, length: int = 30) -> set[str]:
    return {text[i : i + length] for text in sequences for i in range(len(text) - length + 1)}


def test_background_shares_no_run_with_peaks_nor_with_itself(genome, tmp_path):
    rng = np.random.default_rng(5)
    options = TrackOptions(background_windows=(40, 10, 10), test_chroms=["chr8"], dev_chroms=["chr10"])
    peaks = peaks_of(("A_K562", 500, 560), ("B_K562", 2000, 2090))
    with open_genome(genome) as source:
        windows, _ = site_windows(clusters(("chr1", 530, "+"), ("chr1", 2045, "-")), source, options)
        runs = peak_runs(windows, peaks, source, 30)
        sites = source.extract(pd.DataFrame({"chrom": "chr1", "start": [480, 1995], "end": [581, 2096]}))
    plain = ["".join(rng.choice(list("ACGT"), 1500)) for _ in range(12)]
    # Of each transcript after the first six, the second half is an isoform of an earlier one.
    plain[6:] = [text[:700] + earlier[:800] for text, earlier in zip(plain[6:], plain)]
    for i, run in ((0, sites[0][20:50]), (1, reverse_complement(sites[1][40:70])), (2, sites[0][:29])):
        plain[i] = plain[i][:600] + run + plain[i][600:]
    places = ["chr1", "chr8", "chr2", "chr10"]
    records = [(f"t{i} range={places[i % 4]}:1-2 x", text) for i, text in enumerate(plain)]
    write_fasta(tmp_path / "t.fa", records)
    lengths = np.array([45, 77, 101])

    def draw(seed: int):
        candidates = transcript_candidates(
            read_transcripts([tmp_path / "t.fa"], options), lengths, options, np.random.default_rng(seed)
        )
        return background_windows(candidates, runs, options)

    found, counts = draw(0)
    assert counts["kept"] == found["part"].value_counts().reindex(["train", "dev", "test"]).to_dict()
    assert counts["near_a_peak"] > 0
    assert counts["shared_with_another"] > 0
    texts = found["sequence"].tolist()
    both_strands = runs_of(sites) | runs_of(map(reverse_complement, sites))
    assert not runs_of(texts) & both_strands
    assert len(runs_of(texts)) == sum(len(runs_of([text])) for text in texts)
    assert set(map(len, texts)) == {45, 77, 101}
    whole = dict(zip([f"t{i}" for i in range(12)], plain))
    assert [whole[c][s:e] for c, s, e in zip(found["chrom"], found["start"], found["end"])] == texts
    expected = {"chr1": "train", "chr2": "train", "chr8": "test", "chr10": "dev"}
    assert all(part == expected[places[int(name[1:]) % 4]] for name, part in zip(found["chrom"], found["part"]))
    # 115 nt on each side of a tile of 101 nt must be free of the run at 600-630 as well; 29 nt of a site are none.
    middle = (found["start"] + found["end"]) // 2
    for name in ("t0", "t1"):
        near = found["chrom"].eq(name) & (middle > 630 - 216 + 50) & (middle < 600 + 216 - 50)
        assert not near.any()
    assert found["chrom"].eq("t2").any()
    again, _ = draw(0)
    assert again["sequence"].tolist() == texts
    assert draw(1)[0]["sequence"].tolist() != texts


def test_background_stops_at_what_is_wanted_and_keeps_away_from_excluded(tmp_path, genome):
    rng = np.random.default_rng(6)
    texts = ["".join(rng.choice(list("ACGT"), 5050)) for _ in range(2)]
    write_fasta(tmp_path / "t.fa", [("a range=chr2:1-2 x", texts[0]), ("b range=chr8:1-2 x", texts[1])])
    options = TrackOptions(background_windows=(7, 3, 2))
    transcripts = read_transcripts([tmp_path / "t.fa"], options)
    none = RunIndex([], 30)

    def draw(apart=None):
        candidates = transcript_candidates(transcripts, np.array([101]), options, np.random.default_rng(0))
        return background_windows(candidates, none, options, apart)

    found, counts = draw()
    assert counts["kept"] == {"train": 7, "dev": 0, "test": 2}
    # The first half of the training transcript, and all of the test one.
    found, counts = draw(RunIndex([texts[0][:2500], texts[1]], 30))
    assert counts["kept"] == {"train": 7, "dev": 0, "test": 2}
    assert counts["excluded"] > 0
    assert (found.loc[found["part"] == "train", "start"] > 2500 - 30).all()
    candidates = transcript_candidates(transcripts, np.array([101]), options, np.random.default_rng(0))
    with pytest.raises(InputError, match="found no background window"):
        background_windows(candidates, RunIndex(texts, 30), options)


def test_background_from_genes(genome, tmp_path):
    lines = []
    for chrom, start, end, gene in (("chr1", 1, 2000, "g1"), ("chr1", 2101, 3000, "g2"), ("chr8", 1, 3000, "g3")):
        attributes = f'gene_id "{gene}"; transcript_id "{gene}t";'
        lines.append(f"{chrom}\tx\texon\t{start}\t{end}\t.\t+\t.\t{attributes}\n")
    (tmp_path / "a.gtf").write_text("".join(lines))
    annotation = read_gtf(tmp_path / "a.gtf")
    options = TrackOptions()
    peaks = peaks_of(("A_K562", 1000, 1060), ("A_K562", 400, 460, {"chrom": "chr8"}))
    with open_genome(genome) as source:
        candidates = gene_candidates(annotation, peaks, source, np.array([101]), options, np.random.default_rng(0))
        found, _ = background_windows(candidates, peak_runs(peaks, peaks, source, 30), options)
        assert found["sequence"].tolist() == source.extract(found)
        # g2 has no peak, and 115 nt between a window and a peak are kept.
        assert set(found["part"]) == {"train", "test"}
        near = found["chrom"].eq("chr1") & (found["end"] > 1000 - 115) & (found["start"] < 1060 + 115)
        assert not near.any()
        assert found.loc[found["chrom"] == "chr1", "end"].max() <= 2000
        with pytest.raises(InputError, match="`gtf`: found no gene with a peak"):
            next(
                gene_candidates(annotation, peaks.iloc[:0], source, np.array([101]), options, np.random.default_rng(0))
            )


def test_peaks_of_files_and_folders(tmp_path):
    for name, text in (("a/A.bed", "chr1\t5\t9\n"), ("b/B.bed", "chr2\t5\t9\tx\t0\t-\n"), ("b/A.bed", "chr1\t1\t2\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    peaks = read_track_peaks([tmp_path / "a" / "A.bed", tmp_path / "b" / "B.bed"])
    assert peaks[["chrom", "strand", "track", "cell"]].to_numpy().tolist() == [
        ["chr1", ".", "A", ""],
        ["chr2", "-", "B", ""],
    ]
    with pytest.raises(InputError, match=r"`peaks`: found 'A' in .*a and in .*b, wanted it once"):
        read_track_peaks([tmp_path / "a", tmp_path / "b"])


def test_an_index_names_tracks_and_joins_experiments(tmp_path):
    (tmp_path / "index.tsv").write_text("accession\ttarget\tcell\nX1\tQKI\tK562\nX2\tQKI\tK562\nX3\tQKI\tHepG2\n")
    for i in (1, 2, 3):
        (tmp_path / f"X{i}.bed").write_text(f"chr1\t{i}0\t{i}9\tx\t0\t+\n")
    peaks = read_track_peaks([tmp_path])
    assert track_table(peaks)[["track", "accession", "n_peaks"]].to_numpy().tolist() == [
        ["QKI_HepG2", "X3", 1],
        ["QKI_K562", "X1;X2", 2],
    ]
    assert len(read_track_peaks([tmp_path], cells=["HepG2"])) == 1
    with pytest.raises(InputError, match="`rbps`: found no peaks of 'PUM2', wanted some of QKI"):
        read_track_peaks([tmp_path], ["QKI", "PUM2"])
    with pytest.raises(InputError, match="`cells`: found no peaks of 'HeLa', wanted some of HepG2, K562"):
        read_track_peaks([tmp_path], cells=["HeLa"])
    (tmp_path / "index.tsv").write_text("accession\ttarget\tcell\nX1\tQ\tK_1\nX2\tQ_K\t1\nX3\tR\tR\n")
    with pytest.raises(InputError, match="whose tracks would both be called Q_K_1"):
        read_track_peaks([tmp_path])
