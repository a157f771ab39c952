"""Corpora for masked-LM training: forms, held-out records, windows, batches."""

from __future__ import annotations

import csv
import gzip
import json
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequence_files import window

from LAMAR.alphabet import VOCABULARY
from LAMAR.batches import token_batches
from LAMAR.data import kmers
from LAMAR.data.corpora import Block, read_corpus
from LAMAR.data.corpus_files import SequenceRecord, corpus_files, read_records
from LAMAR.data.window_files import metadata_schema, open_metadata, render
from LAMAR.data_collator_patch import MaskedLMCollator
from LAMAR.errors import InputError
from LAMAR.training import window_batches
from LAMAR.training.window_batches import MAX_PADDING, TrainingBatches, cut_windows, plan_batches


def random_sequences(n: int, seed: int = 0, low: int = 20, high: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), rng.integers(low, high))) for _ in range(n)]


def write_fasta(path, sequences) -> None:
    path.write_text("".join(f">r{i} some words\n{s[:25]}\n{s[25:]}\n" for i, s in enumerate(sequences)))


def text_of(ids) -> str:
    return "".join(VOCABULARY[i] for i in ids)


def training_sequences(corpus) -> list[str]:
    return [text_of(b.ids[i + 1 : j - 1]) for b in corpus.blocks() for i, j in zip(b.offsets, b.offsets[1:])]


# ------------------------------------------------------------------------------------------------ reading

SEQUENCES = ["ACGTACGTAA", "GGGTTTACNA", "TTTTTTTTCC"]


@pytest.fixture(params="fasta fasta.gz text text.gz csv tsv.gz jsonl json parquet parquet_alone".split())
def any_form(request, tmp_path):
    """The same three sequences in each form; only metadata have peaks."""
    form = request.param
    path = tmp_path / "corpus.dat"  # the form is told from the content
    if form.startswith(("fasta", "text")):
        lines = [f">r{i}\n{s}\n" if form.startswith("fasta") else f"{s}\n" for i, s in enumerate(SEQUENCES)]
        text = "\n" + "".join(lines).replace("T", "u", 1)
        path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    elif form.startswith(("csv", "tsv")):
        rows = ["label,Sequence", *(f'"1, or 0",{s}' for s in SEQUENCES)] if form == "csv" else ["seq\tx", *SEQUENCES]
        text = "\n".join(rows)
        path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    elif form == "parquet_alone":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"seq": SEQUENCES, "other": [1, 2, 3]}), path)
    else:
        windows = [window(SEQUENCES[0], (2, 5), (4, 7)), window(SEQUENCES[1]), window(SEQUENCES[2], (0, 10))]
        schema = metadata_schema()
        with open_metadata(path, form, schema) as write:
            write(render(windows, form, schema))
    return form, path


def test_every_form_gives_the_same_sequences(any_form):
    form, path = any_form
    records = list(read_records(path))
    assert [record.sequence for record in records] == SEQUENCES
    peaks = [[(2, 5), (4, 7)], [], [(0, 10)]] if form in ("jsonl", "json", "parquet") else [None] * 3
    assert [record.regions for record in records] == peaks


def test_a_table_of_one_column_is_read(cases_folder, tmp_path):
    records = list(read_records(cases_folder / "one_column_csv" / "corpus.csv"))
    assert len(records) == 60
    assert records[0].where == "line 2"
    assert {len(record.sequence) for record in records} == {80}
    wanted = [(f"line {i}", s) for i, s in enumerate(SEQUENCES, start=3)]
    for head in ("Seq", '"sequence"', "# made up\nSEQUENCE", "\nsequence"):
        path = tmp_path / "corpus.dat"
        path.write_text("\n".join([*([] if "\n" in head else [""]), head, *SEQUENCES]) + "\n")
        assert [(record.where, record.sequence) for record in read_records(path)] == wanted
    # Without a header it is a text, whatever it is called.
    path = tmp_path / "a.csv"
    path.write_text("# made up\n" + "\n".join(SEQUENCES))
    assert [record.sequence for record in read_records(path)] == SEQUENCES


