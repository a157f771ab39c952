"""Targets that read checkpoints: configuration, weights, tokenizer, calibration, and models that predict."""

from __future__ import annotations

import json
import shutil
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch
from mutations import damage_files, damage_json, new_value
from safetensors.torch import load_file, save_file
from script_runs import SHAPE
from targets import ROOT, Target, attempt, finite, letters, run_script, write
from targets_genomics import make_genome
from tiny_models import randomise
from track_sets import write_small_set

from LAMAR import auto, checkpoint_configs, checkpoint_files, checkpoints, tokenization, trained_heads
from LAMAR.data import track_calibration, track_tables, tracks
from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import EsmConfig, EsmForMaskedLM, EsmForSequenceClassification, EsmModel
from LAMAR.statistics.calibration import fit_calibration
from LAMAR.training import multi_rbp_data

__all__ = ["TARGETS", "config", "make_checkpoint", "make_joint_model", "tensors_of"]

NAMES = ["PUM2_HepG2", "PUM2_K562", "QKI_K562", "TARDBP_HepG2"]


def config(**fields) -> EsmConfig:
    """Return the configuration of a model that is smaller than any that would learn something."""
    return EsmConfig(**SHAPE, **fields)


def make_checkpoint(folder: Path, model_class=EsmForMaskedLM, **fields) -> None:
    """Write a checkpoint with random weights and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    randomise(model_class(config(**fields))).save_pretrained(folder)
    tokenization.LamarTokenizer().save_pretrained(folder)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint that `make_checkpoint` wrote."""
    return load_file(folder / "model.safetensors")


def make_joint_model(folder: Path) -> None:
    """Write a model of four tracks with a calibration."""
    options = {"loss_type": "bce", "head_type": "max_mean", "head_channels": 4, "head_kernel_size": 5}
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    trained = {"num_labels": 4, "head_trained": True, "window_length": 21}
    make_checkpoint(folder, EsmForSequenceClassification, **trained, **options, **names)
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [40, 360])[:, None].repeat(4, axis=1)
    fitted = fit_calibration(rng.normal(size=(400, 4)) + labels, labels, labels[:, 0] == 0, NAMES)
    track_calibration.write_calibration(folder / "calibration.json", fitted)


# ------------------------------------------------------------------------------------------------- configuration


def make_config(folder: Path) -> None:
    make_checkpoint(folder / "model", EsmForSequenceClassification, head_type="cnn", head_channels=4, head_trained=True)
    shutil.copyfile(folder / "model" / "config.json", folder / "alone.json")


def damage_config(rng: Random, folder: Path) -> None:
    """Damage files, or set fields of the configuration that it has or could have."""
    if rng.random() < 0.5:
        damage_files(rng, folder)
        return
    path = folder / rng.choice(["model/config.json", "alone.json"])
    fields = json.loads(path.read_text())
    known = "per_layer_config quantization_config auto_map num_labels text_config attn_implementation rope_parameters "
    known = [
        *EsmConfig().to_dict(),
        *known.split(),
        "positional_embedding_type",
        "torch_dtype",
        "experts_implementation",
    ]
    for _ in range(rng.choice([1, 1, 2])):
        sizes = [2**20, 2**31, 0, -1, 1, 7, 1.5, 10**30]
        fields[rng.choice(known)] = rng.choice(sizes) if rng.random() < 0.3 else new_value(rng)
    path.write_text(json.dumps(fields))


def refused_by_transformers(call: Callable[[], Any]) -> Any:
    """Call what transformers reads before this project's code does, and take what it refuses there as refused."""
    try:
        return call()
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, InputError) or any(frame.filename.startswith(str(ROOT / "LAMAR")) for frame in frames):
            raise
        raise InputError("transformers refuses config.json or its folder") from error


def read_config(folder: Path) -> None:
    def from_pretrained(auto_class) -> None:
        model = refused_by_transformers(lambda: auto_class.from_pretrained(folder / "model"))
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    attempt(
        lambda: checkpoint_configs.read_config(folder / "alone.json"),
        lambda: checkpoint_configs.config_argument(str(folder / "alone.json")),
        lambda: refused_by_transformers(lambda: auto.AutoConfig.from_pretrained(folder / "model")),
        lambda: trained_heads.load_trained_classifier(folder / "model"),
        lambda: from_pretrained(auto.AutoModelForSequenceClassification),
        lambda: refused_by_transformers(lambda: EsmConfig.from_pretrained(folder / "model")),
    )


