"""Turns MXNet's attribute strings into values, with the node named when one is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from ..errors import ModelError
from .graph import Node

T = TypeVar("T")

_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_NUMBERS = re.compile(r"[(\[]?\s*((-?\d+)(\s*,\s*-?\d+)*)?\s*,?\s*[)\]]?")


class Attributes:
    """Typed access to the attributes of one node; an absent one takes the given default.

    MXNet writes ``None`` for an optional attribute that is not set: that counts as absent.
    A default of ``None`` makes the attribute required.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def integer(self, key: str, default: int | None = None) -> int:
        """Read a whole number."""
        return self._read(key, default, int)

    def real(self, key: str, default: float | None = None) -> float:
        """Read a number."""
        return self._read(key, default, float)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Read a boolean: True, true, 1 or False, false, 0."""
        return self._read(key, default, lambda text: _TRUTH[text.lower()])

    def text(self, key: str, default: str | None = None) -> str:
        """Read a name."""
        return self._read(key, default, str)

    def numbers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Read a shape: ``(1, 2)``, ``[1, 2]``, ``(1,2)``, ``(1,)`` or ``1``."""
        return self._read(key, default, _parse_numbers)

    def is_set(self, key: str) -> bool:
        """Whether the node has the attribute, with a value other than ``None``."""
        return self._node.attrs.get(key, "None") != "None"

    def _read(self, key: str, default: T | None, parse: Callable[[str], T]) -> T:
        if not self.is_set(key):
            if default is None:
                raise self._error(f"lacks the attribute {key!r}")
            return default
        text = self._node.attrs[key].strip()
        try:
            return parse(text)
        except (ValueError, KeyError, OverflowError) as error:
            raise self._error(f"attribute {key!r} has the value {text!r:.60}") from error

    def _error(self, reason: str) -> ModelError:
        node = self._node
        return ModelError(f"node {node.name!r} ({node.op}): {reason}; export the model again")


def _parse_numbers(text: str) -> tuple[int, ...]:
    if not text or not _NUMBERS.fullmatch(text):
        raise ValueError(text)
    return tuple(int(number) for number in re.findall(r"-?\d+", text))
