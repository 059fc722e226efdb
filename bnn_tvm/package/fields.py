"""Strict conversion between frozen dataclasses and plain JSON or TOML values.

Only what the package's own records need: strings, integers, booleans, tuples of one
element type, ``dict[str, str]`` and nested dataclasses. Nothing is coerced: a key too
many, a key too few or a value of another type is an error that names where it stands.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import BnnTvmError

T = TypeVar("T")


def encode(value: object) -> Any:
    """Turn a dataclass into JSON values: tuples become lists, records become objects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(cls: type[T], value: object, where: str, error: type[BnnTvmError]) -> T:
    """Build a `cls` from an object whose keys are exactly the fields of `cls`.

    Parameters
    ----------
    cls : type
        A frozen dataclass.
    value : object
        What the JSON or TOML reader gave.
    where : str
        Name of the file or key, for the message.
    error : type
        The exception to raise.

    Raises
    ------
    error
        If a key is unknown or missing, or a value has the wrong type.
    """
    hints = _hints(cls)
    given = _mapping(value, where, error)
    _check_keys(set(hints), set(given), where, error)
    fields = {
        name: _decode_as(hint, given[name], f"{where}.{name}", error)
        for name, hint in hints.items()
    }
    return cls(**fields)


def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _mapping(value: object, where: str, error: type[BnnTvmError]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise error(f"{where} must be a table of keys, not {_kind(value)}")
    return value


def _check_keys(allowed: set[str], given: set[str], where: str, error: type[BnnTvmError]) -> None:
    if unknown := sorted(given - allowed):
        raise error(
            f"{where} has the unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}"
        )
    if missing := sorted(allowed - given):
        raise error(f"{where} lacks the key {missing[0]!r}")


def _decode_as(hint: Any, value: object, where: str, error: type[BnnTvmError]) -> Any:
    if dataclasses.is_dataclass(hint):
        return decode(hint, value, where, error)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple:
        return _decode_tuple(typing.get_args(hint)[0], value, where, error)
    if typing.get_origin(hint) is dict:
        return _decode_dict(value, where, error)
    # bool is a subclass of int in Python, but `true` is not a number in a manifest.
    if type(value) is not hint:
        raise error(f"{where} must be {hint.__name__}, not {_kind(value)}")
    return value


def _decode_tuple(
    item: Any, value: object, where: str, error: type[BnnTvmError]
) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise error(f"{where} must be a list, not {_kind(value)}")
    return tuple(_decode_as(item, v, f"{where}[{i}]", error) for i, v in enumerate(value))


def _decode_dict(value: object, where: str, error: type[BnnTvmError]) -> dict[str, str]:
    given = _mapping(value, where, error)
    return {key: _decode_as(str, item, f"{where}.{key}", error) for key, item in given.items()}


def _kind(value: object) -> str:
    return type(value).__name__
