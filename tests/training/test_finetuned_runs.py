"""Records of fine-tuning runs that were edited by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from LAMAR.errors import InputError
from LAMAR.training import finetuned_runs

ARGUMENTS = {"data_path": None, "rbp_name": "QKI", "nlabels": 2, "loss": None, "max_length": 103, "truncate": False}
ARGUMENTS |= {"freeze_encoder": False, "seed": 42, "data_digest": "0"}


def make_run(folder: Path, arguments: dict | None = None, **entries) -> Path:
    """The files that are looked for before the data are read."""
    (folder / "fold_0").mkdir(parents=True)
    for name in ("fold_0/model.safetensors", "predictions.csv", "eval_results.json"):
        (folder / name).touch()
    record = {"status": "finished", "arguments": ARGUMENTS | (arguments or {})}
    (folder / "run.json").write_text(json.dumps(record | entries))
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nlabels": "2"}, "nlabels: found 2, not what a run writes"),
        ({"nlabels": True}, "nlabels: found True"),
        ({"loss": ["ce"]}, "loss: found"),
        ({"max_length": None}, "max_length: found None"),
        ({"seed": {}}, "seed: found {}"),
        ({"data_path": 3}, "data_path: found 3"),
        ({"truncate": "no"}, "truncate: found no"),
        ({"rbp_name": "../../etc"}, "rbp_name: found '../../etc', wanted no folders in it"),
        ({"rbp_name": ".."}, "rbp_name: found '..', wanted no folders in it"),
        ({"rbp_name": "/etc"}, "rbp_name: found '/etc', wanted no folders in it"),
        ({"rbp_name": "x" * 5000}, f"rbp_name: found {'x' * 80}"),
    ],
    ids=str,
)
def test_arguments_of_other_types_are_refused(tmp_path, arguments, message):
    run = make_run(tmp_path / "run", arguments)
    if message.startswith("rbp_name: found x"):
        message = "`data_dir`: not given"  # a name of letters, however many, is looked for where the data are
    with pytest.raises(InputError) as caught:
        finetuned_runs.open_run(run)
    assert message in str(caught.value)


@pytest.mark.parametrize("entries", [{"inputs": []}, {"inputs": {"a": 3}}, {"versions": [1]}, {"status": 3}], ids=str)
def test_entries_of_other_types_are_refused(tmp_path, entries):
    with pytest.raises(InputError, match=r"run\.json: .*not what a run writes"):
        finetuned_runs.open_run(make_run(tmp_path / "run", **entries))


@pytest.mark.parametrize(
    "record",
    [[], {}, {"weights": 3}, {"weights": {"source": 3, "sha256": "", "seed": 1}}]
    + [{"weights": {"source": "", "sha256": "", "seed": 1}, "versions": versions} for versions in ([], {"torch": 3})],
    ids=str,
)
def test_starting_weights_of_other_types_are_refused(tmp_path, record):
    run = finetuned_runs.FinetunedRun(
        make_run(tmp_path / "run"), "run", ARGUMENTS, None, "classification", ["fold_0"], {}
    )
    (run.path / "fold_0" / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"fold_0/run\.json: "):
        run.is_from_random()


@pytest.mark.parametrize("index", ["x", "", "-1", "2", "0.5", "1e400", "99999999999999999999"])
def test_predictions_of_records_that_are_not_there_are_refused(tmp_path, index):
    class Data:
        ids = ("a", "b")

        def __len__(self):
            return 2

    run = finetuned_runs.FinetunedRun(tmp_path, "run", ARGUMENTS, Data(), "classification", ["fold_0"], {})
    table = "record,index,evaluated_on,fold\na,0,test,fold_0\nb,{},test,fold_0\n"
    (tmp_path / "predictions.csv").write_text(table.format(1))
    assert finetuned_runs.fold_records(run, "fold_0", "test").tolist() == [0, 1]
    (tmp_path / "predictions.csv").write_text(table.format(index))
    with pytest.raises(InputError, match="names records that are not in the data of the run"):
        finetuned_runs.fold_records(run, "fold_0", "test")


def test_an_edited_run_among_others_is_left_out_with_a_warning(tmp_path, caplog):
    good = make_run(tmp_path / "good")
    make_run(tmp_path / "edited", {"seed": "x"})
    (tmp_path / "edited" / "predictions.csv").unlink()
    assert finetuned_runs.find_runs(tmp_path) == [good]
    assert "edited (run.json cannot be read)" in caplog.text


def test_runs_one_level_deeper_are_found(tmp_path):
    runs = [make_run(tmp_path / name / name) for name in ("GTF2F1", "QKI")]
    assert finetuned_runs.find_runs(tmp_path) == runs
    assert finetuned_runs.find_runs(tmp_path / "QKI") == runs[1:]
    assert finetuned_runs.find_runs(tmp_path, ["QKI"]) == runs[1:]
    with pytest.raises(InputError, match=r"found no finished run 'PUM2' .*wanted some of: GTF2F1, QKI"):
        finetuned_runs.find_runs(tmp_path, ["PUM2"])
    make_run(tmp_path / "again" / "QKI")
    with pytest.raises(InputError, match="found two runs QKI"):
        finetuned_runs.find_runs(tmp_path)
