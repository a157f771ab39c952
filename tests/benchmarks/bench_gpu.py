"""What a GPU does with this project, in one run: training, embeddings, explanations, scans, and the card's own limits.

Run: python tests/benchmarks/bench_gpu.py --output_dir models/gpu_benchmark
Tiny, on a CPU: python tests/benchmarks/bench_gpu.py --device cpu --quick --output_dir /tmp/gpu_benchmark

It writes results.json and results.md, and ends after --minutes; alternatives that there was no time for are listed as
such. One that fails is listed with its error, and the exit code is then 1. Without a GPU and without --device nothing
is measured.

    limits       products of large square matrices by precision, one of the model's shape, and a copy in memory
    training     masked-LM steps in bfloat16 at 128, 512 and 1,024 tokens without padding, by attention backend
    mixed        the same on windows of mixed lengths: padded to 512 tokens, to the longest of a random batch, by token
                 budget with at most 5 % padding (as pretrain.py does), and with each backend that packs
    embeddings   101-nt windows
    mutagenesis  all 303 substitutions of a window
    scan         transcripts with lamar-mini-rbp, 223 tracks: scores alone, and with sites as predict_rbp.py calls them
    dependency   maps of 101 and 1,000 nt (of the latter, in float32, 200 of the rows)
    gradients    integrated gradients of a window; needs captum
    compiled     training steps at 512 tokens with torch.compile

Embeddings and explanations stand beside the same code with one sequence per pass, and beside plain transformers:
``EsmModel`` of the same weights with SDPA in batches of 8 and of 128, float32, encoder and mean alone. Rates are of
tokens without padding, of sequences passed through the model, or of nucleotides. Shares are of the speed of the large
square product of that precision in the same run; training counts three forward passes. float32 is without TF32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import transformers
from bench_pretrain import clip_like_lengths, new_model, train_step
from gpu_rates import Rate, Rates, markdown
from timing import REPO, benchmark_parser, flop_per_sequence, prepare_torch, random_windows

from LAMAR import EsmForMaskedLM, EsmForSequenceClassification, EsmModel, load_classifier, named_config, scan
from LAMAR.alphabet import EOS, MASK, PAD, VOCABULARY
from LAMAR.batches import EncodedSequences, pad_batch, token_batches
from LAMAR.checkpoints import build_model
from LAMAR.embeddings import extract_outputs
from LAMAR.errors import InputError
from LAMAR.flash_attn_patch import BACKENDS, resolve_backend
from LAMAR.interpretation.dependency import dependency_map
from LAMAR.interpretation.integrated_gradients import integrated_gradients
from LAMAR.interpretation.mutagenesis import mutagenesis
from LAMAR.prediction.predictor import Predictor
from LAMAR.prediction.records import Place, Record

WINDOW, NODES, COMPILE_SECONDS = 101, 64, 75
FULL = {
    "square": 8_192, "copy": 2**30, "tokens": 32_768, "steps": 4, "lengths": (128, 512, 1_024), "mixed": 1_024,
    "windows": 4_096, "plain": 1_024, "single": 64, "map": (101, 1_000), "region": 200, "transcripts": 200,
}  # fmt: skip
QUICK = {
    "square": 128, "copy": 2**20, "tokens": 128, "steps": 1, "lengths": (32,), "mixed": 6,
    "windows": 8, "plain": 4, "single": 2, "map": (12,), "region": 3, "transcripts": 1,
}  # fmt: skip


def backends() -> dict[str, str]:
    """Return the attention backends, each with why it cannot run here, or "" where it can."""
    reasons = {}
    for name in BACKENDS:
        try:
            reasons[name] = "" if resolve_backend(name) == name else "another name of the same"
        except InputError as error:
            reasons[name] = str(error)
    return reasons


def limits(rates: Rates, sizes: dict) -> None:
    """Measure the device's own products and copies."""
    n, repeats = sizes["square"], 10
    place = ("limits", "", "")
    for name, dtype, precision in (
        ("bfloat16", torch.bfloat16, "highest"),
        ("float16", torch.float16, "highest"),
        ("float32", torch.float32, "highest"),
        ("float32 with TF32", torch.float32, "high"),
    ):
        a, b = (torch.randn(n, n, device=rates.device).to(dtype) for _ in range(2))

        def product(a=a, b=b, precision=precision):
            torch.set_float32_matmul_precision(precision)
            for _ in range(repeats):
                a @ b
            torch.set_float32_matmul_precision("highest")

        row = rates.measure(place, f"product {n} x {n}, {name}", product, 2e-12 * n**3 * repeats, "TFLOP")
        if row.rate:
            rates.limits[name] = row.rate * 1e12
    config, tokens = named_config("lamar"), sizes["tokens"]
    shape = tokens, config.hidden_size, config.intermediate_size
    a = torch.randn(shape[:2], device=rates.device).bfloat16()
    b = torch.randn(shape[1:], device=rates.device).bfloat16()
    name = f"product {shape[0]} x {shape[1]} by {shape[1]} x {shape[2]}, bfloat16"
    rates.measure(place, name, lambda: [a @ b for _ in range(repeats)], 2e-12 * np.prod(shape) * repeats, "TFLOP")
    source = torch.empty(sizes["copy"], dtype=torch.uint8, device=rates.device)
    target = torch.empty_like(source)
    # Bytes read and bytes written.
    rates.measure(
        place, "copy", lambda: [target.copy_(source) for _ in range(repeats)], 2e-9 * len(source) * repeats, "GB"
    )


