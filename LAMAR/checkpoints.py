"""The one weight loader: reads, renames, verifies, reports, refuses.

Nothing is filled in silently: every encoder tensor of the model must come from the file, every tensor of the file
must have a home or be a known leftover, and the report says which was which.
"""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from . import auto as _auto  # noqa: F401 - a model from here has an Auto class
from .errors import InputError
from .modeling_nucESM2 import CONFIGS, EsmConfig, count_parameters, named_config
from .runs.storage import read_json, sha256_file

__all__ = [
    "LoadReport",
    "build_model",
    "config_argument",
    "infer_config",
    "load_pretrained",
    "load_weights",
    "read_config",
    "read_state_dict",
    "stored_heads",
]

logger = logging.getLogger(__name__)

_WRAPPERS = ("module.", "_orig_mod.")
_HEADS = {"lm_head.": "masked-LM head", "classifier.": "classification head"}
_LEFTOVERS = (
    (re.compile(r"esm\.embeddings\.position_ids"), "position index buffer; rotary positions need none"),
    (
        re.compile(r"esm\.embeddings\.position_embeddings\.weight"),
        "absolute position table, unused with rotary",
    ),
    (re.compile(r"esm\.(.*\.)?rotary_embeddings\.inv_freq"), "rotary frequencies, checked and recomputed"),
    (re.compile(r"esm\.contact_head\..*"), "contact head, not part of LAMAR"),
    (re.compile(r"esm\.pooler\..*"), "pooling layer, not part of LAMAR"),
)
# What two configurations must share for one's weights to mean the same in the other.
_ARCHITECTURE = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size layer_norm_eps rope_theta"
).split()
_SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclass
class LoadReport:
    """What happened to every tensor.

    Attributes
    ----------
    source
        File or folder, "" for random initialisation.
    sha256
        Of the weights file; of the concatenated digests for a sharded checkpoint; "" for random initialisation.
    matched, new
        Model tensors taken from the file; head tensors the file does not have, freshly initialised.
    renamed
        File name -> model name, where the two differ.
    left_out
        File name -> why it was not used.
    dtypes
        Number of file tensors by dtype (all become float32).
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
        return asdict(self)

    def summary(self) -> str:
        """One line for the log."""
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


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for name in _SINGLE_FILES:
        if (path / name).is_file():
            return [path / name]
    for name in _INDEX_FILES:
        if (path / name).is_file():
            weight_map = _read_json(path / name).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise InputError(f"{path / name}: no weight_map, wanted the index of a sharded checkpoint")
            for shard in weight_map.values():
                if not isinstance(shard, str) or Path(shard).name != shard:
                    raise InputError(
                        f"{path / name}: found shard {shard!r}, wanted the name of a file beside the index"
                    )
            files = sorted({path / shard for shard in weight_map.values()})
            gone = [file.name for file in files if not file.is_file()]
            if gone:
                raise InputError(f"{path / name}: names shards that do not exist: {', '.join(gone)}")
            return files
    raise InputError(f"{path}: no weights found, wanted {', '.join(_SINGLE_FILES)} or a sharded index in the folder")


def _read_json(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: found a JSON {type(content).__name__}, wanted an object")
    return content


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error
    if path.suffix not in (".bin", ".pt", ".pth", ".ckpt"):
        raise InputError(f"{path}: found suffix {path.suffix!r}, wanted .safetensors, .bin, .pt, .pth or .ckpt")
    try:
        # weights_only refuses everything but tensors and plain containers: a pickle can run code.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to spell
        # The reason that torch gives ends in advice to load it unsafely, so it is not passed on.
        raise InputError(f"{path}: truncated, or a pickle that holds more than plain tensors; not loaded") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise InputError(f"{path}: found {type(content).__name__} with other things than tensors, wanted a state dict")
    return content


def read_state_dict(path: str | Path) -> tuple[dict[str, torch.Tensor], str]:
    """Tensors of a weights file or checkpoint folder, under the file's own names, and their SHA-256.

    Raises
    ------
    InputError
        When the path does not exist or holds no weights, a file is truncated, or a pickle holds more than tensors.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; wanted pretrained weights")
    files = _weight_files(path)
    state: dict[str, torch.Tensor] = {}
    for file in files:
        tensors = _read_file(file)
        twice = sorted(set(tensors) & set(state))
        if twice:
            raise InputError(f"{file}: tensors that another shard has too: {_some(twice)}")
        state.update(tensors)
    if not state:
        raise InputError(f"{path}: holds no tensors")
    digests = [sha256_file(file) for file in files]
    if len(digests) == 1:
        return state, digests[0]
    return state, hashlib.sha256("".join(digests).encode()).hexdigest()