def test_a_column_of_sequences_may_have_another_name(tmp_path):
    for name, text in (
        ("one.csv", "Window\n" + "\n".join(SEQUENCES)),
        ("two.txt", "window,sequence\n" + "".join(f"{s},TTTTTTTT\n" for s in SEQUENCES)),
        ("three.jsonl", "".join(f'{{"window": "{s}", "sequence": "TTTT"}}\n' for s in SEQUENCES)),
    ):
        path = tmp_path / name
        path.write_text(text)
        columns = ("window", "sequence")
        assert [record.sequence for record in read_records(path, columns=columns)] == SEQUENCES
    with pytest.raises(InputError, match=r"one\.csv: found columns Window, wanted one called sequence or seq \("):
        list(read_records(tmp_path / "one.csv"))
    with pytest.raises(InputError, match=r"three\.jsonl: line 1: found no text under 'rna', wanted nucleotides"):
        list(read_records(tmp_path / "three.jsonl", columns=("rna",)))


def test_a_named_column_is_that_of_training_and_validation_and_excluded_files_may_have_their_own(tmp_path):
    rng = random.Random(1)
    windows = ["".join(rng.choices("ACGT", k=60)) for _ in range(40)]
    for name, head, members in (
        ("a", "Window", windows[:30]),
        ("b", "window", windows[30:35]),
        ("c", "seq", windows[:3]),
    ):
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *members]) + "\n")
    files = [tmp_path / f"{name}.csv" for name in "abc"]
    options = {"sequence_column": "window", "exclude_run": 30}
    for streaming in (False, True):
        corpus = read_corpus(files[:1], val_data=files[1:2], exclude=files[2:], streaming=streaming, **options)
        assert sorted(corpus.heldout) == sorted(windows[30:35])
        assert (corpus.counts["training"], corpus.counts["overlapping"]) == (27, 3)
    (tmp_path / "d.fa").write_text(">a\nACGT\n")
    with pytest.raises(InputError, match="`sequence_column` window: found no table in `data_path`"):
        read_corpus([tmp_path / "d.fa"], sequence_column="window")


def test_a_block_frames_records_and_marks_peaks():
    block = Block.encode([SequenceRecord("", "ACGT", [(1, 3)]), SequenceRecord("", "GG", None)])
    assert text_of(block.ids) == "<cls>ACGT<eos><cls>GG<eos>"
    assert block.offsets.tolist() == [0, 6, 10]
    assert block.regions.nonzero()[0].tolist() == [2, 3]
    assert Block.encode([SequenceRecord("", "GG", None)]).regions is None
    plain = Block.encode([SequenceRecord("", "TTT", None)])
    joined = Block.join([plain, block])
    assert text_of(joined.ids) == "<cls>TTT<eos><cls>ACGT<eos><cls>GG<eos>"
    assert joined.offsets.tolist() == [0, 5, 11, 15]
    assert joined.regions.nonzero()[0].tolist() == [7, 8]


def test_a_folder_takes_corpora_and_no_second_form_of_the_same_windows(tmp_path):
    for name in ("a.fa", "b.txt.gz", "clip_metadata.jsonl", "clip_sequences.txt", "clip_stats.json", "notes.md"):
        (tmp_path / name).write_text("x")
    for name in ("clip_train.jsonl", "clip_train_sequences.txt", "clip_split.json", "alone_sequences.txt", ".b.fa"):
        (tmp_path / name).write_text("x")
    names = [path.name for path in corpus_files([tmp_path])]
    assert names == ["a.fa", "alone_sequences.txt", "b.txt.gz", "clip_metadata.jsonl", "clip_train.jsonl"]


