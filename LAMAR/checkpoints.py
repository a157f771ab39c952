"""Loading of pretrained weights, with every tensor verified and reported.

Nothing is filled silently: every encoder tensor of the model must come from the file, every tensor of the file must
have a place in the model or be a known leftover, and the report says which was which.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from . import auto as _auto  # noqa: F401 - a model from here has an Auto class
from .checkpoint_configs import (
    check_architecture,
    config_argument,
    config_file_of,
    config_of,
    infer_config,
    read_config,
)
from .checkpoint_files import (
    canonical_state,
    half_heads,
    head_of,
    read_state_dict,
    tensor_problem,
    why_left_out,
)
from .errors import InputError, counted, shortened
from .flash_attn_patch import resolve_backend
from .memory_limits import memory_limit
from .modeling_nucESM2 import EsmConfig, EsmLayer, count_parameters

__all__ = [
    "LoadReport",
    "build_model",
    "config_argument",
    "infer_config",
    "load_pretrained",
    "load_weights",
    "read_config",
]

logger = logging.getLogger(__name__)


@dataclass
class LoadReport:
    """What happened to every tensor.

    Attributes
    ----------
    source : str
        File or folder, "" for random initialisation.
    sha256 : str
        Of the weights file; of the concatenated digests for a sharded checkpoint; "" for random initialisation.
    matched : list of str
        Tensors of the model that were taken from the file.
    new : list of str
        Tensors of a head that the file does not have, freshly initialised.
    renamed : dict of str to str
        The model's name by the file's name, where the two differ.
    left_out : dict of str to str
        Reason by the file's name of a tensor that was not used.
    dtypes : dict of str to int
        Number of tensors of the file by dtype (all become float32).
    n_parameters : int
        Parameters of the model.
    seed : int or None
        Seed of the random initialisation.
    """

    source: str
    sha256: str = ""
    matched: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    n_parameters: int = 0
    seed: int | None = None

    def to_dict(self) -> dict:
        """Return all attributes as plain containers, for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """Return one line for the log."""
        if not self.source:
            return f"random initialisation, seed {self.seed}: {self.n_parameters:,} parameters, none pretrained"
        reasons: dict[str, int] = {}
        for reason in self.left_out.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        left_out = "; ".join(f"{count} x {reason}" for reason, count in reasons.items())
        parts = [
            f"{counted(len(self.matched), 'tensor')} loaded"
            + (f" ({len(self.renamed)} renamed)" if self.renamed else ""),
            f"{len(self.new)} new ({', '.join(self.new)})" if self.new else "",
            f"left out: {left_out}" if left_out else "",
            f"{self.n_parameters:,} parameters",
            f"SHA-256 {self.sha256[:12]}",
        ]
        return f"{self.source}: {'; '.join(part for part in parts if part)}"