def _some(names, most: int = 6) -> str:
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _canonical(name: str) -> str:
    """Model name of a tensor: wrappers' prefixes dropped, encoder under ``esm.``, heads beside it."""
    while name.startswith(_WRAPPERS):
        name = name.split(".", 1)[1]
    if name.startswith("esm.lm_head."):
        name = name.removeprefix("esm.")
    if not name.startswith(("esm.", *_HEADS)):
        name = f"esm.{name}"
    return name


def _canonical_state(state: dict[str, torch.Tensor], source) -> dict[str, tuple[str, torch.Tensor]]:
    canonical: dict[str, tuple[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        target = _canonical(name)
        if target in canonical:
            raise InputError(f"{source}: {name} and {canonical[target][0]} are both {target}, wanted one of them")
        canonical[target] = (name, tensor)
    return canonical


def stored_heads(path: str | Path) -> tuple[str, ...]:
    """Heads that a checkpoint holds: ``masked-LM head``, ``classification head``, both or none."""
    state, _ = read_state_dict(path)
    names = [_canonical(name) for name in state]
    return tuple(kind for start, kind in _HEADS.items() if any(name.startswith(start) for name in names))


def _leftover(name: str) -> str | None:
    return next((reason for pattern, reason in _LEFTOVERS if pattern.fullmatch(name)), None)


def infer_config(state: dict[str, torch.Tensor], source="weights", heads: int | None = None) -> EsmConfig:
    """Architecture from tensor shapes alone.

    Shapes do not tell the number of attention heads: it is taken from stored rotary frequencies, else from the
    named configuration of the same shape, else from ``heads``, what the caller says; a guess would load without
    complaint and compute nonsense.

    Raises
    ------
    InputError
        When the tensors are not an ESM-2-style encoder's, or the number of heads cannot be known.
    """
    tensors = {target: tensor for target, (_, tensor) in _canonical_state(state, source).items()}
    layers = {int(match[1]) for name in tensors if (match := re.match(r"esm\.encoder\.layer\.(\d+)\.", name))}
    words = tensors.get("esm.embeddings.word_embeddings.weight")
    up = tensors.get("esm.encoder.layer.0.intermediate.dense.weight")
    if words is None or up is None or words.dim() != 2 or up.dim() != 2:
        raise InputError(f"{source}: not LAMAR weights (first tensors: {_some(list(state), 3)})")
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
                f"{source}: {head_dim // 2} rotary frequencies a head do not fit hidden size {shape['hidden_size']}"
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
    """Configuration from a JSON file; :class:`InputError` names the file and the key that is wrong."""
    fields = _read_json(Path(path))
    try:
        return EsmConfig(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from error


def config_argument(name: str) -> EsmConfig | None:
    """Configuration that ``--config`` names: one of :data:`CONFIGS`, or a JSON file; None for ""."""
    if name in CONFIGS:
        return named_config(name)
    if name and not Path(name).is_file():
        raise InputError(f"--config: found {name!r}, wanted one of {', '.join(CONFIGS)}, or a config.json")
    return read_config(name) if name else None


def _check_architecture(path: Path, found: EsmConfig, wanted: dict) -> None:
    for key in _ARCHITECTURE:
        if key in wanted and getattr(found, key) != wanted[key]:
            raise InputError(
                f"{path}: checkpoint has {key} {getattr(found, key)}, the chosen configuration {wanted[key]}"
            )


def build_model(model_class, config: EsmConfig, seed: int):
    """A randomly initialised float32 model; the same seed gives the same weights, the caller's RNG is untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_class(config)


def load_weights(model, path: str | Path, *, new_head: bool = False) -> LoadReport:
    """Fill ``model`` from a checkpoint, in place, and say what was done.

    Parameters
    ----------
    model
        Any model of :mod:`LAMAR.modeling_nucESM2`.
    path
        Weights file or checkpoint folder.
    new_head
        Leave the file's head out even when the model has one of that kind.

    Raises
    ------
    InputError
        When an encoder tensor is missing, a shape or dtype kind is wrong, a value is not finite, stored rotary
        frequencies are not this model's, or a tensor of the file has no home. The model is then unchanged.
    """
    state, digest = read_state_dict(path)
    if _config_file(Path(path)).is_file():
        _check_architecture(Path(path), _config_of(Path(path), state), model.config.to_dict())
    return _fill(model, state, Path(path), digest, new_head)


def _fill(model, state, path: Path, digest: str, new_head: bool) -> LoadReport:
    report = LoadReport(source=str(path), sha256=digest, n_parameters=count_parameters(model))
    # The bare encoder's own names have no "esm." prefix.
    prefix = "" if hasattr(model, "esm") else "esm."
    own = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    filled, homeless, problems = {}, [], []
    for target, (name, tensor) in _canonical_state(state, path).items():
        report.dtypes[str(tensor.dtype)] = report.dtypes.get(str(tensor.dtype), 0) + 1
        head = next((kind for start, kind in _HEADS.items() if target.startswith(start)), None)
        if reason := _leftover(target):
            if target.endswith("inv_freq"):
                problems += _check_frequencies(model, name, tensor)
            report.left_out[name] = reason
        elif head and (new_head or target not in own):
            report.left_out[name] = (
                f"{head} of the file, this model starts with its own"
                if new_head
                else (f"{head}, this model has none of that form")
            )
        elif target not in own:
            homeless.append(name)
        else:
            problems += _check_tensor(name, tensor, own[target])
            filled[target] = tensor
            report.matched.append(target.removeprefix(prefix))
            if name != target.removeprefix(prefix):
                report.renamed[name] = target.removeprefix(prefix)
    missing = [name for name in own if name not in filled and not name.startswith(tuple(_HEADS))]
    if missing:
        problems.append(f"{len(missing)} encoder tensors missing: {_some(missing)}")
    if homeless:
        problems.append(f"{len(homeless)} tensors without a home in the model: {_some(homeless)}")
    head_new = [name for name in own if name not in filled and name.startswith(tuple(_HEADS))]
    head_filled = [name for name in filled if name.startswith(tuple(_HEADS))]
    if head_new and head_filled:
        problems.append(f"half a head: {_some(head_new)} missing")
    if problems:
        raise InputError(f"{path}: weights do not fit the model: {_some(problems, 4)}")
    report.new = head_new
    model.load_state_dict(
        {name.removeprefix(prefix): filled.get(name, tensor) for name, tensor in own.items()}, strict=True
    )
    return report


def _check_tensor(name: str, tensor: torch.Tensor, wanted: torch.Tensor) -> list[str]:
    if tensor.shape != wanted.shape:
        return [f"{name}: found shape {list(tensor.shape)}, wanted {list(wanted.shape)}"]
    if not tensor.is_floating_point():
        return [f"{name}: found dtype {tensor.dtype}, wanted floating point"]
    if not bool(torch.isfinite(tensor).all()):
        return [f"{name}: {int((~torch.isfinite(tensor)).sum())} values are not finite"]
    return []


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
    """Build a model and fill it from ``path``; an empty path means random initialisation, and the log says so.

    Parameters
    ----------
    model_class
        ``EsmModel``, ``EsmForMaskedLM`` or ``EsmForSequenceClassification``.
    path
        Weights file, checkpoint folder, or "".
    config
        Wanted architecture. None takes the checkpoint's (from ``config.json`` beside it, else from its shapes), or
        the published one for random initialisation. When both exist they must agree.
    seed
        Of the random initialisation (of the head only, when weights are loaded).
    new_head
        Start with a fresh head whatever the file holds.
    attention
        Backend, see :func:`LAMAR.flash_attn_patch.resolve_backend`.
    overrides
        Fields of the configuration that do not change the encoder: ``num_labels``, ``head_type``, ``loss_type`` ...

    Returns
    -------
    model, report
        The model in evaluation mode, float32; :class:`LoadReport`.

    Raises
    ------
    InputError
        As :func:`load_weights`, and when the checkpoint's architecture is not ``config``'s.
    """
    state = digest = None
    if str(path):
        state, digest = read_state_dict(path)
        found = _config_of(Path(path), state, None if config is None else config.num_attention_heads)
        # Heads, epsilon and rotary base leave no trace in tensor shapes: a wrong one would load and compute nonsense.
        _check_architecture(Path(path), found, {**(config.to_dict() if config is not None else {}), **overrides})
        config = config or found
    base = (config or EsmConfig()).to_dict()
    if "num_labels" in overrides:
        # Stored label names fix the number of labels and would win over the wish.
        base = {key: value for key, value in base.items() if key not in ("id2label", "label2id")}
    base.update(overrides)
    for key in ("architectures", "transformers_version", "dtype", "torch_dtype", "model_type"):
        base.pop(key, None)
    try:
        model = build_model(model_class, EsmConfig(**base, attn_implementation=attention), seed)
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
        # Whatever the checkpoint's configuration says: this head has seen nothing.
        model.config.head_trained = False
    return model.eval(), report