# ------------------------------------------------------------------------------------------------------- weights


def load_all(path: Path) -> None:
    """Load a checkpoint in each way that the scripts and notebooks have."""

    def verified(model_class) -> None:
        model, _ = checkpoints.load_pretrained(model_class, path)
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    def by_transformers() -> None:
        model = EsmForMaskedLM.from_pretrained(path)
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    calls = [lambda: verified(EsmModel), lambda: verified(EsmForMaskedLM), lambda: checkpoint_files.stored_heads(path)]
    attempt(*calls, *([by_transformers] if path.is_dir() else []))


def with_frequencies(tensors: dict) -> dict:
    """Return a state dict as upstream writes it, whose rotary frequencies tell the number of heads."""
    frequencies = 10_000.0 ** -torch.tensor([0.0, 0.5])
    return tensors | {"esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq": frequencies}


def make_safetensors(folder: Path) -> None:
    make_checkpoint(folder / "model")
    save_file(with_frequencies(tensors_of(folder / "model")), folder / "alone.safetensors")


_FLOATS = [torch.float16, torch.bfloat16, torch.float64]
_OTHERS = [torch.int64, torch.bool, torch.uint8, torch.complex64, torch.float8_e4m3fn]


def odd_tensors(rng: Random, tensors: dict) -> dict:
    """Return a state dict in which one or two tensors are odd."""
    changed = dict(tensors)
    for _ in range(rng.choice([1, 1, 2])):
        name = rng.choice(sorted(changed))
        one = changed[name]
        odd = {
            "float": lambda one: one.to(rng.choice(_FLOATS)),
            "other": lambda one: one.to(rng.choice(_OTHERS)),
            "nan": lambda one: torch.full_like(one, rng.choice([float("nan"), float("inf"), 3e38])),
            "large": lambda one: one.double() * 1e300,
            "empty": lambda one: one[:0],
            "longer": lambda one: torch.cat([one, one]),
            "flat": lambda one: one.flatten(),
            "scalar": lambda one: torch.tensor(1.0),
            "more": lambda one: one[None],
        }[rng.choice("float other nan large empty longer flat scalar more".split())]
        kind = rng.choice(["odd", "odd", "gone", "renamed", "added"])
        if kind == "odd":
            changed[name] = odd(one).clone()
        elif kind == "added":
            changed[rng.choice(["x", "", "classifier.weight", "esm.encoder.layer.999999.x", "a" * 3000])] = one.clone()
        else:
            del changed[name]
            if kind == "renamed":
                prefix = rng.choice(["module.", "_orig_mod.", "esm.", "x.", "model.", "\n", "esm.esm.", "\u6f22"])
                changed[prefix + name] = one
    return changed


def damage_safetensors(rng: Random, folder: Path) -> None:
    """Damage the files, the header alone, or tensors."""
    path = folder / rng.choice(["model/model.safetensors", "alone.safetensors"])
    chance = rng.random()
    if chance < 0.4:
        damage_files(rng, folder)
    elif chance < 0.7:
        save_file(odd_tensors(rng, load_file(path)), path, rng.choice([None, {"format": "pt"}, {"format": "x"}]))
    else:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.dumps(damage_json(rng, json.loads(data[8 : 8 + size])), default=str).encode()
        size = rng.choice([len(header)] * 6 + [0, 2**40, 2**63, len(data)])
        path.write_bytes(size.to_bytes(8, "little") + header + data[8 + size :])


def read_safetensors(folder: Path) -> None:
    attempt(lambda: load_all(folder / "model"), lambda: load_all(folder / "alone.safetensors"))


def make_pickles(folder: Path) -> None:
    make_checkpoint(folder / "model")
    tensors = tensors_of(folder / "model")
    (folder / "model" / "model.safetensors").unlink()
    torch.save(tensors, folder / "model" / "pytorch_model.bin")
    torch.save(
        {"state_dict": with_frequencies(tensors), "epoch": 3}, folder / "old.pt", _use_new_zipfile_serialization=False
    )


