"""One track of a data set for many RBPs, read as a labelled set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from track_sets import make_track_set, write_small_set

from LAMAR.data.labelled import load_labelled
from LAMAR.data.labelled_files import set_names
from LAMAR.data.tracks import write_track_set
from LAMAR.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_small_set(tmp_path_factory.mktemp("tracks"))


@pytest.mark.parametrize("track", ["PUM2_HepG2", "TARDBP_HepG2"])
def test_windows_labels_and_parts_are_those_of_the_track(folder, track):
    source, found = make_track_set(), load_labelled(folder, name=track)
    j = source.names.index(track)
    labels, known = source.labels(np.arange(len(source)))
    assert 0 < known[:, j].sum() < len(source)  # the set has unknown labels, which are left out
    for part in ("train", "dev", "test"):
        rows = source.rows(part)
        rows = rows[known[rows, j] == 1]
        chosen = np.flatnonzero(found.split == part)
        assert [found.sequences[i] for i in chosen] == [source.sequences[i] for i in rows]
        assert found.labels[chosen].tolist() == labels[rows, j].tolist()
        assert found.start[chosen].tolist() == source.windows["start"].to_numpy()[rows].tolist()
    assert (found.name, len(found)) == (track, int(known[:, j].sum()))
    assert found.ids[0] == f"chr1:{found.start[0]}-{found.end[0]}(+)"
    assert {file.name for file in found.files} == {"windows.parquet", "tracks.tsv"}


def test_the_only_track_needs_no_name(tmp_path):
    write_track_set(tmp_path, make_track_set().select_tracks([2]).with_part_counts())
    assert load_labelled(tmp_path).name == "QKI_K562"


def test_tracks_are_the_names_of_the_folders_sets(folder):
    assert set_names(folder) == ["PUM2_HepG2", "PUM2_K562", "QKI_K562", "TARDBP_HepG2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "QKI_K56"}, "`name`: found 'QKI_K56', wanted one of the 4 tracks of .*similar: QKI_K562"),
        ({}, "`name`: found no name, wanted one of the 4 tracks of .*PUM2_HepG2, PUM2_K562"),
        ({"name": "QKI_K562", "task": "regression"}, "a track is bound or not bound, wanted another data set for regr"),
    ],
)
def test_what_is_not_a_track_is_refused(folder, options, message):
    with pytest.raises(InputError, match=message):
        load_labelled(folder, **options)
