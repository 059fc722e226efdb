"""A board's server in a process of its own: what it serves, refuses and survives."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from device_harness import COMMAND, BoardProcess, Process, eventually, free_port

from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.benchmark.remote import RemoteBoard
from bnn_tvm.devices import wire
from bnn_tvm.devices.address import Address
from bnn_tvm.devices.connection import DIRECT_KEY, Connection, connect_direct
from bnn_tvm.devices.messages import pack_message, unpack_message
from bnn_tvm.errors import (
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnreachableError,
    PackageError,
    UploadRefusedError,
    WrongArchitectureError,
)
from bnn_tvm.package import Package

INPUT = np.random.default_rng(3).standard_normal((2, 8)).astype(np.float32)
ENDLESS = Plan(rounds=1, warm_up=0, sample_seconds=3600.0)


@contextlib.contextmanager
def opened(process: BoardProcess, package: Package, wait: float = 30.0, seconds: float = 30.0):
    with connect_direct(process.address, wait) as connection:
        remote = RemoteBoard(connection, threads=1, seconds=seconds)
        remote.open("package", package)
        yield remote


def is_served(process: BoardProcess, package: Package) -> bool:
    with opened(process, package) as remote:
        return np.array_equal(remote.run("package", [INPUT])[0], package.run(INPUT))


def test_a_board_computes_and_describes_itself(board, classifier):
    with opened(board, classifier) as remote:
        np.testing.assert_array_equal(remote.run("package", [INPUT])[0], classifier.run(INPUT))
        timing = remote.time_models([INPUT], Plan(rounds=3, sample_seconds=1e-5))["package"]
        assert len(timing.samples) == 3 and min(timing.samples) > 0
        assert remote.condition().peak_memory_bytes > 1 << 20
        assert remote.environment.versions["tvm"].startswith("0.27")


def test_the_server_says_how_open_it_is(board, start_board):
    assert "no authentication" in board.log and "ssh -N -L" in board.log
    everywhere = start_board("--host", "0.0.0.0")
    assert "open to the network" in everywhere.log


def test_errors_on_the_board_keep_their_names(board, classifier, pair):
    with opened(board, classifier) as remote:
        with pytest.raises(PackageError, match="says: the package has no kernel"):
            remote.time_kernels({"package": "none"}, Plan(rounds=1))
        assert remote.run("package", [INPUT])[0].shape == (2, 4)
    with (
        connect_direct(board.address, 10) as connection,
        pytest.raises(DeviceError, match="threads must be"),
    ):
        RemoteBoard(connection, 4096, 10).open("package", classifier)


def upload(connection: Connection, data: bytes, sha256: str) -> dict:
    array = {"upload": np.frombuffer(data, np.uint8)}
    facts = {"command": "open", "label": "x", "threads": 1, "sha256": sha256}
    return unpack_message(connection.call(pack_message(facts, array), 10, "x")).facts


def test_corrupted_uploads_are_refused(board, classifier):
    import hashlib

    data = bytearray(classifier.to_bytes())
    good = hashlib.sha256(data).hexdigest()
    data[len(data) // 2] ^= 1
    with connect_direct(board.address, 10) as connection:
        assert upload(connection, bytes(data), good)["error"] == "UploadRefusedError"
        answer = upload(connection, bytes(data), hashlib.sha256(data).hexdigest())
        assert answer["error"] == "PackageError" and "checksum" in answer["text"]
        assert "error" not in upload(connection, classifier.to_bytes(), good)


def test_messages_that_make_no_sense_are_answered(board):
    with connect_direct(board.address, 10) as connection:
        for request in (b"", b"PK\x03\x04", pack_message({"command": "fly"})):
            facts = unpack_message(connection.call(request, 10, "x")).facts
            assert facts["error"] == "DeviceError"


def test_packages_for_other_processors_are_refused_before_the_upload(board, classifier):
    target = dataclasses.replace(classifier.manifest.target, triple="aarch64-linux-gnu")
    foreign = Package(dataclasses.replace(classifier.manifest, target=target), b"")
    with pytest.raises(WrongArchitectureError, match="is x86_64"), opened(board, foreign):
        pass


def test_large_uploads_are_refused_on_both_sides(start_board, classifier):
    small = start_board("--max-upload", 1)
    large = dataclasses.replace(classifier, library=os.urandom(3 << 20))
    with pytest.raises(UploadRefusedError, match="--max-upload"), opened(small, large):
        pass
    with connect_direct(small.address, 10) as connection, pytest.raises(DeviceLostError):
        connection.call(bytes(3 << 20), 10, "sending too much")
    assert "at most" in small.log
    assert is_served(small, classifier)


def test_two_clients_share_a_board_in_turn(board, classifier):
    served = []
    with opened(board, classifier) as first:
        second = threading.Thread(target=lambda: served.append(is_served(board, classifier)))
        second.start()
        with pytest.raises(DeviceBusyError, match="--wait"):
            connect_direct(board.address, 0.5)
        assert first.run("package", [INPUT])[0].shape == (2, 4)
        assert not served
    second.join(30)
    assert served == [True]


def test_a_queue_has_an_end(start_board):
    process = start_board()
    with connect_direct(process.address, 10), contextlib.ExitStack() as waiting:
        for _ in range(8):
            waiting.enter_context(wire.connect(process.address, 5))
        with pytest.raises(DeviceBusyError, match="too many"):
            eventually(lambda: connect_direct(process.address, 5))


def test_the_answer_is_read_of_a_server_that_turned_away_before_the_greeting(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def connect(address, seconds):
            client = socket.create_connection((address.host, address.port), seconds)
            server, _ = listener.accept()
            with server:
                wire.send_number(server, wire.BUSY)
            return client

        monkeypatch.setattr(wire, "connect", connect)
        with pytest.raises(DeviceBusyError, match="too many"):
            connect_direct(Address("127.0.0.1", listener.getsockname()[1]), 5)


@pytest.mark.parametrize("busy", [False, True])
def test_a_client_that_dies_frees_the_board(start_board, classifier_file, classifier, busy):
    process = start_board()
    rounds = 10**8 if busy else 1
    options = ("--rpc", process.address, "--timeout", 1000, "--rounds", rounds)
    log = process.folder / "client.log"
    client = Process(log, *COMMAND, "bench", classifier_file, *options)
    pid = process.session_pid()
    if busy:
        eventually(lambda: cpu_seconds(pid) > 1)
    client.kill()
    start = time.monotonic()
    assert is_served(process, classifier)
    assert time.monotonic() - start < 20


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_killed_server_gives_a_named_error_at_once(start_board, classifier):
    process = start_board()
    with opened(process, classifier, seconds=600) as remote:
        session = process.session_pid()
        threading.Timer(1, process.kill).start()
        start = time.monotonic()
        with pytest.raises(DeviceLostError, match="while timing models"):
            remote.time_models([INPUT], ENDLESS)
        assert time.monotonic() - start < 10
    eventually(lambda: not is_running(session))


def is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def test_a_crashed_session_does_not_end_the_server(start_board, classifier):
    process = start_board()
    with opened(process, classifier) as remote:
        os.kill(process.session_pid(), signal.SIGSEGV)
        with pytest.raises(DeviceLostError):
            remote.run("package", [INPUT])
    assert is_served(process, classifier)
    process.find(r"(killed by signal 11)")


def time_without_end(connection: Connection, package: Package, seconds: float) -> None:
    """Keep the board at work for longer than anyone waits."""
    RemoteBoard(connection, 1, 10).open("x", package)
    request = {"command": "time_models", "plan": dataclasses.asdict(ENDLESS)}
    connection.call(pack_message(request, {"0": INPUT}), seconds, "timing")


def test_calls_that_take_too_long_are_named(board, classifier):
    with connect_direct(board.address, 10) as connection, pytest.raises(DeviceTimeoutError) as got:
        time_without_end(connection, classifier, 1)
    assert "was not done with timing within 1 s; allow more with --timeout" in str(got.value)
    assert is_served(board, classifier)


def test_sessions_end_in_time(start_board, classifier):
    process = start_board("--session-seconds", 2)
    with (
        connect_direct(process.address, 10) as connection,
        pytest.raises(DeviceTimeoutError) as got,
    ):
        time_without_end(connection, classifier, 60)
    assert "--session-seconds" in str(got.value)
    with connect_direct(process.address, 10):
        assert is_served(process, classifier)


def test_nothing_is_left_behind(start_board, classifier):
    process = start_board()
    with opened(process, classifier):
        assert len(list(process.folder.iterdir())) == 1
    eventually(lambda: not list(process.folder.iterdir()))


def test_a_stopped_server_ends_its_session(start_board, classifier):
    process = start_board()
    with opened(process, classifier) as remote:
        session = process.session_pid()
        process.popen.terminate()
        assert process.popen.wait(10) == 0
        with pytest.raises(DeviceLostError):
            remote.run("package", [INPUT])
    assert not is_running(session) and not list(process.folder.iterdir())


def test_tvm_itself_is_served(board, classifier, tmp_path):
    """Tuning measures through TVM's own client."""
    from tvm import rpc

    library = tmp_path / "model.so"
    library.write_bytes(classifier.library)
    remote = rpc.connect(str(board.address.host), board.address.port, DIRECT_KEY)
    remote.upload(str(library), "../../model.so")
    assert sorted(path.name for path in board.folder.rglob("*.so")) == ["model.so"]
    assert next(board.folder.rglob("*.so")).parent.parent == board.folder
    module = remote.load_module("model.so")
    import tvm

    relu = module.get_function("relu")
    x = tvm.runtime.tensor(np.float32([[-1, 2, -3, 4], [5, -6, 7, -8]]), remote.cpu())
    y = tvm.runtime.empty((2, 4), device=remote.cpu())
    relu(x, y)
    assert y.numpy().tolist() == [[0, 2, 0, 4], [5, 0, 7, 0]]
    remote.get_function("CloseRPCConnection")()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<ii", wire.RPC_MAGIC, 1 << 30),
        struct.pack("<ii", wire.RPC_MAGIC, -1),
        struct.pack("<ii", wire.RPC_MAGIC, 12) + b"client:wrong",
        struct.pack("<ii", wire.RPC_MAGIC, 2) + b"\xff\xff",
        struct.pack("<ii", wire.RPC_MAGIC, 25) + b"client:bnn_tvm -timeout=x",
        struct.pack("<ii", wire.RPC_MAGIC, 14) + b"client:bnn_tvm" + b"\xff" * 64,
        b"",
    ],
)
def test_garbage_does_not_end_the_server(board, classifier, sent):
    with wire.connect(board.address, 5) as stranger:
        stranger.sendall(sent)
    assert is_served(board, classifier)


def test_a_silent_client_is_put_out(board, classifier):
    with wire.connect(board.address, 5):
        assert is_served(board, classifier)


def test_nothing_at_the_address():
    with pytest.raises(DeviceUnreachableError, match="ssh -L"):
        connect_direct(Address("127.0.0.1", free_port()), 5)


@pytest.mark.parametrize(("answer", "error"), [(b"HTTP/1.1 400", "no RPC server"), (b"", "closed")])
def test_another_server_at_the_address(answer, error):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(DeviceUnreachableError, match=error):
            connect_direct(Address("127.0.0.1", listener.getsockname()[1]), 5)
        thread.join()


def test_a_port_in_use(board, capsys):
    from bnn_tvm.cli import main

    assert main(["device", "serve", "--port", str(board.address.port)]) == 6
    assert "cannot listen on" in capsys.readouterr().err
