"""Tensors of checkpoint files: reading them safely, and what their names mean.

The names that DistributedDataParallel, ``torch.compile``, upstream LAMAR and bare encoders write are brought to one
form, the canonical names: the encoder under ``esm.``, heads beside it under ``lm_head.`` and ``classifier.``.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from .errors import InputError, shortened
from .runs.checkpoint_folders import INDEX_FILES, SINGLE_FILES, fold_names
from .runs.storage import is_plain_name, read_json_object, sha256_file

__all__ = [
    "FLOAT_DTYPES",
    "HEAD_NAMES",
    "canonical_name",
    "canonical_state",
    "half_heads",
    "head_of",
    "read_state_dict",
    "stored_heads",
    "stored_tensors",
    "tensor_problem",
    "why_left_out",
]

# Heads by the start of their tensors' canonical names.
HEAD_NAMES = {"lm_head.": "masked-LM head", "classifier.": "classification head"}
# Parts of names that wrappers of a model, or of a module inside it, add: DistributedDataParallel, torch.compile,
# FullyShardedDataParallel, activation checkpointing, DeepSpeed and Lightning.
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"))
# Dtypes that weights may have, by what safetensors calls them.
FLOAT_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
_ZIP = b"PK\x03\x04"
_LEFTOVERS = (
    (re.compile(r"esm\.embeddings\.position_ids"), "position index buffer; rotary positions need none"),
    (re.compile(r"esm\.embeddings\.position_embeddings\.weight"), "absolute position table, unused with rotary"),
    (re.compile(r"esm\.(.*\.)?rotary_embeddings\.inv_freq"), "rotary frequencies, checked and recomputed"),
    (re.compile(r"esm\.contact_head\..*"), "contact head, not part of LAMAR"),
    (re.compile(r"esm\.pooler\..*"), "pooling layer, not part of LAMAR"),
)


def _shards(index: Path) -> list[Path]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index}: no weight_map, wanted the index of a sharded checkpoint")
    for shard in weight_map.values():
        if not is_plain_name(shard):
            raise InputError(f"{index}: found shard {shard!r}, wanted the name of a file beside the index")
    files = sorted({index.with_name(shard) for shard in weight_map.values()})
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{index}: names shards that do not exist: {shortened(missing, 2)}")
    return files


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for name in SINGLE_FILES:
        if (path / name).is_file():
            return [path / name]
    for name in INDEX_FILES:
        if (path / name).is_file():
            return _shards(path / name)
    folds = f"; it holds {shortened(names, 3)}, name one of them" if (names := fold_names(path)) else ""
    raise InputError(
        f"{path}: no weights found, wanted {', '.join(SINGLE_FILES)} or a sharded index in the folder{folds}"
    )


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        with open(path, "rb") as handle:
            # A map of the file ends where the file does, whatever sizes the pickle claims.
            mapped = handle.read(len(_ZIP)) == _ZIP
        # weights_only refuses everything except tensors and plain containers: a pickle can run code.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
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
    for name, tensor in content.items():
        if problem := _storage_problem(tensor):
            raise InputError(f"{path}: {name}: {problem}")
    return content


def _storage_problem(tensor: torch.Tensor) -> str | None:
    """Return what is wrong with how a tensor of a pickle is stored, or None: layout, device, values that are shared."""
    if tensor.is_nested:
        return "found a nested tensor, wanted a dense one"
    if tensor.layout is not torch.strided:
        return f"found layout {tensor.layout}, wanted a dense tensor"
    if tensor.device.type != "cpu":
        return f"found a tensor of device {tensor.device}, wanted one with values"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"found shape {list(tensor.shape)} of fewer stored values, wanted one value for each place"
    return None


def _is_safetensors(path: Path) -> bool:
    if path.suffix not in (".safetensors", ".bin", ".pt", ".pth", ".ckpt"):
        raise InputError(f"{path}: found suffix {path.suffix!r}, wanted .safetensors, .bin, .pt, .pth or .ckpt")
    return path.suffix == ".safetensors"


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    if not _is_safetensors(path):
        return _read_pickle(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error


def _files_of(path: str | Path) -> list[Path]:
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; wanted pretrained weights")
    return _weight_files(path)


def read_state_dict(path: str | Path) -> tuple[dict[str, torch.Tensor], str]:
    """Return the tensors of a weights file or checkpoint folder under the file's names, and their SHA-256.

    Parameters
    ----------
    path : path
        A safetensors file, a pickle of plain tensors, or a folder with one of them or a sharded checkpoint.

    Returns
    -------
    state : dict of str to torch.Tensor
    sha256 : str
        Of the file; of the concatenated digests for a sharded checkpoint.

    Raises
    ------
    InputError
        When the path does not exist or holds no weights, a file is truncated, or a pickle holds more than tensors or
        tensors that are not dense ones of the CPU.
    """
    files = _files_of(path)
    state: dict[str, torch.Tensor] = {}
    for file in files:
        tensors = _read_file(file)
        if strange := next((name for name in tensors if not name.isprintable()), None):
            raise InputError(f"{file}: found a tensor named {ascii(strange)[:80]}, wanted a name of printable letters")
        repeated = sorted(set(tensors) & set(state))
        if repeated:
            raise InputError(f"{file}: tensors that another shard has too: {shortened(repeated, 2)}")
        state.update(tensors)
    if not state:
        raise InputError(f"{path}: holds no tensors")
    digests = [sha256_file(file) for file in files]
    if len(digests) == 1:
        return state, digests[0]
    return state, hashlib.sha256("".join(digests).encode()).hexdigest()


def canonical_name(name: str) -> str:
    """Return the canonical name of a tensor: without what wrappers add, the encoder under ``esm.``."""
    name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    if name.startswith("esm.lm_head."):
        name = name.removeprefix("esm.")
    if not name.startswith(("esm.", *HEAD_NAMES)):
        name = f"esm.{name}"
    return name


def canonical_state(state: dict[str, torch.Tensor], source) -> dict[str, tuple[str, torch.Tensor]]:
    """Return the file's name and the tensor by canonical name.

    Raises
    ------
    InputError
        When two tensors of the file have one canonical name; ``source`` names the file.
    """
    canonical: dict[str, tuple[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        target = canonical_name(name)
        if target in canonical:
            raise InputError(f"{source}: {name} and {canonical[target][0]} are both {target}, wanted one of them")
        canonical[target] = (name, tensor)
    return canonical


def head_of(name: str) -> str | None:
    """Return the head that a tensor belongs to by its canonical name, None for the encoder's."""
    return next((head for start, head in HEAD_NAMES.items() if name.startswith(start)), None)