# ------------------------------------------------------------------------------------------------------ training


def labelled(records: list[np.ndarray], length: int | None = None) -> dict[str, torch.Tensor]:
    """Return a batch in which 15 % of the nucleotides are to predict, padded to its longest record or to ``length``."""
    ids, mask = pad_batch(records)
    generator = torch.Generator().manual_seed(0)
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & (ids > MASK)
    batch = {"input_ids": ids.masked_fill(chosen, MASK), "attention_mask": mask, "labels": ids.where(chosen, -100)}
    missing = 0 if length is None else length - ids.shape[1]
    fill = {"input_ids": PAD, "attention_mask": 0, "labels": -100}
    return {name: torch.nn.functional.pad(tensor, (0, missing), value=fill[name]) for name, tensor in batch.items()}


def stepping(trained, batches: list[dict], steps: int = 1) -> Callable[[], None]:
    model, optimizer = trained

    def run():
        for _ in range(steps):
            for batch in batches:
                train_step(model, optimizer, batch, True, True)

    return run


def training(rates: Rates, sizes: dict, name: str) -> None:
    config, steps = named_config(name), sizes["steps"]
    for attention, reason in backends().items():
        trained = None if reason else new_model(name, attention, str(rates.device))
        for length in sizes["lengths"]:
            place = ("training, bf16", name, f"{length} tokens")
            if reason:
                rates.rows.append(Rate(*place, attention, "tokens", note=f"not run: {reason}"))
                continue
            n = max(1, sizes["tokens"] // length)
            batch = labelled(list(EncodedSequences.encode(random_windows(n, length - 2))))
            flop = 3 * n * flop_per_sequence(config, length) * steps
            facts = {"flop": flop, "limit": "bfloat16", "is_reference": attention == "eager"}
            run = stepping(trained, [batch], steps)
            rates.measure(place, attention, run, n * length * steps, "tokens", **facts)


def mixed(rates: Rates, sizes: dict, name: str) -> None:
    rng = np.random.default_rng(0)
    lengths = clip_like_lengths(sizes["mixed"], rng)
    records = list(EncodedSequences.encode(["".join(rng.choice(list("ACGT"), length)) for length in lengths]))
    tokens = np.array([len(record) for record in records])
    size = max(1, sizes["tokens"] // 512)
    random_order = [range(start, min(start + size, len(records))) for start in range(0, len(records), size)]
    padded = [labelled([records[i] for i in rows], 512) for rows in random_order]
    longest = [labelled([records[i] for i in rows]) for rows in random_order]
    by_budget = [labelled([records[i] for i in rows]) for rows in token_batches(tokens, sizes["tokens"], 0.05)]
    alternatives = {
        "padded to 512, sdpa": ("sdpa", padded),
        "padded to the longest, sdpa": ("sdpa", longest),
        "token budget, sdpa": ("sdpa", by_budget),
        **{f"padded to the longest, {other}": (other, longest) for other in BACKENDS if other not in ("eager", "sdpa")},
    }
    flop = 3 * sum(flop_per_sequence(named_config(name), int(n)) for n in tokens)
    reasons, trained = backends(), {}
    place = ("mixed lengths, bf16", name, f"{len(records)} windows, {tokens.sum():,} tokens")
    for alternative, (attention, batches) in alternatives.items():
        if reasons[attention]:
            rates.rows.append(Rate(*place, alternative, "tokens", note=f"not run: {reasons[attention]}"))
            continue
        if attention not in trained:
            trained = {attention: new_model(name, attention, str(rates.device))}
        facts = {"flop": flop, "limit": "bfloat16", "is_reference": alternative == "padded to 512, sdpa"}
        rates.measure(place, alternative, stepping(trained[attention], batches), int(tokens.sum()), "tokens", **facts)


def compiled(rates: Rates, sizes: dict, name: str) -> None:
    length, steps = sizes["lengths"][len(sizes["lengths"]) // 2], sizes["steps"]
    n = max(1, sizes["tokens"] // length)
    batch = labelled(list(EncodedSequences.encode(random_windows(n, length - 2))))
    place = ("compiled training, bf16", name, f"{length} tokens")
    flop = 3 * n * flop_per_sequence(named_config(name), length) * steps
    facts = {"flop": flop, "limit": "bfloat16"}
    model, optimizer = new_model(name, "sdpa", str(rates.device))
    work = n * length * steps
    rates.measure(
        place, "sdpa", stepping((model, optimizer), [batch], steps), work, "tokens", **facts, is_reference=True
    )
    # A rehearsal traces the model and its backward pass, and generates no code.
    model.compile(backend="aot_eager" if sizes is QUICK else "inductor")
    run = stepping((model, optimizer), [batch], steps)
    rates.measure(place, "sdpa, torch.compile", run, work, "tokens", **facts, needs=COMPILE_SECONDS)


# ---------------------------------------------------------------------------------------------------- inference


class Plain:
    """Plain transformers' encoder with the weights of ours, and the mean over nucleotides.

    Parameters
    ----------
    encoder : EsmModel
        On the device.
    """

    def __init__(self, encoder: EsmModel):
        from transformers.models.esm import EsmConfig as TheirConfig
        from transformers.models.esm import EsmModel as TheirModel

        shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "layer_norm_eps")
        config = TheirConfig(
            vocab_size=len(VOCABULARY), pad_token_id=PAD, mask_token_id=MASK, position_embedding_type="rotary",
            token_dropout=False, emb_layer_norm_before=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            attn_implementation="sdpa", **{name: getattr(encoder.config, name) for name in shape},
        )  # fmt: skip
        self.model = TheirModel(config, add_pooling_layer=False).eval()
        found = self.model.load_state_dict(encoder.state_dict(), strict=False)
        wanting = [name for name in found.missing_keys if name.startswith("encoder.layer") and "rotary" not in name]
        if wanting or found.unexpected_keys:
            raise ValueError(f"weights of ours and of transformers differ: {wanting + found.unexpected_keys}")
        self.device = next(encoder.parameters()).device
        self.model.to(self.device)

    @torch.inference_mode()
    def means(self, encoded: EncodedSequences, batch_size: int) -> np.ndarray:
        """Return mean embeddings, float32 (n, d), in batches of ``batch_size`` sequences."""
        means = []
        for start in range(0, len(encoded), batch_size):
            ids, mask = pad_batch([encoded[i] for i in range(start, min(start + batch_size, len(encoded)))])
            ids, mask = ids.to(self.device), mask.to(self.device)
            hidden = self.model(ids, mask).last_hidden_state
            keep = (ids > EOS).unsqueeze(-1)
            means.append(((hidden * keep).sum(1) / keep.sum(1)).float().cpu().numpy())
        return np.concatenate(means)


def new_eval(model_class, name: str, rates: Rates, **fields):
    return build_model(model_class, named_config(name, **fields), seed=0).eval().to(rates.device)


def beside_plain(rates: Rates, sizes: dict, place: tuple[str, str, str], encoder, length: int, ours: dict) -> None:
    """Measure our alternatives and plain transformers on sequences of one length.

    Parameters
    ----------
    ours : dict
        By name: function, sequences that it passes through the model, and precision.
    """
    flop = flop_per_sequence(encoder.config, length + 2)
    for name, (function, n, precision) in ours.items():
        rates.measure(place, name, function, n, "sequences", flop=flop * n, limit=precision)
    n = max(8, min(sizes["plain"], sizes["plain"] * WINDOW // length))
    sequences = EncodedSequences.encode(random_windows(n, length))
    plain = Plain(encoder)
    for size in (8, 128):
        facts = {"flop": flop * n, "limit": "float32", "is_reference": size == 8}
        name = f"plain transformers, batches of {size}"
        rates.measure(place, name, partial(plain.means, sequences, size), n, "sequences", **facts)


def embeddings(rates: Rates, sizes: dict, name: str) -> None:
    encoder = new_eval(EsmModel, name, rates)
    windows = EncodedSequences.encode(random_windows(sizes["windows"], WINDOW))
    few = windows.take(np.arange(sizes["single"]))

    def extraction(sequences=windows, **options):
        return lambda: extract_outputs(encoder, sequences, [(-1, "mean")], device=rates.device, **options)

    ours = {
        "float32": (extraction(), len(windows), "float32"),
        "bfloat16": (extraction(precision="bfloat16"), len(windows), "bfloat16"),
        "one per pass": (extraction(few, token_budget=1), len(few), "float32"),
    }
    beside_plain(rates, sizes, ("embeddings", name, f"{WINDOW} nt"), encoder, WINDOW, ours)
    (output,) = extraction(few)().values()
    difference = np.abs(Plain(encoder).means(few, 8) - output.values).max()
    rates.rows[-2].note = f"largest difference from ours {difference:.1e}"


def explained(rates: Rates, name: str):
    return new_eval(EsmForSequenceClassification, name, rates, head_type="mean", loss_type="ce")


def mutants(rates: Rates, sizes: dict, name: str) -> None:
    model = explained(rates, name)
    length = min(WINDOW, sizes["map"][0])
    window, few = random_windows(1, length), min(length, max(1, sizes["single"] // 3))
    ours = {
        "float32": (lambda: mutagenesis(model, window, device=rates.device), 3 * length + 1, "float32"),
        "one per pass": (
            lambda: mutagenesis(model, window, region=(0, few), device=rates.device, token_budget=1),
            3 * few + 1,
            "float32",
        ),
    }
    beside_plain(rates, sizes, ("mutagenesis", name, f"{length} nt"), model.esm, length, ours)


def dependency(rates: Rates, sizes: dict, name: str) -> None:
    model = new_eval(EsmForMaskedLM, name, rates)
    for length in sizes["map"]:
        (sequence,) = random_windows(1, length)
        region, few = min(length, sizes["region"]), max(1, sizes["single"] // 3)

        def mapped(end, sequence=sequence, **options):
            return lambda: dependency_map(model, sequence, region=(0, end), device=rates.device, **options)

        ours = {
            f"float32, {region} rows": (mapped(region), 3 * region + 1, "float32"),
            "bfloat16, whole map": (mapped(length, precision="bfloat16"), 3 * length + 1, "bfloat16"),
            "one per pass": (mapped(few, token_budget=1), 3 * few + 1, "float32"),
        }
        beside_plain(rates, sizes, ("dependency map", name, f"{length:,} nt"), model.esm, length, ours)


def gradients(rates: Rates, sizes: dict, name: str) -> None:
    length = min(WINDOW, sizes["map"][0])
    place = ("integrated gradients", name, f"{length} nt, {NODES} nodes")
    if find_spec("captum") is None:
        rates.rows.append(Rate(*place, "float32", "passes", note="not run: the package captum is not installed"))
        return
    model, window = explained(rates, name), random_windows(1, length)
    flop = 3 * NODES * flop_per_sequence(model.config, length + 2)
    for alternative, budget in (("float32", None), ("one node per pass", 1)):
        facts = {"flop": flop, "limit": "float32", "is_reference": budget == 1}

        def run(budget=budget):
            options = {"n_steps": NODES, "tolerance": 0.9, "token_budget": budget, "device": rates.device}
            integrated_gradients(model, window, target=1, **options)

        rates.measure(place, alternative, run, NODES, "passes", **facts)


def transcripts(rates: Rates, sizes: dict) -> None:
    model = load_classifier(REPO / "weights" / "lamar-mini-rbp")[0].to(rates.device)
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(np.log(2_500), 0.8, sizes["transcripts"])), 300, 20_000).astype(int)
    lengths = np.full(1, 2 * WINDOW) if sizes is QUICK else lengths
    sequences = ["".join(rng.choice(list("ACGT"), length)) for length in lengths]
    places = [Place(f"t{i}", "+", (0,), (len(sequence),)) for i, sequence in enumerate(sequences)]
    records = [Record(place.chrom, sequence, place) for place, sequence in zip(places, sequences)]
    stride = WINDOW // 4
    tiles = sum(1 + max(0, -(-(len(sequence) - WINDOW) // stride)) for sequence in sequences)
    flop = tiles * flop_per_sequence(model.config, WINDOW + 2)
    place = ("scan", "lamar-mini-rbp", f"{len(records)} transcripts, {lengths.sum():,} nt")

    def scores(part=sequences, **options):
        return lambda: [scan(model, sequence, device=rates.device, **options) for sequence in part]

    def sites(**options):
        predictor = Predictor(model, device=rates.device, **options)
        return lambda: [predictor.predict(record) for record in records]

    n = int(lengths.sum())
    for alternative, function, precision in (
        ("scores, float32", scores(), "float32"),
        ("scores, bfloat16", scores(bf16=True), "bfloat16"),
        ("with sites, float32", sites(), "float32"),
        ("with sites, bfloat16", sites(bf16=True), "bfloat16"),
    ):
        rates.measure(place, alternative, function, n, "nt", flop=flop, limit=precision)
    short = sequences[0][: 3 * WINDOW]
    rates.measure(place, "scores, one tile per pass", scores([short], token_budget=1), len(short), "nt")
    plain, batch = Plain(model.esm), EncodedSequences.encode(random_windows(sizes["plain"], WINDOW))
    for size in (8, 128):
        # A tile stands for `stride` nucleotides.
        name, work = f"plain transformers, batches of {size}, encoder of the tiles", len(batch) * stride
        facts = {"flop": len(batch) * flop_per_sequence(model.config, WINDOW + 2), "limit": "float32"}
        run = partial(plain.means, batch, size)
        rates.measure(place, name, run, work, "nt", **facts, is_reference=size == 8)


# By name: the function, and whether it is called for each model. What matters most comes first.
PARTS = {
    "limits": (limits, False),
    "training": (training, True),
    "embeddings": (embeddings, True),
    "scan": (transcripts, False),
    "mutagenesis": (mutants, True),
    "mixed": (mixed, True),
    "gradients": (gradients, True),
    "dependency": (dependency, True),
    "compiled": (compiled, True),
}


def facts_of(rates: Rates) -> dict:
    """Return what the figures depend on."""
    facts = {"device": platform.processor() or platform.machine(), "cpus": os.cpu_count()}
    if rates.device.type == "cuda":
        properties = torch.cuda.get_device_properties(rates.device)
        facts |= {"device": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        facts |= {"cuda": torch.version.cuda, "capability": ".".join(map(str, torch.cuda.get_device_capability()))}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return facts | versions | {"transformers": transformers.__version__, "load": round(os.getloadavg()[0], 1)}


def write(rates: Rates, folder: Path, sizes: dict) -> None:
    """Write both files; called after each part, so that an interruption loses no more than one."""
    rates.compare()
    facts = facts_of(rates) | {"minutes": round((time.monotonic() - rates.started) / 60, 2), "quick": sizes is QUICK}
    folder.mkdir(parents=True, exist_ok=True)
    content = {"facts": facts, "sizes": sizes, "limits": rates.limits, "rows": rates.as_dicts()}
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()) + "."]
    if sizes is QUICK:
        lines.append("Sizes of a rehearsal: no figure here says anything of speed.")
    text = markdown(rates, f"LAMAR-RBP on {facts['device']}", lines)
    (folder / "results.md").write_text(text, encoding="utf-8")


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=None)
    parser.add_argument(
        "--output_dir", type=Path, default=REPO / "models" / "gpu_benchmark", help="default: %(default)s"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: the GPU; without one nothing is measured")
    parser.add_argument("--minutes", type=float, default=2.8, help="begin nothing afterwards (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and lamar-tiny: a rehearsal")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--models", nargs="+", default=["lamar", "lamar-mini"], help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if not torch.cuda.is_available() and args.device != "cpu":
        if args.device == "cuda":
            parser.error("--device cuda: no CUDA device is visible")
        print("no CUDA device: nothing measured (--device cpu --quick is a rehearsal)")
        return 0
    prepare_torch()
    sizes, models = (QUICK, ["lamar-tiny"]) if args.quick else (FULL, args.models)
    rates = Rates(torch.device(args.device or "cuda"), args.minutes)
    for name in args.parts:
        function, by_model = PARTS[name]
        for model in models if by_model else [""]:
            try:
                function(rates, sizes, model) if by_model else function(rates, sizes)
            except Exception as error:  # the other parts shall be measured; the exit code tells
                rates.rows.append(row := Rate(name, model, "", "", ""))
                rates.failed(row, error)
            rates.free()
            write(rates, args.output_dir, sizes)
    print((args.output_dir / "results.md").read_text(encoding="utf-8"))
    return int(any(row.error for row in rates.rows))


if __name__ == "__main__":
    sys.exit(main())
