"""What a region does behind its anchor, in a few words of the field."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from .passes.dataflow import arguments, constant_of, op_name
from .passes.regions import ELEMENTWISE, Region

_ROUND = "trunc subtract abs greater_equal* sign where* add"

# Operations in a row, a star where one operand is a constant; longer ones come first.
_PHRASES = {
    f"clip multiply* {_ROUND} divide*": "quantize",
    f"multiply* {_ROUND} divide*": "quantize",
    _ROUND: "round",
    "subtract* multiply* less* where*": "threshold",
    "subtract* less* where*": "threshold",
    "subtract* multiply* add*": "batchnorm",
    "less* where*": "sign",
    "multiply* add* clip astype": "quantize",
    "subtract* astype multiply*": "dequantize",
    "add* divide*": "offset",
    "add*": "bias",
    "multiply*": "scale",
}
_RULES = [(phrase.split(), name) for phrase, name in _PHRASES.items()]


def describe_epilogue(region: Region, packs: bool) -> str:
    """Name the operations behind a region's anchor, or all of a region without one.

    Parameters
    ----------
    region : Region
    packs : bool
        Whether its kernel writes bits.

    Returns
    -------
    str
        Such as ``"offset+batchnorm+add+sign+pack"``: (x + n) / 2 of a Q layer, a BatchNorm, a
        shortcut. ``threshold`` is all that lay between the anchor and a sign.
    """
    after = region.bindings
    if region.kind != ELEMENTWISE:
        anchor = next(i for i, b in enumerate(after) if b.var.same_as(region.anchor))
        after = after[anchor + 1 :]
    words = [_word(binding.value) for binding in after]
    return "+".join([*summarize_operations(words), *(["pack"] if packs else [])])


def summarize_operations(words: Sequence[str]) -> list[str]:
    """Replace well-known groups of operations by their names, from the first to the last.

    Parameters
    ----------
    words : sequence of str
        Names of operators, with a star behind those that have a constant operand.
    """
    names: list[str] = []
    while words:
        length, name = next(
            (
                (len(phrase), name)
                for phrase, name in _RULES
                if list(words[: len(phrase)]) == phrase
            ),
            (1, words[0].rstrip("*")),
        )
        names.append(name)
        words = words[length:]
    return names


def _word(call: relax.Call) -> str:
    is_bound = any(constant_of(arg) is not None for arg in arguments(call))
    return op_name(call).removeprefix("nn.") + ("*" if is_bound else "")