def half_heads(stored: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return one phrase for each head of which a file and a model share some tensors and not all.

    Parameters
    ----------
    stored, wanted : iterable of str
        Canonical names of the file's and of the model's tensors.
    """
    problems = []
    for start in HEAD_NAMES:
        in_file, in_model = ({name for name in names if name.startswith(start)} for names in (stored, wanted))
        if in_file & in_model and in_model - in_file:
            problems.append(f"half a head: {shortened(sorted(in_model - in_file), 2)} missing")
        if in_file & in_model and in_file - in_model:
            problems.append(f"head of another form: {shortened(sorted(in_file - in_model), 2)} without a place")
    return problems


def stored_tensors(path: str | Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of the tensors of a weights file or checkpoint folder by their names, without values.

    Of safetensors files only the header is read, so that it is quick for files of any size.

    Returns
    -------
    dict of str to tuple
        Dtypes have safetensors' names: ``F16``, ``BF16``, ``F32``, ``F64``; others stand as the file has them.

    Raises
    ------
    InputError
        As in `read_state_dict`.
    """
    stored = {}
    for file in _files_of(path):
        stored |= _safetensors_header(file) if _is_safetensors(file) else _pickle_header(file)
    return stored


def _safetensors_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            slices = {name: file.get_slice(name) for name in names}
            return {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error


def _pickle_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    names = {dtype: name for name, dtype in FLOAT_DTYPES.items()}
    tensors = _read_pickle(path)
    return {name: (names.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape)) for name, tensor in tensors.items()}


def stored_heads(path: str | Path) -> tuple[str, ...]:
    """Return the heads that a checkpoint holds: ``masked-LM head``, ``classification head``, both or none.

    Names are read and no tensors. `InputError` as in `read_state_dict`.
    """
    stored = {head_of(canonical_name(name)) for name in stored_tensors(path)}
    return tuple(head for head in HEAD_NAMES.values() if head in stored)


def why_left_out(name: str) -> str | None:
    """Return why a tensor of upstream's files is not used, by its canonical name; None for all others."""
    return next((reason for pattern, reason in _LEFTOVERS if pattern.fullmatch(name)), None)


def tensor_problem(name: str, tensor: torch.Tensor, wanted: torch.Tensor) -> str | None:
    """Return what is wrong with a tensor that is to fill ``wanted``, or None: dtype, shape, values not finite.

    Values count as the model will have them: 1e300 in float64 is infinite in float32.
    """
    if tensor.dtype not in FLOAT_DTYPES.values():
        return f"{name}: found dtype {tensor.dtype}, wanted floating point of 16, 32 or 64 bits"
    if tensor.shape != wanted.shape:
        return f"{name}: found shape {list(tensor.shape)}, wanted {list(wanted.shape)}"
    n_wrong = int((~torch.isfinite(tensor.to(wanted.dtype))).sum())
    return f"{name}: {n_wrong} values are not finite in {wanted.dtype}" if n_wrong else None