MISTAKES = {
    "empty": ("", "empty"),
    "blank": ("\n \n", "empty"),
    "header alone": (">a\n", "no sequence"),
    "protein": (">p\nMKVLAAGIEF\n", "position 4: found 'L'"),
    "protein of letters that nucleotides have": (">p\nMKVSSRWYMKVSSRWY\n", "proteins"),
    "table without sequences": ("name,label\nACGT,1\n", "sequence or seq"),
    "table with a short row": ("label\tseq\n1\tACGT\n0\n", "line 3"),
    "jsonl that is none": ('{"sequence": "ACGT"}\n{"seque\n', "line 2"),
    "jsonl without sequence": ('{"name": "ACGT"}\n', "line 1"),
    "jsonl with a number": ('{"sequence": 7}\n', "line 1"),
    "json that is none": ('[{"sequence": "ACGT"}', "JSON"),
    "nested json": ("[" * 200_000, "JSON"),
    "nested jsonl": ('{"sequence": ' + "[" * 200_000, "line 1"),
    "peak outside": (json.dumps(window("ACGT", (2, 5))), "eclip_regions"),
    "peak without end": ('{"sequence": "ACGT", "eclip_regions": [{"start": 1}]}', "eclip_regions"),
    "binary": ("\0\1\2", "binary"),
    "missing in a table": ("sequence,name\nACGT,a\nNA,b\n", "line 3: found the missing value NA"),
    "missing in a text": ("ACGT\nnan\n", "line 2: found the missing value nan"),
    "missing in jsonl": ('{"sequence": "ACGT"}\n{"sequence": "NaN"}\n', "line 2: found the missing value NaN"),
    "no value in jsonl": ('{"sequence": NaN}\n', "line 1: found no text"),
}


def test_missing_values_of_parquet_files_are_no_nucleotides(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, (missing, message) in enumerate((("NA", "found the missing value NA"), (None, "found no text"))):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"sequence": ["ACGT", missing]}), path)
        with pytest.raises(InputError, match=rf"{number}\.parquet: record 2: {message}"):
            list(read_records(path))


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_a_file_is_named_with_its_place(tmp_path, case):
    text, wanted = MISTAKES[case]
    path = tmp_path / "corpus.txt"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        list(read_records(path))
    assert str(path) in str(error.value)
    assert wanted in str(error.value)


