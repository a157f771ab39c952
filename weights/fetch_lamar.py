#!/usr/bin/env python
"""LAMAR's published weights, fetched and verified; or any upstream checkpoint, converted to our folder form.

Where there is a network:
    python weights/fetch_lamar.py                                 # contexts of 2,048 tokens
    python weights/fetch_lamar.py --context 4096

From a file or folder that is already here (safetensors, or a pickle of plain tensors):
    python weights/fetch_lamar.py --convert path/to/checkpoint --output_dir weights/mine

The published weights are in the Hugging Face repository zhw-e8/LAMAR, some 350 MB. Nothing counts until it is verified:
names and shapes of all encoder tensors, finite values, the published architecture. The folder that then appears holds
config.json, model.safetensors, the tokenizer, and run.json with what was renamed or left out and SHA-256 digests; every
script takes it as --pretrain_path or --pretrained_weights.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch

from LAMAR.cli.arguments import OneLineParser, path
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

REPOSITORY = "zhw-e8/LAMAR"
FOLDERS = {2048: "mammalian80D_2048len1mer1sw_80M", 4096: "mammalian80D_4096len1mer1sw_80M"}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
WITHOUT_NETWORK = (
    "on a machine with a network run this command, or download the folder by hand, copy it here, and use --convert"
)

logger = logging.getLogger("fetch_lamar")


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, choices=FOLDERS, default=2048, help="tokens (default: %(default)s)")
    parser.add_argument("--revision", help="branch, tag or commit of the repository (default: its main branch)")
    parser.add_argument("--convert", type=path, metavar="PATH", help="take this file or folder; nothing is downloaded")
    parser.add_argument(
        "--config", help="shape that the weights must have (default: lamar for a download, else as the weights say)"
    )
    parser.add_argument("--output_dir", type=path, help="default: weights/LAMAR-CONTEXT; needed with --convert")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="of the stored weights (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --output_dir")
    return parser


def download(context: int, revision: str | None, folder: Path) -> Path:
    """The published checkpoint, downloaded below ``folder``: the path of its weights file."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    where = f"{REPOSITORY}/{FOLDERS[context]}"
    wanted = [f"{FOLDERS[context]}/*"]
    logger.info("downloading %s", where)
    try:
        snapshot_download(REPOSITORY, revision=revision, allow_patterns=wanted, local_dir=folder)
    except LocalEntryNotFoundError:
        raise InputError(f"{where}: Hugging Face cannot be reached; {WITHOUT_NETWORK}") from None
    except Exception as error:  # which library carries the transfer, and what it raises, changes with the hub's version
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: the download failed ({reason}); {WITHOUT_NETWORK}") from error
    found = sorted(file for name in WEIGHTS for file in (folder / FOLDERS[context]).rglob(name))
    # Both forms of one checkpoint: safetensors is preferred.
    found = [file for file in found if file.name == WEIGHTS[0] or not (file.parent / WEIGHTS[0]).exists()]
    if len(found) != 1:
        names = ", ".join(str(file.relative_to(folder)) for file in found) or "none"
        raise InputError(f"{where}: found weights {names}, wanted one file; download the right one and use --convert")
    return found[0]


def convert(source: Path, target: Path, config_name: str | None, dtype: str, record: dict) -> str:
    """Read, verify and write a checkpoint folder, which appears at ``target`` as a whole; the loader's summary."""
    import torch

    from LAMAR.checkpoints import load_pretrained
    from LAMAR.configuration import named_config
    from LAMAR.modeling_nucESM2 import EsmForMaskedLM
    from LAMAR.runs import storage
    from LAMAR.runs.provenance import provenance
    from LAMAR.tokenization import LamarTokenizer

    config = named_config(config_name) if config_name else None
    model, report = load_pretrained(EsmForMaskedLM, source, config=config)
    if report.new:
        logger.warning("%s has no masked-LM head: pre-training goes on with a new one", source)
    narrow = model.to(getattr(torch, dtype))
    if bad := [name for name, tensor in narrow.state_dict().items() if not bool(torch.isfinite(tensor).all())]:
        raise InputError(f"--dtype {dtype}: {bad[0]} has values beyond its range")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        (staged := storage.partial_path(target)).mkdir()
    except OSError as error:
        raise InputError(f"--output_dir: {target} cannot be made ({error.strerror})") from error
    try:
        narrow.save_pretrained(staged)
        LamarTokenizer().save_pretrained(staged)
        facts = provenance(record, seed=None, inputs=[], weights=report.to_dict())
        facts["made"] = {file.name: storage.sha256_file(file) for file in sorted(staged.iterdir())}
        storage.write_json(staged / "run.json", facts)
        if target.exists():
            shutil.rmtree(target)
        staged.replace(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return report.summary()


def made_here(folder: Path) -> bool:
    """Whether a folder holds a conversion of this script and nothing else."""
    from LAMAR.runs.storage import read_json

    if not (folder / "run.json").is_file():
        return False
    record = read_json(folder / "run.json")
    made = record.get("made") if isinstance(record, dict) else None
    return isinstance(made, dict) and {path.name for path in folder.iterdir()} == {*made, "run.json"}


def run(arguments: argparse.Namespace) -> None:
    from LAMAR.configuration import CONFIGS

    if arguments.config is not None and arguments.config not in CONFIGS:
        raise InputError(f"--config: found {arguments.config!r}, wanted one of {', '.join(CONFIGS)}")
    if arguments.convert is not None and arguments.output_dir is None:
        raise InputError("--output_dir: not given, wanted a folder for the converted checkpoint")
    target = arguments.output_dir or Path(__file__).resolve().parent / f"LAMAR-{arguments.context}"
    if target.exists() and not arguments.overwrite:
        raise InputError(f"--output_dir: {target} is there already; use --overwrite to replace it")
    if target.exists() and not made_here(target):
        raise InputError(f"--output_dir: {target} has files that this script did not make, so it is not replaced")
    if arguments.convert is not None and arguments.convert.resolve().is_relative_to(target.resolve()):
        raise InputError(f"--output_dir: {target} holds what --convert reads, wanted another folder")
    record = {name: value for name, value in vars(arguments).items() if name != "overwrite"}
    if arguments.convert is not None:
        summary = convert(arguments.convert, target, arguments.config, arguments.dtype, record)
    else:
        with tempfile.TemporaryDirectory() as folder:
            weights = download(arguments.context, arguments.revision, Path(folder))
            summary = convert(weights, target, arguments.config or "lamar", arguments.dtype, record)
    print(f"verified: {summary}\nweights: {target}")


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
