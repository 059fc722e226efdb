"""Instructions for processors that execute in order: right, in few registers, seldom waiting."""

from __future__ import annotations

import pytest
from bnn_tvm.schedules.arm_order import Operation, in_order


def operation(text, reads, writes):
    return Operation(text, reads, writes, latency=2, unit="only")


def chain(name):
    return [
        operation(f"load {{{name}}}", (), (name,)),
        operation(f"change {{{name}}}", (name,), (name,)),
        operation(f"store {{{name}}}", (name,), ()),
    ]


def test_another_chain_fills_the_wait():
    lines = in_order([*chain("t1"), *chain("t2")], {"t": ["a", "b"]})
    assert lines == ["load a", "load b", "change a", "change b", "store a", "store b"]


def test_values_wait_for_registers():
    lines = in_order([*chain("t1"), *chain("t2")], {"t": ["a"]})
    assert lines == ["load a", "change a", "store a"] * 2


def test_too_few_registers_are_an_error():
    operations = [operation(f"set {{t{i}}}", (), (f"t{i}",)) for i in range(2)]
    operations.append(operation("use {t0} {t1}", ("t0", "t1"), ()))
    with pytest.raises(ValueError, match="finds no register"):
        in_order(operations, {"t": ["a"]})


def test_a_register_is_overwritten_after_it_was_read():
    operations = [
        operation("set r", (), ("r",)),
        operation("use r", ("r",), ()),
        operation("set r again", (), ("r",)),
    ]
    assert in_order(operations, {}) == ["set r", "use r", "set r again"]
