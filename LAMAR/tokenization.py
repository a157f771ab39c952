"""Single-nucleotide tokenizer with upstream's ids: ``<cls> <pad> <eos> <unk> <mask> A T C G N`` = 0..9.

Lower case is accepted, U is read as T, and the IUPAC ambiguity codes as N; anything else is an error that names the
record and the position. Encoding is one table look-up over all records at once.
"""

from __future__ import annotations

import contextlib
import gc
import re
from pathlib import Path

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizer

from .alphabet import CLS, EOS, MASK, NORMALIZED, TOKEN_IDS, UNK, VOCABULARY
from .errors import InputError
from .runs.storage import read_json_object

__all__ = ["TOKENIZER_FOLDER", "LamarTokenizer", "encode_ragged", "verify_vocabulary"]

TOKENIZER_FOLDER = Path(__file__).parent / "tokenizer"

_INVALID = 255
_SPECIAL = re.compile("|".join(map(re.escape, VOCABULARY[: MASK + 1])))
# Byte to token id.
_TABLE = np.array([TOKEN_IDS.get(chr(letter), _INVALID) for letter in NORMALIZED], dtype=np.uint8)


def _invalid_letter(sequences: list[str]) -> InputError:
    """Return the error that names the first letter outside the alphabet."""
    for record, sequence in enumerate(sequences):
        for position, letter in enumerate(sequence):
            if ord(letter) > 255 or _TABLE[ord(letter)] == _INVALID:
                return InputError(
                    f"record {record}, position {position + 1}: found {letter!r}, wanted A, C, G, T, U, N or an "
                    "IUPAC ambiguity code"
                )
    raise AssertionError("no invalid letter in the sequences")


@contextlib.contextmanager
def _collector_paused():
    """Suspend garbage collection.

    Every new list counts towards the next collection, and with 100,000 lists the futile search for garbage would take
    four fifths of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_between_special(texts: list[str]) -> None:
    """Raise for a letter outside the alphabet and special tokens, with its record and position in the given texts."""
    encode_ragged([_SPECIAL.sub(lambda match: "N" * len(match[0]), text) for text in texts], False)


def encode_ragged(sequences: list[str], add_special_tokens: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return the token ids of many sequences in one array.

    Parameters
    ----------
    sequences : list of str, n
        Nucleotides without special tokens (see `LamarTokenizer` for those).
    add_special_tokens : bool
        Put ``<cls>`` before and ``<eos>`` after each.

    Returns
    -------
    ids : np.ndarray of uint8, shape (total,)
    offsets : np.ndarray of int64, shape (n + 1,)
        Record i is ``ids[offsets[i]:offsets[i + 1]]``.

    Raises
    ------
    InputError
        For a letter outside the alphabet, with record (from 0) and position (from 1).
    """
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    try:
        letters = "".join(sequences).encode("latin-1")
    except UnicodeEncodeError:
        raise _invalid_letter(sequences) from None
    ids = _TABLE[np.frombuffer(letters, dtype=np.uint8)]
    if (ids == _INVALID).any():
        raise _invalid_letter(sequences)
    offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
    if not add_special_tokens:
        np.cumsum(lengths, out=offsets[1:])
        return ids, offsets
    np.cumsum(lengths + 2, out=offsets[1:])
    framed = np.empty(offsets[-1], dtype=np.uint8)
    inside = np.ones(len(framed), dtype=bool)
    inside[offsets[:-1]] = False
    inside[offsets[1:] - 1] = False
    framed[inside] = ids
    framed[offsets[:-1]] = CLS
    framed[offsets[1:] - 1] = EOS
    return framed, offsets


