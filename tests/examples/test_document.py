"""The document: everybody ends with the same text, also after sleep, crashes and edits made while away."""

import asyncio
from typing import Any

import pytest
from pycrdt import Doc, Text, create_awareness_message, create_sync_message, create_update_message
from pycrdt import handle_sync_message as handle

from durable import RemoteError
from durable.testing import LocalObjects, LocalSocket
from examples.document import Document


@pytest.fixture
def document(local: LocalObjects) -> Document:
    return Document.namespace.get_by_name("minutes")


class Writer:
    """A Yjs client with a copy of its own."""

    def __init__(self, local: LocalObjects, document: Document) -> None:
        self._local, self._page = local, document
        self._doc: Doc[Text] = Doc()
        self._text = self._doc.get("text", type=Text)
        self.socket: LocalSocket
        self.awareness: list[Any] = []

    async def connect(self) -> None:
        self.socket = await self._local.connect(self._page)
        await self.socket.send(create_sync_message(self._doc))
        await self.listen()

    def write(self, text: str) -> bytes:
        """Write at the end; the frame that says so."""
        before = self._doc.get_state()
        self._text += text
        return create_update_message(self._doc.get_update(before))

    async def say(self, text: str) -> None:
        await self.socket.send(self.write(text))

    async def listen(self) -> None:
        """Handle what has arrived, and answer."""
        await self._local.settle()
        for frame in self.socket.take():
            assert isinstance(frame, bytes)
            if frame[0] == 1:
                self.awareness.append(frame)
            elif (answer := handle(frame[1:], self._doc)) is not None:
                await self.socket.send(answer)

    @property
    def text(self) -> str:
        return str(self._text)


async def writers(local: LocalObjects, document: Document, number: int = 2) -> list[Writer]:
    found = [Writer(local, document) for _ in range(number)]
    for writer in found:
        await writer.connect()
    return found


async def rows(document: Document, local: LocalObjects) -> int:
    """Rows of the table, counted as the next incarnation sees them."""
    await local.evict(document)
    await document.read()
    activation = local.host.activations[str(document.id)]  # type: ignore[attr-defined]
    count: int = activation.instance._edits
    return count


async def test_what_one_writes_the_others_and_the_server_read(
    local: LocalObjects, document: Document
) -> None:
    ada, bob = await writers(local, document)
    await ada.say("Hello ")
    await bob.listen()
    await bob.say("wörld 🦉")
    await ada.listen()
    assert [ada.text, bob.text, await document.read()] == ["Hello wörld 🦉"] * 3
    assert await document.append("!") == "Hello wörld 🦉!"
    await ada.listen()
    assert ada.text == "Hello wörld 🦉!"


async def test_concurrent_edits_end_the_same_everywhere(local: LocalObjects, document: Document) -> None:
    three = await writers(local, document, 3)
    await asyncio.gather(*(writer.say(letter * 20) for writer, letter in zip(three, "abc", strict=True)))
    for writer in three:
        await writer.listen()
    texts = {*(writer.text for writer in three), await document.read()}
    assert len(texts) == 1
    assert sorted(texts.pop()) == list("a" * 20 + "b" * 20 + "c" * 20)


async def test_the_text_outlives_sleep_and_crash(local: LocalObjects, document: Document) -> None:
    ada, bob = await writers(local, document)
    await ada.say("one ")
    await local.evict(document)
    await ada.say("two ")
    await local.crash()
    await ada.say("three")
    await bob.listen()
    assert [bob.text, await document.read()] == ["one two three"] * 2


async def test_an_edit_whose_owner_dies_before_anybody_hears_of_it_counts_once(
    local: LocalObjects, document: Document
) -> None:
    ada, bob = await writers(local, document)
    local.commits.hold()
    ada.socket.post(ada.write("once"))
    await local.commits.waiting()
    local.commits.pass_through()
    await local.crash()
    await ada.socket.handled()
    await bob.listen()
    assert [bob.text, await document.read()] == ["once", "once"]


async def test_a_repeated_edit_changes_nothing(local: LocalObjects, document: Document) -> None:
    ada, bob = await writers(local, document)
    frame = ada.write("once")
    await ada.socket.send(frame)
    await ada.socket.send(frame)
    await bob.listen()
    assert [bob.text, await document.read()] == ["once", "once"]


async def test_who_was_away_gets_and_gives_what_was_missed(local: LocalObjects, document: Document) -> None:
    ada, bob = await writers(local, document)
    await bob.socket.vanish()
    await ada.say("from ada")
    bob.write("from bob")
    await bob.connect()
    await ada.listen()
    assert ada.text == bob.text == await document.read()
    assert sorted(ada.text) == sorted("from ada" + "from bob")


async def test_many_edits_become_one_row(
    local: LocalObjects, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Document, "compact_after", 5)
    for letter in "abcdefg":
        await document.append(letter)
    assert await rows(document, local) == 3  # five as one, and two
    assert await document.read() == "abcdefg"


async def test_a_quiet_minute_makes_one_row(local: LocalObjects, document: Document) -> None:
    for letter in "abc":
        await document.append(letter)
    await local.advance(59)
    assert await rows(document, local) == 3
    await local.advance(1)
    assert await rows(document, local) == 1
    assert await document.read() == "abc"


async def test_a_full_text_takes_no_more(
    local: LocalObjects, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Document, "max_bytes", 1000)
    (ada,) = await writers(local, document, 1)
    await document.append("x" * 900)
    with pytest.raises(RemoteError, match="the text is full"):
        await document.append("y" * 200)
    ada.socket.post(ada.write("z" * 200))
    assert await ada.socket.closed() == 4413
    assert await document.read() == "x" * 900


async def test_cursors_go_to_the_others_and_are_not_stored(local: LocalObjects, document: Document) -> None:
    ada, bob = await writers(local, document)
    frame = create_awareness_message(b"where ada is")
    await ada.socket.send(frame)
    await ada.listen()
    await bob.listen()
    assert (ada.awareness, bob.awareness) == ([], [frame])
    assert await rows(document, local) == 0


@pytest.mark.parametrize(
    "frame", ["text", b"", b"\0", b"\0\2", b"\0\0\1\5", b"\0\2\3abc", b"\0\2\xff\xff\xff"], ids=repr
)
async def test_what_is_no_yjs_frame_closes_its_socket_only(
    local: LocalObjects, document: Document, frame: str | bytes
) -> None:
    ada, bob = await writers(local, document)
    await ada.say("kept")
    bob.socket.post(frame)
    assert await bob.socket.closed() == 4400
    assert (await document.read(), ada.socket.is_open) == ("kept", True)
