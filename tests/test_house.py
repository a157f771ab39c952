"""The house rules of CONTRIBUTING.md: imports, sizes, names in messages, public names and their docstrings."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from LAMAR.registry import Registry

REPO = Path(__file__).resolve().parents[1]
PACKAGE = REPO / "LAMAR"
SCRIPT_FOLDERS = ("preprocess", "finetune_scripts", "evalEmbeddings", "visualisation", "weights")
MODULE_LINES, TEST_LINES, FUNCTION_LINES = 400, 500, 60

# Rooms that a module of each room may import besides its own. The root is the model and what all of it needs;
# "top" (the public verbs) and "cli" stand above all. What needs no more than errors and registry lies lowest.
ROOMS = {
    "errors": set(),
    "registry": {"errors"},
    "runs": {"errors", "version"},
    "statistics": {"errors", "registry"},
    "root": {"errors", "registry", "runs"},
}
ROOMS["data"] = {"errors", "registry", "runs", "root", "statistics"}
for _wing in ("training", "evaluation", "genomics"):
    ROOMS[_wing] = {*ROOMS["data"], "data"}
ROOMS["interpretation"] = ROOMS["genomics"] | {"genomics"}
ROOMS["prediction"] = ROOMS["interpretation"] | {"interpretation"}
ROOMS["cli"] = ROOMS["top"] = {*ROOMS, "version"}

LIBRARY = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(path for folder in SCRIPT_FOLDERS for path in (REPO / folder).rglob("*.py"))
TESTS = sorted((REPO / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_path(path: Path) -> tuple[str, ...]:
    """Dotted name of a library module, below LAMAR, in parts."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def room_of(parts: tuple[str, ...]) -> str:
    """Room of a module, or of what is imported from LAMAR: its wing, "errors", "registry", "top" or "root"."""
    if not parts or parts[0] == "verbs":
        return "top"
    if parts[0] == "__version__":
        return "version"
    if parts[0] in ("errors", "registry") or (PACKAGE / parts[0]).is_dir():
        return parts[0]
    return "root"


def imported(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and name below LAMAR, in parts, of each import of this package, those inside functions too."""
    package = module_path(path)
    if path.is_relative_to(PACKAGE) and path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found = [tuple(alias.name.split(".")) for alias in node.names]
            yield from ((node.lineno, parts[1:]) for parts in found if parts[0] == "LAMAR")
        elif isinstance(node, ast.ImportFrom):
            base = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = package[: len(package) - node.level + 1] + base
            elif base[:1] == ("LAMAR",):
                base = base[1:]
            else:
                continue
            # `from . import x` imports the module x; `from .x import y` imports x.
            if base and not (PACKAGE.joinpath(*base).is_dir()):
                yield node.lineno, base
            else:
                yield from ((node.lineno, (*base, alias.name)) for alias in node.names)


def named_entries(tree: ast.Module) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and module, below LAMAR, of each text "LAMAR.module:function": entries of registries import those late."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = re.fullmatch(r"LAMAR\.([\w.]+):\w+", node.value)
            if match:
                yield node.lineno, tuple(match[1].split("."))


# -------------------------------------------------------------------------------------------------------- imports


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_a_module_imports_only_what_its_room_may(path):
    room = room_of(module_path(path))
    if path == PACKAGE / "__init__.py":
        room = "top"
    allowed = ROOMS[room] | {room}
    wrong = [
        f"line {line}: {room} imports {'.'.join(parts)} ({room_of(parts)})"
        for line, parts in imported(path)
        if room_of(parts) not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_imports_inside_the_library_are_relative(path):
    tree = parse(path)
    absolute = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "LAMAR" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "LAMAR")
    ]
    assert not absolute


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_entries_of_registries_name_modules_that_exist(path):
    for line, parts in named_entries(parse(path)):
        module = PACKAGE.joinpath(*parts)
        assert module.with_suffix(".py").is_file() or (module / "__init__.py").is_file(), f"line {line}"


@pytest.mark.parametrize("path", [*LIBRARY, *SCRIPTS], ids=name_of)
def test_what_is_imported_exists(path):
    """Imports inside functions run late, some in rare cases only: a name that moved would be missed until then."""
    package = ["LAMAR", *module_path(path)] if path in LIBRARY else []
    if path.name != "__init__.py":
        package = package[:-1]
    missing = []
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.ImportFrom) or not (node.level or (node.module or "").split(".")[0] == "LAMAR"):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        module = importlib.import_module(".".join([*base, *([node.module] if node.module else [])]))
        for alias in node.names:
            if not hasattr(module, alias.name):
                try:
                    importlib.import_module(f"{module.__name__}.{alias.name}")
                except ImportError:
                    missing.append(f"line {node.lineno}: {alias.name} of {module.__name__}")
    assert not missing


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_imports_no_script(path):
    names = {script.stem for script in SCRIPTS}
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    assert not found & (names | set(SCRIPT_FOLDERS))


def test_the_walk_sees_every_form_of_import(tmp_path, monkeypatch):
    """On a package made for it, with one import of each form."""
    package = tmp_path / "LAMAR"
    for folder in ("data", "training/deep"):
        (package / folder).mkdir(parents=True)
    source = (
        "import LAMAR.data.sequences\n"
        "from LAMAR import verbs\n"
        "from ..embeddings import pool\n"
        "from .. import __version__, runs\n"
        "from . import options\n"
        "from ..training.deep import net\n"
        "def late():\n"
        "    from ..evaluation.tables import read\n"
        "import numpy, os.path\n"
    )
    module = package / "training" / "fitting.py"
    module.write_text(source)
    monkeypatch.setitem(globals(), "PACKAGE", package)
    assert list(imported(module)) == [
        (1, ("data", "sequences")),
        (2, ("verbs",)),
        (3, ("embeddings",)),
        (4, ("__version__",)),
        (4, ("runs",)),
        (5, ("training", "options")),
        (6, ("training", "deep", "net")),
        (8, ("evaluation", "tables")),
    ]
    assert [room_of(parts) for _, parts in imported(module)] == (
        "data top root version root training training root".split()
    )


# ---------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("path", [*LIBRARY, *SCRIPTS, *TESTS], ids=name_of)
def test_a_module_fits_its_limit(path):
    limit = TEST_LINES if path in TESTS else MODULE_LINES
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from the first statement behind its docstring to the last."""
    body = function.body
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        if len(body) == 1:
            return 0
        return function.end_lineno - first.end_lineno
    return function.end_lineno - first.lineno + 1


@pytest.mark.parametrize("path", [*LIBRARY, *SCRIPTS, *TESTS], ids=name_of)
def test_functions_fit_their_limit(path):
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f"{node.name} (line {node.lineno})": body_lines(node) for node in functions}
    assert not {name: lines for name, lines in long.items() if lines > FUNCTION_LINES}


