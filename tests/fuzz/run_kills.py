#!/usr/bin/env python
"""Kill the long scripts at file-system calls, start them again, and compare their tables with an undisturbed run's.

    python tests/fuzz/run_kills.py                                      100 kills of each script
    python tests/fuzz/run_kills.py --scripts predict_rbp --kills 20 --seed 7

Each run is a forked process that ends itself by SIGKILL before the n-th call that opens, renames, removes or syncs
something in its output folder; n is drawn. A trial is a new folder in which up to four starts are killed one after the
other and the next one is not. Its tables, and weights where it trains, must then be those of a run that nobody
disturbed, byte for byte except for times, and nothing partial may be left. The exit code is 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

FOLDER = Path(__file__).resolve().parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["LAMAR_LIGHT"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path[:0] = [str(FOLDER), str(FOLDER.parent), str(FOLDER.parents[1])]

import pandas as pd  # noqa: E402
import script_runs  # noqa: E402
import targets_genomics  # noqa: E402
from targets import letters, run_script, write  # noqa: E402

from LAMAR.cli.arguments import not_negative, positive  # noqa: E402
from LAMAR.runs.storage import is_partial  # noqa: E402

_STARTS = 4  # that are killed in one trial at most
_MOST_PROBLEMS = 10  # after which a script is given up
_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "shutil.copyfile")
# Columns of tables that time a run.
_TIMES = ["seconds", "tokens_per_s", "windows_per_s"]
_SCRATCH = "checkpoints"  # a folder that a longer run may resume from, and no result


@dataclass(frozen=True)
class Killed:
    """A script that is killed.

    Attributes
    ----------
    name : str
    make : callable
        Writes the inputs into a folder.
    run : callable
        Runs the script on the inputs in a folder; outputs go to its folder ``out``.
    modules : str
        What the script imports late, by commas, so that it is imported once.
    """

    name: str
    make: Callable[[Path], object]
    run: Callable[[Path], object]
    modules: str = "torch,transformers,LAMAR.checkpoints"


# ------------------------------------------------------------------------------------------------------- scripts


def _models():
    import targets_models

    return targets_models


def make_prediction(folder: Path) -> None:
    _models().make_joint_model(folder / "model")
    write(folder / "r.fa", "".join(f">r{i}\n{letters(60 + i, i)}\n" for i in range(6)))


def run_prediction(folder: Path) -> None:
    given = ["--fasta", folder / "r.fa", "--model_path", folder / "model", "--output_dir", folder / "out"]
    run_script("finetune_scripts/predict_rbp.py", *given, "--bedgraph", "--top", 3)


def make_evaluation(folder: Path) -> None:
    _models().make_checkpoint(folder / "model")
    for name in ("A", "B"):
        rows = "".join(f"{letters(36, i + 100 * (name == 'B'))},{i % 2}\n" for i in range(40))
        write(folder / "sets" / f"{name}.csv", f"sequence,label\n{rows}")


def run_evaluation(folder: Path) -> None:
    given = ["--data_dir", folder / "sets", "--variants", "Pretrained", "--pretrained_weights", folder / "model"]
    given += ["--layers", 1, "--n_repeats", 1, "--epochs", 1, "--min_steps", 2, "--batch_size", 16]
    run_script("evalEmbeddings/LAMAR_CNN_clip_data.py", *given, "--output_dir", folder / "out")


def run_windows(folder: Path) -> None:
    targets_genomics.run_prep(folder)
    metadata = folder / "out" / "o_metadata.jsonl"
    run_script("preprocess/train_val_split.py", "--metadata", metadata, "--val_fraction", 0.3)


_TRAINING = "LAMAR.training."
SCRIPTS = {
    one.name: one
    for one in (
        Killed("finetune_rbp", script_runs.make_labelled, script_runs.finetune, _TRAINING + "finetuning"),
        Killed("pretrain", script_runs.make_corpus, script_runs.pretrain, _TRAINING + "pretraining"),
        Killed(
            "finetune_all_rbps", script_runs.make_track_set, script_runs.train_jointly, "LAMAR.training.multi_rbp_run"
        ),
        Killed("predict_rbp", make_prediction, run_prediction, "LAMAR.prediction.run"),
        Killed("LAMAR_CNN_clip_data", make_evaluation, run_evaluation, "LAMAR.evaluation.run,tensorflow"),
        Killed("run_prep", targets_genomics.make_prep, run_windows, "LAMAR.genomics.cut_windows"),
    )
}

# --------------------------------------------------------------------------------------------------------- kills


class _Counter:
    """Counts file-system calls in a folder, and ends the process before the last of them."""

    def __init__(self, folder: Path, last: int | None):
        self.inside, self.last, self.count = str(folder), last, 0
        sync = os.fsync

        def counted(descriptor) -> None:
            self.call()
            sync(descriptor)

        os.fsync = counted  # which Python does not audit
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple) -> None:
        if event in _EVENTS and any(isinstance(a, str | Path) and self.inside in str(a) for a in arguments[:2]):
            self.call()

    def call(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def _start(script: Killed, folder: Path, last: int | None = None) -> tuple[int, str]:
    """Run a script in a forked process; return the exit code (-9 when it was killed) and what it says at its end."""
    receiver, sender = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if not process:
        os.close(receiver)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code, said = 1, ""
        try:
            counter = _Counter(folder / "out", last)
            script.run(folder)
            code, said = 0, str(counter.count)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(sender, said.encode()[:4000])
            os._exit(code)
    os.close(sender)
    with os.fdopen(receiver, "rb") as handle:
        said = handle.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said


def _content(folder: Path) -> dict[str, str]:
    """Return what must not depend on kills, by file: tables without times, text, weights, and leftovers."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if is_partial(path.name):
            found[name] = "left over"
        elif _SCRATCH in path.relative_to(folder).parts:
            continue
        elif path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            found[name] = table.drop(columns=_TIMES, errors="ignore").to_csv(index=False)
        elif path.suffix in (".bed", ".bedgraph", ".txt", ".jsonl", ".safetensors") or path.name == "calibration.json":
            found[name] = path.read_bytes().hex()
        elif path.name == "run.json":
            found[name] = json.loads(path.read_text()).get("status", "none")
    return found


