"""One model of all RBPs against one model each: test AUROC on the same windows, by quartile of the tracks' sizes.

Run: python tests/benchmarks/study_joint.py --data_path TRACKS --output_dir results/joint_study

TRACKS is a folder of make_track_dataset.py. The tracks are drawn as evaluate_tracks.py draws them. A single model per
track cannot be trained on a quarter of a million windows each, so each track becomes a labelled set of its own: some of
its bound and unbound windows for training and dev, all of its bound and some of its unbound windows for the test. On
these are compared the joint model as it is, the same fine-tuned from the track's own head, the weights that it started
from fine-tuned with a new head, a one-hot CNN, the mean logit of that CNN and the fine-tuned joint model, and
regressions on 4-mers and dinucleotides. What is done is kept; the same call goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from timing import REPO, benchmark_parser

CAPS = {"train": (1500, 3000), "dev": (300, 900), "test": (1500, 4500)}  # bound and unbound windows at most
METHODS = ("joint", "joint, fine-tuned", "single", "one-hot CNN", "tuned + CNN", "4-mers", "dinucleotides")
RECIPE = ["--cv_folds", "1", "--batch_size", "16", "--epochs", "3"]
FINETUNED = {
    "joint, fine-tuned": ["--head", "max_mean", "--lr", "3e-5"],
    "single": ["--head", "mean", "--lr", "3e-4", "--pretrain_path", "weights/lamar-mini-tapt"],
}


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=None)
    parser.add_argument("--data_path", type=Path, required=True, help="folder of make_track_dataset.py")
    parser.add_argument("--model_path", default="weights/lamar-mini-rbp", help="joint model (default: %(default)s)")
    parser.add_argument("--tracks", type=int, default=24, help="number of tracks (default: %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="fine-tune in bfloat16")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=42, help="default: %(default)s")
    return parser


def drawn_windows(data, seed: int) -> dict:
    """Rows of a set with one track, by part: all that `CAPS` allows, drawn where there are more."""
    rng = np.random.default_rng(seed)
    rows = {}
    for part, caps in CAPS.items():
        of_part = data.rows(part)
        labels = data.coded_labels(of_part)[:, 0]
        chosen = []
        for value, cap in zip((1, 0), caps):
            found = of_part[labels == value]
            chosen.append(rng.choice(found, cap, replace=False) if len(found) > cap else found)
        rows[part] = np.sort(np.concatenate(chosen))
    return rows


def write_set(folder: Path, data, rows: dict) -> None:
    """Write train.csv, dev.csv and test.csv with sequence, label and place."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = data.bound.lengths
    for part, of_part in rows.items():
        with (folder / f"{part}.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["sequence", "label", "chrom", "start", "end", "strand"])
            windows = data.windows.iloc[of_part]
            columns = (windows[name] for name in ("sequence", "chrom", "start", "end", "strand"))
            for (sequence, *place), row in zip(zip(*columns), of_part):
                writer.writerow([sequence, int(labels[row] > 0), *place])


def fine_tuned_scores(name: str, method: str, args: argparse.Namespace) -> np.ndarray:
    """Fine-tune by finetune_rbp.py, and return the log-odds of the test windows."""
    folder = args.output_dir / method.replace(", ", "_").replace(" ", "_")
    options = [*FINETUNED[method], *RECIPE, *(["--bf16"] if args.bf16 else [])]
    if method != "single":
        options += ["--pretrain_path", args.model_path, "--track", name]
    command = [sys.executable, REPO / "finetune_scripts" / "finetune_rbp.py", "--data_path", args.output_dir / "sets"]
    command += [
        "--rbp_name",
        name,
        "--split",
        "given",
        "--drop_duplicates",
        "--output_dir",
        folder,
        "--seed",
        str(args.seed),
        *options,
    ]
    subprocess.run([str(part) for part in command], check=True, cwd=REPO, stdout=subprocess.DEVNULL)
    with (folder / name / "predictions.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["evaluated_on"] == "test"]
    rows.sort(key=lambda row: int(row["index"]))
    return log_odds(np.array([float(row["probability"]) for row in rows]))


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return np.log(clipped) - np.log1p(-clipped)


def cnn_scores(sequences: list[str], labels: np.ndarray, sizes: dict, seed: int) -> np.ndarray:
    """Train a one-hot CNN on the train part, stopped on dev, and return the log-odds of the test windows."""
    from LAMAR.data.one_hot import encode_one_hot
    from LAMAR.evaluation.cnn import model as cnn

    train, dev, test = np.split(np.arange(len(labels)), np.cumsum(list(sizes.values()))[:-1])
    records = encode_one_hot(sequences)
    model, _ = cnn.train_cnn(records, labels, train, dev, None, seed, representation="one_hot")
    return log_odds(cnn.predict(model, records, test))


def scores_of(name: str, column: int, model, data, rows: dict, args: argparse.Namespace) -> dict[str, list[float]]:
    """Return log-odds of the test windows by method."""
    from LAMAR import predict
    from LAMAR.evaluation.track_baselines import fit_track_baseline

    ordered = np.concatenate(list(rows.values()))
    small = data.take(ordered)
    sequences = small.sequences
    test = sequences[-len(rows["test"]) :]
    scores = {"joint": predict(model, test, scale="logit")[:, column]}
    scores |= {method: fine_tuned_scores(name, method, args) for method in FINETUNED}
    sizes = {part: len(of_part) for part, of_part in rows.items()}
    scores["one-hot CNN"] = cnn_scores(sequences, data.coded_labels(ordered)[:, 0], sizes, args.seed)
    scores["tuned + CNN"] = scores["joint, fine-tuned"] + scores["one-hot CNN"]
    for method, features in (("4-mers", "4mer"), ("dinucleotides", "dinucleotide")):
        scores[method] = fit_track_baseline(small, features, "test").log_odds[:, 0]
    return {method: np.asarray(scores[method], dtype=float).tolist() for method in METHODS}


def report(results: list[dict]) -> None:
    """Print AUROC by track, its mean by quartile, and Wilcoxon's tests over tracks."""
    import pandas as pd

    from LAMAR.statistics.rank_tests import wilcoxon_table

    columns = ["quartile", "track", "train", "test", *METHODS]
    table = pd.DataFrame(results)[columns].sort_values(["quartile", "track"])
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print(table.groupby("quartile")[list(METHODS)].mean().to_string(float_format="{:.3f}".format))
    print(table[list(METHODS)].mean().to_string(float_format="{:.3f}".format))
    print(wilcoxon_table(table.set_index("track")[list(METHODS)]).to_string(index=False))


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    args.output_dir = args.output_dir.resolve()
    from LAMAR import load_classifier
    from LAMAR.data.tracks import read_track_set
    from LAMAR.evaluation.track_choice import choose_tracks
    from LAMAR.statistics.metrics import auroc

    model, _ = load_classifier(REPO / args.model_path)
    outputs = list(model.config.id2label.values())
    chosen = choose_tracks(read_track_set(args.data_path), outputs, "test", args.tracks, seed=args.seed)
    results = []
    for number, name in enumerate(chosen.data.names):
        done = args.output_dir / f"{name}.json"
        if not done.exists():
            data = chosen.data.select_tracks([number])
            rows = drawn_windows(data, args.seed)
            write_set(args.output_dir / "sets" / name, data, rows)
            scores = scores_of(name, int(chosen.outputs[number]), model, data, rows, args)
            labels = data.bound.lengths[rows["test"]]
            result = {"track": name, "quartile": int(chosen.quartile[number])}
            result |= {part: int(data.bound.lengths[rows[part]].sum()) for part in ("train", "test")}
            result |= {method: float(auroc(labels, np.array(values))) for method, values in scores.items()}
            (args.output_dir / f"{name}.scores.json").write_text(json.dumps({"labels": labels.tolist(), **scores}))
            done.write_text(json.dumps(result))
        results.append(json.loads(done.read_text()))
        print(results[-1], flush=True)
    report(results)


if __name__ == "__main__":
    main()