@pytest.mark.parametrize(
    "start", ["", ">chr1\n", '{"sequence": "', '[{"sequence": "'], ids=["text", "fasta", "jsonl", "json"]
)
def test_an_endless_line_is_not_read_to_its_end(tmp_path, start):
    """A gzipped quarter of a gigabyte, of which a few megabytes are read."""
    path = tmp_path / "corpus.gz"
    with gzip.open(path, "wb", compresslevel=1) as handle:
        handle.write(start.encode())
        for _ in range(64):
            handle.write(b"ACGT" * 2**20)
    tracemalloc.start()
    with pytest.raises(InputError, match="more than 1,000,000"):
        list(read_records(path, max_record=1_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_may_be_as_long_as_a_chromosome(tmp_path, quote):
    before = csv.field_size_limit()
    (tmp_path / "long.csv").write_text(f"name,sequence\nx,{quote}{'ACGT' * 100_000}{quote}\n")
    (record,) = read_records(tmp_path / "long.csv")
    assert len(record.sequence) == 400_000
    assert csv.field_size_limit() == before


def test_a_record_of_many_lines_is_bounded_too(tmp_path):
    (tmp_path / "long.fa").write_text(">ok\nACGT\n>long\n" + "ACGTACGT\n" * 20)
    with pytest.raises(InputError, match=r"long\.fa: record long has more than 100 letters"):
        list(read_records(tmp_path / "long.fa", max_record=100))


# ------------------------------------------------------------------------------------------------ held-out records


def test_copies_are_on_one_side_in_whatever_file_they_are(tmp_path):
    sequences = random_sequences(400)
    write_fasta(tmp_path / "a.fa", sequences)
    (tmp_path / "b.txt").write_text("\n".join(sequences[100:300]).lower())
    corpus = read_corpus([tmp_path], val_fraction=0.2, seed=3, val_nucleotides=10**6)
    trained, held = training_sequences(corpus), corpus.heldout
    assert not set(trained) & set(held)
    assert set(trained) | set(held) == set(sequences)
    assert len(trained) == len(set(trained)), "further copies are left out"
    assert 40 < len(held) < 120
    counts = corpus.counts
    assert counts["records"] == 600
    assert counts["training"] + counts["duplicates"] + counts["heldout"] == 600
    assert counts["training_nucleotides"] == sum(map(len, trained))
    kept = read_corpus([tmp_path], val_fraction=0.2, seed=3, keep_duplicates=True)
    assert kept.counts["training"] == counts["training"] + counts["duplicates"]
    other = read_corpus([tmp_path], val_fraction=0.2, seed=4, val_nucleotides=10**6)
    assert set(other.heldout) != set(held)


def test_streaming_holds_out_and_trains_on_the_same_records(tmp_path):
    write_fasta(tmp_path / "a.fa", random_sequences(200, seed=1))
    write_fasta(tmp_path / "b.fa", random_sequences(100, seed=2))
    whole = read_corpus([tmp_path], val_fraction=0.1)
    streamed = read_corpus([tmp_path], val_fraction=0.1, streaming=True, block_nucleotides=1_000)
    assert streamed.heldout == whole.heldout
    assert training_sequences(streamed) == training_sequences(whole)
    sizes = [len(block.ids) - 2 * len(block) for block in streamed.blocks()]
    assert len(sizes) > 5
    assert max(sizes) < 1_060, "a block ends with the record that fills it"
    orders = {tuple(block.offsets[1] for block in streamed.blocks(np.random.default_rng(k))) for k in range(8)}
    assert len(orders) == 2, "files come in either order"


def test_few_held_out_nucleotides_are_the_first_of_many(tmp_path):
    write_fasta(tmp_path / "a.fa", random_sequences(2_000))
    many = read_corpus([tmp_path / "a.fa"], val_fraction=0.5, val_nucleotides=10**6)
    few = read_corpus([tmp_path / "a.fa"], val_fraction=0.5, val_nucleotides=500)
    assert few.heldout == many.heldout[: len(few.heldout)]
    assert 500 <= sum(map(len, few.heldout)) < 560
    assert training_sequences(few) == training_sequences(many)


def test_a_validation_corpus_is_left_out_of_training(tmp_path):
    sequences = random_sequences(50)
    write_fasta(tmp_path / "train.fa", sequences)
    write_fasta(tmp_path / "val.fa", sequences[:10] + random_sequences(5, seed=9))
    corpus = read_corpus([tmp_path / "train.fa"], val_data=[tmp_path / "val.fa"])
    assert sorted(training_sequences(corpus)) == sorted(sequences[10:])
    assert len(corpus.heldout) == 15
    assert corpus.counts["heldout"] == 10


def test_nothing_held_out_or_nothing_left_is_an_error(tmp_path):
    write_fasta(tmp_path / "a.fa", random_sequences(3))
    with pytest.raises(InputError, match="`val_fraction` 1e-09"):
        read_corpus([tmp_path / "a.fa"], val_fraction=1e-9)
    with pytest.raises(InputError, match="no record to train on"):
        read_corpus([tmp_path / "a.fa"], val_data=[tmp_path / "a.fa"])
    with pytest.raises(InputError, match="more than once"):
        read_corpus([tmp_path / "a.fa", tmp_path])


@pytest.mark.parametrize("options", [{}, {"streaming": True}], ids=["memory", "streaming"])
def test_records_that_overlap_what_must_stay_unseen_are_left_out(tmp_path, options):
    apart = random_sequences(40, seed=1, low=60, high=90)
    held, unseen = random_sequences(2, seed=2, low=80, high=81)
    tail = "A" * 31
    near = [tail + held[10:40] + tail, unseen[-30:], held[50:] + "N" + unseen[:5]]
    far = [tail + held[10:39] + "N" + tail, unseen[-29:], tail + held[10:25] + "N" + held[26:41] + tail]
    (tmp_path / "train.txt").write_text("\n".join([*apart, *near, *far]))
    (tmp_path / "val.txt").write_text(held)
    (tmp_path / "test.csv").write_text(f"sequence,label\n{unseen},1\n")
    given = {"val_data": [tmp_path / "val.txt"], "exclude": [tmp_path / "test.csv"], **options}
    corpus = read_corpus([tmp_path / "train.txt"], **given)
    assert training_sequences(corpus) == [*apart, *far]
    assert corpus.counts["overlapping"] == 3
    assert corpus.counts["training"] == 43
    everything = read_corpus([tmp_path / "train.txt"], val_data=[tmp_path / "val.txt"], exclude_run=0, **options)
    assert training_sequences(everything) == [*apart, *near, *far]


def test_runs_in_pieces_of_long_sequences_are_found(monkeypatch):
    (long,) = random_sequences(1, seed=3, low=500, high=501)
    queries = [long[i : i + 20] for i in range(0, 481)] + ["ACGT" * 10]
    monkeypatch.setattr(kmers, "_LETTERS_AT_ONCE", 64)
    index = kmers.RunIndex([long], 20)
    assert index.shares(queries).tolist() == [True] * 481 + [False]
    assert kmers.RunIndex([long[100:130]], 20).shares([long, long[:110], long[111:]]).tolist() == [True, False, False]
    assert not kmers.RunIndex([], 20).shares([long]).any()


# ------------------------------------------------------------------------------------------------ windows


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12), st.integers(1, 30), st.integers(0, 99) | st.none())
def test_windows_hold_every_nucleotide_once(lengths, room, seed):
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths) + 2)])
    rng = None if seed is None else np.random.default_rng(seed)
    starts, ends = cut_windows(offsets, room, rng)
    assert (ends - starts).min() >= 1
    assert (ends - starts).max() <= room
    covered = np.zeros(offsets[-1], dtype=int)
    for start, end in zip(starts, ends):
        covered[start:end] += 1
    special = np.zeros(offsets[-1], dtype=bool)
    special[offsets[:-1]] = special[offsets[1:] - 1] = True
    assert (covered == ~special).all()
    short = np.flatnonzero(np.array(lengths) <= room)
    assert set(offsets[short] + 1) <= set(starts), "a record that fits is one window"


