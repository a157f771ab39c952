"""LAMAR's published weights, downloaded and verified, and upstream's checkpoints converted to folders that we read."""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import InputError
from .runs import storage
from .runs.checkpoint_folders import CALIBRATION
from .runs.provenance import provenance

__all__ = ["CONTEXTS", "convert_checkpoint", "download_checkpoint", "fetch_weights"]

logger = logging.getLogger(__name__)

REPOSITORY = "zhw-e8/LAMAR"
# Folder of the repository by longest context, in tokens.
CONTEXTS = {2048: "mammalian80D_2048len1mer1sw_80M", 4096: "mammalian80D_4096len1mer1sw_80M"}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
WITHOUT_NETWORK = (
    "on a machine with a network run this command, or download the folder by hand, copy it here, and use `convert`"
)


def download_checkpoint(context: int, revision: str | None, folder: Path) -> Path:
    """Download the published checkpoint and return the path of its weights file.

    Parameters
    ----------
    context : int
        A key of `CONTEXTS`.
    revision : str, optional
        Branch, tag or commit of the repository; None for its main branch.
    folder : Path
        Folder to download to.

    Raises
    ------
    InputError
        Hugging Face cannot be reached, the download failed, or the folder does not hold one weights file.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    where = f"{REPOSITORY}/{CONTEXTS[context]}"
    logger.info("downloading %s", where)
    try:
        snapshot_download(REPOSITORY, revision=revision, allow_patterns=[f"{CONTEXTS[context]}/*"], local_dir=folder)
    except LocalEntryNotFoundError:
        raise InputError(f"{where}: Hugging Face cannot be reached; {WITHOUT_NETWORK}") from None
    except Exception as error:  # which library carries the transfer, and what it raises, changes with the hub's version
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: the download failed ({reason}); {WITHOUT_NETWORK}") from error
    files = sorted(file for name in WEIGHTS for file in (folder / CONTEXTS[context]).rglob(name))
    # Both forms of one checkpoint: safetensors is preferred.
    files = [file for file in files if file.name == WEIGHTS[0] or not (file.parent / WEIGHTS[0]).exists()]
    if len(files) != 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files) or "none"
        raise InputError(f"{where}: found weights {names}, wanted one file; download the right one and use `convert`")
    return files[0]


def convert_checkpoint(source: Path, target: Path, *, config: str | None, dtype: str, record: dict[str, Any]) -> str:
    """Read, verify and write a checkpoint folder, which appears at ``target`` as a whole.

    A masked-LM head is kept, or else a classification head, with its calibration.

    Parameters
    ----------
    source : Path
        Weights file or checkpoint folder.
    target : Path
        Folder to write; an earlier one is replaced.
    config : str, optional
        Name or JSON file of the configuration that the weights must have; None takes the shape from them.
    dtype : {"float32", "float16"}
        Type of the stored weights.
    record : dict
        Arguments for the folder's ``run.json``.

    Returns
    -------
    str
        Summary of the loader, in one line.

    Raises
    ------
    InputError
        The weights cannot be read or do not fit, a value is beyond the range of ``dtype``, or the folder cannot be
        made. Nothing is written then.
    """
    import torch

    from .checkpoint_files import stored_heads
    from .checkpoints import config_argument, load_pretrained
    from .modeling_nucESM2 import EsmForMaskedLM, EsmForSequenceClassification
    from .tokenization import LamarTokenizer

    model_class = EsmForSequenceClassification if stored_heads(source) == ("classification head",) else EsmForMaskedLM
    model, report = load_pretrained(model_class, source, config=config_argument(config or ""))
    if report.new:
        logger.warning("%s has no masked-LM head: pre-training starts with a new one", source)
    converted = model.to(getattr(torch, dtype))
    if bad := [name for name, tensor in converted.state_dict().items() if not bool(torch.isfinite(tensor).all())]:
        raise InputError(f"`dtype` {dtype}: {bad[0]} has values beyond its range")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        (staged := storage.partial_path(target)).mkdir()
    except OSError as error:
        raise InputError(f"`output_dir`: {target} cannot be made ({error.strerror})") from error
    try:
        converted.save_pretrained(staged)
        # The file may store half precision to be small; a model of it, which pipelines build too, is float32.
        converted.config.dtype = torch.float32
        converted.config.save_pretrained(staged)
        LamarTokenizer().save_pretrained(staged)
        if model_class is EsmForSequenceClassification and (source / CALIBRATION).is_file():
            shutil.copyfile(source / CALIBRATION, staged / CALIBRATION)
        facts = provenance(record, seed=None, inputs=[], weights=report.to_dict())
        facts["made"] = {file.name: storage.sha256_file(file) for file in sorted(staged.iterdir())}
        storage.write_json(staged / "run.json", facts)
        if target.exists():
            shutil.rmtree(target)
        staged.replace(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return report.summary()


def _is_conversion(folder: Path) -> bool:
    """Return whether a folder holds a conversion of `convert_checkpoint` and nothing else."""
    if not (folder / "run.json").is_file():
        return False
    record = storage.read_json(folder / "run.json")
    made = record.get("made") if isinstance(record, dict) else None
    return isinstance(made, dict) and {path.name for path in folder.iterdir()} == {*made, "run.json"}


def fetch_weights(
    output_dir: str | PathLike,
    *,
    context: int = 2048,
    revision: str | None = None,
    convert: str | PathLike | None = None,
    config: str | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> str:
    """Write a verified checkpoint folder of LAMAR's published weights, or of a checkpoint that is here already.

    Parameters
    ----------
    output_dir : path
        Folder to write: ``config.json``, ``model.safetensors``, the tokenizer, and ``run.json`` with the tensors that
        were renamed or left out and SHA-256 digests.
    context : {2048, 4096}
        Which published checkpoint, by its longest context in tokens.
    revision : str, optional
        Branch, tag or commit of the repository; None for its main branch.
    convert : path, optional
        File or folder to take instead of a download: safetensors, or a pickle of plain tensors.
    config : str, optional
        Name or JSON file of the configuration that the weights must have; None is "lamar" for a download, and else
        takes the shape from the weights.
    dtype : {"float32", "float16"}
        Type of the stored weights.
    overwrite : bool
        Replace an earlier folder of this function.

    Returns
    -------
    str
        Summary of the loader, in one line.

    Raises
    ------
    InputError
        An unknown configuration, a folder that exists or holds other files, a failed download, or weights that do not
        fit. The folder's content is unchanged then.
    """
    target = Path(output_dir)
    if config:
        from .checkpoints import config_argument

        config_argument(config)  # refused before a download
    if target.exists() and not overwrite:
        raise InputError(f"`output_dir`: {target} is there already; use `overwrite` to replace it")
    if target.exists() and not _is_conversion(target):
        raise InputError(f"`output_dir`: {target} has files that this script did not make, so it is not replaced")
    if convert is not None and Path(convert).resolve().is_relative_to(target.resolve()):
        raise InputError(f"`output_dir`: {target} holds what `convert` reads, wanted another folder")
    record = {"context": context, "revision": revision, "convert": convert, "config": config}
    record |= {"output_dir": output_dir, "dtype": dtype}
    if convert is not None:
        return convert_checkpoint(Path(convert), target, config=config, dtype=dtype, record=record)
    with tempfile.TemporaryDirectory() as folder:
        weights = download_checkpoint(context, revision, Path(folder))
        return convert_checkpoint(weights, target, config=config or "lamar", dtype=dtype, record=record)
