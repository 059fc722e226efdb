"""What rules leave open: walked through in full, taken by hand, and followed from a record."""

from __future__ import annotations

import pytest
from bnn_tvm.schedules.choices import by_hand, follow, walk

from bnn_tvm.errors import TuneLogError


def plan(choose):
    """Ask for a second choice only after some of the first."""
    tile = choose("tile", (4, 2, 1))
    return (tile, choose("order", "ab")) if tile > 1 else (tile,)


def test_walking_visits_each_combination_once_and_the_hand_choice_first():
    points = list(walk(plan))
    results = [result for _, result in points]
    assert results == [(4, "a"), (4, "b"), (2, "a"), (2, "b"), (1,)]
    assert points[3][0] == {"tile": "2", "order": "b"} and points[4][0] == {"tile": "1"}
    assert results[0] == plan(by_hand)


def test_walking_without_choices_runs_once():
    assert list(walk(lambda choose: 7)) == [({}, 7)]


def test_following_gives_what_walking_gave():
    for choices, result in walk(plan):
        assert follow(plan, choices) == result


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"tile": "3", "order": "a"}, "tile 3 is not offered"),
        ({"tile": "4"}, r"order \(none\) is not offered"),
        ({"tile": "1", "order": "a"}, "order is not chosen"),
    ],
)
def test_records_that_do_not_fit(choices, message):
    with pytest.raises(TuneLogError, match=message):
        follow(plan, choices)