def test_windows_by_hand():
    starts, ends = cut_windows(np.array([0, 12, 17]), 4)
    assert list(zip(starts.tolist(), ends.tolist())) == [(1, 5), (5, 9), (9, 11), (13, 16)]


def test_windows_begin_anywhere_equally_often():
    offsets = np.arange(3001) * 102
    starts, _ = cut_windows(offsets, 10, np.random.default_rng(0))
    phases = np.bincount((starts - 1) % 102 % 10, minlength=10)[1:]
    # 3,000 records, of which a tenth has its cuts at each phase: ten, or for the last nine windows a record.
    assert abs(phases / phases.mean() - 1).max() < 0.25


# ------------------------------------------------------------------------------------------------ batches


def padding(batches, lengths) -> float:
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    return 1 - lengths.sum() / padded


@settings(max_examples=60)
@given(st.lists(st.integers(3, 200), min_size=1, max_size=80), st.integers(200, 2000), st.integers(0, 9))
def test_batches_hold_each_window_once_within_budget_and_padding(lengths, budget, seed):
    lengths = np.array(lengths)
    batches = plan_batches(lengths, budget, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(lengths[batch].max() * len(batch) <= budget for batch in batches)
    assert padding(batches, lengths) <= MAX_PADDING + 1e-12


def test_bounded_padding_makes_batches_smaller_only_where_it_must():
    lengths = np.array([100] * 10 + [50] * 10)
    assert [len(batch) for batch in token_batches(lengths, 1500)] == [15, 5]
    # After ten windows of 100 one of 50 pads 50 of 1,100, two 100 of 1,200, which is above 5 %.
    assert [len(batch) for batch in token_batches(lengths, 1500, 0.05)] == [11, 9]
    equal = np.full(40, 30)
    assert [len(batch) for batch in token_batches(equal, 300, 0.05)] == [10] * 4


def test_many_windows_of_many_lengths_need_no_smaller_batches():
    lengths = np.random.default_rng(0).integers(22, 512, 5_000)
    batches = plan_batches(lengths, 8_192, np.random.default_rng(1))
    assert padding(batches, lengths) < 0.02
    assert len(batches) <= len(token_batches(lengths, 8_192))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_fasta(folder / "a.fa", random_sequences(120, high=200))
    write_fasta(folder / "b.fa", random_sequences(60, seed=5, high=90))
    return folder


def stream(folder, skip=0, rank=0, world_size=1, seed=1, **options) -> TrainingBatches:
    read = read_corpus([folder], val_fraction=0.1, **options)
    batches = TrainingBatches(read, MaskedLMCollator(seed=seed), 62, 640, seed, rank, world_size)
    batches.skip = skip
    return batches


def first(batches: TrainingBatches, n: int) -> list[dict]:
    return [batch for batch, _ in zip(batches, range(n))]


def same(one: dict, two: dict) -> bool:
    return all(one[name].shape == two[name].shape and bool((one[name] == two[name]).all()) for name in one)


@pytest.mark.parametrize("options", [{}, {"streaming": True, "block_nucleotides": 2_000}], ids=["memory", "streaming"])
def test_a_resumed_stream_equals_an_uninterrupted_one(corpus, options):
    """From any batch on, over the ends of passes and blocks; the counts of what was passed over too."""
    whole = stream(corpus, **options)
    batches = first(whole, 250)
    assert whole.passes >= 2
    for skip in (1, 23, 190):
        resumed = stream(corpus, skip, **options)
        rest = first(resumed, 250 - skip)
        assert all(same(a, b) for a, b in zip(rest, batches[skip:]))
        assert (resumed.tokens, resumed.padded, resumed.passes) == (whole.tokens, whole.padded, whole.passes)
    assert not same(first(stream(corpus, seed=2, **options), 1)[0], batches[0])


def test_a_pass_has_every_training_nucleotide_and_cuts_differ_between_passes(corpus):
    batches = stream(corpus)
    nucleotides = batches.corpus.counts["training_nucleotides"]
    plans = [next(batches._plans(epoch)) for epoch in (0, 1)]
    for _, _, (starts, ends), _ in plans:
        assert (ends - starts).sum() == nucleotides
    assert not np.array_equal(plans[0][2][0], plans[1][2][0])


def test_processes_share_the_batches_of_one(corpus):
    alone = first(stream(corpus), 24)
    one, two = (first(stream(corpus, rank=rank, world_size=2), 12) for rank in (0, 1))
    assert all(same(a, b) for a, b in zip(alone, [batch for pair in zip(one, two) for batch in pair]))


def test_more_processes_than_batches_is_an_error(corpus):
    with pytest.raises(InputError, match="fewer batches than the 500 processes"):
        first(stream(corpus, world_size=500), 1)


def test_tokens_are_counted_with_and_without_padding(corpus):
    batches = stream(corpus)
    tokens = padded = 0
    for batch in first(batches, 30):
        tokens += int(batch["attention_mask"].sum())
        padded += batch["attention_mask"].numel()
        assert batch["attention_mask"].numel() <= 640
    next_one = batches.tokens
    # zip has asked for one batch more than it gave.
    assert tokens < next_one <= tokens + 640
    assert 1 - batches.tokens / batches.padded <= MAX_PADDING


def test_windows_of_n_alone_are_left_out():
    block = Block.encode([SequenceRecord("", "N" * 10 + "ACGT" + "N" * 10, None)])
    starts, ends = window_batches.known_windows(block, *cut_windows(block.offsets, 5))
    assert list(zip(starts.tolist(), ends.tolist())) == [(11, 16)]


def test_regions_travel_with_their_windows():
    block = Block.encode([SequenceRecord("", "ACGTACGTAC", [(3, 6)])])
    records = window_batches.window_records(block, *cut_windows(block.offsets, 4))
    assert [text_of(r["input_ids"]) for r in records] == [f"<cls>{s}<eos>" for s in ("ACGT", "ACGT", "AC")]
    inside = [r["regions"][1:-1].nonzero()[0].tolist() for r in records]
    assert inside == [[3], [0, 1], []]


def test_the_share_of_n_is_judged_by_file(tmp_path):
    (tmp_path / "a.txt").write_text("ACGT" * 100 + "\n")
    (tmp_path / "b.txt").write_text("NNNA\nACGT\n")
    assert len(list(read_records(tmp_path / "b.txt"))) == 2, "3 of 8"
    (tmp_path / "b.txt").write_text("NNNN\nANGT\n")
    with pytest.raises(InputError, match=r"b\.txt: found 62% letters"):
        read_corpus([tmp_path])
