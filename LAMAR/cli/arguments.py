"""Parts of command lines that scripts share: a parser whose errors are one line, argument types, logging.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import InputError
from ..runs.progress import BarSafeHandler
from ..training.processes import is_main_process
from .errors import FlagFormatter

__all__ = [
    "OneLineParser",
    "add_column_arguments",
    "add_device_argument",
    "add_inference_arguments",
    "add_length_arguments",
    "add_model_arguments",
    "add_optimiser_arguments",
    "add_output_arguments",
    "add_part_arguments",
    "add_run_arguments",
    "add_training_arguments",
    "column",
    "finite",
    "fraction",
    "log_messages",
    "names",
    "not_negative",
    "number",
    "output_prefix",
    "parse_or_demo",
    "path",
    "positive",
    "region",
    "script_parser",
    "target",
    "usable_workers",
]

logger = logging.getLogger(__name__)


class OneLineParser(argparse.ArgumentParser):
    """Argument parser whose errors are one line, without the usage, which can be twenty lines long."""

    def error(self, message: str):
        """Print one line on stderr and exit with code 2."""
        self.exit(2, f"error: {InputError(message)} (--help lists the options)\n")


def script_parser(description: str) -> OneLineParser:
    """Return an empty parser whose help shows a script's docstring as it is written."""
    summary, _, epilog = description.partition("\n\n")
    return OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)


def number(kind: type, wanted: str, valid: Callable[[float], bool]) -> Callable[[str], float]:
    """Return an argument type for numbers.

    Parameters
    ----------
    kind : type
        int or float.
    wanted : str
        Valid values in words, for the error.
    valid : callable
        Returns whether a number is valid.
    """

    def parse(text: str):
        value = kind(text)
        if not valid(value):
            raise argparse.ArgumentTypeError(f"found {text}, wanted {wanted}")
        return value

    parse.__name__ = kind.__name__  # argparse shows this name in its message
    return parse


def positive(kind: type) -> Callable[[str], float]:
    """Return an argument type for finite numbers above 0; whole numbers must be below 2**31."""
    return number(kind, "more than 0", lambda value: 0 < value < (2**31 if kind is int else float("inf")))


def not_negative(kind: type) -> Callable[[str], float]:
    """Return an argument type for finite numbers from 0; whole numbers must be below 2**31.

    Sums of a few such numbers stay within the range of every integer type.
    """
    return number(kind, "0 or more", lambda value: 0 <= value < (2**31 if kind is int else float("inf")))


def path(text: str) -> Path:
    """Convert an argument to a path, and refuse an empty one.

    An empty text, as from an unset shell variable, would otherwise be the current folder.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a path")
    return Path(text)


def output_prefix(text: str) -> Path:
    """Convert an argument to the common beginning of output files: a folder and the first part of a name."""
    if not text or text.endswith(os.sep) or Path(text).name in ("", ".."):
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a folder and the beginning of a name: prep/clip")
    return Path(text)


finite = number(float, "a finite number", math.isfinite)
fraction = number(float, "a number from 0 up to, not including, 1", lambda value: 0 <= value < 1)


def usable_workers(wanted: int) -> int:
    """Return the number of worker processes to use: at most that of the cores, or four on smaller machines.

    Each process costs memory, and more processes than cores gain nothing. A smaller number than wanted is logged.
    """
    most = max(4, os.cpu_count() or 1)
    if wanted > most:
        logger.warning("--workers %d: using %d, this machine has %d cores", wanted, most, os.cpu_count() or 1)
    return min(wanted, most)


def column(text: str) -> str:
    """Convert an argument to the name of a column without surrounding blanks, and refuse an empty one."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted the name of a column")
    return text.strip()


def names(text: str) -> list[str]:
    """Convert an argument to a list of names, which are joined by commas."""
    listed = [name.strip() for name in text.split(",") if name.strip()]
    if not listed:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted names joined by commas")
    return listed