# -------------------------------------------------------------------------------------------------- what is said

# What every program answers, and options of git, which the library runs.
ALLOWED_FLAGS = {"--help", "--error-unmatch", "--porcelain", "--untracked-files"}


@pytest.mark.parametrize("path", [p for p in LIBRARY if not p.is_relative_to(PACKAGE / "cli")], ids=name_of)
def test_library_texts_name_parameters_and_no_flags(path):
    found = [
        f"line {node.lineno}: {flag}"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value)
        if flag not in ALLOWED_FLAGS
    ]
    assert not found


def public_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def is_sentence(docstring: str | None) -> bool:
    """Whether a docstring's first line is a sentence that ends with a full stop."""
    first = (docstring or "").split("\n", 1)[0]
    return len(first.split()) > 1 and first.endswith(".")


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_public_names_are_listed_and_documented(path):
    tree = parse(path)
    assert ast.get_docstring(tree), "wanted a docstring of the module"
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    listed = public_names(tree)
    if listed is None:
        assert not [name for name in defined if not name.startswith("_")], "wanted __all__"
        return
    wrong = [name for name in listed if name in defined and not is_sentence(ast.get_docstring(defined[name]))]
    for name in set(listed) & set(defined):
        if isinstance(defined[name], ast.ClassDef):
            # Methods without a docstring are those of transformers and torch, whose documents say what they do.
            methods = [node for node in defined[name].body if isinstance(node, ast.FunctionDef)]
            texts = {f"{name}.{node.name}": ast.get_docstring(node) for node in methods if node.name[0] != "_"}
            wrong += [method for method, text in texts.items() if text is not None and not is_sentence(text)]
    assert not wrong, "wanted a docstring whose first line is a sentence"
    functions = [name for name, node in defined.items() if isinstance(node, ast.FunctionDef)]
    hidden = [name for name in functions if not name.startswith("_") and name not in listed]
    assert not hidden, "wanted in __all__, or a name that begins with an underscore"


def test_contributing_names_every_registry_where_it_is():
    text = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| ((?:`[A-Z]+`, )+)`LAMAR/([\w/]+)\.py` \|", text, re.MULTILINE)
    named = {(module.replace("/", "."), name) for names, module in rows for name in re.findall(r"`([A-Z]+)`", names)}
    for module, name in named:
        assert isinstance(getattr(importlib.import_module(f"LAMAR.{module}"), name), Registry), name
    defined = {
        (".".join(module_path(path)), node.target.id)
        for path in LIBRARY
        for node in parse(path).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("Registry[")
    }
    assert defined == named
