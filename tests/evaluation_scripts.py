"""Scripts of evalEmbeddings as modules, for tests that call them in this process."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[1] / "evalEmbeddings"


def load_script(name: str) -> ModuleType:
    """Return a script as a module; ``name`` is relative to the folder."""
    path = FOLDER / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(script: ModuleType, *arguments) -> int:
    """Run a script with these arguments and return its exit code."""
    return script.main([str(word) for word in arguments])
