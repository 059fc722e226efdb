"""Concatenate and slice packed signs where whole words move, without unpacking them."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from .dataflow import arguments, op_name, shape_of

# Channels that lie together, whatever the width of a word.
_GROUP = 32


def can_move_bits(call: relax.Call) -> bool:
    """Tell whether a concatenation or slice of signs can be done on their words.

    Along the channels, which come last, only whole groups of 32 channels can be moved.
    """
    name = op_name(call)
    if name == "concat":
        along_channels = _axis(call.attrs.axis, call.args[0].fields[0]) == "channels"
        extents = [shape_of(field)[-1] for field in arguments(call)]
        return not along_channels or all(extent % _GROUP == 0 for extent in extents)
    if name == "strided_slice":
        return all(_slices_groups(call, place) for place in range(len(call.args[1].fields)))
    return False


def move_bits(call: relax.Call, words: Sequence[relax.Expr], word_bits: int) -> relax.Call:
    """Build the same operation on words.

    Parameters
    ----------
    call : relax.Call
        A concatenation or slice that `can_move_bits`.
    words : sequence of relax.Expr
        The packed operands.
    word_bits : int
    """
    if op_name(call) == "concat":
        return relax.op.concat(list(words), int(call.attrs.axis))
    axes, begin, end, *strides = (_integers(argument) for argument in call.args[1:])
    for place, axis in enumerate(axes):
        if _axis(axis, call.args[0]) == "channels":
            channels = shape_of(call.args[0])[-1]
            begin[place] = begin[place] // word_bits
            end[place] = -(-min(end[place], channels) // word_bits)
    return relax.op.strided_slice(words[0], axes, begin, end, *strides)


def _axis(axis: int, data: relax.Expr) -> str:
    rank = len(shape_of(data))
    return "channels" if int(axis) % rank == rank - 1 else "place"


def _slices_groups(call: relax.Call, place: int) -> bool:
    """Tell whether a slice takes whole groups along one of its axes."""
    data = call.args[0]
    axes, begin, end, *strides = (_integers(argument) for argument in call.args[1:])
    if _axis(axes[place], data) == "place":
        return True
    channels = shape_of(data)[-1]
    stop, stride = min(end[place], channels), strides[0][place] if strides else 1
    whole = begin[place] % _GROUP == 0 and (stop % _GROUP == 0 or stop == channels)
    return stride == 1 and begin[place] >= 0 and end[place] > 0 and whole


def _integers(numbers: relax.Tuple) -> list[int]:
    return [int(number.value) for number in numbers.fields]
