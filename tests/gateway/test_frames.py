"""Frames that are made once for many clients."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from durable.gateway.frames import EXTENSION, Outbound, frame, frame_extension
from durable.gateway.outgoing import Outgoing

from .test_outgoing import Client


def received(wire: bytes) -> list[Frame]:
    """What a client makes of some bytes."""
    client = ClientProtocol(parse_uri("ws://test/"), state=State.OPEN, max_size=None)
    client.receive_data(wire)
    assert client.parser_exc is None
    return [event for event in client.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("kind", [str, bytes])
def test_W8_a_frame_is_what_a_client_expects(size: int, kind: type) -> None:
    data = "x" * size if kind is str else b"x" * size
    outbound = frame(data)
    assert outbound.wire is not None
    (got,) = received(outbound.wire)
    assert (got.opcode, got.fin) == (Opcode.TEXT if kind is str else Opcode.BINARY, True)
    assert bytes(got.data) == b"x" * size
    assert outbound.size == size
    assert outbound.message == {"type": "websocket.send", "text" if kind is str else "bytes": data}


def test_W8_the_size_of_a_text_is_that_of_its_bytes() -> None:
    outbound = frame("ä€😀")
    assert outbound.wire is not None
    assert bytes(received(outbound.wire)[0].data).decode() == "ä€😀"
    assert outbound.size == 9


def test_W8_a_text_that_is_none_is_no_frame() -> None:
    with pytest.raises(UnicodeEncodeError):
        frame("\ud800")


async def test_W8_a_server_that_takes_frames_gets_them_and_what_it_refuses_goes_as_a_message() -> None:
    client, written = Client(), []
    takes = True

    def write(wire: bytes) -> bool:
        if takes:
            written.append(wire)
        return takes

    extension = frame_extension({"extensions": {EXTENSION: {"write": write, "read": lambda take: None}}})
    assert extension is not None
    outgoing = Outgoing(client.send, 100, lambda: None, extension["write"])
    outgoing.push(frame("one"))
    takes = False
    outgoing.push(frame("two"))
    outgoing.push(Outbound({"type": "websocket.accept", "text": "no frame of data"}))
    assert written == [frame("one").wire]
    assert client.got == ["two", "no frame of data"]


async def test_W8_a_write_that_fails_ends_this_connection_only() -> None:
    client = Client()

    def write(wire: bytes) -> bool:
        raise RuntimeError("the transport is closed")

    outgoing = Outgoing(client.send, 100, lambda: None, write)
    outgoing.push(frame("one"))
    outgoing.push(frame("two"))
    assert client.got == []


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {}}])
def test_W8_other_servers_are_sent_messages(scope: dict[str, object]) -> None:
    assert frame_extension(scope) is None
