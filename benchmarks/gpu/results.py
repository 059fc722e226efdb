"""What was measured on a GPU, as records that become JSON and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bnn_tvm.benchmark.measure import Spread
from bnn_tvm.errors import InputError
from bnn_tvm.package.atomic import write_atomically
from bnn_tvm.package.fields import encode

from ..kernel_times import KernelTime

PEER, PEAK, COPY = "peer", "peak", "copy"
"""Labels beside the instructions: what ours is held against, and the card's limits."""

LIMITS = (PEAK, COPY)

_SUFFIX = ".json"


@dataclass(frozen=True)
class Card:
    """What it was measured on.

    Attributes
    ----------
    name, target : str
    versions : dict of str to str
    peak_operations, copied_bytes : int
        Of one call of the loop in registers, and of one copy, read and written.
    """

    name: str
    target: str
    versions: dict[str, str]
    peak_operations: int
    copied_bytes: int


@dataclass(frozen=True)
class Group:
    """What was timed in turn.

    Attributes
    ----------
    title : str
    card : Card
    seconds : dict of str to tuple of float
        Of one call of each instruction, of the peer, if there is one, and of the limits, round by
        round.
    operations, nbytes : int
        Of one call: two operations for each bit, all operands; 0 of networks.
    kernels : tuple of KernelTime
        Of a network, each alone, as they are by hand.
    wrong : tuple of str
        What was not timed, because its numbers are wrong.
    """

    title: str
    card: Card
    seconds: dict[str, tuple[float, ...]]
    operations: int = 0
    nbytes: int = 0
    kernels: tuple[KernelTime, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def fastest(self) -> str:
        """The instruction that took least."""
        ours = [label for label in self.seconds if label not in (PEER, *LIMITS)]
        return min(ours, key=lambda label: self.spread(label).median)

    @property
    def peak(self) -> float:
        """Operations a second of the loop in registers, in the same rounds."""
        return self.card.peak_operations / self.spread(PEAK).median

    @property
    def bytes_per_second(self) -> float:
        """Those that a copy reads and writes, in the same rounds."""
        return self.card.copied_bytes / self.spread(COPY).median

    def spread(self, label: str) -> Spread:
        """Summarise the seconds of a call."""
        return Spread.of(self.seconds[label])

    def peer_over(self, label: str) -> float:
        """Divide the seconds of the peer by those of another, round by round: the median."""
        pairs = zip(self.seconds[PEER], self.seconds[label], strict=True)
        return Spread.of(a / b for a, b in pairs).median


def save(group: Group, path: Path) -> None:
    """Write a group as JSON."""
    write_atomically(path, json.dumps(encode(group), indent=1).encode())


def results_file(folder: Path, title: str) -> Path:
    """Name the file of a group."""
    return folder / "results" / f"{title}{_SUFFIX}"


def load(folder: Path, titles: Iterable[str]) -> list[Group]:
    """Read the groups that were measured.

    Raises
    ------
    InputError
        If there are none, or a file is not what `save` writes.
    """
    # Not needed, and not always there, where cards are timed.
    from pydantic import TypeAdapter, ValidationError

    paths = [path for title in titles if (path := results_file(folder, title)).exists()]
    if not paths:
        raise InputError(f"no results in {folder}; run python -m benchmarks.gpu time")
    reader, groups = TypeAdapter(Group), []
    for path in paths:
        try:
            groups.append(reader.validate_json(path.read_bytes()))
        except ValidationError as exc:
            raise InputError(f"{path} holds no results of this version; measure again") from exc
    return groups
