"""What a supervisor and its workers say to each other over a socket, and the policy files that go with it."""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from authz_sidecar.engine import Counts, DirectoryStatus, PolicyStatus
from authz_sidecar.engine.refresh import Refreshed
from authz_sidecar.server.settings import ServeSettings
from authz_sidecar.transports.address import Address

HEAD_BYTES = 4
MAX_MESSAGE_BYTES = 1 << 20
READ_BYTES = 1 << 16
MAX_FILES = 8


class Start(msgspec.Struct, tag=True, frozen=True):
    """To a worker: serve so, on `address`, as the one with this number."""

    settings: ServeSettings
    address: Address
    number: int


class Load(msgspec.Struct, tag=True, frozen=True):
    """To a worker: take the policy in the first file that comes with this; the second is its lineage."""

    policy_version: str


class Rename(msgspec.Struct, tag=True, frozen=True):
    """To a worker: the same policy has another version, and the lineage in the file that comes with this."""

    policy_version: str


class LoadShadow(msgspec.Struct, tag=True, frozen=True):
    """To a worker: take the candidate in the file that comes with this beside the policy that answers."""

    policy_version: str


class RenameShadow(msgspec.Struct, tag=True, frozen=True):
    """To a worker: the same candidate has another version."""

    policy_version: str


class Refresh(msgspec.Struct, tag=True, frozen=True):
    """From a worker: look at the policies now; the answer shall have this number."""

    number: int


class Answered(msgspec.Struct, tag=True, frozen=True):
    """To a worker: what the look of this number came to."""

    number: int
    refreshed: Refreshed


class Ask(msgspec.Struct, tag=True, frozen=True):
    """From a worker: what is known of the policies of the whole sidecar? The answer shall have this number."""

    number: int


class Told(msgspec.Struct, tag=True, frozen=True):
    """To a worker: what is known of the policies, to the question of this number."""

    number: int
    status: PolicyStatus


class Report(msgspec.Struct, tag=True, frozen=True):
    """To a worker: say what you have counted."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """From a worker: it answers from this version; `problem` says why it does not ("" if it does)."""

    policy_version: str
    problem: str = ""


class Listening(msgspec.Struct, tag=True, frozen=True):
    """From a worker: it listens; `problem` says why it cannot, and `help` what to do ("" if it does)."""

    problem: str = ""
    help: str = ""


class Counted(msgspec.Struct, tag=True, frozen=True):
    """From a worker: what it has counted, and how its directory stands (None: there is none)."""

    counts: Counts
    directory: DirectoryStatus | None = None


Message: TypeAlias = (
    Start
    | Load
    | Rename
    | LoadShadow
    | RenameShadow
    | Answered
    | Told
    | Report
    | Refresh
    | Ask
    | Loaded
    | Listening
    | Counted
)
# How many files come with a message.
FILES: dict[type, int] = {Load: 2, Rename: 1, LoadShadow: 1}
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Message)


class Channel:
    """One end of the socket. Make it inside the event loop."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._buffer = b""
        self._files: list[int] = []
        self._messages: asyncio.Queue[tuple[Message, tuple[int, ...]] | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end.fileno(), self._read)

    def send(self, message: Message, files: Sequence[int] = ()) -> None:
        """Say something, with open files as FILES has it; raises OSError if the other end is gone or stuck."""
        body = msgspec.json.encode(message)
        data = len(body).to_bytes(HEAD_BYTES) + body
        sent = socket.send_fds(self._socket, [data], files) if files else self._socket.send(data)
        if sent != len(data):
            raise BlockingIOError("the other end does not read")

    async def receive(self) -> tuple[Message, tuple[int, ...]]:
        """The next message and the files that came with it, which are the caller's to close. Raises EOFError once the
        other end is gone."""
        item = await self._messages.get()
        if item is None:
            self._messages.put_nowait(None)
            raise EOFError
        return item

    def close(self) -> None:
        """Give the socket and unread files back."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for file in self._files:
            os.close(file)
        self._files.clear()

    def _read(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._socket, READ_BYTES, MAX_FILES)
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        self._files += files
        if not data:
            self._loop.remove_reader(self._socket.fileno())
            self._messages.put_nowait(None)
            return
        self._buffer += data
        while len(self._buffer) >= HEAD_BYTES:
            size = HEAD_BYTES + int.from_bytes(self._buffer[:HEAD_BYTES])
            if size > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {size} bytes")
            if len(self._buffer) < size:
                return
            message = _decoder.decode(self._buffer[HEAD_BYTES:size])
            self._buffer = self._buffer[size:]
            # Files come in the order of the messages that they belong to.
            number = FILES.get(type(message), 0)
            came = tuple(self._files[:number])
            del self._files[:number]
            self._messages.put_nowait((message, came))
