"""The layers: which part of the package may import which, at its top or inside a function."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# From the lowest layer to the highest; a part may import itself and the parts named here.
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "reference": {"errors"},
    "package": {"errors"},
    "device": {"errors", "package"},
    "target": {"errors", "package", "device"},
    "package.api": {"errors", "package"},
    "gpu": {"errors"},
    "runtime": {"errors", "package", "device", "gpu", "package.api"},
    "devices": {"errors", "package", "device", "runtime"},
    "gluon": {"errors"},
    "zoo": {"errors", "gluon"},
    "importer": {"errors", "reference"},
    "kernels": {"errors", "reference", "target"},
    "passes": {"errors", "reference", "target", "importer", "kernels"},
    "targets": set(),
    "tune_logs": set(),
    "schedules": {"errors", "target", "kernels"},
    "toolchain": {"errors", "device", "target"},
    "cuda": {"errors", "gpu", "target", "toolchain"},
    "build": {"errors", "target", "schedules", "passes", "toolchain", "cuda"},
    "report": {"errors", "package", "kernels", "passes", "build"},
    "tuning.records": {"errors", "package", "device", "gpu", "cuda", "target", "schedules"},
    "embed": {"errors", "package", "target", "passes", "toolchain"},
    "calibration": {"errors", "package", "target", "passes", "build"},
    "layer_precision": {"errors", "package", "target", "passes"},
    "selftest": {"errors", "package", "runtime"},
    "compiler": {
        "errors",
        "calibration",
        "layer_precision",
        "selftest",
        "embed",
        "package",
        "target",
        "package.api",
        "gluon",
        "importer",
        "passes",
        "build",
        "report",
        "device",
        "schedules",
        "tuning.records",
    },
    "benchmark": {
        "errors",
        "package",
        "device",
        "package.api",
        "runtime",
        "gpu",
        "devices",
        "gluon",
        "importer",
    },
    "tuning": {
        "errors",
        "package",
        "device",
        "runtime",
        "gpu",
        "cuda",
        "devices",
        "benchmark",
        "target",
        "importer",
        "kernels",
        "passes",
        "schedules",
        "build",
        "toolchain",
        "compiler",
        "tuning.records",
    },
    "api": {"errors", "package.api", "runtime", "compiler"},
    "cli": {
        "errors",
        "package",
        "device",
        "target",
        "package.api",
        "runtime",
        "gpu",
        "devices",
        "compiler",
        "benchmark",
        "tuning",
    },
}

# What imports upwards for the user's convenience; only inside a function, never at its top.
UPWARD_IN_FUNCTIONS = {("package.api", "runtime")}

# Modules that stand in another layer than their folder.
MODULES = {
    "bnn_tvm": "api",
    "bnn_tvm.package": "package.api",
    "bnn_tvm.package.bundle": "package.api",
    "bnn_tvm.package.c_package": "package.api",
    "bnn_tvm.package.summary": "package.api",
    "bnn_tvm.epilogue": "report",
    "bnn_tvm.model_source": "compiler",
    "bnn_tvm.report_graph": "report",
    "bnn_tvm.tuning": "tuning.records",
    "bnn_tvm.tuning.environment": "tuning.records",
    "bnn_tvm.tuning.records": "tuning.records",
}

# Every other package, and who may import it; what is not listed may not be imported at all.
OUTSIDE: dict[str, set[str]] = {
    "numpy": set(LAYERS),
    "mxnet": {"gluon", "zoo"},
    "mlxtend": {"zoo"},
    "tvm": {
        "target",
        "importer",
        "kernels",
        "passes",
        "schedules",
        "build",
        "report",
        "embed",
        "calibration",
        "layer_precision",
        "selftest",
        "compiler",
        "tuning.records",
        "tuning",
    },
    "ml_dtypes": {"passes"},
    "tvm_ffi": {"gpu", "runtime", "devices", "passes", "schedules", "cuda", "embed"},
    "rich": {"benchmark", "cli"},
    "typer": {"cli"},
    "matplotlib": {"benchmark"},
}

# Reading files must never run what is in them.
FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}


class Import(NamedTuple):
    importer: str
    imported: str
    line: int
    at_top: bool


def modules() -> dict[str, Path]:
    """Module names and files of the package; two of its folders lie outside `bnn_tvm`."""
    found = {}
    for folder, prefix in (
        ("bnn_tvm", "bnn_tvm"),
        ("schedules", "bnn_tvm.schedules"),
        ("targets", "bnn_tvm.targets"),
        ("tune_logs", "bnn_tvm.tune_logs"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((prefix, *parts)).removesuffix(".__init__")
            found[name] = path
    return found


MODULE_FILES = modules()


def imports_of(module: str, tree: ast.Module, is_package: bool) -> Iterator[Import]:
    """Every import statement in a module, whatever function or block it stands in."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or is_typing(function)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        for name in imported_names(node, module, is_package):
            yield Import(module, name, node.lineno, id(node) not in inside)