def build_model(model_class, config: EsmConfig, seed: int):
    """Return a randomly initialised float32 model.

    The same seed gives the same weights; the caller's random state stays as it is.

    Raises
    ------
    InputError
        The parameters alone need more memory than there is.
    """
    _check_memory(model_class, config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_class(config)


def _check_memory(model_class, config: EsmConfig) -> None:
    shallow = copy.deepcopy(config)
    shallow.num_hidden_layers = 1
    with torch.device("meta"):
        n_outside, n_block = (count_parameters(part) for part in (model_class(shallow), EsmLayer(config)))
    needed = 4 * (n_outside + (config.num_hidden_layers - 1) * n_block)
    if (limit := memory_limit()) is not None and needed > limit:
        raise InputError(
            f"`config`: a model of these sizes needs {needed / 2**30:,.1f} GiB for its parameters, but "
            f"{limit / 2**30:,.1f} GiB of memory are there"
        )


def load_weights(model, path: str | Path, *, new_head: bool = False) -> LoadReport:
    """Fill a model from a checkpoint, in place, and return what was done.

    Parameters
    ----------
    model : EsmPreTrainedModel
        Any model of `LAMAR.modeling_nucESM2`.
    path : path
        Weights file or checkpoint folder.
    new_head : bool
        Leave the file's head out even when the model has one of that kind.

    Returns
    -------
    LoadReport

    Raises
    ------
    InputError
        When an encoder tensor is missing, a shape or dtype kind is wrong, a value is not finite, stored rotary
        frequencies are not this model's, or a tensor of the file has no place in the model. The model is then
        unchanged.
    """
    path = Path(path)
    state, digest = read_state_dict(path)
    if config_file_of(path).is_file():
        check_architecture(path, read_config(config_file_of(path)), model.config.to_dict())
    report, filled = _match(model, state, path, digest, new_head)
    _fill(model, filled)
    return report


def _match(model, state, path: Path, digest: str, new_head: bool) -> tuple[LoadReport, dict[str, torch.Tensor]]:
    """Return what a file's tensors are to the model, and those that fill it by canonical name, or raise.

    Of the model only names, shapes and dtypes are read, so that it may be on the meta device.
    """
    report = LoadReport(source=str(path), sha256=digest, n_parameters=count_parameters(model))
    # The bare encoder's names have no "esm." prefix.
    prefix = "" if hasattr(model, "esm") else "esm."
    wanted = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    filled, unplaced, problems = {}, [], []
    stored = canonical_state(state, path)
    for target, (name, tensor) in stored.items():
        report.dtypes[str(tensor.dtype)] = report.dtypes.get(str(tensor.dtype), 0) + 1
        head = head_of(target)
        if reason := why_left_out(target):
            if target.endswith("inv_freq"):
                problems += _check_frequencies(model, name, tensor)
            report.left_out[name] = reason
        elif head and new_head:
            report.left_out[name] = f"{head} of the file, this model starts with its own"
        elif head and target not in wanted:
            report.left_out[name] = f"{head}, this model has none of that form"
        elif target not in wanted:
            unplaced.append(name)
        else:
            problems += filter(None, [tensor_problem(name, tensor, wanted[target])])
            filled[target] = tensor
            report.matched.append(target.removeprefix(prefix))
            if name != target.removeprefix(prefix):
                report.renamed[name] = target.removeprefix(prefix)
    problems += _incomplete(wanted, filled, unplaced)
    if not new_head:
        problems += half_heads(stored, wanted)
    if problems:
        raise InputError(f"{path}: weights do not fit the model: {shortened(problems, 2)}")
    report.new = [name for name in wanted if name not in filled]
    return report, filled


def _fill(model, filled: dict[str, torch.Tensor]) -> None:
    """Fill the model from tensors by canonical name; others stay as they are."""
    prefix = "" if hasattr(model, "esm") else "esm."
    own = model.state_dict()
    model.load_state_dict({name: filled.get(prefix + name, tensor) for name, tensor in own.items()}, strict=True)


def _incomplete(wanted, filled, unplaced: list[str]) -> list[str]:
    """Return what is missing and what is left over, one sentence each."""
    problems = []
    missing = [name for name in wanted if name not in filled]
    encoder = [name for name in missing if not head_of(name)]
    if encoder:
        problems.append(f"{len(encoder)} encoder tensors missing: {shortened(encoder, 2)}")
    if unplaced:
        problems.append(f"{len(unplaced)} tensors without a place in the model: {shortened(unplaced, 2)}")
    return problems


def _check_frequencies(model, name: str, tensor: torch.Tensor) -> list[str]:
    wanted = (model.esm if hasattr(model, "esm") else model).encoder.rotary.inverse_frequencies()
    if tensor.shape == wanted.shape:
        if problem := tensor_problem(name, tensor, wanted):
            return [problem]
        # Files may store them in half precision.
        if torch.allclose(tensor.float(), wanted, rtol=1e-2, atol=1e-7):
            return []
    return [f"{name}: rotary frequencies are not those of this model (head dimension or base differ)"]


def load_pretrained(
    model_class,
    path: str | Path,
    *,
    config: EsmConfig | None = None,
    seed: int = 42,
    new_head: bool = False,
    attention: str = "sdpa",
    log: bool = True,
    **overrides,
):
    """Return a model filled from ``path``, or randomly initialised for an empty path, which is logged as a warning.

    Parameters
    ----------
    model_class : type
        ``EsmModel``, ``EsmForMaskedLM`` or ``EsmForSequenceClassification``.
    path : path or ""
        Weights file or checkpoint folder.
    config : EsmConfig, optional
        Wanted architecture. None takes the checkpoint's (from ``config.json`` beside it, else from its shapes), or
        the published one for random initialisation. When both exist they must agree.
    seed : int
        Seed of the random initialisation (of the head only, when weights are loaded).
    new_head : bool
        Start with a fresh head whatever the file holds.
    attention : str
        Backend, see `LAMAR.flash_attn_patch.resolve_backend`.
    log : bool
        Log what was loaded, in one line.
    **overrides
        Fields of the configuration that do not change the encoder: ``num_labels``, ``head_type``, ``loss_type`` ...

    Returns
    -------
    model : EsmPreTrainedModel
        In evaluation mode, float32.
    report : LoadReport

    Raises
    ------
    InputError
        As `load_weights`, when the checkpoint's architecture is not ``config``'s, and for a backend that is unknown or
        cannot run here.

    Examples
    --------
    >>> from LAMAR import EsmModel, load_pretrained
    >>> model, report = load_pretrained(EsmModel, "weights/lamar-mini")
    >>> model.config.num_hidden_layers, model.config.hidden_size, report.new
    (6, 256, [])
    """
    backend = resolve_backend(attention)
    state = digest = None
    if str(path):
        state, digest = read_state_dict(path)
        stored = config_of(Path(path), state, None if config is None else config.num_attention_heads)
        # Heads, epsilon and rotary base leave no trace in tensor shapes: a wrong one would load and compute nonsense.
        check_architecture(Path(path), stored, {**(config.to_dict() if config is not None else {}), **overrides})
        config = config or stored
    base = (config or EsmConfig()).to_dict()
    if "num_labels" in overrides:
        # Stored label names fix the number of labels and would prevail over the override.
        base = {key: value for key, value in base.items() if key not in ("id2label", "label2id")}
    base.update(overrides)
    for key in ("architectures", "transformers_version", "dtype", "torch_dtype", "model_type"):
        base.pop(key, None)
    try:
        config = EsmConfig(**base, attn_implementation=backend)
    except ValueError as error:
        raise InputError(str(error)) from error
    if state is not None:
        # Shapes are compared before memory is taken for a model of these sizes.
        with torch.device("meta"):
            outline = model_class(config)
        report, filled = _match(outline, state, Path(path), digest, new_head)
    model = build_model(model_class, config, seed)
    if state is None:
        report = LoadReport(source="", new=list(model.state_dict()), n_parameters=count_parameters(model), seed=seed)
        if log:
            logger.warning(report.summary())
    else:
        _fill(model, filled)
        report.seed = seed
        if log:
            logger.info(report.summary())
    if report.new:
        # Whatever the checkpoint's configuration says: this head has not been trained, on windows of no length.
        model.config.head_trained, model.config.window_length = False, overrides.get("window_length")
    return model.eval(), report
