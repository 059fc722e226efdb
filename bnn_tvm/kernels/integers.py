"""Whole numbers that kernels count, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm.ir import Expr

from .border import Element


@dataclass(frozen=True)
class Integers:
    """Numbers ``base + slope * count``.

    What a kernel counts need not be what is asked for: what is added to it, and what it is
    multiplied by, becomes part of the base and the slope.

    Attributes
    ----------
    count : callable
        Gives a count at an index of the result, int32.
    slope, base : int
    """

    count: Element
    slope: int = 1
    base: int = 0

    def __call__(self, *index: Expr) -> Expr:
        """Give the number at an index of the result, int32."""
        return self.base + self.without_base(*index)

    def without_base(self, *index: Expr) -> Expr:
        """Give the number less the base, which others add that differ from output to output."""
        return self.slope * self.count(*index)

    def plus(self, summand: int) -> Integers:
        """Add a number."""
        return replace(self, base=self.base + summand)

    def times(self, factor: int) -> Integers:
        """Multiply by a number."""
        return replace(self, slope=self.slope * factor, base=self.base * factor)

    def seen_as(self, view: Callable[[Element], Element]) -> Integers:
        """Give them another index."""
        return replace(self, count=view(self.count))
