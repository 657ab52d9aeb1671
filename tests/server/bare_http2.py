"""A client of bare HTTP/2 frames, for what a stock gRPC client does not let one send, or does by itself."""

import socket
import struct

from tests.server.sidecar import SERVICE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
HEAD_BYTES = 9
# The one call of a connection.
STREAM = 1
# What either side may send before it is granted more (RFC 9113, section 6.9.2).
WINDOW_BYTES = 65_535


def frame(kind: int, flags: int = 0, payload: bytes = b"", stream: int = 0) -> bytes:
    """A frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + stream.to_bytes(4) + payload


def field(name: str, value: bytes) -> bytes:
    """A header field that is neither compressed nor kept (RFC 7541, section 6.2.2), of fewer than 127 bytes each."""
    return bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value


def message(data: bytes, *, compressed: bool = False) -> bytes:
    """A message of gRPC with its head."""
    return bytes((compressed,)) + len(data).to_bytes(4) + data


class Connection:
    """A connection without any call; `call` opens one."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self._buffer = b""
        try:
            self.socket.sendall(PREFACE + frame(SETTINGS))
            while self.read() != (SETTINGS, ACK, b""):
                pass
        except BaseException:
            self.socket.close()
            raise

    def call(self, method: str, **metadata: bytes) -> None:
        """Open a call of AuthorizationService; `_` in the names of metadata stands for `-`."""
        fields = {
            ":method": b"POST",
            ":scheme": b"http",
            ":path": f"/{SERVICE.full_name}/{method}".encode(),
            ":authority": b"test",
            "te": b"trailers",
            "content-type": b"application/grpc",
        }
        fields |= {name.replace("_", "-"): value for name, value in metadata.items()}
        block = b"".join(field(name, value) for name, value in fields.items())
        self.socket.sendall(frame(HEADERS, END_HEADERS, block, STREAM))

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send bytes on the call, `last` or with more to come; what the server's windows allow is the caller's care."""
        for start in range(0, max(len(data), 1), 16_384):
            end = start + 16_384
            flags = END_STREAM if last and end >= len(data) else 0
            self.socket.sendall(frame(DATA, flags, data[start:end], STREAM))

    def grant(self, size: int) -> None:
        """Let the server send so many bytes more."""
        increment = size.to_bytes(4)
        self.socket.sendall(frame(WINDOW_UPDATE, 0, increment) + frame(WINDOW_UPDATE, 0, increment, STREAM))

    def answer(self) -> tuple[bytes, bytes, bytes]:
        """The rest of the call: its header block, its data and its trailer block."""
        blocks: list[bytes] = []
        data = b""
        while True:
            kind, flags, payload = self.read()
            if kind == HEADERS:
                blocks.append(payload)
                if flags & END_STREAM:
                    return blocks[0], data, blocks[-1]
            elif kind == DATA:
                data += payload
            elif kind in {RST_STREAM, GOAWAY}:
                raise EOFError

    def read(self) -> tuple[int, int, bytes]:
        """The next frame: type, flags and payload. Raises TimeoutError, or EOFError at the end."""
        while True:
            if len(self._buffer) >= HEAD_BYTES:
                size = HEAD_BYTES + int.from_bytes(self._buffer[:3])
                if len(self._buffer) >= size:
                    kind, flags, payload = self._buffer[3], self._buffer[4], self._buffer[HEAD_BYTES:size]
                    self._buffer = self._buffer[size:]
                    if kind == SETTINGS and not flags & ACK:
                        self.socket.sendall(frame(SETTINGS, ACK))
                        continue
                    return kind, flags, payload
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        self.socket.settimeout(seconds)
        try:
            self.read()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)
        return False
