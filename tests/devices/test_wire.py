"""Addresses, frames, messages and the limits of a channel, without a server."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest

from bnn_tvm.devices import wire
from bnn_tvm.devices.address import Address
from bnn_tvm.devices.channel import LimitedChannel
from bnn_tvm.devices.messages import pack_message, unpack_message
from bnn_tvm.errors import DeviceError, InputError, UploadRefusedError


@pytest.fixture
def ends():
    first, second = socket.socketpair()
    with first, second:
        first.settimeout(5)
        second.settimeout(5)
        yield first, second


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("pi:9090", "pi", 9090, False),
        ("[::1]:1", "::1", 1, True),
        ("127.0.0.1:0", "127.0.0.1", 0, True),
    ],
)
def test_addresses(text, host, port, loopback):
    address = Address.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "pi", "pi:", ":9", "pi:x", "pi:65536", "::1:9", "a:1:2"])
def test_wrong_addresses(text):
    with pytest.raises(InputError, match="must look like"):
        Address.parse(text)


def test_frames_arrive_whole(ends):
    wire.send_json(ends[0], {"a": [1, None, "é"]})
    assert wire.receive_json(ends[1]) == {"a": [1, None, "é"]}


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<i", -1),
        struct.pack("<i", wire.MAX_FRAME_BYTES + 1),
        struct.pack("<i", 2) + b"\xff\xff",
        struct.pack("<i", 1) + b"{",
        b"\x01",
    ],
)
def test_broken_frames(ends, sent):
    ends[0].sendall(sent)
    ends[0].shutdown(socket.SHUT_WR)
    with pytest.raises(OSError):
        wire.receive_json(ends[1])


def test_messages_hold_facts_and_arrays():
    arrays = {"0": np.float32([[1, 2]]), "1": np.array([True])}
    message = unpack_message(pack_message({"command": "x", "n": 1.5}, arrays))
    assert message.facts == {"command": "x", "n": 1.5}
    assert list(message.arrays) == ["0", "1"] and message.arrays["0"].dtype == np.float32
    np.testing.assert_array_equal(message.arrays["0"], arrays["0"])


def test_messages_never_unpickle():
    objects = pack_message({}, {"0": np.array([{}], dtype=object)})
    for data in (b"", b"x" * 100, pack_message({})[:-30], objects):
        with pytest.raises(DeviceError, match="no message of bnn_tvm"):
            unpack_message(data)


def test_a_channel_hands_packets_over_piece_by_piece(ends):
    packet = struct.pack("<Q", 5) + b"hello"
    ends[0].sendall(packet * 2)
    channel = LimitedChannel(ends[1], max_packet=5)
    received = b"".join(channel.receive(3) for _ in range(10))
    assert received == packet * 2
    assert channel.send(b"back") == 4 and ends[0].recv(9) == b"back"
    ends[0].close()
    assert channel.receive(8) == b""


def test_a_channel_refuses_large_packets(ends):
    ends[0].sendall(struct.pack("<Q", 6) + b"abcdef")
    channel = LimitedChannel(ends[1], max_packet=5)
    with pytest.raises(UploadRefusedError, match="send 6 bytes; at most 5"):
        channel.receive(8)