def region(text: str) -> tuple[int, int]:
    """Convert an argument START-END, 0-based and half-open, to two numbers."""
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted START-END, 0-based half-open, such as 20-60")
    return int(match[1]), int(match[2])


def target(text: str) -> int | str:
    """Convert an argument to a class number, or "predicted"."""
    if text == "predicted" or (text.isascii() and text.isdigit() and len(text) < 7):
        return text if text == "predicted" else int(text)
    raise argparse.ArgumentTypeError(f"found {text!r}, wanted a class number from 0, or predicted")


def parse_or_demo(
    parser: argparse.ArgumentParser, argv, demo: Mapping[str, object], *sources: str
) -> argparse.Namespace:
    """Parse arguments, with the demo set's values for those not given if there is no input.

    Parameters
    ----------
    parser : ArgumentParser
    argv : list of str, optional
        Command line; None for that of the process.
    demo : mapping
        Values for the demo set by argument; names that the parser does not have are ignored.
    sources : str
        Arguments that name the input, by default ``data_path``; without any of them, the demo set is used.

    Returns
    -------
    Namespace
        With ``demo``, True where the demo set is used.
    """
    arguments = parser.parse_args(argv)
    is_demo = all(getattr(arguments, name) is None for name in sources or ("data_path",))
    if is_demo:
        parser.set_defaults(**{name: value for name, value in demo.items() if hasattr(arguments, name)})
        arguments = parser.parse_args(argv)
    arguments.demo = is_demo
    return arguments


def add_model_arguments(group, *, finetunes: bool = False) -> None:
    """Add the arguments of scripts that train for the source of the weights, shape and attention.

    Parameters
    ----------
    group
        Of the parser.
    finetunes : bool
        Whether the script starts from the weights that ship where it is told nothing else.
    """
    shipped = "weights/lamar-mini-tapt, which ships, or random with --config"
    group.add_argument(
        "--pretrain_path",
        default=None if finetunes else "",
        help=f'weights file or checkpoint folder; "" means random (default: {shipped if finetunes else "random"})',
    )
    group.add_argument("--tokenizer_path", type=path, help="tokenizer to compare with LAMAR's (default: LAMAR's own)")
    group.add_argument(
        "--config",
        help="lamar (12 x 768), lamar-mini, lamar-tiny or a config.json (default: that of the weights, else lamar)",
    )
    group.add_argument(
        "--attention",
        choices=("auto", "eager", "sdpa", "flash"),
        default="auto",
        help="default: %(default)s (SDPA)",
    )


def add_column_arguments(group) -> None:
    """Add the arguments that name the columns of labelled tables."""
    group.add_argument("--sequence_column", type=column, help="column of a table (default: sequence or seq)")
    group.add_argument(
        "--label_column", type=column, help="column of a table (default: label or labels, or label_0, label_1 ...)"
    )


def add_part_arguments(group) -> None:
    """Add the arguments of scripts that split labelled sets: chromosomes of parts, and sequences in several parts."""
    group.add_argument("--test_chroms", type=names, default=[], help="for --split chromosome, as chr8,chr9")
    group.add_argument("--dev_chroms", type=names, default=[], help="for --split chromosome (default: drawn)")
    group.add_argument("--allow_duplicates", action="store_true", help="accept the same sequence in several parts")
    group.add_argument(
        "--drop_duplicates",
        action="store_true",
        help="of a sequence in several parts, keep the records of the test part (else of dev)",
    )


def add_length_arguments(group, default: int = 1026) -> None:
    """Add the arguments of scripts that read sequences: the largest length, and what happens to longer ones."""
    group.add_argument(
        "--max_length",
        type=positive(int),
        default=default,
        help="largest number of tokens of a sequence, two of them special (default: %(default)s)",
    )
    group.add_argument("--truncate", action="store_true", help="truncate longer sequences instead of stopping")


