"""Damage to files: bytes, lines and fields, values of JSON, wrong compression, and files that are something else.

Each function takes a `random.Random`, which determines what it does.
"""

from __future__ import annotations

import bz2
import copy
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["TEXTS", "VALUES", "damage_file", "damage_files", "damage_json", "files_in", "new_value"]

# What fields of tables and names hold when something went wrong, or when someone tries.
TEXTS = [
    *("", " ", "0", "1", "-1", "-0.0", "1.5", "1e5", "1e300", "-1e300", "1e999", "NaN", "nan", "inf", "-Infinity"),
    *("2147483648", "4294967296", "9223372036854775808", "18446744073709551616", "9" * 400, "1_000", "0x10", "+3"),
    *("NA", "None", "null", "true", "FALSE", "[]", "{}", ".", "-", "+", "*", "#", ">", "@x", "=1+1"),
    *("'", '"', ",", ";", ":", "|"),
    *("\t", "\r", "\0", "\x1b[31m", "\ufeff", "\u00bd", "\u0663", "\u6f22\u5b57", "\u202e", "\U0001f9ec", "a b"),
    *("../../etc/passwd", "/dev/null", "..", "chr1", "chrM", "MT", "ACGT", "acgu", "NNNN", "PROTEIN", "x" * 300),
    *("A" * 70_000, "\u00e9" * 5_000, "%s%n", "{0}", "\\", "C:\\x", "1,000", "1;2", "0;1;0", "chr1:5-2", "chr1:1-9(-)"),
]
# The same for JSON.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 0.5, -0.5, 1e300, -1e300, 1e-320, 2**20, 2**31, 2**53, 2**63, 2**64, 10**400),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], [None], [1, "a"], {"a": None}, {"": {}}, {"1": [1]}),
    *(["x"] * 200, list(range(300))),
    *TEXTS,
]
# Written as such, because `json.dumps` cannot.
_RAW = ['"\\ud800"', "01", "1e", "'a'", "undefined", '"\n"', "1e99999", "9" * 5000, '{"a":1,"a":2}']


def new_value(rng: Random) -> Any:
    """Return a value of JSON that probably does not belong where it is put."""
    return copy.deepcopy(rng.choice(VALUES))


def files_in(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


# -------------------------------------------------------------------------------------------------------- bytes


def _flip(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 30])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _span(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice([1, 2, 8, 64, 512, len(data)]))


