"""Servers and trackers that tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from device_harness import BoardProcess, tracker_process

from bnn_tvm.devices.address import Address


@pytest.fixture(scope="session")
def board(tmp_path_factory) -> Iterator[BoardProcess]:
    """A board for tests that leave it alive."""
    process = BoardProcess(tmp_path_factory.mktemp("board"))
    yield process
    process.close()


@pytest.fixture
def start_board(tmp_path) -> Iterator[Callable[..., BoardProcess]]:
    """Starts boards of a test's own."""
    started: list[BoardProcess] = []

    def start(*options: object, **keywords: object) -> BoardProcess:
        started.append(BoardProcess(tmp_path, *options, **keywords))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture(scope="session")
def tracker(tmp_path_factory) -> Iterator[Address]:
    """A tracker for tests that leave it alive; each uses a key of its own."""
    pytest.importorskip("tornado")
    with tracker_process(tmp_path_factory.mktemp("tracker")) as address:
        yield address


@pytest.fixture
def key(request) -> str:
    """A key that no other test uses."""
    return request.node.name
