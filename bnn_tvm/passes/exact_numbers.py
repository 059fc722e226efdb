"""What stays a whole number behind a layer on bits, and is computed as one.

BMXNet's layers return ``(dot + n) / 2``. Where float32 holds every number on the way, the kernel
computes the last one from what it counted, in fewer operations and to the same bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from tvm import relax
from tvm.ir import Expr

from bnn_tvm.kernels.integers import Integers

from .bit_layers import BitSums
from .dataflow import constant_of, op_name

# Whole numbers up to here are float32 numbers.
_LARGEST = 1 << 24


@dataclass(frozen=True)
class ExactNumbers:
    """Whole numbers that a float32 operation gave without rounding.

    Attributes
    ----------
    numbers : Integers
    largest : int
        None is farther from 0.
    """

    numbers: Integers
    largest: int

    def element(self, *index: Expr) -> Expr:
        """Give the number at an index, float32."""
        return self.numbers(*index).astype("float32")

    def plus(self, summand: Fraction) -> ExactNumbers | None:
        """Add a number; None if that may round or give a fraction."""
        if summand.denominator > 1:
            return None
        return _exact(self.numbers.plus(int(summand)), self.largest + abs(summand))

    def times(self, factor: Fraction) -> ExactNumbers | None:
        """Multiply by a number; None if that may round, give a fraction, or a zero below 0."""
        base, slope = self.numbers.base * factor, self.numbers.slope * factor
        if factor <= 0 or base.denominator > 1 or slope.denominator > 1:
            return None
        numbers = Integers(self.numbers.count, int(slope), int(base))
        return _exact(numbers, self.largest * factor)


def _exact(numbers: Integers, largest: Fraction) -> ExactNumbers | None:
    return ExactNumbers(numbers, int(largest)) if largest <= _LARGEST else None


def exact_dot(sums: BitSums) -> ExactNumbers | None:
    """Give the dot product of -1 and +1, or None where it may be of other numbers."""
    if not sums.of_signs:
        return None
    products = int(sums.packed.base[0])
    numbers = sums.disagreements.times(-sums.packed.slope).plus(products)
    return _exact(numbers, Fraction(products))


def compute_exactly(
    call: relax.Call, known: Mapping[relax.Var, ExactNumbers]
) -> ExactNumbers | None:
    """Apply an operation with one constant to whole numbers.

    Parameters
    ----------
    call : Call
    known : mapping
        The whole numbers among the variables.

    Returns
    -------
    ExactNumbers or None
        None if it is another operation, or may round.
    """
    if len(call.args) != 2:
        return None
    name, (first, second) = op_name(call), call.args
    if first not in known and name in ("add", "multiply"):
        first, second = second, first
    constant = constant_of(second)
    if first not in known or constant is None or constant.size != 1:
        return None
    numbers, number = known[first], Fraction(float(constant.item()))
    if name in ("add", "subtract"):
        return numbers.plus(number if name == "add" else -number)
    if name == "multiply" or (name == "divide" and number):
        return numbers.times(number if name == "multiply" else 1 / number)
    return None
