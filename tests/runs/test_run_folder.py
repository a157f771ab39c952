"""Run folders: complete files, no result lost, only a run's own files deleted, and resumed runs that end the same."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from LAMAR import runs
from LAMAR.errors import InputError
from LAMAR.runs import RunFolder
from LAMAR.runs.storage import read_json, write_json

# A bare package stands in for LAMAR/__init__.py, which imports torch: these processes start twenty times.
BARE_PACKAGE = f"""
import sys, types
package = types.ModuleType("LAMAR")
package.__path__, package.__version__ = [{str(Path(runs.__file__).parents[1])!r}], "0"
sys.modules["LAMAR"] = package
"""


def start(path, **options) -> RunFolder:
    return RunFolder.open(path, **{"arguments": {"epochs": 10, "lr": 3e-5}, "seed": 7} | options)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_units_are_skipped_on_the_next_start(tmp_path):
    with start(tmp_path / "out") as run:
        assert not run.was_finished
        assert not run.done("QKI/layer 11")
        saved = run.save_unit("QKI/layer 11", {"auroc": 0.1 + 0.2, "mcc": np.nan, "shape": (2, 3)})
        assert saved == {"auroc": 0.1 + 0.2, "mcc": None, "shape": [2, 3]}
        assert read_json(run.path / "run.json")["status"] == "running"
    with start(tmp_path / "out") as run:
        assert run.done("QKI/layer 11")
        assert run.load_unit("QKI/layer 11") == saved
        assert not run.done("QKI")
        with pytest.raises(KeyError, match="not done"):
            run.load_unit("QKI")
        before = run.record["wall_time_s"]
        time.sleep(0.02)
        run.finish({"auroc": np.float64(0.5)})
    record = read_json(tmp_path / "out/run.json")
    assert record["status"] == "finished"
    assert record["starts"] == 2
    assert record["summary"] == {"auroc": 0.5}
    assert record["wall_time_s"] >= before + 0.02
    with start(tmp_path / "out") as run:
        assert run.was_finished
        assert run.done("QKI/layer 11")


@pytest.mark.parametrize("name", ["../../escape", "a/b", ".", "..", "Ä = 1,2", "con:*?", "%2F", "\udce9"])
def test_unit_names_stay_in_their_folder_and_apart(tmp_path, name):
    with start(tmp_path / "out") as run:
        run.save_unit(name, {"value": 1})
        run.save_unit(name + "/", {"value": 2})
        assert run.load_unit(name) == {"value": 1}
        assert names(tmp_path) - {"out", "out/run.json", "out/.lock", "out/units"} == {
            f"out/units/{path.name}" for path in (tmp_path / "out/units").iterdir()
        }
        assert len(list((tmp_path / "out/units").iterdir())) == 2
        for refused in ("", "x" * 196, "é" * 33):  # é takes six letters
            with pytest.raises(InputError, match=r"out: found the name '.*', wanted 1 to 195 letters"):
                run.save_unit(refused, {})


@pytest.mark.parametrize("damage", ["cut", "edit", "empty", "list"])
def test_a_damaged_unit_is_done_again(tmp_path, caplog, damage):
    with start(tmp_path) as run:
        run.save_unit("fold", {"auroc": 0.9})
        path = tmp_path / "units/fold.json"
        text = path.read_text()
        path.write_text({"cut": text[:-20], "edit": text.replace("0.9", "0.8"), "empty": "", "list": "[]"}[damage])
        with caplog.at_level(logging.WARNING):
            assert not run.done("fold")
        assert "fold.json" in caplog.text


def test_other_arguments_or_inputs_are_refused_by_name(tmp_path):
    data = tmp_path / "data.fa"
    data.write_text("a")
    out = tmp_path / "out"
    start(out, inputs=[data]).close()
    with pytest.raises(InputError, match=r"another `epochs`: found 10, wanted 20; use `overwrite`"):
        start(out, arguments={"epochs": 20, "lr": 3e-5}, inputs=[data])
    with pytest.raises(InputError, match=r"another `head`: found 'absent', wanted 'cnn'"):
        start(out, arguments={"epochs": 10, "lr": 3e-5, "head": "cnn"}, inputs=[data])
    with pytest.raises(InputError, match=r"another `lr`: found 3e-05, wanted 'absent'"):
        start(out, arguments={"epochs": 10}, inputs=[data])
    with pytest.raises(InputError, match=r"another seed: found 7, wanted 8"):
        start(out, seed=8, inputs=[data])
    with pytest.raises(InputError, match=r"another weights sha256: found 'absent', wanted '0'"):
        start(out, inputs=[data], weights={"sha256": "0"})
    folds = {"QKI": {"fold_0": {"sha256": "0"}, "fold_1": {"sha256": "1"}}}
    start(tmp_path / "folds", weights=folds).close()
    folds["QKI"]["fold_1"] = {"sha256": "2"}
    with pytest.raises(InputError, match=r"another weights QKI fold_1 sha256: found '1', wanted '2'; use"):
        start(tmp_path / "folds", weights=folds)
    start(out, arguments={"epochs": 20, "lr": 3e-5}, inputs=[data], ignore=["epochs"]).close()
    data.write_text("b")
    with pytest.raises(InputError, match=r"another content of .*data\.fa"):
        start(out, arguments={"epochs": 20, "lr": 3e-5}, inputs=[data])
    with pytest.raises(InputError, match=r"holds a run"):
        start(out, inputs=[data], resume=False)


def test_an_argument_that_came_later_and_is_not_given_is_no_other_run(tmp_path):
    start(tmp_path, arguments={"lr": 3e-5}).close()
    start(tmp_path, arguments={"lr": 3e-5, "p_column": None}).close()
    with pytest.raises(InputError, match=r"another `p_column`: found None, wanted 4"):
        start(tmp_path, arguments={"lr": 3e-5, "p_column": 4})
    start(tmp_path, arguments={"lr": 3e-5}).close()


def test_counts_of_repeats_may_grow_and_not_shrink(tmp_path):
    def counts(n: int) -> dict:
        return {"arguments": {"draws": n, "lr": 3e-5}, "may_grow": ["draws"]}

    for n in (2, 2, 5):
        start(tmp_path, **counts(n)).close()
    with pytest.raises(InputError, match=r"^`draws` 4: .* holds a run of 5, wanted that many or more; use `overwrite`"):
        start(tmp_path, **counts(4))
    with pytest.raises(InputError, match=r"another `draws`: found 5, wanted 'absent'"):
        start(tmp_path, arguments={"lr": 3e-5}, may_grow=["draws"])
    with pytest.raises(InputError, match=r"another `draws`: found 5, wanted 6"):
        start(tmp_path, arguments={"draws": 6, "lr": 3e-5})
    assert read_json(tmp_path / "run.json")["arguments"] == {"draws": 5, "lr": 3e-5}
    assert read_json(tmp_path / "run.json")["starts"] == 3


def test_overwrite_deletes_what_the_run_made_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    with start(out) as run:
        run.save_unit("fold", {"auroc": 0.9})
        run.file("results.csv").write_text("x")
        run.file("plots/roc.png").write_text("x")
        (run.folder("model") / "weights").write_text("x")
        (out / "model/more").mkdir()
        (out / "notes.txt").write_text("mine")
        (out / "plots/mine.png").write_text("mine")
    with start(out, arguments={"epochs": 1}, overwrite=True) as run:
        assert names(out) == {".lock", "run.json", "units", "notes.txt", "plots", "plots/mine.png"}
        assert run.record["starts"] == 1
        assert not run.done("fold")
        with pytest.raises(InputError, match=r"notes\.txt: in the way"):
            run.file("notes.txt")
        with pytest.raises(InputError, match=r"plots: in the way"):
            run.folder("plots")
    assert (out / "notes.txt").read_text() == "mine"


def test_overwrite_refuses_to_delete_what_the_run_reads(tmp_path):
    out = tmp_path / "out"
    with start(out) as run:
        run.file("results.csv").write_text("x")
        (run.folder("model") / "weights").write_text("x")
    before = {name: (out / name).read_bytes() for name in names(out) if (out / name).is_file() and name != ".lock"}
    for reads in ({"inputs": [out / "results.csv"]}, {"weights": {"Pretrained": {"source": str(out / "model")}}}):
        with pytest.raises(InputError, match=r"`output_dir`: .*out holds .*, which this run reads"):
            start(out, overwrite=True, **reads)
    assert before == {name: (out / name).read_bytes() for name in before}


def test_overwrite_refuses_a_run_of_another_script(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["some/pretrain.py", "--lr", "1"])
    start(tmp_path / "out").close()
    monkeypatch.setattr(sys, "argv", ["plot_results.py"])
    with pytest.raises(InputError, match=r"holds a run of pretrain\.py; use another `output_dir`"):
        start(tmp_path / "out", overwrite=True)


def test_a_killed_embedding_cache_in_the_folder_is_no_hindrance(tmp_path):
    with start(tmp_path / "out") as run:
        staged = run.folder("embeddings") / ".entry.123-0123abcd.partial"
        staged.mkdir()
    with start(tmp_path / "out"):
        assert staged.is_dir()  # the cache removes it, under its own lock


def test_overwrite_never_follows_a_link_or_a_path_out(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("mine")
    with start(tmp_path / "out") as run:
        for name in ("../precious", "a/../../precious", "", "..", tmp_path / "precious"):
            with pytest.raises(ValueError, match="name"):
                run.file(name)
        run.folder("model").rmdir()
        (tmp_path / "out/model").symlink_to(tmp_path / "precious")
    start(tmp_path / "out", overwrite=True).close()
    assert (tmp_path / "precious/file").read_text() == "mine"
    assert not (tmp_path / "out/model").is_symlink()


def test_an_interrupted_overwrite_is_not_resumed(tmp_path, monkeypatch):
    with start(tmp_path) as run:
        run.save_unit("fold", {"auroc": 0.9})
        run.file("a.csv").write_text("x")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path, overwrite=True)
    with start(tmp_path) as run:
        assert not run.done("fold")
    assert not (tmp_path / "a.csv").exists()


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(InputError, match=r"has files but no run\.json"):
        start(tmp_path)
    assert names(tmp_path) == {"thesis.docx"}
    with start(tmp_path, overwrite=True) as run:
        run.finish()
    assert (tmp_path / "thesis.docx").read_text() == "mine"
    (tmp_path / "run.json").write_text('{"status": "from another program"}')
    (tmp_path / ".lock").unlink()
    for overwrite in (True, False):
        with pytest.raises(InputError, match="not a run of this program"):
            start(tmp_path, overwrite=overwrite)
    assert not (tmp_path / ".lock").exists()
    with pytest.raises(InputError, match="cannot be used as output folder"):
        start(tmp_path / "thesis.docx")


EDITS = [{"arguments": []}, {"files": None}, {"inputs": None}, {"starts": "1"}, {"wall_time_s": "1"}, {"git": [1]}]
# Elements of the right containers.
EDITS += [{"command": [3]}, {"files": [3]}, {"files": [["units"]]}, {"inputs": {"a.fa": 3}}, {"versions": {"torch": 2}}]
EDITS += [{"wall_time_s": float("inf")}, {"wall_time_s": -1}, {"git": {"commit": 3}}]


@pytest.mark.parametrize("change", EDITS, ids=str)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_record_that_was_edited_is_refused(tmp_path, change, overwrite):
    start(tmp_path).close()
    edited = json.dumps(read_json(tmp_path / "run.json") | change)
    (tmp_path / "run.json").write_text(edited)
    with pytest.raises(InputError, match=r"run\.json: not a run of this program"):
        start(tmp_path, overwrite=overwrite)
    assert (tmp_path / "run.json").read_text() == edited


@pytest.mark.parametrize(
    "name", ["../mine.txt", "units/../../mine.txt", "..", "", ".", "link/mine.txt", "x\0", "x" * 300]
)
def test_a_record_that_names_files_outside_the_folder_deletes_nothing(tmp_path, name):
    folder = tmp_path / "out"
    start(folder).close()
    (tmp_path / "mine.txt").write_text("mine")
    (folder / "link").symlink_to(tmp_path)
    record = read_json(folder / "run.json")
    for files in ([name], [str(tmp_path / "mine.txt")]):
        write_json(folder / "run.json", record | {"files": ["units", *files]})
        with pytest.raises(InputError, match=r"run\.json: files: found .*, wanted paths inside the run's folder"):
            start(folder, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (folder / "units").is_dir()


def test_a_run_that_an_earlier_version_began_is_resumed(tmp_path):
    """A folder with the record and the unit that version 0.1.0 left when it was killed."""
    record = {
        "status": "running",
        "command": ["finetune_scripts/finetune_rbp.py", "--epochs", "10"],
        "arguments": {"epochs": 10, "lr": 3e-05},
        "seed": 7,
        "git": {"commit": "7d25196", "dirty": False},
        "versions": {"LAMAR": "0.1.0", "python": "3.11.7", "torch": "2.11.0"},
        "platform": "Linux-5.15-x86_64",
        "cpu_count": 2,
        "threads": 1,
        "inputs": {},
        "weights": None,
        "started": "2025-01-01T00:00:00+00:00",
        "finished": None,
        "starts": 2,
        "files": ["units", "fold_0"],
        "summary": None,
        "wall_time_s": 100.5,
    }
    write_json(tmp_path / "run.json", record)
    (tmp_path / "units").mkdir()
    digest = "1fefffa7b2d34c7f1836b8b86a7705672b85e9ef267e81ad55760c76036f3fd5"
    unit = {"unit": "fold_0", "sha256": digest, "result": {"auroc": 0.9}}
    write_json(tmp_path / "units" / "fold_0.json", unit)
    with start(tmp_path) as run:
        assert run.load_unit("fold_0") == {"auroc": 0.9}
        assert run.folder("fold_0").is_dir()
        assert run.record["started"] == "2025-01-01T00:00:00+00:00"
        assert run.record["starts"] == 3
        assert run.record["wall_time_s"] >= 100.5


def test_a_missing_input_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"none\.fa"):
        start(tmp_path / "out", inputs=[tmp_path / "none.fa"])
    assert names(tmp_path) == set()


def test_exceptions_stop_the_run_and_free_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), start(tmp_path):
        _ = 1 / 0
    assert read_json(tmp_path / "run.json")["status"] == "stopped"
    start(tmp_path).close()


@pytest.mark.parametrize("work", [None, "unit", "folder", "earlier start"])
def test_an_input_error_leaves_nothing_unless_there_is_work(tmp_path, work):
    if work == "earlier start":
        start(tmp_path / "out").close()
    with pytest.raises(InputError, match="late"), start(tmp_path / "out") as run:  # noqa: PT012
        run.file("log.csv").write_text("x")
        if work == "unit":
            run.save_unit("fold", {"auroc": 0.9})
        checkpoints = run.folder("checkpoints", is_work=True)
        if work == "folder":
            (checkpoints / "checkpoint-1").mkdir()
        raise InputError("late")
    assert (tmp_path / "out").exists() == (work is not None)
    with start(tmp_path / "out", arguments={"epochs": 10, "lr": 3e-5 if work else 1e-5}) as run:
        assert run.done("fold") == (work == "unit")
        run.drop_unit("fold")
        assert not run.done("fold")


def test_two_processes_do_not_share_a_folder(tmp_path):
    code = BARE_PACKAGE + (
        "from LAMAR.runs import RunFolder\n"
        "run = RunFolder.open(sys.argv[1], arguments={'epochs': 10, 'lr': 3e-5}, seed=7)\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match=f"in use by process {other.pid}$"):
            start(tmp_path / "out", overwrite=True)
        other.kill()
    start(tmp_path / "out").close()  # the lock died with its process


def test_other_ranks_write_nothing(tmp_path):
    with start(tmp_path / "out") as writer:
        writer.save_unit("fold", {"auroc": 0.9})
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
        with start(tmp_path / "out", is_writer=False) as reader:
            assert reader.load_unit("fold") == {"auroc": 0.9}
            assert reader.save_unit("other", {"x": (1,)}) == {"x": [1]}
            assert reader.file("a/b.csv") == tmp_path / "out/a/b.csv"
            assert reader.folder("c") == tmp_path / "out/c"
            reader.finish()
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
        assert not writer.done("other")


def test_folder_can_be_cleared(tmp_path):
    with start(tmp_path) as run:
        (run.folder("checkpoints") / "half").write_text("x")
        assert list(run.folder("checkpoints").iterdir()) != []
        assert list(run.folder("checkpoints", empty=True).iterdir()) == []
        assert run.record["files"] == ["units", "checkpoints"]
        run.file("checkpoints/log.csv")
        assert run.record["files"] == ["units", "checkpoints"]


def test_import_stays_light():
    code = BARE_PACKAGE + (
        "import LAMAR.runs, LAMAR.runs.provenance; LAMAR.runs.provenance.provenance({}, seed=0)\n"
        "print([m for m in ('torch', 'transformers', 'tensorflow', 'sklearn') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------- killed runs

N_UNITS, N_ROWS = 8, 200
SCRIPT = f"""{BARE_PACKAGE}
import random, time
from LAMAR.runs import RunFolder
from LAMAR.runs.storage import write_csv, write_json