def add_device_argument(group) -> None:
    """Add the argument of scripts that run a model without training it for the device."""
    group.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")


def add_inference_arguments(group, budget: str = "token_budget") -> None:
    """Add ``--device``, and before it the argument of that name for the tokens of a batch."""
    group.add_argument(f"--{budget}", type=positive(int), help="tokens per batch (default: by device)")
    add_device_argument(group)


def add_optimiser_arguments(group) -> None:
    """Add the arguments of all scripts that train, with the defaults of `OptimiserOptions`; see `add_run_arguments`."""
    from ..training.options import OptimiserOptions

    default = OptimiserOptions()
    group.add_argument(
        "--weight_decay", type=not_negative(float), default=default.weight_decay, help="default: %(default)s"
    )
    group.add_argument(
        "--grad_clipping_norm",
        type=positive(float),
        default=default.grad_clipping_norm,
        help="norm that gradients are clipped to (default: %(default)s)",
    )
    group.add_argument("--bf16", action="store_true", help="train in bfloat16")


def add_training_arguments(group) -> None:
    """Add the training arguments that all scripts with a ``Trainer`` share, with the defaults of `TrainerOptions`."""
    from ..training.options import TrainerOptions

    default = TrainerOptions()
    group.add_argument(
        "--accum_steps", type=positive(int), default=default.accum_steps, help="batches per step (default: %(default)s)"
    )
    group.add_argument(
        "--warmup_ratio",
        type=fraction,
        default=default.warmup_ratio,
        help="share of the steps with a rising learning rate (default: %(default)s)",
    )
    group.add_argument("--fp16", action="store_true", help="train in half precision, CUDA only")
    add_optimiser_arguments(group)
    group.add_argument("--gradient_checkpointing", action="store_true", help="less memory, more time")


def add_run_arguments(group, output_dir: Path, resume: str = "--resume") -> None:
    """Add the arguments of scripts that train for output folder, seed, and a run that is already there."""
    from ..training.options import OptimiserOptions

    group.add_argument("--output_dir", type=path, default=output_dir, help="default: %(default)s")
    group.add_argument("--seed", type=not_negative(int), default=OptimiserOptions().seed, help="default: %(default)s")
    restart = group.add_mutually_exclusive_group()
    restart.add_argument(resume, action="store_true", help="resume an interrupted run (this is the default)")
    restart.add_argument("--overwrite", action="store_true", help="discard the run in --output_dir and start again")


def add_output_arguments(group, output_dir: Path, resume: str = "--resume") -> None:
    """Add the arguments of `add_run_arguments`, and those of a ``Trainer``'s log."""
    from ..training.options import TrainerOptions

    default = TrainerOptions()
    add_run_arguments(group, output_dir, resume)
    group.add_argument(
        "--logging_steps",
        type=positive(int),
        default=default.logging_steps,
        help="steps between two entries of the log (default: %(default)s)",
    )
    group.add_argument("--report_to", default=default.report_to, help="tensorboard, wandb ... (default: %(default)s)")


def log_messages(training: bool = False, level: int = logging.INFO, renamed: Mapping[str, str] | None = None) -> None:
    """Send a script's log messages to stderr: the text alone, with parameters as flags.

    Parameters
    ----------
    training : bool
        For scripts that may run in several processes (torchrun): only the first process logs below ERROR.
    level : int
        Level of the root logger.
    renamed : mapping, optional
        Flags without dashes by parameter, where the two differ, as in `LAMAR.cli.errors.with_flags`.
    """
    if training and not is_main_process():
        level = logging.ERROR
    handler = BarSafeHandler()
    handler.setFormatter(FlagFormatter(renamed))
    logging.basicConfig(level=level, handlers=[handler])
    # Names that transformers 5 renames on its way to 6; peft still uses the old ones.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.modeling_utils")
    for noisy in ("httpx", "matplotlib", "accelerate", "torch", "datasets", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
