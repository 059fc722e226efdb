"""Boards behind TVM's own tracker, all in processes of their own."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from device_harness import eventually, free_port, tracker_process

from bnn_tvm.benchmark.remote import RemoteBoard
from bnn_tvm.cli import main
from bnn_tvm.devices.address import Address
from bnn_tvm.devices.connection import connect_direct, connect_through
from bnn_tvm.devices.tracker import Tracker
from bnn_tvm.errors import (
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceUnreachableError,
)

INPUT = np.ones((2, 8), np.float32)


def joined(start_board, tracker, key):
    process = start_board("--tracker", tracker, "--key", key)
    eventually(lambda: free(tracker, key) == 1)
    return process


def free(tracker, key) -> int:
    with Tracker(tracker) as lender:
        return sum(queue.free for queue in lender.summary().queues if queue.key == key)


def is_lent(tracker, key, package) -> bool:
    with connect_through(tracker, key, 30) as connection:
        board = RemoteBoard(connection, 1, 30)
        board.open("x", package)
        return np.array_equal(board.run("x", [INPUT])[0], package.run(INPUT))


def test_boards_are_listed_and_lent_again_and_again(start_board, tracker, key, classifier, capsys):
    board = joined(start_board, tracker, key)
    for _ in range(3):
        assert is_lent(tracker, key, classifier)
    eventually(lambda: free(tracker, key) == 1)
    assert main(["device", "list", "--tracker", str(tracker)]) == 0
    shown = capsys.readouterr().out
    assert key in shown and str(board.address) in shown
    assert main(["device", "list", "--tracker", str(tracker), "--json"]) == 0
    queue = {"key": key, "boards": 1, "free": 1, "waiting": 0}
    assert queue in json.loads(capsys.readouterr().out)["queues"]


def test_a_lent_board_takes_only_the_client_that_it_was_lent_to(start_board, tracker, key):
    board = joined(start_board, tracker, key)
    with pytest.raises(DeviceUnreachableError, match="refuses our key"):
        connect_direct(board.address, 10)


def test_two_clients_share_a_board_in_turn(start_board, tracker, key, classifier):
    joined(start_board, tracker, key)
    served = []
    second = threading.Thread(target=lambda: served.append(is_lent(tracker, key, classifier)))
    with connect_through(tracker, key, 10) as connection:
        with pytest.raises(DeviceBusyError, match=r"became free within 0\.5 s"):
            connect_through(tracker, key, 0.5)
        second.start()
        RemoteBoard(connection, 1, 10).open("x", classifier)
        assert not served
    second.join(30)
    assert served == [True]


def test_a_killed_board_is_forgotten_and_another_takes_its_place(
    start_board, tracker, key, classifier
):
    board = joined(start_board, tracker, key)
    with connect_through(tracker, key, 10) as connection:
        remote = RemoteBoard(connection, 1, 10)
        remote.open("x", classifier)
        start = time.monotonic()
        board.kill()
        with pytest.raises(DeviceLostError):
            remote.run("x", [INPUT])
        assert time.monotonic() - start < 10
    with pytest.raises(DeviceError, match=f"no board '{key}'"):
        connect_through(tracker, key, 10)
    joined(start_board, tracker, key)
    assert is_lent(tracker, key, classifier)


@pytest.mark.slow
def test_a_board_joins_a_tracker_that_comes_later_or_comes_back(
    start_board, tmp_path, key, classifier
):
    pytest.importorskip("tornado")
    address = Address("127.0.0.1", free_port())
    board = start_board("--tracker", address, "--key", key)
    board.find("(tracker unreachable)")
    for _ in range(2):
        with tracker_process(tmp_path, address.port):
            eventually(lambda: is_back(address, key))
            assert is_lent(address, key, classifier)


def is_back(tracker, key) -> bool:
    # The tracker of before may take a moment to vanish, and break a connection with that.
    try:
        return free(tracker, key) == 1
    except DeviceUnreachableError:
        return False


@pytest.mark.slow
def test_a_key_that_nobody_uses_is_replaced(start_board, tracker, key, classifier):
    joined(start_board, tracker, key)
    with Tracker(tracker) as lender:
        lender.request(key, 10)
    assert is_lent(tracker, key, classifier)


def test_unknown_keys_name_the_known_ones(start_board, tracker, key):
    joined(start_board, tracker, key)
    with pytest.raises(DeviceError, match=f"no board 'moon'.*{key}"):
        connect_through(tracker, "moon", 5)


def test_what_is_no_tracker_is_named(board):
    with pytest.raises(DeviceUnreachableError, match="tracker unreachable"):
        Tracker(board.address, seconds=5)