class LamarTokenizer(PreTrainedTokenizer):
    """Hugging Face tokenizer over `encode_ragged`; texts may contain ``<mask>`` and the other special tokens.

    It differs from other tokenizers in one point, on purpose: a sequence that does not fit ``max_length`` is an error
    unless ``truncation`` is set.

    Parameters
    ----------
    vocab_file : path, optional
        Checked to be LAMAR's vocabulary; None uses the package's file.
    """

    vocab_files_names = {"vocab_file": "vocab.txt"}  # noqa: RUF012 - the base class's interface
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str | None = None, **kwargs):
        verify_vocabulary(vocab_file or TOKENIZER_FOLDER / "vocab.txt")
        for name, token in zip(("cls", "pad", "eos", "unk", "mask"), VOCABULARY):
            kwargs.setdefault(f"{name}_token", token)
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        return len(VOCABULARY)

    def get_vocab(self) -> dict[str, int]:
        return dict(TOKEN_IDS)

    def _tokenize(self, text: str, **kwargs) -> list[str]:
        return [VOCABULARY[token] for token in self._encode_text(text)]

    def _convert_token_to_id(self, token: str) -> int:
        return TOKEN_IDS.get(token, UNK)

    def _convert_id_to_token(self, index: int) -> str:
        return VOCABULARY[index] if 0 <= index < len(VOCABULARY) else VOCABULARY[UNK]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None) -> list[int]:
        if token_ids_1 is not None:
            raise InputError("LAMAR reads single sequences, not pairs")
        return [CLS, *token_ids_0, EOS]

    def get_special_tokens_mask(self, token_ids_0, token_ids_1=None, already_has_special_tokens=False):
        if already_has_special_tokens:
            return [int(token <= MASK) for token in token_ids_0]
        return [1, *[0] * len(token_ids_0), 1]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}vocab.txt"
        path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
        return (str(path),)

    def _encode_text(self, text: str) -> list[int]:
        """Return the ids of a text that may contain special tokens, without ``<cls>`` and ``<eos>`` around it."""
        _check_between_special([text])
        ids, start = [], 0
        for match in _SPECIAL.finditer(text):
            ids += encode_ragged([text[start : match.start()]], False)[0].tolist()
            ids.append(TOKEN_IDS[match[0]])
            start = match.end()
        return ids + encode_ragged([text[start:]], False)[0].tolist()

    def __call__(
        self,
        text: str | list[str],
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool = False,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
    ) -> BatchEncoding:
        """Encode one sequence or a list.

        Parameters
        ----------
        text : str or list of str
            Lower case, U, IUPAC codes and special tokens are allowed.
        add_special_tokens : bool
            Put ``<cls>`` before and ``<eos>`` after each sequence.
        truncation : bool
            Truncate longer records at their 3' end (``<eos>`` is kept) instead of raising.
        max_length : int, optional
            Largest number of tokens of a record, ``<cls>`` and ``<eos>`` included.
        padding, pad_to_multiple_of, return_tensors, return_attention_mask, return_special_tokens_mask
            As in transformers.

        Returns
        -------
        transformers.BatchEncoding

        Raises
        ------
        InputError
            For a letter outside the alphabet, or a record longer than ``max_length``.
        """
        single = isinstance(text, str)
        texts = [text] if single else list(text)
        if any("<" in record for record in texts):
            _check_between_special(texts)
            encoded = [self._encode_text(record) for record in texts]
            if add_special_tokens:
                encoded = [[CLS, *record, EOS] for record in encoded]
        else:
            ids, offsets = encode_ragged(texts, add_special_tokens)
            flat = ids.tolist()
            bounds = offsets.tolist()
            with _collector_paused():
                encoded = [flat[start:stop] for start, stop in zip(bounds, bounds[1:])]
        if max_length is not None:
            if max_length < 2 * add_special_tokens:
                raise InputError(f"`max_length`: found {max_length}, wanted 2 or more: <cls> and <eos> count")
            end = [EOS] if add_special_tokens else []
            encoded = [self._fit(record, i, max_length, truncation, end) for i, record in enumerate(encoded)]
        batch = {"input_ids": encoded}
        if return_special_tokens_mask:
            batch["special_tokens_mask"] = [self.get_special_tokens_mask(ids, None, True) for ids in encoded]
        if padding:
            # A single record becomes a batch of one when tensors are asked for, as without padding.
            unpack = single and return_tensors is None
            return self.pad(
                {key: value[0] if unpack else value for key, value in batch.items()},
                padding=padding,
                max_length=max_length,
                pad_to_multiple_of=pad_to_multiple_of,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )
        if return_attention_mask is not False:
            with _collector_paused():
                batch["attention_mask"] = [[1] * len(record) for record in encoded]
        if single and return_tensors is None:
            batch = {key: value[0] for key, value in batch.items()}
        return BatchEncoding(batch, tensor_type=return_tensors)

    def encode(self, text: str, **kwargs) -> list[int]:
        """Return the token ids of one sequence. The base class's method would truncate without being asked."""
        return self(text, **kwargs)["input_ids"]

    @staticmethod
    def _fit(ids: list[int], record: int, max_length: int, truncation: bool, end: list[int]) -> list[int]:
        if len(ids) <= max_length:
            return ids
        if not truncation:
            special = " with the special ones" if end else ""
            raise InputError(f"record {record}: {len(ids)} tokens{special}, `max_length` is {max_length}")
        return ids[: max_length - len(end)] + end


def verify_vocabulary(path: str | Path) -> None:
    """Check that a tokenizer's vocabulary is LAMAR's, token for token.

    Parameters
    ----------
    path : path
        ``vocab.txt``, ``tokenizer.json``, or a folder that holds one of them.

    Raises
    ------
    InputError
        When there is none, or its ids are not LAMAR's: weights read with other ids compute nonsense.
    """
    path = Path(path)
    names = ("vocab.txt", "tokenizer.json")
    file = next((path / name for name in names if (path / name).is_file()), path) if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path}: no tokenizer found, wanted {' or '.join(names)}")
    try:
        if file.suffix == ".json":
            content = read_json_object(file)
            ids = {**content["model"]["vocab"]}
            ids.update({token["content"]: token["id"] for token in content.get("added_tokens", ())})
            if sorted(ids.values()) != list(range(len(ids))):
                raise ValueError("ids do not count from 0 without a gap")
            tokens = tuple(sorted(ids, key=ids.get))
        else:
            tokens = tuple(file.read_text(encoding="utf-8").split())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a tokenizer file ({error})") from error
    if tokens != VOCABULARY:
        raise InputError(f"{file}: found tokens {' '.join(tokens[:12])}, wanted {' '.join(VOCABULARY)}")