EXECUTED = Path(tempfile.gettempdir()) / "executed"  # which only a pickle that was executed writes


class Anything:
    """An object that a pickle may hold and that must not be made."""

    def __reduce__(self):
        return (EXECUTED.write_text, ("executed",))


def odd_pickles(rng: Random, tensors: dict):
    """Return what else may be in a pickle."""
    name = rng.choice(sorted(tensors))
    one = tensors[name]
    others = [
        lambda: one.to_sparse(),
        lambda: one.to("meta"),
        lambda: torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
        lambda: torch.zeros(1).expand(10**7),
        lambda: torch.nested.nested_tensor([one, one]),
        lambda: one.tolist(),
        lambda: one.numpy(),
        lambda: None,
        lambda: Anything(),
        lambda: torch.nn.Parameter(one),
        lambda: one.requires_grad_(),
        lambda: {"a": one},
    ]
    if rng.random() < 0.2:
        return rng.choice(
            [[], {}, None, "x", 3, [tensors], {"model": 3}, {3: one}, {"state_dict": {}}, Anything(), one]
        )
    with torch.no_grad():
        return {**tensors, name: rng.choice(others)()}


def damage_pickles(rng: Random, folder: Path) -> None:
    """Damage the files, or write other objects and tensors."""
    path = folder / rng.choice(["model/pytorch_model.bin", "old.pt"])
    chance = rng.random()
    if chance < 0.4:
        damage_files(rng, folder)
        return
    tensors = torch.load(path, weights_only=True)
    tensors = tensors.get("state_dict", tensors)
    content = odd_tensors(rng, tensors) if chance < 0.65 else odd_pickles(rng, tensors)
    wrapped = {rng.choice(["state_dict", "model", "x"]): content} if rng.random() < 0.2 else content
    torch.save(wrapped, path, _use_new_zipfile_serialization=rng.random() < 0.7, pickle_protocol=rng.choice([2, 2, 4]))


def read_pickles(folder: Path) -> None:
    attempt(lambda: load_all(folder / "model"), lambda: load_all(folder / "old.pt"))
    assert not EXECUTED.exists(), "a pickle was executed"


