"""Verbs that load, read, embed and predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch

from ..batches import EncodedSequences
from ..checkpoints import LoadReport, load_pretrained
from ..data.labelled import LabelledSet, load_labelled
from ..embeddings import extract_outputs
from ..errors import InputError
from ..interpretation import classifiers
from ..interpretation.edits import normalized_sequences
from ..layers import normalize_layer
from ..modeling_nucESM2 import EsmForMaskedLM, EsmModel
from ..runs.checkpoint_folders import checkpoints_of
from ..training.collapse import warn_of_collapse

__all__ = ["embed", "load_classifier", "loaded", "loaded_classifier", "predict", "read_labelled", "scan"]

PREDICTION_SCALES = ("probability", "p_value", "logit")


def loaded(model: torch.nn.Module | str | PathLike, load: Callable) -> torch.nn.Module:
    """Return the model itself, or the model that ``load`` returns first for the path of a checkpoint."""
    if not isinstance(model, str | PathLike):
        return model
    # For load_pretrained, "" stands for random weights; an empty variable must not become figures.
    if not fspath(model):
        raise InputError("`model`: found '', wanted a loaded model or the path of a checkpoint")
    return load(model)[0]


def loaded_classifier(model: torch.nn.Module | str | PathLike) -> torch.nn.Module:
    """Return the classifier itself, or that of the path; refuse encoders and language models.

    Raises
    ------
    InputError
        The model is of another kind, or the path as in `load_classifier`.
    """
    model = loaded(model, load_classifier)
    if not isinstance(model, torch.nn.Module) or isinstance(model, EsmModel | EsmForMaskedLM):
        wanted = "a fine-tuned classifier, see load_classifier"
        raise InputError(f"`model`: found {type(model).__name__}, wanted {wanted}")
    return model


def load_classifier(model_path: str | PathLike, *, attention: str = "sdpa") -> tuple[torch.nn.Module, LoadReport]:
    """Load a fine-tuned classifier, and warn where its training collapsed.

    Parameters
    ----------
    model_path : path
        Checkpoint folder or weights file, or the folder of a fine-tuning run or one above it. A run with several
        checkpoints (``fold_0`` ...) becomes one model whose logits are the mean over them.
    attention : {"sdpa", "eager", "flash"}
        Attention backend.

    Returns
    -------
    model : EsmForSequenceClassification or ClassifierEnsemble
        float32, in evaluation mode, on the CPU. ``config.id2label`` names its outputs.
    report : LoadReport
        What happened to every tensor.

    Raises
    ------
    InputError
        There is no checkpoint, or its classification head was never trained.

    Examples
    --------
    >>> from LAMAR import load_classifier
    >>> model, report = load_classifier("models/PUM2/fold_0")
    >>> model.config.num_labels, report.new
    (2, [])
    """
    model, report = classifiers.load_classifier(model_path, attention=attention)
    for checkpoint in checkpoints_of(model_path):
        warn_of_collapse(checkpoint, "predictions and attributions say")
    return model, report


def read_labelled(
    path: str | PathLike,
    *,
    name: str | None = None,
    task: str = "classification",
    nlabels: int = 2,
    sequence_column: str | None = None,
    label_column: str | None = None,
) -> LabelledSet:
    """Read a labelled data set in any of its forms.

    Parameters
    ----------
    path : path
        A folder with ``train.csv`` and, optionally, ``dev.csv`` and ``test.csv``; a pair of ``NAME.positives.fa`` and
        ``NAME.negatives.fa``, or a pair for each part (``NAME.train.positives.fa`` ...); one CSV or TSV with columns
        ``sequence`` and ``label``; a folder written by Hugging Face ``save_to_disk``; an HDF5 file with one-hot arrays.
        Gzip is accepted everywhere.
    name : str, optional
        Which data set, where the folder holds several.
    task : {"classification", "regression", "multilabel"}
    nlabels : int
        Number of classes (classification) or of labels (multilabel).
    sequence_column, label_column : str, optional
        Columns of tables that have other names than ``sequence`` and ``label``.

    Returns
    -------
    LabelledSet
        ``sequences`` (list of n str over ``ACGTN``), ``labels`` (int64, shape (n,); float32 for regression; int64,
        shape (n, nlabels) for multilabel), ``ids``, and where the source has them ``split`` and coordinates.

    Raises
    ------
    InputError
        Names the file and the row, record or array index, what was found and what was wanted.

    Examples
    --------
    >>> from LAMAR import read_labelled
    >>> dataset = read_labelled("data/PUM2.csv")
    >>> len(dataset), dataset.labels.dtype, sorted(set(dataset.labels.tolist()))
    (60, dtype('int64'), [0, 1])
    """
    columns = {"sequence_column": sequence_column, "label_column": label_column}
    return load_labelled(path, name=name, task=task, nlabels=nlabels, **columns)


def embed(
    model: torch.nn.Module | str | PathLike,
    sequences: Sequence[str],
    layer: int = -1,
    pooling: str = "mean",
    **options: Any,
) -> np.ndarray | list[np.ndarray]:
    """Embed sequences with frozen weights.

    Blocks above ``layer`` are not computed. Special tokens and padding never enter the embeddings, except for
    ``<cls>`` with that pooling.

    Parameters
    ----------
    model : Module or path
        ``EsmModel``, or a model with one as ``model.esm``; or a checkpoint.
    sequences : sequence of str
        n sequences.
    layer : int
        0-based block; negatives count from the end. The last block carries the final layer norm.
    pooling : {"mean", "max", "cls", "none"}
        Mean or maximum over nucleotides, the embedding of ``<cls>``, or every nucleotide.
    options
        ``device``, ``token_budget``, ``progress`` as `LAMAR.verbs` describes them.

    Returns
    -------
    ndarray of float32, shape (n, d)
        d is the model's hidden size. With pooling "none", a list of n arrays (L_i, d) for sequences of L_i nucleotides.

    Raises
    ------
    InputError
        A sequence that is not nucleotides, a layer that the model does not have, or another pooling.

    References
    ----------
    Architecture: Lin et al., Science 379:1123 (2023).

    Examples
    --------
    >>> from LAMAR import embed
    >>> vectors = embed("weights/lamar-mini", ["UGUAUAUAGGCAUGC", "GGGCCCAAAUUU"])
    >>> vectors.shape, vectors.dtype
    ((2, 256), dtype('float32'))
    >>> [array.shape for array in embed("weights/lamar-mini", ["UGUAUAUAGGCAUGC", "GGGCCCAAAUUU"], pooling="none")]
    [(15, 256), (12, 256)]
    """
    model = loaded(model, lambda path: load_pretrained(EsmModel, path))
    encoder = getattr(model, "esm", model)
    if not isinstance(encoder, EsmModel):
        raise InputError(f"`model`: found {type(model).__name__}, wanted EsmModel or a model with one as .esm")
    output = normalize_layer(layer, encoder.config.num_hidden_layers), pooling
    encoded = EncodedSequences.encode(normalized_sequences(sequences))
    embeddings = extract_outputs(model, encoded, [output], **options)[output]
    return list(embeddings) if pooling == "none" else embeddings.values


def predict(
    model: torch.nn.Module | str | PathLike,
    sequences: Sequence[str],
    scale: str = "probability",
    **options: Any,
) -> np.ndarray:
    """Predict classes or values with a fine-tuned classifier.

    Parameters
    ----------
    model : Module or path
        Model of `load_classifier`, or a checkpoint or fine-tuning run.
    sequences : sequence of str
        n sequences.
    scale : {"probability", "p_value", "logit"}
        ``probability`` is the softmax over classes, or for each of several yes/no labels the calibrated probability at
        ``model.calibration.prior`` sites per background window where the checkpoint has a calibration, else the
        sigmoid. ``p_value`` is the share of background windows that score as high (`LAMAR.statistics.calibration`).
        ``logit`` is the model's output itself.
    options
        ``device``, ``token_budget``, ``progress`` as `LAMAR.verbs` describes them.

    Returns
    -------
    ndarray of float32, shape (n, K)
        Columns in the order of ``config.id2label``. For regression the predicted values, shape (n,).

    Raises
    ------
    InputError
        A sequence that is not nucleotides, a checkpoint without a trained head, or p-values of a model without
        calibration.

    Examples
    --------
    >>> from LAMAR import predict
    >>> probabilities = predict("models/PUM2/fold_0", ["UGUAUAUAGGCAUGC", "GGGCCCAAAUUU"])
    >>> probabilities.shape, probabilities.sum(axis=1).round(4).tolist()
    ((2, 2), [1.0, 1.0])
    """
    model = loaded_classifier(model)
    _check_scale(scale, model)
    encoded = EncodedSequences.encode(normalized_sequences(sequences))
    logits = classifiers.predict_logits(model, encoded, **options)
    task = classifiers.model_task(model)
    if task == "regression":
        return logits[:, 0]
    if task == "multilabel" or scale == "logit":
        return _on_scale(logits, scale, model)
    return torch.from_numpy(logits).softmax(-1).numpy()


def _check_scale(scale: str, model: torch.nn.Module) -> None:
    if scale not in PREDICTION_SCALES:
        raise InputError(f"`scale`: found {scale!r}, wanted one of {', '.join(PREDICTION_SCALES)}")
    if scale == "p_value" and getattr(model, "calibration", None) is None:
        raise InputError("`scale`: found p_value, but the model has no calibration.json; wanted probability or logit")


def _on_scale(logits: np.ndarray, scale: str, model: torch.nn.Module) -> np.ndarray:
    """Return logits (..., k) of yes/no labels on a scale of `PREDICTION_SCALES`; float32. NaN stays NaN."""
    calibration = getattr(model, "calibration", None)
    if scale == "logit":
        return logits
    if calibration is None or (scale == "probability" and not calibration.has_probabilities):
        return torch.from_numpy(logits).sigmoid().numpy()
    convert = calibration.p_values if scale == "p_value" else calibration.probabilities
    return convert(logits).astype(np.float32)


def scan(
    model: torch.nn.Module | str | PathLike,
    sequence: str,
    *,
    scale: str = "logit",
    tile: int | None = None,
    stride: int | None = None,
    device: str | torch.device | None = None,
    **options: Any,
) -> np.ndarray:
    """Predict binding along a sequence of any length.

    The sequence is cut into overlapping tiles of the length that the model was trained on. The score of a nucleotide is
    the mean logit of the tiles that cover it.

    Parameters
    ----------
    model : Module or path
        Model of `load_classifier`, or a checkpoint or fine-tuning run, with one or more yes/no outputs or two classes.
    sequence : str
        L nucleotides, 5' to 3' on the strand of the RNA.
    scale : {"logit", "probability", "p_value"}
        Scale of the mean logit, as for `predict`.
    tile : int, optional
        Length of a tile; None takes the length of the model's training windows (``config.window_length``).
    stride : int, optional
        Distance of two tiles; None is a quarter of a tile.
    device
        As `LAMAR.verbs` describes it.
    options
        ``token_budget``, ``bf16``.

    Returns
    -------
    ndarray of float32, shape (L, k)
        Columns in the order of ``config.id2label``, or class 1 of two. NaN in runs of ten or more N.

    Raises
    ------
    InputError
        A sequence that is not nucleotides, a model whose tile length is not known, or a stride above it.

    Examples
    --------
    >>> from LAMAR import scan
    >>> scan("models/PUM2/fold_0", "GGCAUGUAUAUAGGC" * 20, tile=101).shape
    (300, 1)
    """
    from ..prediction.scanning import ScanOptions, positive_columns, scan_record, tile_length

    if not isinstance(sequence, str):
        raise InputError(f"`sequence`: found {sequence!r}, wanted a sequence as text")
    model = loaded_classifier(model)
    _check_scale(scale, model)
    tile = tile_length(model) if tile is None else tile
    (normalized,) = normalized_sequences([sequence])
    scores = np.full((len(normalized), len(positive_columns(model)[0])), np.nan, dtype=np.float32)
    chosen = ScanOptions(tile=tile, stride=max(tile // 4, 1) if stride is None else stride, **options)
    for part in scan_record(model, normalized, chosen, device=device):
        scores[part.piece.start : part.piece.end] = part.profile.per_nucleotide()
    return scores if classifiers.model_task(model) == "regression" else _on_scale(scores, scale, model)
