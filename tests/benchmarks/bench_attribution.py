"""Attribution side by side, float32, random weights unless --model_path names a fine-tuned classifier.

Run: python tests/benchmarks/bench_attribution.py
Tiny: python tests/benchmarks/bench_attribution.py --models lamar-tiny --rounds 1 --n_sequences 1

For each model, on 101-nt windows:

1. Mutagenesis in batches under the token budget, and extraction of the mean embeddings of as many sequences, against
   one mutant per forward pass. Outputs are compared, and the sequences per second of the first two.
2. Integrated gradients with 120, 64, 32 and 16 Gauss-Legendre nodes in batches, and with 16 and the path halved until
   the completeness error is 1e-4, against 120 steps of a left-hand sum with one step per forward and backward pass. The
   completeness error is the convergence delta's share of the difference between sequence and baseline.

Neither side computes gradients of parameters or pads. With random weights the score is close to linear along the path:
a trained model needs more nodes, and so do the kinks of a maximum (--head cnn).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import benchmark_parser, prepare_torch, real_windows, side_by_side

from LAMAR import EsmForSequenceClassification, named_config
from LAMAR.alphabet import EOS, MASK
from LAMAR.batches import EncodedSequences, pad_batch
from LAMAR.checkpoints import build_model
from LAMAR.embeddings import extract_outputs
from LAMAR.interpretation.attribution import integrated_gradients, mutagenesis
from LAMAR.interpretation.classifiers import load_classifier
from LAMAR.interpretation.edits import EditedSequences

NODES = {f"{n} nodes": {"n_steps": n, "tolerance": 0.5} for n in (120, 64, 32, 16)}
NODES["refined to 1e-4"] = {"n_steps": 16, "tolerance": 1e-4}
SINGLE_STEPS = 120


def single_mutants(model, sequence: str) -> np.ndarray:
    """Return log-odds of every substitution minus those of the sequence, (L, 4), with one forward pass each."""
    original = EncodedSequences.encode([sequence])
    effects = np.zeros((len(sequence), 4), dtype=np.float32)

    def log_odds(ids):
        logits = model(*pad_batch([ids])).logits[0]
        return float(logits[1] - logits[0])

    with torch.inference_mode():
        reference = log_odds(original[0])
        for position in range(len(sequence)):
            for letter, token in enumerate((5, 7, 8, 6)):  # A C G T
                if original[0][position + 1] == token:
                    continue
                edit = np.array([[position + 1]]), np.array([[token]], dtype=np.uint8)
                effects[position, letter] = log_odds(EditedSequences(original, np.zeros(1, int), *edit)[0]) - reference
    return effects


def single_steps(model, sequence: str) -> tuple[np.ndarray, float]:
    """Return integrated gradients (L,) by a left-hand sum, one pass each way per step, and the completeness error."""
    ids, mask = pad_batch([EncodedSequences.encode([sequence])[0]])
    with torch.no_grad():
        end = model.get_input_embeddings()(ids)
        start = model.get_input_embeddings()(torch.where(ids > EOS, MASK, ids))

    def log_odds(embeddings):
        logits = model(inputs_embeds=embeddings, attention_mask=mask).logits[0]
        return logits[1] - logits[0]

    total = torch.zeros_like(end)
    for step in range(SINGLE_STEPS):
        point = (start + step / SINGLE_STEPS * (end - start)).requires_grad_(True)
        total += torch.autograd.grad(log_odds(point), point)[0]
    scores = (total / SINGLE_STEPS * (end - start)).sum(-1)[0]
    with torch.no_grad():
        difference = float(log_odds(end) - log_odds(start))
    return scores[1:-1].numpy(), abs(float(scores.sum()) - difference) / abs(difference)


def bench_mutagenesis(name: str, model, sequences: list[str], rounds: int, source: str) -> None:
    found = {}
    n_rows = sum(1 + 3 * (len(sequence) - sequence.count("N")) for sequence in sequences)
    copies = EncodedSequences.encode([sequences[i % len(sequences)] for i in range(n_rows)])
    top = model.config.num_hidden_layers - 1

    def batched():
        found["batched"] = [result.effects() for result in mutagenesis(model, sequences, target=1, device="cpu")]

    def extraction():
        extract_outputs(model, copies, [(top, "mean")], device="cpu")

    def single():
        found["single"] = [single_mutants(model, sequence) for sequence in sequences]

    alternatives = {"batched": batched, "extraction": extraction, "one mutant per pass": single}
    record = side_by_side(
        f"mutagenesis, {name}", alternatives, rounds=rounds, sequences=len(sequences), rows=n_rows, data=source
    )
    difference = max(float(np.nanmax(np.abs(a - b))) for a, b in zip(found["batched"], found["single"]))
    print(f"largest difference of an effect {difference:.1e} (wanted at most 1e-5)")
    if "seconds" in record:
        rates = {key: n_rows / max(seconds, 1e-3) for key, seconds in record["seconds"].items()}
        share = rates["batched"] / rates["extraction"]
        print(", ".join(f"{key}: {rate:.1f} sequences/s" for key, rate in rates.items()))
        print(f"batched mutagenesis runs at {share:.0%} of the extraction loop's throughput (wanted 85 % or more)")


def bench_integrated(name: str, model, sequences: list[str], rounds: int, source: str) -> None:
    found = {}

    def batched(key):
        def run():
            found[key] = integrated_gradients(model, sequences, target=1, device="cpu", **NODES[key])

        return run

    def single():
        found["single"] = [single_steps(model, sequence) for sequence in sequences]

    alternatives = {key: batched(key) for key in NODES} | {f"{SINGLE_STEPS} single steps": single}
    side_by_side(f"integrated gradients, {name}", alternatives, rounds=rounds, sequences=len(sequences), data=source)
    for key in NODES:
        errors = [abs(result.delta / result.difference) for result in found[key]]
        used = max(result.n_steps for result in found[key])
        print(f"{key}: largest completeness error {max(errors):.1e} ({used} nodes)")
    print(f"{SINGLE_STEPS} single steps: largest completeness error {max(error for _, error in found['single']):.1e}")
    difference = max(np.abs(a.scores - b).max() for a, (b, _) in zip(found["120 nodes"], found["single"]))
    print(f"largest difference of a score, 120 nodes against single steps: {difference:.1e}")


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=3, threads=2)
    parser.add_argument("--models", nargs="+", default=["lamar-mini", "lamar"], help="default: %(default)s")
    parser.add_argument("--model_path", help="a fine-tuned classifier instead")
    parser.add_argument(
        "--head", default="linear", choices=["linear", "mean", "cnn"], help="of random weights (default: %(default)s)"
    )
    parser.add_argument("--n_sequences", type=int, default=1, help="windows (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    prepare_torch(args.threads)
    sequences, _, source = real_windows(args.n_sequences)
    models = {}
    if args.model_path:
        models[args.model_path] = load_classifier(args.model_path)[0]
    for name in [] if args.model_path else args.models:
        models[name] = build_model(EsmForSequenceClassification, named_config(name, head_type=args.head), seed=0)
    for name, model in models.items():
        model.eval().requires_grad_(False)
        bench_mutagenesis(name, model, sequences, args.rounds, source)
        bench_integrated(name, model, sequences, args.rounds, source)


if __name__ == "__main__":
    main()
