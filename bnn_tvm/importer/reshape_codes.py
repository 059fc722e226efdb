"""MXNet's special codes in the target shape of Reshape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

INFER, COPY, COPY_REST, JOIN_TWO, SPLIT = -1, 0, -2, -3, -4


def apply_reshape_codes(shape: Sequence[int], codes: Sequence[int]) -> tuple[int, ...]:
    """Compute the new shape.

    Parameters
    ----------
    shape : sizes of the input
    codes : positive sizes, or 0 (copy this axis), -1 (infer, once), -2 (copy all the rest),
        -3 (join two axes), -4 a b (split this axis into a and b, one of which may be -1)

    Raises
    ------
    ValueError
        The codes do not fit the input.
    """
    pending, axes = iter(codes), iter(shape)
    sizes: list[int] = []
    for code in pending:
        sizes += _sizes_of_code(code, pending, axes)
    return _infer(sizes, math.prod(shape))


def _sizes_of_code(code: int, pending: Iterator[int], axes: Iterator[int]) -> list[int]:
    if code == COPY_REST:
        return list(axes)
    if code == JOIN_TWO:
        return [_next_axis(axes) * _next_axis(axes)]
    if code == SPLIT:
        parts = [_next_part(pending), _next_part(pending)]
        return list(_infer(parts, _next_axis(axes)))
    if code == COPY:
        return [_next_axis(axes)]
    if code < INFER:
        raise ValueError(f"the code {code} is unknown")
    # A given or inferred size stands in the place of one axis, if one is left.
    next(axes, None)
    return [code]


def _next_axis(axes: Iterator[int]) -> int:
    size = next(axes, None)
    if size is None:
        raise ValueError("the input has too few axes")
    return size


def _next_part(pending: Iterator[int]) -> int:
    part = next(pending, None)
    if part is None or part == 0 or part < INFER:
        raise ValueError("-4 needs two sizes after it")
    return part


def _infer(sizes: list[int], total: int) -> tuple[int, ...]:
    """Replace the one -1 so that the product is ``total``."""
    known = math.prod(size for size in sizes if size != INFER)
    unknown = sizes.count(INFER)
    if unknown > 1:
        raise ValueError("-1 occurs more than once")
    if known == 0 or total % known or (unknown == 0 and known != total):
        raise ValueError("the number of values differs")
    return tuple(total // known if size == INFER else size for size in sizes)