out, log = sys.argv[1:]
with RunFolder.open(out, arguments={{"units": {N_UNITS}}}, seed=0) as run:
    print("open", flush=True)
    rows = []
    for i in range({N_UNITS}):
        name = f"QKI/fold {{i}}"
        if run.done(name):
            unit = run.load_unit(name)
        else:
            with open(log, "a") as handle:
                handle.write(name + "\\n")
            time.sleep(0.02)
            draw = random.Random(i)
            p = [draw.random() for _ in range({N_ROWS})]
            unit = run.save_unit(name, {{"p": p, "mcc": float("nan")}})
        rows += [{{"unit": name, "record": j, "p": p, "mcc": unit["mcc"]}} for j, p in enumerate(unit["p"])]
        write_csv(run.file("results.csv"), rows)
    write_json(run.file("summary.json"), {{"mean": sum(row["p"] for row in rows) / len(rows)}})
    run.finish()
"""


def launch(out: Path, log: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(out), str(log)], stdout=subprocess.PIPE, text=True)


def test_a_killed_run_ends_as_an_unbroken_one(tmp_path):
    begin = time.monotonic()
    with launch(tmp_path / "unbroken", tmp_path / "log") as process:
        process.stdout.readline()
        opening = time.monotonic() - begin
    working = time.monotonic() - begin - opening
    assert process.returncode == 0
    final = {name: (tmp_path / "unbroken" / name).read_bytes() for name in ("results.csv", "summary.json")}
    lines = final["results.csv"].splitlines(keepends=True)
    complete = {b"".join(lines[: 1 + N_ROWS * k]) for k in range(1, N_UNITS + 1)}

    all_kills = 0
    for seed in range(3):
        draw = random.Random(seed)
        out, log = tmp_path / f"out{seed}", tmp_path / f"log{seed}"
        torn, stop = [], threading.Event()

        def watch(out=out, torn=torn, stop=stop):
            while not stop.is_set():
                for name in final:
                    if (out / name).exists():
                        content = (out / name).read_bytes()
                        if content not in complete and content != final["summary.json"]:
                            torn.append((name, content))
                time.sleep(0.002)

        watcher = threading.Thread(target=watch)
        watcher.start()
        kills = 0
        try:
            for attempt in range(5):
                with launch(out, log) as process:
                    # The first kill may hit the opening of the folder, the others hit the work in it.
                    if attempt == 0:
                        time.sleep(draw.uniform(0.4, 1.2) * opening)
                    elif attempt < 4:
                        process.stdout.readline()
                        time.sleep(draw.uniform(0, 0.4) * working)
                    if attempt < 4:
                        process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += process.returncode == -signal.SIGKILL
        finally:
            stop.set()
            watcher.join()
        assert process.returncode == 0
        all_kills += kills
        assert torn == []
        assert {name: (out / name).read_bytes() for name in final} == final
        computed = log.read_text().splitlines()
        assert set(computed) == {f"QKI/fold {i}" for i in range(N_UNITS)}
        assert len(computed) <= N_UNITS + kills  # a kill costs the unit at hand, no other
        assert read_json(out / "run.json")["status"] == "finished"
        assert not [path for path in names(out) if path.endswith(".partial")]
        assert len(os.listdir(out / "units")) == N_UNITS
    assert all_kills >= 4


def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path):
    with RunFolder.open(tmp_path / "new", arguments={}, seed=1) as run:
        run.save_unit("one", {"x": 1})
        run.file("a.csv").write_text("x")
        run.discard()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine.txt").write_text("keep")
    with RunFolder.open(tmp_path / "old", arguments={}, seed=1, overwrite=True) as run:
        run.discard()
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["mine.txt"]
