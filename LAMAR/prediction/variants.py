"""Variants against the tracks of a model: each scored with the reference and with the alternative."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..batches import EncodedSequences
from ..genomics.annotation import Annotation
from ..genomics.intervals import canonical_chromosomes, overlap
from ..interpretation.classifiers import predict_logits
from ..interpretation.variant_windows import VariantWindow
from ..interpretation.variants import LeftOut, Variant
from .predictor import Predictor
from .scanning import positive_columns

__all__ = ["GeneStrands", "score_windows", "variant_rows"]


@dataclass
class GeneStrands:
    """Strands of the genes in which variants lie, as `LAMAR.interpretation.variant_windows.load_variants` chooses them.

    Attributes
    ----------
    annotation : Annotation
    strand : {"+", "-", "both"}, optional
        Strand of variants that lie in no gene; by default they are left out.
    """

    annotation: Annotation
    strand: str | None = None
    _names: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def __call__(self, variants: Sequence[Variant]) -> tuple[list[Variant], list[LeftOut]]:
        """Return the variants on the strands of their genes, and those that lie in none.

        Parameters
        ----------
        variants : sequence of Variant
            Those without a strand of their own on both strands.

        Returns
        -------
        chosen : list of Variant
            One that the file gives a strand stays on it.
        left_out : list of LeftOut
        """
        strands: dict[tuple[str, str], set[str]] = {}
        for variant in variants:
            strands.setdefault((variant.place, variant.alt), set()).add(variant.strand)
        others = {"both": "+-", None: ""}.get(self.strand, self.strand)
        chosen: list[Variant] = []
        left_out: dict[tuple[str, str], LeftOut] = {}
        for variant, genes in zip(variants, self._genes_at(variants)):
            key = variant.place, variant.alt
            names = genes.get(variant.strand, [])
            if names or len(strands[key]) == 1 or (not genes and variant.strand in others):
                chosen.append(variant)
                self._names[*key, variant.strand] = ",".join(names)
            elif not genes and not others:
                found = f"{variant.chrom}:{variant.pos}: found no gene there, wanted one, or `strand`"
                left_out.setdefault(key, variant.left_out("no_gene", found))
        return chosen, list(left_out.values())

    def genes_of(self, variant: Variant) -> str:
        """Return the names of the genes that a chosen variant lies in on its strand, joined by commas."""
        return self._names[variant.place, variant.alt, variant.strand]

    def _genes_at(self, variants: Sequence[Variant]) -> list[dict[str, list[str]]]:
        """Return the names of the genes of each variant by strand; ids where genes have no names."""
        found: list[dict[str, list[str]]] = [{} for _ in variants]
        trimmed = [variant.trimmed() for variant in variants]
        places = pd.DataFrame(
            {
                "chrom": canonical_chromosomes(pd.Series([variant.chrom for variant in variants], dtype=object)),
                "start": np.array([start for start, _, _ in trimmed], dtype=np.int64),
                "end": np.array([start + len(ref) for start, ref, _ in trimmed], dtype=np.int64),
            }
        )
        genes = self.annotation.genes
        names = genes["gene_name"].where(genes["gene_name"] != "", genes["gene_id"]).tolist()
        strands = genes["strand"].tolist()
        for i, gene in zip(*(rows.tolist() for rows in overlap(places, genes))):
            for strand in "+-" if strands[gene] == "." else strands[gene]:
                found[i].setdefault(strand, []).append(names[gene])
        return [{strand: sorted(set(ones)) for strand, ones in one.items()} for one in found]


def score_windows(predictor: Predictor, windows: Sequence[VariantWindow]) -> np.ndarray:
    """Return the logits of variants with the reference and with the alternative; float32, shape (n, 2, k).

    Each allele is one window of the model's length with the variant in its middle, which is what calibrations are
    fitted to. Equal windows are predicted once.
    """
    texts = [text for window in windows for text in (window.sequence, window.alternative)]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    options = predictor.options
    logits = predict_logits(
        predictor.model,
        EncodedSequences.encode(list(distinct)),
        token_budget=options.token_budget,
        device=predictor.device,
        bf16=options.bf16,
    )
    _, plus, minus = positive_columns(predictor.model)
    plus, minus = plus[predictor.columns], minus[predictor.columns]
    scores = logits[:, plus] - np.where(minus >= 0, logits[:, minus], 0)
    return scores[[distinct[text] for text in texts]].reshape(len(windows), 2, len(plus))


def variant_rows(
    predictor: Predictor,
    windows: Sequence[VariantWindow],
    scores: np.ndarray,
    genes_of: Callable[[Variant], str] | None = None,
) -> Iterator[dict]:
    """Yield a row of ``variants.csv`` for each variant and track.

    ``change`` is alternative minus reference on the logit scale. Probabilities and p-values are there where the model
    has a calibration.

    Parameters
    ----------
    predictor : Predictor
    windows : sequence of VariantWindow, length n
    scores : numpy.ndarray of float32, shape (n, 2, k)
        As `score_windows` returns them.
    genes_of : callable, optional
        Returns the names of a variant's genes, for a column ``genes``.
    """
    scales = {"logit": scores}
    if (calibration := predictor.calibration) is not None:
        flat = scores.reshape(-1, scores.shape[2])
        if calibration.has_probabilities:
            scales["probability"] = calibration.probabilities(flat).reshape(scores.shape)
        scales["p"] = calibration.p_values(flat).reshape(scores.shape)
    for i, window in enumerate(windows):
        variant = window.variant
        head = {name: getattr(variant, name) for name in ("id", "chrom", "pos", "ref", "alt", "strand")}
        head |= {} if genes_of is None else {"genes": genes_of(variant)}
        head |= {"window_start": window.start, "window_end": window.end}
        changes = scores[i, 1] - scores[i, 0]
        for j, name in enumerate(predictor.names):
            row = head | {"track": name, "change": _rounded(changes[j])}
            for scale, values in scales.items():
                row |= {f"reference_{scale}": _rounded(values[i, 0, j])}
                row |= {f"alternative_{scale}": _rounded(values[i, 1, j])}
            yield row


def _rounded(value: float) -> float:
    """Return a number with six significant digits."""
    return float(f"{value:.6g}")
