"""Loading of pretrained weights, with every tensor verified and reported.

Nothing is filled silently: every encoder tensor of the model must come from the file, every tensor of the file must
have a place in the model or be a known leftover, and the report says which was which.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from . import auto as _auto  # noqa: F401 - a model from here has an Auto class
from .checkpoint_files import (
    canonical_state,
    half_heads,
    head_of,
    read_json_object,
    read_state_dict,
    tensor_problem,
    why_left_out,
)
from .errors import InputError, shortened
from .flash_attn_patch import resolve_backend
from .modeling_nucESM2 import CONFIGS, EsmConfig, count_parameters, named_config

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

# What two configurations must share for one's weights to mean the same in the other.
_ARCHITECTURE = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size layer_norm_eps rope_theta"
).split()


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
        left_out = "; ".join(f"{count} x {reason}" for reason, count in reasons.items()) or "nothing"
        return (
            f"{self.source}: {len(self.matched)} tensors loaded ({len(self.renamed)} renamed), "
            f"{len(self.new)} new ({', '.join(self.new) or 'none'}), left out: {left_out}; "
            f"{self.n_parameters:,} parameters; SHA-256 {self.sha256[:12]}"
        )


def infer_config(state: dict[str, torch.Tensor], source="weights", heads: int | None = None) -> EsmConfig:
    """Return the architecture that tensor shapes tell.

    Shapes do not tell the number of attention heads. It is taken from stored rotary frequencies, else from the named
    configuration of the same shape, else from ``heads``. It is never guessed: a wrong number would load without an
    error and compute nonsense.

    Parameters
    ----------
    state : dict of str to torch.Tensor
        As `read_state_dict` returns it.
    source : path or str
        Where the tensors come from, for messages.
    heads : int, optional
        Number of attention heads according to the caller.

    Raises
    ------
    InputError
        When the tensors are not an ESM-2-style encoder's, or the number of heads cannot be known.
    """
    tensors = {target: tensor for target, (_, tensor) in canonical_state(state, source).items()}
    layers = {int(match[1]) for name in tensors if (match := re.match(r"esm\.encoder\.layer\.(\d+)\.", name))}
    words = tensors.get("esm.embeddings.word_embeddings.weight")
    up = tensors.get("esm.encoder.layer.0.intermediate.dense.weight")
    if words is None or up is None or words.dim() != 2 or up.dim() != 2:
        raise InputError(f"{source}: not LAMAR weights (first tensors: {shortened(state, 3)})")
    shape = {
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "num_hidden_layers": max(layers) + 1,
        "intermediate_size": up.shape[0],
    }
    frequencies = [tensor for name, tensor in tensors.items() if name.endswith("rotary_embeddings.inv_freq")]
    if frequencies:
        head_dim = 2 * frequencies[0].numel()
        if not head_dim or shape["hidden_size"] % head_dim:
            raise InputError(
                f"{source}: {head_dim // 2} rotary frequencies per head do not fit hidden size {shape['hidden_size']}"
            )
        return EsmConfig(**shape, num_attention_heads=shape["hidden_size"] // head_dim)
    for name in CONFIGS:
        config = named_config(name)
        if all(getattr(config, key) == value for key, value in shape.items()):
            return config
    if heads is not None:
        return EsmConfig(**shape, num_attention_heads=heads)
    raise InputError(
        f"{source}: the number of attention heads cannot be told from tensor shapes "
        f"({shape['num_hidden_layers']} x {shape['hidden_size']}); put the model's config.json beside the weights"
    )


def _config_file(path: Path) -> Path:
    return (path if path.is_dir() else path.parent) / "config.json"


def _config_of(path: Path, state, heads: int | None = None) -> EsmConfig:
    config_file = _config_file(path)
    if config_file.is_file():
        return read_config(config_file)
    try:
        return infer_config(state, path, heads)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def read_config(path: str | Path) -> EsmConfig:
    """Return the configuration that a JSON file holds; `InputError` names the file and the key that is wrong."""
    fields = read_json_object(Path(path))
    try:
        return EsmConfig(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from error


def config_argument(name: str) -> EsmConfig | None:
    """Return the configuration that ``name`` stands for: a name in `CONFIGS`, or a JSON file; None for ""."""
    if name in CONFIGS:
        return named_config(name)
    if name and not Path(name).is_file():
        raise InputError(f"`config`: found {name!r}, wanted one of {', '.join(CONFIGS)}, or a config.json")
    return read_config(name) if name else None


def _check_architecture(path: Path, stored: EsmConfig, wanted: dict) -> None:
    for key in _ARCHITECTURE:
        if key in wanted and getattr(stored, key) != wanted[key]:
            raise InputError(
                f"{path}: checkpoint has {key} {getattr(stored, key)}, the chosen configuration {wanted[key]}"
            )


def build_model(model_class, config: EsmConfig, seed: int):
    """Return a randomly initialised float32 model.

    The same seed gives the same weights; the caller's random state stays as it is.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_class(config)


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
    if _config_file(path).is_file():
        _check_architecture(path, read_config(_config_file(path)), model.config.to_dict())
    return _fill(model, state, path, digest, new_head)