def _differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def kill(script: Killed, kills: int, rng: Random, folder: Path) -> tuple[int, int, list[str]]:
    """Kill a script ``kills`` times or a few times more.

    Returns
    -------
    kills, trials : int
    problems : list of str
        Trials whose outputs are not those of an undisturbed run.
    """
    valid, place = folder / "valid", folder / "run"
    place.mkdir(parents=True)
    script.make(place)
    shutil.copytree(place, valid)
    code, said = _start(script, place)
    if code:
        raise SystemExit(f"{script.name}: exit code {code}: {said}")
    n_calls, wanted = int(said), _content(place / "out")
    print(f"{script.name}: {n_calls} calls, {len(wanted)} files compared", flush=True)
    done, trials, problems = 0, 0, []
    while done < kills and len(problems) < _MOST_PROBLEMS:
        shutil.rmtree(place)
        shutil.copytree(valid, place)
        history = []
        for last in [rng.randint(1, n_calls) for _ in range(rng.randint(1, _STARTS))]:
            code, said = _start(script, place, last)
            if code != -signal.SIGKILL:  # it had fewer calls left
                break
            history.append(last)
        if code == -signal.SIGKILL:
            code, said = _start(script, place)
        differing = [] if code else _differences(wanted, _content(place / "out"))
        problem = f"exit code {code}: {said}" if code else f"other {', '.join(differing)}" if differing else ""
        done, trials = done + len(history), trials + 1
        places = ", ".join(map(str, history)) or "none"
        print(f"{script.name}: {done} kills, these at calls {places}: {problem or 'identical'}", flush=True)
        if problem:
            problems.append(problem)
    return done, trials, problems


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=positive(int), default=100, help="of each script (default: %(default)s)")
    parser.add_argument("--seed", type=not_negative(int), default=0, help="default: %(default)s")
    parser.add_argument("--scripts", nargs="+", choices=SCRIPTS, default=list(SCRIPTS), help="default: all")
    arguments = parser.parse_args(argv)
    lost = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for name in arguments.scripts:
            script = SCRIPTS[name]
            for module in script.modules.split(","):
                __import__(module)
            rng = Random(f"{name}:{arguments.seed}")
            done, trials, problems = kill(script, arguments.kills, rng, Path(folder) / name)
            lost += len(problems)
            print(f"{name}: {done} kills in {trials} runs, {len(problems)} differ from an undisturbed one", flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
