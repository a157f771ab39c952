"""A whole evaluation of frozen embeddings on labelled sets, from files to tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import InputError
from ..runs import RunFolder
from .cnn.options import CnnOptions
from .encoders import EncoderOptions, embedder, open_encoders
from .probes import Parts, draw_training, find_sets, prepare
from .tables import write_tables
from .units import TrainCnn, evaluate

__all__ = ["SetOptions", "evaluate_sets"]


@dataclass(frozen=True)
class SetOptions:
    """Labelled sets to evaluate on, and how they are split.

    Attributes
    ----------
    data_dir : path
        Labelled set, or folder of sets; see `LAMAR.evaluation.probes.find_sets`.
    rbps : sequence of str, optional
        Names of sets; None takes all.
    split : {"auto", "given", "random", "chromosome", "cluster"}
        ``auto`` keeps a set's own parts, else draws at random.
    test_chroms, dev_chroms : sequence of str
        Chromosomes of the test and dev part, for ``chromosome``; without ``dev_chroms`` some are drawn.
    allow_duplicates, drop_duplicates : bool
        Accept the same sequence in several parts, or keep only its records in the test part (else in dev).
    subsample_pos, subsample_neg : int, optional
        Positives and negatives to train on, drawn again in every repeat; None takes all.
    max_length : int
        Largest number of tokens per sequence, two of them special.
    truncate : bool
        Cut longer sequences at the 3' end instead of raising; their number is logged.
    sequence_column, label_column : str, optional
        Columns of tables that have other names than ``sequence`` and ``label``.
    """

    data_dir: str | Path
    rbps: Sequence[str] | None = None
    split: str = "auto"
    test_chroms: Sequence[str] = ()
    dev_chroms: Sequence[str] = ()
    allow_duplicates: bool = False
    drop_duplicates: bool = False
    subsample_pos: int | None = None
    subsample_neg: int | None = None
    max_length: int = 512
    truncate: bool = False
    sequence_column: str | None = None
    label_column: str | None = None

    def recorded(self) -> dict:
        """Return what ``run.json`` holds of these options, under the names of the flags."""
        values = asdict(self)
        for name in ("truncate", "drop_duplicates", "sequence_column", "label_column"):
            if not values[name]:
                del values[name]  # or runs begun before there was such an option could not be resumed
        return values


def evaluate_sets(
    sets: SetOptions,
    output_dir: str | Path,
    encoders: EncoderOptions | None = None,
    cnn: CnnOptions | None = None,
    *,
    no_cnn: bool = False,
    no_baselines: bool = False,
    pooling: str = "none",
    n_repeats: int = 5,
    seed: int = 42,
    overwrite: bool = False,
) -> list[dict]:
    """Evaluate representations of sequences on labelled sets, and write the tables of a run folder.

    Each set is split once. Composition baselines, the CNN on one-hot sequence, the CNN on embeddings of some layers and
    linear probes on those of all layers fit on train, choose by validation and are scored on test. A unit that an
    earlier start finished is not computed again.

    Parameters
    ----------
    sets : SetOptions
    output_dir : path
        Run folder, made if missing: ``results.csv``, ``predictions.csv``, ``split_report.json``, ``run.json``.
    encoders : EncoderOptions, optional
        None leaves out all that needs an encoder.
    cnn : CnnOptions, optional
        How the CNN is trained; None takes the default recipe.
    no_cnn : bool
        Composition and linear probes only.
    no_baselines : bool
        Leave out composition, one-hot and linear probes.
    pooling : {"none", "mean", "cls", "max"}
        "none": the CNN reads every nucleotide, linear probes the mean over nucleotides. The others are one vector per
        sequence, which linear probes can read and the CNN cannot, and need ``no_cnn``.
    n_repeats : int
        Seeds of the CNN, and draws of ``subsample_pos`` and ``subsample_neg``.
    seed : int
        Seed of splits, random weights, and the first repeat.
    overwrite : bool
        Delete an earlier run in ``output_dir`` first.

    Returns
    -------
    list of dict
        Rows of ``results.csv``, the values by column of `LAMAR.evaluation.tables.COLUMNS`.

    Raises
    ------
    InputError
        For options that contradict each other, data or weights that cannot be read, and a folder that holds another
        run; nothing is written then.

    Examples
    --------
    >>> from LAMAR.evaluation.encoders import EncoderOptions
    >>> encoders = EncoderOptions(variants=["Random"], config="lamar-tiny")
    >>> rows = evaluate_sets(SetOptions("sets", rbps=["QKI"]), "results", encoders)  # doctest: +SKIP
    """
    if no_cnn and no_baselines:
        raise InputError("`no_cnn` and `no_baselines`: found both, which leaves nothing to do")
    if pooling != "none" and not no_cnn:
        raise InputError(
            f"`pooling`: found {pooling!r} without `no_cnn`, wanted 'none': the CNN reads every nucleotide"
        )
    options = None if no_cnn else cnn or CnnOptions.from_recipe()
    prepared = _prepare_sets(sets, options, seed)
    opened = open_encoders(encoders, seed) if encoders else []
    with RunFolder.open(
        output_dir,
        arguments=_recorded(sets, encoders, options, no_cnn, no_baselines, pooling)
        | {"n_repeats": n_repeats, "output_dir": output_dir, "seed": seed},
        seed=seed,
        inputs=sorted({file for parts in prepared for file in parts.dataset.files}),
        ignore=_CNN_NAMES if no_cnn else (),
        may_grow=("n_repeats",),
        weights={encoder.name: encoder.weights | {"digest": encoder.digest} for encoder in opened},
        overwrite=overwrite,
    ) as run:
        settings = {"n_repeats": n_repeats, "seed": seed, "pooling": pooling, "no_baselines": no_baselines}
        settings |= {"subsample_pos": sets.subsample_pos, "subsample_neg": sets.subsample_neg}
        if encoders:
            cache_dir = encoders.cache_dir or run.folder("embeddings")
            settings["embeddings_of"] = embedder(encoders, cache_dir)
        train = _cnn_trainer(options) if options else None
        results = {one.dataset.name: list(evaluate(run, one, opened, train, **settings)) for one in prepared}
        write_tables(run, prepared, results)
        run.finish({"data_sets": len(prepared), "units": sum(map(len, results.values()))})
    return [unit["row"] for units in results.values() for unit in units]


_CNN_NAMES = tuple(field.name for field in fields(CnnOptions))


def _recorded(
    sets: SetOptions,
    encoders: EncoderOptions | None,
    cnn: CnnOptions | None,
    no_cnn: bool,
    no_baselines: bool,
    pooling: str,
) -> Mapping[str, object]:
    """Return the arguments in ``run.json``; a run without encoders has none of their options."""
    recorded = sets.recorded()
    if encoders:
        recorded |= encoders.recorded() | {"pooling": pooling, "no_cnn": no_cnn, "no_baselines": no_baselines}
    return recorded | (asdict(cnn) if cnn else dict.fromkeys(_CNN_NAMES))


def _prepare_sets(sets: SetOptions, cnn: CnnOptions | None, seed: int) -> list[Parts]:
    """Read and split all sets; what would fail in the middle of the run fails here."""
    if cnn:
        from .cnn.backend import check_backend
        from .cnn.model import check_length

        check_backend()
    read = ("max_length", "truncate", "sequence_column", "label_column")
    datasets = find_sets(sets.data_dir, sets.rbps, **{name: getattr(sets, name) for name in read})
    for dataset in datasets if cnn else []:
        check_length(max(map(len, dataset.sequences)), dataset.name)
    prepared = [
        prepare(
            dataset,
            sets.split,
            test_chroms=sets.test_chroms,
            dev_chroms=sets.dev_chroms,
            seed=seed,
            allow_duplicates=sets.allow_duplicates,
            drop_duplicates=sets.drop_duplicates,
        )
        for dataset in datasets
    ]
    if sets.subsample_pos is not None or sets.subsample_neg is not None:
        for parts in prepared:
            draw_training(parts, sets.subsample_pos, sets.subsample_neg, seed)
    return prepared


def _cnn_trainer(options: CnnOptions) -> TrainCnn:
    """Return the Keras CNN as `LAMAR.evaluation.units.evaluate` calls it."""
    from .cnn import model as cnn

    def train(records, labels, train, validation, test, representation, seed):
        model, history = cnn.train_cnn(records, labels, train, validation, options, seed, representation=representation)
        learned = cnn.has_learned(history, labels[validation])
        return cnn.predict(model, records, test), {"n_parameters": cnn.count_parameters(model), "learned": learned}

    return train
