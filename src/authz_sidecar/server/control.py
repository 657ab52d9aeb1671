"""What a supervisor and its workers say to each other over a socket, and the policy files that go with it."""

import asyncio
import os
import socket
from typing import Any, TypeAlias

import msgspec

from authz_sidecar.engine import Counts
from authz_sidecar.server.settings import ServeSettings
from authz_sidecar.transports.address import Address

HEAD_BYTES = 4
MAX_MESSAGE_BYTES = 1 << 20
READ_BYTES = 1 << 16
MAX_FILES = 8


class Start(msgspec.Struct, tag=True, frozen=True):
    """To a worker: serve so, on `address`."""

    settings: ServeSettings
    address: Address


class Load(msgspec.Struct, tag=True, frozen=True):
    """To a worker: take the policy in the file that comes with this."""

    policy_version: str


class Rename(msgspec.Struct, tag=True, frozen=True):
    """To a worker: the same policy has another version."""

    policy_version: str


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
    """From a worker: what it has counted."""

    counts: Counts


Message: TypeAlias = Start | Load | Rename | Report | Loaded | Listening | Counted
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Message)


class Channel:
    """One end of the socket. Make it inside the event loop."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._buffer = b""
        self._files: list[int] = []
        self._messages: asyncio.Queue[tuple[Message, int] | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end.fileno(), self._read)

    def send(self, message: Message, file: int = -1) -> None:
        """Say something, with an open file if `file` is one; raises OSError if the other end is gone or stuck."""
        body = msgspec.json.encode(message)
        data = len(body).to_bytes(HEAD_BYTES) + body
        sent = socket.send_fds(self._socket, [data], [file]) if file >= 0 else self._socket.send(data)
        if sent != len(data):
            raise BlockingIOError("the other end does not read")

    async def receive(self) -> tuple[Message, int]:
        """The next message and the file that came with it, which is the caller's to close (-1: none). Raises EOFError
        once the other end is gone."""
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
            file = self._files.pop(0) if isinstance(message, Load) else -1
            self._messages.put_nowait((message, file))
