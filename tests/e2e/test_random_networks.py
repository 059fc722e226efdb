"""Networks drawn from the grammar of the layers, compiled and compared with MXNet.

A value that lies within rounding of where its quantizer jumps may fall on either side; the sum
of products of quantized numbers often is exactly there, and MXNet misses it by the rounding of
its additions. A network that differs is compared with MXNet on exact ties, and excused only by
other values near a jump.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from mxnet_harness import export, randomize, run_mxnet, run_with_exact_ties
from network_grammar import draw_network
from relax_harness import COUNTING_TARGETS

import bnn_tvm

TOLERANCE = 1e-4
DRAWS, CHUNK = 500, 250
# Networks of one process, which keeps the code of all.
APART = 50
MOST_EXCUSED = 0.01


@dataclass(frozen=True)
class Draw:
    """What became of one network.

    Attributes
    ----------
    error : float
        Largest difference from MXNet, relative to the largest output, at least 1.
    tie_error : float
        The same from MXNet on exact ties; 0 where that was not asked.
    near : int
        Values within rounding of a jump.
    binary, lowered : int
        Quantized layers, and those of them that run on bits.
    """

    seed: int
    error: float
    tie_error: float
    near: int
    binary: int
    lowered: int

    @property
    def agrees(self) -> bool:
        return self.error <= TOLERANCE

    @property
    def agrees_on_ties(self) -> bool:
        return not self.agrees and self.near > 0 and self.tie_error <= TOLERANCE


def relative_error(y: np.ndarray, expected: np.ndarray) -> float:
    assert y.shape == expected.shape
    return float(np.abs(y - expected).max() / max(1, np.abs(expected).max()))


def compare(seed: int) -> Draw:
    drawn = draw_network(seed)
    randomize(drawn.net, drawn.shape, seed)
    model = export(drawn.net, drawn.shape)
    x = np.random.default_rng(seed).standard_normal(drawn.shape).astype(np.float32)
    expected = run_mxnet(model, x)
    target = COUNTING_TARGETS[seed % len(COUNTING_TARGETS)]
    package = bnn_tvm.compile(model.graph, target=target, input_shape=drawn.shape)
    y = package.run(x)
    error, tie_error = relative_error(y, expected.output), 0.0
    if error > TOLERANCE and expected.near:
        tie_error = relative_error(y, run_with_exact_ties(model, x))
    layers = [layer for layer in package.manifest.layers if layer.name.startswith("q")]
    lowered = sum(layer.lowered for layer in layers)
    return Draw(seed, error, tie_error, expected.near, len(layers), lowered)


def compare_apart(seeds: range) -> list[Draw]:
    """Compare in a process of its own, which names the network if it dies, and frees its memory."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-X", "faulthandler", __file__, str(seeds.start), str(seeds.stop)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
    return [Draw(**json.loads(line)) for line in done.stdout.splitlines()]


def check(draws: list[Draw]) -> None:
    differing = [draw for draw in draws if not draw.agrees and not draw.agrees_on_ties]
    excused = [draw for draw in differing if draw.near]
    print(
        f"{len(draws)} networks of {sum(d.binary for d in draws)} quantized layers: "
        f"{sum(d.agrees for d in draws)} as MXNet, "
        f"{sum(d.agrees_on_ties for d in draws)} as MXNet on exact ties, "
        f"{len(excused)} excused by values near a jump, "
        f"{len(differing) - len(excused)} wrong; "
        f"{sum(d.near for d in draws)} values near a jump in {sum(d.near > 0 for d in draws)}"
    )
    assert not [draw for draw in differing if not draw.near]
    assert len(excused) <= MOST_EXCUSED * len(draws), excused
    assert not [draw for draw in draws if draw.lowered < draw.binary]


@pytest.mark.parametrize("first", range(0, 9, 3))
def test_random_networks(first):
    check([compare(seed) for seed in range(first, first + 3)])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1000 + DRAWS, CHUNK))
def test_many_random_networks(first):
    starts = range(first, first + CHUNK, APART)
    check([draw for start in starts for draw in compare_apart(range(start, start + APART))])


if __name__ == "__main__":
    for drawn_seed in range(*map(int, sys.argv[1:])):
        print(f"network {drawn_seed}", file=sys.stderr, flush=True)
        print(json.dumps(asdict(compare(drawn_seed))), flush=True)
