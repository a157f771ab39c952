"""Tests of the documents: what README, CONTRIBUTING, the results and docstrings name exists."""

import ast
import importlib
import re

import pytest

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/RESULTS.md", "models/README.md", "weights/README.md")
SOURCES = ("LAMAR", "preprocess", "finetune_scripts", "evalEmbeddings", "visualisation", "weights")
FOLDERS = "LAMAR|preprocess|finetune_scripts|evalEmbeddings|visualisation|weights|tests|docs"


def blocks(text: str) -> list[str]:
    """Return the content of the fenced code blocks of a document."""
    return re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def imported(code: str) -> set[str]:
    """Return the dotted names that lines ``from LAMAR.x import y, z`` import."""
    lines = re.findall(r"^from (LAMAR[\w.]*) import (.+)$", code, re.MULTILINE)
    return {f"{module}.{name.strip()}" for module, names in lines for name in names.split(",")}


def dotted(text: str) -> set[str]:
    """Return the names `` `LAMAR.x.y` `` between backticks."""
    return set(re.findall(r"`(LAMAR(?:\.\w+)+)(?:\(\))?`", text))


def paths(text: str) -> set[str]:
    """Return paths of Python and shell files in folders of the repository; they may hold ``*``."""
    return set(re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*\.(?:py|sh|ipynb)\b", text))


def resolves(name: str) -> bool:
    """Return whether a dotted name is a module or an attribute of one."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("LAMAR"):
                raise
            continue
        for part in parts[n:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("LAMAR.statistics.isotropy", True),
        ("LAMAR.runs.RunFolder.start", False),
        ("LAMAR.statistics.delong.delong_test", True),
        ("LAMAR.isotropy", False),
        ("LAMAR.statistics.delong.no_such_test", False),
    ],
)
def test_names_that_do_not_exist_are_told_from_those_that_do(name, wanted):
    assert resolves(name) == wanted


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules_and_files_of_documents_exist(document, repo_root):
    text = (repo_root / document).read_text()
    names = dotted(text) | set().union(*map(imported, blocks(text)))
    assert [name for name in sorted(names) if not resolves(name)] == []
    assert [path for path in sorted(paths(text)) if not list(repo_root.glob(path))] == []


def test_documents_name_modules_and_files(repo_root):
    """The patterns find something: the tests above cannot pass on empty sets."""
    text = "\n".join((repo_root / document).read_text() for document in DOCUMENTS)
    assert {"LAMAR.statistics.delong.delong_test", "LAMAR.data.labelled.load_labelled"} <= (
        dotted(text) | set().union(*map(imported, blocks(text)))
    )
    assert {"finetune_scripts/pretrain.py", "LAMAR/registry.py", "weights/train_lamar_mini.sh"} <= paths(text)


def test_modules_and_files_of_docstrings_exist(repo_root):
    missing = []
    for file in (file for folder in SOURCES for file in sorted((repo_root / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                absent = [name for name in dotted(text) if not resolves(name)]
                absent += [path for path in paths(text) if not list(repo_root.glob(path))]
                missing += [f"{file.relative_to(repo_root)}: {name}" for name in absent]
    assert missing == []


def test_the_layout_names_every_folder(repo_root):
    """README's tree has each wing of the library and each folder of scripts, and no others."""
    tree = next(block for block in blocks((repo_root / "README.md").read_text()) if block.startswith("LAMAR/"))
    named, parents = set(), {}
    for indent, folder in re.findall(r"^( *)([\w.]+)/  ", tree, re.MULTILINE):
        level = len(indent) // 2
        parents[level] = folder
        named.add("/".join(parents[i] for i in range(level + 1)))
    assert {name for name in named if not (repo_root / name).is_dir()} == set()
    wings = {str(init.parent.relative_to(repo_root)) for init in (repo_root / "LAMAR").rglob("__init__.py")}
    assert wings <= named
    assert set(FOLDERS.split("|")) | {"models"} <= named
