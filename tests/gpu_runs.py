"""What the tests on a GPU share: device, sizes, comparisons with the CPU, and the fine-tuning that both run.

Where there is no CUDA device, everything runs on the CPU with tiny models: a rehearsal.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from finetune_runs import MOTIF, write_table

from LAMAR import finetune

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IS_REHEARSAL = DEVICE.type == "cpu"
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
PARITY = 1e-4  # float32 without TF32, CPU against GPU, as a share of the largest value or of 1

# Figures that the tests measured, for the end of the report.
NOTES: list[str] = []


def pick(full, tiny):
    """Return what the test takes on a GPU, or what it takes in a rehearsal."""
    return tiny if IS_REHEARSAL else full


def array(values) -> np.ndarray:
    return values.detach().float().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def check_parity(name: str, *pairs: tuple, share: float = PARITY) -> None:
    """Note the largest difference in pairs (found, wanted) of arrays; assert that it is small beside their values."""
    worst = 0.0, 0.0
    for found, wanted in pairs:
        found, wanted = array(found), array(wanted)
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        difference, scale = float(np.nanmax(np.abs(found - wanted))), max(1.0, float(np.nanmax(np.abs(wanted))))
        worst = max(worst, (difference / scale, scale))
    NOTES.append(f"{name}: largest difference {worst[0]:.1e} of {worst[1]:.3g}")
    assert worst[0] <= share


def check_close(name: str, *pairs: tuple, limits: tuple[float, float]) -> None:
    """Note relative error and smallest cosine of vectors (n, d) in pairs (found, wanted), and assert limits of both."""
    worst, least = 0.0, 1.0
    for found, wanted in pairs:
        found, wanted = array(found).astype(np.float64), array(wanted).astype(np.float64)
        assert np.isfinite(found).all()
        lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
        worst = max(worst, float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)))
        least = min(least, float(((found * wanted).sum(-1) / lengths).min()))
    NOTES.append(f"{name}: relative error {worst:.2e}, smallest cosine {least:.6f}")
    assert worst <= limits[0]
    assert least >= limits[1]


# -------------------------------------------------------------------------------------------------- fine-tuning

# Options by name, and the name whose figures on the CPU they should reach.
FINETUNING = {
    "float32": ({}, "float32"),
    "bf16": ({"bf16": True}, "float32"),
    "fp16": ({"fp16": True}, "float32"),
    "gradient checkpointing": ({"gradient_checkpointing": True}, "float32"),
    "LoRA": ({"lora_rank": 8, "lr": pick(2e-3, 1e-2)}, "LoRA"),
    "frozen encoder": ({"freeze_encoder": True, "head": "cnn", "lr": 1e-2}, "frozen encoder"),
}
N_RECORDS = pick({"train": 480, "dev": 120, "test": 240}, {"train": 96, "dev": 32, "test": 32})
LENGTHS = pick((90, 101), (34, 40))


def motif_records(n: int, seed: int) -> list[tuple[str, int]]:
    """Return n windows, every second with three copies of a motif: easy, so that rounding decides nothing."""
    rng = random.Random(seed)
    records = []
    for number in range(n):
        letters = rng.choices("ACGT", k=rng.randint(*LENGTHS))
        for start in rng.sample(range(0, len(letters) - len(MOTIF), len(MOTIF)), 3 * (number % 2)):
            letters[start : start + len(MOTIF)] = MOTIF
        records.append(("".join(letters), number % 2))
    return records


def write_motif_set(folder: Path) -> Path:
    """Write train.csv, dev.csv and test.csv of such windows and return their folder."""
    folder = folder / "MOTIF"
    folder.mkdir()
    for seed, (part, n) in enumerate(N_RECORDS.items()):
        write_table(folder / f"{part}.csv", motif_records(n, seed))
    return folder


def finetuned(dataset: Path, output: Path, name: str) -> dict:
    """Fine-tune with the options of that name; return test AUROC, and the losses of training in their order."""
    options = {"epochs": 2, "batch_size": 16, "lr": pick(3e-4, 3e-3), "logging_steps": 1, "progress": False}
    options |= pick({"pretrain_path": WEIGHTS / "lamar-mini"}, {"config": "lamar-tiny"}) | FINETUNING[name][0]
    result = finetune(dataset, output / name, cv_folds=1, **options)
    (unit,) = (result.folder / "units").glob("*.json")
    history = json.loads(unit.read_text())["result"]["history"]
    return {
        "auroc": result.figures["test"]["auroc"]["mean"],
        "losses": [entry["loss"] for entry in history if "loss" in entry],
    }


def print_figures_of_cpu(dataset: str, output: str) -> None:
    """Print the test AUROC of the fine-tunings that others are compared with, as one line of JSON at the end."""
    import importlib.util

    assert not torch.cuda.is_available(), "wanted CUDA_VISIBLE_DEVICES to be empty"
    names = [
        name for name in ("float32", "LoRA", "frozen encoder") if name != "LoRA" or importlib.util.find_spec("peft")
    ]
    print(json.dumps({name: finetuned(Path(dataset), Path(output), name)["auroc"] for name in names}))


if __name__ == "__main__":
    print_figures_of_cpu(*sys.argv[1:])