def _remove(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice([1, 1, 3, 100 if end - start < 1000 else 1]) + data[end:]


def _zero(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.choice([b"\0", b"\xff", b"\x7f"]) * (end - start) + data[end:]


def _insert(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    added = rng.choice(
        [rng.randbytes(8), b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"\x1f\x8b\x08", b'"', b"\x80\xff", b">"]
    )
    return data[:at] + added + data[at:]


_BYTES: list[Callable[[Random, bytes], bytes]] = [
    _flip,
    _remove,
    _repeat,
    _zero,
    _insert,
    lambda rng, data: data[: rng.randrange(len(data))],
    lambda rng, data: data + data,
    lambda rng, data: data + rng.randbytes(rng.choice([1, 16, 4096])),
]


def _damage_bytes(rng: Random, data: bytes) -> bytes:
    return rng.choice(_BYTES)(rng, data) if data else rng.randbytes(rng.choice([1, 100]))


# -------------------------------------------------------------------------------------------------- compression


def _gunzip(data: bytes) -> bytes | None:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, ValueError):
        return None
    except Exception as error:
        if type(error).__module__ == "zlib":
            return None
        raise


def _recompress(rng: Random, data: bytes) -> bytes:
    packed = gzip.compress(data, mtime=0)
    pieces = [packed, packed[:-6], packed[: len(packed) // 2], packed + packed, packed + b"garbage"]
    pieces += [bz2.compress(data), gzip.compress(packed, mtime=0), b"\x1f\x8b" + data, _flip(rng, packed)]
    return rng.choice(pieces)


# --------------------------------------------------------------------------------------------------------- lines


def _fields(rng: Random, line: str) -> tuple[list[str], str]:
    separator = "\t" if "\t" in line else next((mark for mark in ",; \t" if mark in line), ",")
    return line.split(separator), separator


def _edit_fields(rng: Random, lines: list[str]) -> list[str]:
    """Change one field, in one line or in all."""
    rows = [rng.randrange(len(lines))] if rng.random() < 0.7 else range(len(lines))
    text, at, kind = (
        rng.choice(TEXTS),
        rng.random(),
        rng.choice(["set", "set", "set", "drop", "add", "append", "twice"]),
    )
    lines = list(lines)
    for row in rows:
        fields, separator = _fields(rng, lines[row])
        i = int(at * len(fields))
        if kind == "set":
            fields[i] = text
        elif kind == "drop":
            del fields[i]
        elif kind == "append":
            fields[i] += text
        else:
            fields.insert(i, text if kind == "add" else fields[i])
        lines[row] = separator.join(fields)
    return lines


def _swap_columns(rng: Random, lines: list[str]) -> list[str]:
    a, b = rng.random(), rng.random()
    changed = []
    for line in lines if rng.random() < 0.7 else [lines[0]]:
        fields, separator = _fields(rng, line)
        i, j = int(a * len(fields)), int(b * len(fields))
        fields[i], fields[j] = fields[j], fields[i]
        changed.append(separator.join(fields))
    return changed + lines[len(changed) :]


def _insert_line(rng: Random, lines: list[str]) -> list[str]:
    at = rng.randrange(len(lines) + 1)
    new = rng.choice([*TEXTS, *lines, "#comment", "track name=x", ">", ">x", "##fileformat=VCFv4.2", "{}", "[", ",,,,"])
    return [*lines[:at], new, *lines[at:]]


def _remove_lines(rng: Random, lines: list[str]) -> list[str]:
    at = rng.randrange(len(lines))
    return lines[:at] + lines[at + rng.choice([1, 1, 1, 3, len(lines)]) :]


_LINES: list[Callable[[Random, list[str]], list[str]]] = [
    *([_edit_fields] * 6),
    *([_insert_line] * 2),
    *([_remove_lines] * 2),
    _swap_columns,
    lambda rng, lines: rng.sample(lines, len(lines)),
    lambda rng, lines: [lines[0], *lines],
    lambda rng, lines: lines + lines,
    lambda rng, lines: [line.upper() for line in lines],
    lambda rng, lines: [line.replace("\t", rng.choice([",", " ", "  ", ";"])) for line in lines],
    lambda rng, lines: [line.replace(",", rng.choice(["\t", ";", ", "])) for line in lines],
]


def _damage_lines(rng: Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    lines = text.removesuffix("\n").split("\n")
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        lines = rng.choice(_LINES)(rng, lines) or [""]
    end = rng.choice(["\n"] * 8 + ["\r\n", "\r", "\n\n", "\u2028"])
    encoding = rng.choice(["utf-8"] * 12 + ["utf-8-sig", "utf-16", "latin-1"])
    return (end.join(lines) + rng.choice(["\n", "\n", "\n", "", "\n\n  \n"])).encode(
        encoding, "surrogateescape" if encoding == "utf-8" else "replace"
    )


# ---------------------------------------------------------------------------------------------------------- JSON


def _nodes(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return container and key of every value inside ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        _nodes(inner, found)
    return found


def damage_json(rng: Random, value: Any) -> Any:
    """Return parsed JSON with some values replaced, removed, renamed, wrapped or exchanged; it is changed in place."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        nodes = _nodes(value, [])
        if not nodes or rng.random() < 0.03:
            return new_value(rng)
        # By key, so that the few entries of an object are reached beside long lists of numbers.
        names = sorted({str(key) if isinstance(holder, dict) else "" for holder, key in nodes})
        name = rng.choice(names)
        holder, key = rng.choice([n for n in nodes if (str(n[1]) if isinstance(n[0], dict) else "") == name])
        kind = rng.choice(["set"] * 6 + ["remove", "wrap", "exchange", "text", "rename", "add", "negative", "empty"])
        if kind == "remove":
            del holder[key]
        elif kind == "wrap":
            holder[key] = [holder[key]]
        elif kind == "exchange":
            other, name = rng.choice(nodes)
            holder[key], other[name] = other[name], holder[key]
        elif kind == "text":
            holder[key] = str(holder[key])
        elif kind == "rename" and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = holder.pop(key)
        elif kind == "add" and isinstance(holder, dict):
            holder[rng.choice([*TEXTS, "per_layer_config", "quantization_config", "dtype", "auto_map"])] = new_value(
                rng
            )
        elif kind == "negative" and isinstance(holder[key], int | float):
            holder[key] = -holder[key] - 1
        elif kind == "empty":
            holder[key] = type(holder[key])() if holder[key] is not None else 0
        else:
            holder[key] = new_value(rng)
    return value


def _render_json(rng: Random, value: Any) -> str:
    try:
        text = json.dumps(value, default=str)
    except ValueError:  # an exchange made a circle
        return "{"
    chance = rng.random()
    if chance < 0.06:
        nodes = json.dumps(new_value(rng))
        text = text.replace(nodes, rng.choice(_RAW), 1) if nodes in text else text[:-1] + f', "x": {rng.choice(_RAW)}}}'
    elif chance < 0.10:
        depth = rng.choice([50, 101, 990, 5_000, 200_000])
        text = text.replace(": ", f": {'[' * depth}{']' * depth}, " + '"y": ', 1)
    return text


def _damage_json_bytes(rng: Random, data: bytes) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:
        lines = data.decode("utf-8", "replace").splitlines()
        row = rng.randrange(len(lines)) if lines else 0
        try:
            lines[row] = _render_json(rng, damage_json(rng, json.loads(lines[row])))
        except (ValueError, IndexError, RecursionError):
            return _damage_bytes(rng, data)
        return ("\n".join(lines) + "\n").encode()
    return _render_json(rng, damage_json(rng, value)).encode()


# --------------------------------------------------------------------------------------------------------- files


def _become_something_else(rng: Random, path: Path, data: bytes) -> None:
    kind = rng.choice(["empty", "gone", "folder", "loop", "folder_link", "blank", "gzip"])
    if kind == "gzip":
        path.write_bytes(_recompress(rng, data))
        return
    path.unlink()
    if kind == "empty":
        path.touch()
    elif kind == "blank":
        path.write_bytes(rng.choice([b"\n", b" \n\n", b"\0", b"\xef\xbb\xbf", b"#\n"]))
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "folder_link":
        path.symlink_to(".")


def damage_file(rng: Random, path: Path) -> None:
    """Damage one file."""
    data = path.read_bytes()
    chance = rng.random()
    if chance < 0.07:
        _become_something_else(rng, path, data)
        return
    unpacked = _gunzip(data) if data[:2] == b"\x1f\x8b" else None
    content = data if unpacked is None or chance < 0.3 else unpacked
    is_text = b"\0" not in content[:4096]
    if is_text and content.lstrip()[:1] in (b"{", b"[") and rng.random() < 0.8:
        changed = _damage_json_bytes(rng, content)
    elif is_text and content and rng.random() < 0.8:
        changed = _damage_lines(rng, content)
    else:
        changed = _damage_bytes(rng, content)
    path.write_bytes(gzip.compress(changed, mtime=0) if content is unpacked else changed)


def damage_files(rng: Random, folder: Path) -> None:
    """Damage a file of a folder, or two; sometimes exchange two of them, or remove a folder."""
    files = files_in(folder)
    chance = rng.random()
    if chance < 0.03 and len(files) > 1:
        one, two = rng.sample(files, 2)
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)
        return
    if chance < 0.05 and (folders := sorted(path for path in folder.rglob("*") if path.is_dir())):
        shutil.rmtree(rng.choice(folders))
        return
    for path in rng.sample(files, min(len(files), rng.choice([1, 1, 1, 2]))):
        damage_file(rng, path)
