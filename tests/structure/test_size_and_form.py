"""Limits on size and form that hold for every file of the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("bnn_tvm", "schedules", "targets", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 450, 60


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    documented = ast.get_docstring(function) is not None
    docstring = function.body[0]
    text = (docstring.end_lineno or 0) - docstring.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - text


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches everything, or does nothing with what it caught."""
    return handler.type is None or all(isinstance(node, ast.Pass) for node in handler.body)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") < MAX_FILE_LINES
    assert not [f.name for f in functions(tree) if body_lines(f) > MAX_FUNCTION_LINES]
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    assert not [handler.lineno for handler in handlers if swallows(handler)]
    raised = [ast.dump(node) for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    assert not [node for node in raised if "NotImplementedError" in node]
    assert "TODO" not in text and "FIXME" not in text


def test_the_median_function_is_short():
    lengths = sorted(
        body_lines(f) for path in FILES for f in functions(ast.parse(path.read_text()))
    )
    assert lengths[len(lengths) // 2] < 10