def is_typing(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def imported_names(node: ast.AST, module: str, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = absolute(node, module, is_package)
        full = [f"{base}.{alias.name}" for alias in node.names]
        return [name if name in MODULE_FILES else base for name in full]
    if isinstance(node, ast.Call) and named_import(node.func):
        return [str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    return []


def named_import(function: ast.expr) -> bool:
    """Whether this is `import_module`, `__import__` or `importlib.import_module`."""
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def layer_of(module: str) -> str:
    return MODULES.get(module) or module.split(".")[1]


def violation(found: Import) -> str | None:
    """Say what is wrong with an import, if anything is."""
    layer = layer_of(found.importer)
    root = found.imported.split(".")[0]
    if root in FORBIDDEN:
        return "may not be used at all"
    if root == "bnn_tvm":
        other = layer_of(found.imported)
        lazy = (layer, other) in UPWARD_IN_FUNCTIONS and not found.at_top
        allowed = other == layer or other in LAYERS[layer] or lazy
    else:
        allowed = root in sys.stdlib_module_names or layer in OUTSIDE.get(root, set())
    return None if allowed else f"may not be imported by {layer}"


def check(module: str, text: str, is_package: bool = False) -> list[str]:
    found = imports_of(module, ast.parse(text), is_package)
    checked = [(item, violation(item)) for item in found]
    return [
        f"{item.importer}:{item.line}: {item.imported} {wrong}" for item, wrong in checked if wrong
    ]


@pytest.mark.parametrize("module", sorted(MODULE_FILES))
def test_imports_follow_the_layers(module):
    path = MODULE_FILES[module]
    assert check(module, path.read_text(), path.name == "__init__.py") == []


def test_every_layer_only_names_lower_ones():
    below: set[str] = set()
    for layer, allowed in LAYERS.items():
        assert allowed <= below, layer
        below.add(layer)


def test_every_module_has_a_layer():
    assert {layer_of(module) for module in MODULE_FILES} <= set(LAYERS)


@pytest.mark.parametrize(
    ("module", "text", "is_package"),
    [
        ("bnn_tvm.runtime", "import tvm", False),
        ("bnn_tvm.runtime", "def f():\n    import tvm.relax", False),
        ("bnn_tvm.runtime", "def f():\n    from .compiler import compile", False),
        ("bnn_tvm.importer.files", "from mxnet import nd", False),
        ("bnn_tvm.importer.files", "from ..gluon import nn", False),
        ("bnn_tvm.importer", "from .. import gluon", True),
        ("bnn_tvm.importer", "from ..gluon.nn import QDense", True),
        ("bnn_tvm.importer.converters", "from ...compiler import compile", True),
        ("bnn_tvm.schedules.x86", "from bnn_tvm.passes import pipeline", False),
        ("bnn_tvm.package.manifest", "import numpy, pydantic", False),
        ("bnn_tvm.package.manifest", "from .bundle import Package", False),
        ("bnn_tvm.package.bundle", "from ..runtime import Session", False),
        ("bnn_tvm.package.reader", "import pickle", False),
        ("bnn_tvm.cli.run", "import importlib\nimportlib.import_module('mxnet')", False),
        ("bnn_tvm.benchmark.bench", "__import__('xgboost')", False),
    ],
)
def test_the_check_itself_finds_wrong_imports(module, text, is_package):
    assert len(check(module, text, is_package)) == 1


@pytest.mark.parametrize(
    ("module", "text", "is_package"),
    [
        ("bnn_tvm.runtime", "import json, numpy as np\nfrom .package.bundle import Package", False),
        ("bnn_tvm.gluon.layers", "import mxnet as mx\nfrom ..errors import InputError", False),
        ("bnn_tvm.package", "from .bundle import Package", True),
        ("bnn_tvm.package.bundle", "def f():\n    from ..runtime import Session", False),
        ("bnn_tvm.package.bundle", "if TYPE_CHECKING:\n    from ..runtime import Session", False),
        ("bnn_tvm", "def f():\n    from .compiler import compile", True),
        ("bnn_tvm.importer.converters", "from ..graph import Node\nfrom . import dense", True),
    ],
)
def test_the_check_itself_lets_right_imports_pass(module, text, is_package):
    assert check(module, text, is_package) == []