def make_shards(folder: Path) -> None:
    make_checkpoint(folder / "model")
    tensors = sorted(tensors_of(folder / "model").items())
    (folder / "model" / "model.safetensors").unlink()
    weight_map = {}
    for number, some in enumerate((tensors[::2], tensors[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file(dict(some), folder / "model" / file, {"format": "pt"})
        weight_map |= dict.fromkeys((name for name, _ in some), file)
    index = {"metadata": {"total_size": sum(t.nbytes for _, t in tensors)}, "weight_map": weight_map}
    write(folder / "model" / "model.safetensors.index.json", json.dumps(index))


# ----------------------------------------------------------------------------------------------------- tokenizer


def make_tokenizer(folder: Path) -> None:
    make_checkpoint(folder / "model")
    shutil.copytree(folder / "model", folder / "fast", ignore=shutil.ignore_patterns("vocab.txt", "*.safetensors"))
    vocabulary = {token: i for i, token in enumerate(tokenization.VOCABULARY)}
    added = [{"id": i, "content": token, "special": True} for token, i in list(vocabulary.items())[:5]]
    fast = {"version": "1.0", "added_tokens": added, "model": {"type": "WordLevel", "vocab": vocabulary}}
    write(folder / "fast" / "tokenizer.json", json.dumps(fast))
    (folder / "model" / "model.safetensors").unlink()


def read_tokenizer(folder: Path) -> None:
    # AutoTokenizer is left out: transformers reads its files before any code of this project does.
    attempt(
        lambda: tokenization.verify_vocabulary(folder / "model"),
        lambda: tokenization.verify_vocabulary(folder / "fast"),
        lambda: tokenization.verify_vocabulary(folder / "model" / "vocab.txt"),
    )


# -------------------------------------------------------------------------------------------------------- tracks


def read_calibration(folder: Path) -> None:
    def check(names) -> None:
        found = track_calibration.read_calibration(folder, names)
        assert len(found.names) == 4
        logits = np.linspace(-5, 5, 8).reshape(2, 4)
        p = found.p_values(logits)
        finite(p)
        assert ((p >= 0) & (p <= 1)).all()
        finite(found.probabilities(logits))

    attempt(lambda: check(NAMES), lambda: check(None))


def make_calibration(folder: Path) -> None:
    make_joint_model(folder / "model")
    shutil.copyfile(folder / "model" / "calibration.json", folder / "calibration.json")
    shutil.rmtree(folder / "model")


def read_track_set(folder: Path) -> None:
    def check() -> None:
        data = tracks.read_track_set(folder / "set")
        n = len(data.tracks)
        labels = data.coded_labels()
        assert labels.shape == (len(data), n)
        assert set(np.unique(labels)) <= {-1, 0, 1}

    def one() -> None:
        for columns in track_tables.read_track_columns(folder / "set", "QKI_K562", "`rbp_name`").values():
            assert set(columns["label"]) <= {0, 1}

    attempt(check, one, lambda: multi_rbp_data.read_joint_data(folder / "set", ["QKI"]))


def make_prediction(folder: Path) -> None:
    make_joint_model(folder / "model")
    write(folder / "r.fa", f">one\n{letters(90, 1)}\n>chr1:20-70(-)\n{letters(50, 2)}\n")
    make_genome(folder / "g.fa")
    write(folder / "i.bed", "chr1\t10\t80\tx\t0\t+\nchr2\t30\t90\ty\t0\t-\n")
    exon = 'chr1\ts\texon\t11\t60\t.\t+\t.\tgene_id "G"; transcript_id "T.1";\n'
    write(folder / "a.gtf", exon + exon.replace("11\t60", "101\t130"))
    write(folder / "ids.txt", "# ids\nT.1\n")
    pd.DataFrame({"id": ["a", "b"], "sequence": [letters(60, 3), letters(70, 4)]}).to_csv(folder / "t.csv", index=False)


def run_prediction(folder: Path) -> None:
    sources = [
        ["--fasta", folder / "r.fa"],
        ["--bed", folder / "i.bed", "--genome", folder / "g.fa"],
        ["--transcripts", folder / "ids.txt", "--gtf", folder / "a.gtf", "--genome", folder / "g.fa"],
        ["--table", folder / "t.csv"],
    ]
    for i, source in enumerate(sources):
        out = folder / f"out{i}"
        run_script("finetune_scripts/predict_rbp.py", *source, "--model_path", folder / "model", "--output_dir", out)
        table = pd.read_csv(out / "records.csv")
        finite(table.select_dtypes("number").to_numpy())


def make_track_evaluation(folder: Path) -> None:
    make_joint_model(folder / "model")
    write_small_set(folder / "set", n=300, length=21)


def run_track_evaluation(folder: Path) -> None:
    given = ["--data_path", folder / "set", "--model_path", folder / "model", "--min_bound", 1]
    run_script("evalEmbeddings/evaluate_tracks.py", *given, "--part", "dev", "--output_dir", folder / "out")


def make_conversion(folder: Path) -> None:
    make_checkpoint(folder / "model")


def run_conversion(folder: Path) -> None:
    run_script("weights/fetch_lamar.py", "--convert", folder / "model", "--output_dir", folder / "out")


TARGETS = [
    Target("config", make_config, read_config, damage_config),
    Target("safetensors", make_safetensors, read_safetensors, damage_safetensors),
    Target("pickled_weights", make_pickles, read_pickles, damage_pickles),
    Target("sharded_weights", make_shards, lambda folder: load_all(folder / "model")),
    Target("fetch_lamar", make_conversion, run_conversion),
    Target("tokenizer", make_tokenizer, read_tokenizer),
    Target("calibration", make_calibration, read_calibration),
    Target("track_set", lambda folder: write_small_set(folder / "set", n=60), read_track_set),
    Target("predict_rbp", make_prediction, run_prediction),
    Target("evaluate_tracks", make_track_evaluation, run_track_evaluation),
]
