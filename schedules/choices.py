"""What a rule leaves open, and who decides it: the rule's author, a search, or a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from bnn_tvm.errors import TuneLogError

Option = TypeVar("Option")
Result = TypeVar("Result")

Choices = Mapping[str, str]
"""By the name of each choice, the option taken as text."""


class Choose(Protocol):
    """Decides what a rule leaves open."""

    def __call__(self, name: str, options: Sequence[Option]) -> Option:
        """Take one of the options.

        Parameters
        ----------
        name : str
            What is chosen; a rule asks for it once at most.
        options : sequence
            At least one, each with a text (``str``) of its own. The first is what the author
            of the rule would take.
        """


def by_hand(name: str, options: Sequence[Option]) -> Option:
    """Take what the author of the rule would."""
    return options[0]


def follow(run: Callable[[Choose], Result], choices: Choices) -> Result:
    """Run once with given choices.

    Raises
    ------
    TuneLogError
        If `run` asks for something that was not chosen, does not offer what was, or does not
        ask for all of it.
    """
    asked = set()

    def choose(name: str, options: Sequence[Option]) -> Option:
        asked.add(name)
        for option in options:
            if str(option) == choices.get(name):
                return option
        raise TuneLogError(f"{name} {choices.get(name, '(none)')} is not offered; tune it again")

    result = run(choose)
    if unasked := sorted(choices.keys() - asked):
        raise TuneLogError(f"{unasked[0]} is not chosen by the rule; tune it again")
    return result


def walk(run: Callable[[Choose], Result]) -> Iterator[tuple[dict[str, str], Result]]:
    """Run once for each combination of options; the first run is that by hand.

    What is asked, and what is offered, may depend on what was chosen before.

    Yields
    ------
    choices : dict of str to str
    result
        What `run` gave for them.
    """
    path: list[int] = []
    while True:
        taken: dict[str, str] = {}
        counts: list[int] = []

        def choose(
            name: str,
            options: Sequence[Option],
            taken: dict[str, str] = taken,
            counts: list[int] = counts,
        ) -> Option:
            if len(counts) == len(path):
                path.append(0)
            option = options[path[len(counts)]]
            counts.append(len(options))
            taken[name] = str(option)
            return option

        result = run(choose)
        yield taken, result
        while path and path[-1] + 1 == counts[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1