def _fill(model, state, path: Path, digest: str, new_head: bool) -> LoadReport:
    """Fill the model from tensors under the file's names, or raise and leave it unchanged."""
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
        raise InputError(f"{path}: weights do not fit the model: {shortened(problems, 4)}")
    report.new = [name for name in wanted if name not in filled]
    model.load_state_dict(
        {name.removeprefix(prefix): filled.get(name, tensor) for name, tensor in wanted.items()}, strict=True
    )
    return report


def _incomplete(wanted, filled, unplaced: list[str]) -> list[str]:
    """Return what is missing and what is left over, one sentence each."""
    problems = []
    missing = [name for name in wanted if name not in filled]
    encoder = [name for name in missing if not head_of(name)]
    if encoder:
        problems.append(f"{len(encoder)} encoder tensors missing: {shortened(encoder, 6)}")
    if unplaced:
        problems.append(f"{len(unplaced)} tensors without a place in the model: {shortened(unplaced, 6)}")
    return problems


def _check_frequencies(model, name: str, tensor: torch.Tensor) -> list[str]:
    wanted = (model.esm if hasattr(model, "esm") else model).encoder.rotary.inverse_frequencies()
    # Files may store them in half precision.
    if tensor.shape != wanted.shape or not torch.allclose(tensor.float(), wanted, rtol=1e-2, atol=1e-7):
        return [f"{name}: rotary frequencies are not those of this model (head dimension or base differ)"]
    return []


def load_pretrained(
    model_class,
    path: str | Path,
    *,
    config: EsmConfig | None = None,
    seed: int = 42,
    new_head: bool = False,
    attention: str = "sdpa",
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
        stored = _config_of(Path(path), state, None if config is None else config.num_attention_heads)
        # Heads, epsilon and rotary base leave no trace in tensor shapes: a wrong one would load and compute nonsense.
        _check_architecture(Path(path), stored, {**(config.to_dict() if config is not None else {}), **overrides})
        config = config or stored
    base = (config or EsmConfig()).to_dict()
    if "num_labels" in overrides:
        # Stored label names fix the number of labels and would prevail over the override.
        base = {key: value for key, value in base.items() if key not in ("id2label", "label2id")}
    base.update(overrides)
    for key in ("architectures", "transformers_version", "dtype", "torch_dtype", "model_type"):
        base.pop(key, None)
    try:
        model = build_model(model_class, EsmConfig(**base, attn_implementation=backend), seed)
    except ValueError as error:
        raise InputError(str(error)) from error
    if state is None:
        report = LoadReport(source="", new=list(model.state_dict()), n_parameters=count_parameters(model), seed=seed)
        logger.warning(report.summary())
    else:
        report = _fill(model, state, Path(path), digest, new_head)
        report.seed = seed
        logger.info(report.summary())
    if report.new:
        # Whatever the checkpoint's configuration says: this head has not been trained, on windows of no length.
        model.config.head_trained, model.config.window_length = False, overrides.get("window_length")
    return model.eval(), report
