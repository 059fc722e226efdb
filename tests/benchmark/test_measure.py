"""Measuring, with a clock that only moves when a call moves it."""

from __future__ import annotations

import pytest

from bnn_tvm.benchmark.measure import Plan, Spread, Timing, measure_in_turn


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, label: str, *seconds: float):
        """A call that takes each of `seconds` in turn, the last one for ever."""
        left = list(seconds)

        def run() -> None:
            self.log.append(label)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_spread_of_known_samples():
    assert Spread.of([5, 1, 3, 2, 4]) == Spread(3, 2, 4, 1)
    assert Spread.of([7.0]) == Spread(7, 7, 7, 7)
    assert Spread.of([1, 2]) == Spread(1.5, 1.25, 1.75, 1)


def test_ratios_are_taken_round_by_round():
    slow, fast = Timing((4.0, 40.0, 8.0), 1), Timing((2.0, 20.0, 2.0), 1)
    assert slow.ratio_to(fast) == Spread.of([2, 2, 4])
    with pytest.raises(ValueError, match="zip"):
        slow.ratio_to(Timing((1.0,), 1))


def test_long_calls_are_sampled_one_by_one():
    clock = FakeClock()
    timings = measure_in_turn({"a": clock.call("a", 2.0)}, Plan(5, 0, 1e-3), clock)
    assert timings["a"] == Timing((2.0,) * 5, 1)
    assert len(clock.log) == 1 + 5


def test_short_calls_are_repeated_until_a_sample_is_long_enough():
    clock = FakeClock()
    timings = measure_in_turn({"a": clock.call("a", 2**-12)}, Plan(3, 0, 2**-10), clock)
    assert timings["a"] == Timing((2**-12,) * 3, 4)


def test_warm_up_is_not_timed():
    clock = FakeClock()
    cold = clock.call("a", 100.0, 100.0, 1.0)
    timings = measure_in_turn({"a": cold}, Plan(4, 2, 1e-3), clock)
    assert timings["a"].samples == (1.0,) * 4


def test_calls_take_turns_and_each_starts_some_rounds():
    clock = FakeClock()
    calls = {label: clock.call(label, 1.0) for label in "abc"}
    timings = measure_in_turn(calls, Plan(rounds=3, warm_up=0), clock)
    assert clock.log == list("abc" + "abc" + "bca" + "cab")
    assert list(timings) == ["a", "b", "c"]


def test_what_disturbs_one_round_disturbs_both_and_not_the_ratio():
    clock = FakeClock()
    calls = {"a": clock.call("a", 1, 1, 9, 1), "b": clock.call("b", 2, 2, 18, 2)}
    timings = measure_in_turn(calls, Plan(rounds=3, warm_up=0), clock)
    assert timings["b"].ratio_to(timings["a"]) == Spread(2, 2, 2, 2)
    assert timings["a"].spread.median == 1


def test_leading_calls_are_not_timed():
    clock = FakeClock()
    calls = {"a": clock.call("a", 1, 50, 50, 1, 50, 50, 1), "b": clock.call("b", 2)}
    timings = measure_in_turn(calls, Plan(rounds=2, warm_up=0, lead_seconds=60), clock)
    assert timings["a"].samples == (1.0, 1.0)
    assert clock.log == list("a" + "b" + "aaa" + "b" * 31 + "b" * 31 + "aaa")
