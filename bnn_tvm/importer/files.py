"""Finds and reads the two files of an exported model."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ModelError
from .graph import Graph
from .params import read_params
from .symbol_json import graph_from_text

SYMBOL_SUFFIX = "-symbol.json"


def load_graph(symbol_path: str | Path, params_path: str | Path | None = None) -> Graph:
    """Read ``PREFIX-symbol.json`` and its parameters.

    Parameters
    ----------
    symbol_path : the symbol file
    params_path : the parameters; by default the one ``PREFIX-NNNN.params`` beside the symbol

    Raises
    ------
    ModelError
        A file is missing, ambiguous or damaged.
    """
    symbol = Path(symbol_path)
    text = _read_text(symbol)
    params = Path(params_path) if params_path is not None else find_params(symbol)
    arrays = read_params(params)
    try:
        return graph_from_text(text, arrays)
    except ModelError as error:
        raise ModelError(f"model {symbol}: {error}") from error


def find_params(symbol: Path) -> Path:
    """Find the one ``PREFIX-NNNN.params`` beside ``PREFIX-symbol.json``.

    Raises
    ------
    ModelError
        There is none, or there are several.
    """
    if not symbol.name.endswith(SYMBOL_SUFFIX):
        raise ModelError(
            f"model {symbol} is not named PREFIX{SYMBOL_SUFFIX}, so its parameters cannot be "
            "found by name; name them with --params"
        )
    prefix = re.escape(symbol.name.removesuffix(SYMBOL_SUFFIX))
    pattern = re.compile(prefix + r"-\d{4,}\.params")
    found = sorted(p for p in symbol.parent.iterdir() if pattern.fullmatch(p.name))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise ModelError(
            f"model {symbol} needs one params file beside it, found {names}; name one with --params"
        )
    return found[0]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"model {path} cannot be read ({error.strerror}); name a *{SYMBOL_SUFFIX} file"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"model {path} is not text; name a *{SYMBOL_SUFFIX} file") from error
