"""Labelled sets from peaks: every window is what it says it is, on made-up and on real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from LAMAR.alphabet import reverse_complement
from LAMAR.data.composition import gc_content
from LAMAR.data.labelled import load_labelled
from LAMAR.data.sequences import parse_region, read_fasta
from LAMAR.data.synthetic_files import make_demo_data
from LAMAR.errors import InputError
from LAMAR.genomics.annotation import read_gtf
from LAMAR.genomics.binding_sets import SetOptions, Sources, build_set
from LAMAR.genomics.choices import MATCHES, NEGATIVES, MatchMethod, NegativeKind
from LAMAR.genomics.intervals import within
from LAMAR.genomics.peaks import read_peaks

SIZES = {"min_sites": 10}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    make_demo_data(folder, windows_per_rbp=60)
    return folder


@pytest.fixture(scope="module")
def sources(demo) -> Sources:
    return Sources.open(read_peaks(demo / "peaks"), demo / "genome.fa", demo / "annotation.gtf")


@pytest.fixture(scope="module")
def chromosomes(demo) -> dict[str, str]:
    return {header.split()[0]: sequence for header, sequence in read_fasta(demo / "genome.fa")}


def tables(built) -> pd.DataFrame:
    """All records of a set as its CSV files have them, and the part each is in."""
    import io

    parts = [
        pd.read_csv(io.StringIO(built.files[f"{part}.csv"])).assign(part=part) for part in ("train", "dev", "test")
    ]
    return pd.concat(parts, ignore_index=True)


def spell(chromosomes: dict[str, str], record) -> str:
    sequence = chromosomes[record.chrom][record.start : record.end]
    return reverse_complement(sequence) if record.strand == "-" else sequence


@pytest.mark.parametrize("negatives", ["other_rbps", "genome", "shuffle"])
@pytest.mark.parametrize("rbp", ["PUM2", "QKI"])
def test_records_are_what_they_say(sources, chromosomes, rbp, negatives):
    built = build_set(rbp, "DEMO", sources, SetOptions(negatives=negatives, **SIZES))
    records = tables(built)
    assert records["sequence"].str.len().eq(101).all()
    assert (records["end"] - records["start"] == 101).all()
    genomic = records[records["kind"] != "shuffle"]
    assert genomic["sequence"].tolist() == [spell(chromosomes, record) for record in genomic.itertuples()]

    positives, others = records[records["label"] == 1], records[records["label"] == 0]
    own = sources.peaks[sources.peaks["rbp"] == rbp]
    middles = set(zip(own["chrom"], (own["start"] + own["end"]) // 2 - 50, own["strand"]))
    assert set(zip(positives["chrom"], positives["start"], positives["strand"])) == middles
    assert len(positives) == built.report["positives"]["kept"]
    assert 10 <= len(others) == built.report["negatives"]["kept"] <= len(positives)
    assert not set(positives["sequence"]) & set(others["sequence"])
    assert records["sequence"].is_unique
    if negatives == "shuffle":
        assert set(zip(others["chrom"], others["start"])) == set(zip(positives["chrom"], positives["start"]))
        part_of = dict(zip(zip(positives["chrom"], positives["start"], positives["strand"]), positives["part"]))
        assert others["part"].tolist() == [
            part_of[key] for key in zip(others["chrom"], others["start"], others["strand"])
        ]
        assert built.report["split"]["method"] == "cluster"
        assert sum(built.report["split"]["sizes"].values()) == len(records)
        assert built.report["composition"]["gc_ks"] == 0
        assert built.report["composition"]["auroc"]["dinucleotide"]["value"] == pytest.approx(0.5)
        assert built.report["composition"]["largest_dinucleotide_difference"]["difference"] == pytest.approx(0)
    else:
        assert not within(others, own, 150, stranded=True).any()
    if negatives == "other_rbps":
        assert set(others["source"]) == set(sources.peaks["rbp"]) - {rbp}
    if negatives == "genome":
        # In genes that hold a positive, on their strand.
        hosts = set(sources.annotation.region_types(positives)["gene"])
        inside = sources.annotation.region_types(others)
        assert set(inside["gene"]) <= hosts
        assert not inside["conflict"].any()


def test_the_two_forms_hold_the_same_records(sources, tmp_path):
    built = build_set("PUM2", "DEMO", sources, SetOptions(**SIZES))
    for name, text in built.files.items():
        (tmp_path / name).write_text(text)
    both = {}
    for side, label in (("positives", 1), ("negatives", 0)):
        both |= {header: (sequence, label) for header, sequence in read_fasta(tmp_path / f"PUM2_DEMO.{side}.fa")}
    assert {r.id: (r.sequence, r.label) for r in tables(built).itertuples()} == both
    for header in both:
        assert parse_region(header).strand in "+-"
    folder = tmp_path / "PUM2_DEMO"
    folder.mkdir()
    for name in built.files:
        (tmp_path / name).rename(folder / name)
    # By its name, as fine-tuning and the evaluation ask for it: the parts are those that the report is about.
    loaded = load_labelled(tmp_path, name="PUM2_DEMO")
    sizes = {part: int((loaded.split == part).sum()) for part in ("train", "dev", "test")}
    assert sizes == built.report["split"]["sizes"]
    assert loaded.chrom is not None
    assert len(loaded) == len(both)


@pytest.mark.parametrize(
    ("match", "feature"),
    [("gc", "gc"), ("dinucleotide", "dinucleotide"), ("region", "region")],
)
def test_matching_brings_the_sides_nearer(sources, match, feature):
    # A quarter of the sites, so that there are several candidates for each.
    peaks = pd.concat([sources.peaks.query("rbp == 'QKI'")[::4], sources.peaks.query("rbp != 'QKI'")])
    few = Sources(peaks, sources.sequence, sources.annotation)
    free, near = (
        build_set("QKI", "DEMO", few, SetOptions(match=name, **SIZES)).report["composition"] for name in ("none", match)
    )

    def gap(report) -> float:
        if feature == "gc":
            return report["gc_ks"]
        key = "dinucleotides" if feature == "dinucleotide" else "regions"
        one, two = report["positives"][key], report["negatives"][key]
        return sum(abs(one.get(name, 0) - two.get(name, 0)) for name in {*one, *two})

    assert gap(near) < 0.8 * gap(free)


def test_ratio_and_counts_add_up(sources):
    built = build_set("QKI", "DEMO", sources, SetOptions(negatives="shuffle", ratio=2, **SIZES))
    positives, negatives = built.report["positives"], built.report["negatives"]
    assert negatives["kept"] == 2 * positives["kept"] == negatives["wanted"]
    lost = sum(value for name, value in positives.items() if name not in ("peaks", "kept"))
    assert positives["peaks"] == positives["kept"] + lost
    sizes = built.report["split"]["sizes"]
    assert sum(sizes.values()) == 3 * positives["kept"]


def test_thresholds_and_all_sites_of_the_rbp_count_for_distance(sources):
    peaks = sources.peaks.copy()
    own = (peaks["rbp"] == "QKI").to_numpy()
    weak = own & (np.arange(len(peaks)) % 2 == 0)
    peaks.loc[weak, "log2fc"] = 1.0
    halved = Sources(peaks, sources.sequence, sources.annotation)
    built = build_set("QKI", "DEMO", halved, SetOptions(**SIZES))
    assert built.report["positives"]["below_threshold"] == weak.sum()
    others = tables(built).query("label == 0")
    assert not within(others, peaks[own], 150, stranded=True).any()  # weak sites are sites


def test_chromosome_split_and_seed(sources):
    options = SetOptions(split="chromosome", test_chroms=["8"], **SIZES)
    records = tables(build_set("QKI", "DEMO", sources, options))
    assert set(records.loc[records["part"] == "test", "chrom"]) == {"chr8"}
    assert "chr8" not in set(records.loc[records["part"] != "test", "chrom"])
    one, two = (build_set("QKI", "DEMO", sources, SetOptions(seed=seed, **SIZES)).files for seed in (1, 2))
    assert one == build_set("QKI", "DEMO", sources, SetOptions(seed=1, **SIZES)).files
    assert one["QKI_DEMO.positives.fa"] == two["QKI_DEMO.positives.fa"]
    assert one["QKI_DEMO.negatives.fa"] != two["QKI_DEMO.negatives.fa"]


def test_too_few_sites(sources):
    with pytest.raises(InputError, match=r"QKI_DEMO: found \d+ usable sites of \d+ peaks .* wanted `min_sites` 5000"):
        build_set("QKI", "DEMO", sources, SetOptions(min_sites=5000))


def test_regions_without_annotation(demo, sources):
    """CLIP regions as the only sequence: negatives lie in regions, on the strand of some peak there."""
    regions = Sources.open(sources.peaks, demo / "clip_regions.fa", None)
    built = build_set("QKI", "DEMO", regions, SetOptions(negatives="genome", window=31, min_distance=50, **SIZES))
    others = tables(built).query("label == 0")
    assert regions.sequence.locate(others).min() >= 0
    assert set(others["strand"]) <= {"+", "-"}
    assert len(others) >= 10


def test_a_kind_of_negatives_and_a_match_added_to_the_tables_are_used_and_reported(sources):
    def neighbours(request):
        """Windows beside the sites, however near."""
        windows = request.positives.assign(kind="neighbour", origin=".")
        windows[["start", "end"]] += request.options.window
        windows["sequence"] = request.sources.sequence.extract(windows)
        return windows.iloc[request.rng.permutation(len(windows))], {"drawn": len(windows)}

    def last(positives, candidates, n=1, seed=0):
        return np.arange(len(candidates) - 20, len(candidates))

    NEGATIVES.add(NegativeKind("neighbours", "windows beside the sites", neighbours, options=("match",)))
    MATCHES.add(MatchMethod("last", "the last 20", last, column="start"))
    try:
        every = build_set("QKI", "DEMO", sources, SetOptions(negatives="neighbours", **SIZES))
        built = build_set("QKI", "DEMO", sources, SetOptions(negatives="neighbours", match="last", **SIZES))
    finally:
        NEGATIVES.remove("neighbours")
        MATCHES.remove("last")
    assert len(tables(every).query("label == 0")) == len(tables(every).query("label == 1"))
    records = tables(built).query("label == 0")
    assert len(records) == built.report["negatives"]["kept"] == 20
    assert set(records["kind"]) == {"neighbour"}
    sites = tables(built).query("label == 1")
    assert set(records["start"] - 101) <= set(sites["start"])
    assert "negatives (neighbours, match last): 20 of " in built.text
    with pytest.raises(InputError, match="`negatives`: found 'neighbours', wanted one of other_rbps, genome, shuffle"):
        SetOptions(negatives="neighbours")


def test_options_that_contradict_each_other_name_parameters():
    for options, message in (
        ({"negatives": "shuffle", "match": "gc"}, "`match` gc goes with `negatives` other_rbps or genome, found"),
        ({"match": "length"}, "`match`: found 'length', wanted one of none, gc, dinucleotide, region"),
        (
            {"split": "random", "dev_chroms": ["chr1"]},
            "`dev_chroms` goes with `split` chromosome, found `split`",
        ),
        ({"dev_fraction": 0.6, "test_fraction": 0.5}, "`dev_fraction`, `test_fraction`: found 0.6 and 0.5"),
        ({"ratio": 0}, "`ratio`: found 0, wanted 1 or more"),
    ):
        with pytest.raises(InputError, match=message):
            SetOptions(**options)
    assert SetOptions(split="chromosome").test_chroms == ["chr8", "chr9"]


@pytest.mark.shared
def test_qki_motif_on_real_data(shared_dir):
    """QKI's motif ACTAA (Galarneau and Richard 2005) marks the positives, whatever the negatives are."""
    data = shared_dir / "data"
    peaks = read_peaks(data / "eclip_peaks")
    sources = Sources.open(peaks, data / "clip_regions" / "hg38_clip_regions.fa.gz", None)
    shares = {}
    for negatives, match in (("other_rbps", "none"), ("other_rbps", "gc"), ("genome", "none"), ("shuffle", "none")):
        options = SetOptions(negatives=negatives, match=match)
        records = tables(build_set("QKI", "K562", sources, options))
        has = records["sequence"].str.contains("ACTAA", regex=False)
        shares[negatives, match] = (has[records["label"] == 1].mean(), has[records["label"] == 0].mean())
        if match == "gc":
            means = [gc_content(records.loc[records["label"] == label, "sequence"].tolist()).mean() for label in (0, 1)]
            assert means[0] == pytest.approx(means[1], abs=0.02)
    assert all(positive > 0.6 for positive, _ in shares.values())
    assert shares["other_rbps", "none"][0] > 8 * shares["other_rbps", "none"][1]
    assert shares["other_rbps", "gc"][0] > 3 * shares["other_rbps", "gc"][1]
    assert shares["genome", "none"][0] > 8 * shares["genome", "none"][1]
    assert shares["shuffle", "none"][0] > 2 * shares["shuffle", "none"][1]


@pytest.mark.shared
def test_windows_of_chromosome_nine(shared_dir, tmp_path):
    """A real contig and its annotation, Ensembl names and all."""
    genome = shared_dir / "data" / "genome"
    peaks = read_peaks(shared_dir / "data" / "eclip_peaks")
    near = peaks[(peaks["chrom"] == "chr9") & (peaks["end"] < 1_000_000)].assign(rbp="any", cell="", source="one")
    assert len(near) == 184
    annotation = read_gtf(genome / "Ensembl91.chr9_1_1000000.gtf.gz")
    types = annotation.region_types(near)
    assert types["region"].isin(["5'UTR", "CDS", "3'UTR", "intron", "ncRNA"]).mean() > 0.9
    assert not types["conflict"].any()
