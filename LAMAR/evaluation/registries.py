"""Choices of an evaluation: variants of the encoder, and representations of sequences with the method that reads them.

`VARIANTS` and `REPRESENTATIONS` are the only lists of these: parsers, runs, tables, figures and reports read them. A
new variant or baseline is an entry here and nothing else. Imports nothing heavy, so that ``--help`` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..registry import Entry, Registry

__all__ = [
    "KINDS",
    "MIN_BOUND",
    "REPRESENTATIONS",
    "TRACK_BASELINES",
    "VARIANTS",
    "Representation",
    "Variant",
    "reference_representations",
    "select_representations",
    "variant_label",
    "weighted_variants",
]

# Weights that ship lie in the repository around the package; where it was installed alone, there are none.
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Variant(Entry):
    """Weights of an encoder.

    Colours are those of Okabe and Ito, which remain distinct with every common kind of colour blindness.

    Attributes
    ----------
    colour : str
        Colour in all figures.
    parameter : str
        Parameter that names its weights, and flag without dashes; empty for random weights.
    weights : str
        Folder of the weights that ship, relative to the repository.
    """

    colour: str = "#CC79A7"
    parameter: str = ""
    weights: str = ""

    @property
    def shipped(self) -> Path | None:
        """Folder of the weights that ship, whether it is there or not; None where there are none."""
        return _REPOSITORY / self.weights if self.weights else None


@dataclass(frozen=True)
class Representation(Entry):
    """A representation of sequences, with the method that is scored on it.

    What ``function`` does depends on ``kind``:

    - ``composition``: ``function(parts, name)`` fits on the train part of `LAMAR.evaluation.probes.Parts` and returns
      probabilities of its test part, float64 (n_test,), and the number of parameters. No encoder.
    - ``sequence``: ``function(sequences)`` returns an array (n, L, d) that the CNN reads. No encoder.
    - ``probe``: ``function(parts, embeddings)`` fits on one vector per record, of every layer of every variant, and
      returns a `LAMAR.evaluation.probes.Probe`.
    - ``embedding``: the CNN reads the vectors of all nucleotides of the layers asked for; no function.

    Attributes
    ----------
    kind : {"composition", "sequence", "probe", "embedding"}
    colour : str
        Colour in all figures, of those without an encoder; the others have that of their variant.
    hatch : str
        Hatch of bars and boxes.
    reference_line : str or tuple
        Line style of its mean among the curves over layers. Methods on embeddings are tested against representations
        that have one, data set by data set.
    """

    kind: str = "composition"
    colour: str = ""
    hatch: str = ""
    reference_line: str | tuple = ""


VARIANTS: Registry[Variant] = Registry(
    "variants",
    [
        Variant(
            "Pretrained", "Pretrained", colour="#0072B2", parameter="pretrained_weights", weights="weights/lamar-mini"
        ),
        Variant("TAPT", "TAPT", colour="#D55E00", parameter="tapt_weights", weights="weights/lamar-mini-tapt"),
        Variant("Random", "Random", colour="#7F7F7F"),
    ],
)

KINDS = ("composition", "sequence", "probe", "embedding")  # in the order of tables and figures
# Of the evaluation of a model of many RBPs: regressions beside it, and bound windows that a judged track has at least.
TRACK_BASELINES, MIN_BOUND = ("4mer", "dinucleotide"), 50
_COMPOSITION = "LAMAR.evaluation.probes:composition_baseline"

REPRESENTATIONS: Registry[Representation] = Registry(
    "representation",
    [
        Representation("gc", "GC", _COMPOSITION, colour="#F0E442"),
        Representation("dinucleotide", "dinucleotide", _COMPOSITION, colour="#009E73", reference_line=":"),
        Representation("4mer", "4-mer", _COMPOSITION, colour="#E69F00", reference_line=(0, (1, 1))),
        Representation(
            "one_hot",
            "one-hot CNN",
            "LAMAR.data.one_hot:encode_one_hot",
            kind="sequence",
            colour="#000000",
            reference_line="-.",
        ),
        Representation("linear_probe", "probe", "LAMAR.evaluation.probes:fit_probe", kind="probe", hatch="////"),
        Representation("lamar", "CNN", kind="embedding"),
    ],
)


def variant_label(name: str) -> str:
    """Return what figures call a variant: its label, the name of one that is not registered, "LAMAR" without a name."""
    return VARIANTS[name].label if name in VARIANTS else name or "LAMAR"


def weighted_variants() -> list[Variant]:
    """Return the variants that a parameter gives weights to, which are all except those drawn at random."""
    return [variant for variant in VARIANTS.values() if variant.parameter]


def select_representations(*kinds: str) -> list[Representation]:
    """Return all representations of these kinds, kind by kind in the order given.

    Parameters
    ----------
    *kinds : {"composition", "sequence", "probe", "embedding"}
    """
    return [entry for kind in kinds for entry in REPRESENTATIONS.values() if entry.kind == kind]


def reference_representations() -> list[Representation]:
    """Return the representations that methods on embeddings are compared with: those with a ``reference_line``."""
    return [entry for entry in select_representations("sequence", "composition") if entry.reference_line]
