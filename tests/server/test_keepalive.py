"""How often a client may ping, seen with bare HTTP/2 frames: a stock client limits its own pings."""

import socket
import struct

from tests.server.sidecar import Sidecar

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1
ENHANCE_YOUR_CALM = 0xB
# The documented minimum between two pings.
INTERVAL_SECONDS = 1.0


def frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    """A frame of stream 0 (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + bytes(4) + payload


class Connection:
    """A connection without any call."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self._buffer = b""
        self.socket.sendall(PREFACE + frame(SETTINGS))
        while self.read() != (SETTINGS, ACK, b""):
            pass

    def read(self) -> tuple[int, int, bytes]:
        """The next frame: type, flags and payload. Raises TimeoutError, or EOFError at the end."""
        while True:
            if len(self._buffer) >= 9:
                length = int.from_bytes(self._buffer[:3])
                if len(self._buffer) >= 9 + length:
                    kind, flags, payload = self._buffer[3], self._buffer[4], self._buffer[9 : 9 + length]
                    self._buffer = self._buffer[9 + length :]
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


def test_a_ping_a_second_is_tolerated(sidecar: Sidecar) -> None:
    """A client that pings once a second without any call keeps its connection."""
    connection = Connection(sidecar.grpc)
    with connection.socket:
        for number in range(6):
            connection.socket.sendall(frame(PING, payload=number.to_bytes(8)))
            assert connection.read() == (PING, ACK, number.to_bytes(8))
            assert connection.silent_for(INTERVAL_SECONDS)


def test_a_flood_of_pings_ends_the_connection(sidecar: Sidecar) -> None:
    """A client that pings without pause gets GOAWAY with ENHANCE_YOUR_CALM, so that pings cannot keep us busy."""
    connection = Connection(sidecar.grpc)
    with connection.socket:
        connection.socket.sendall(frame(PING, payload=bytes(8)) * 50)
        while True:
            kind, _, payload = connection.read()
            if kind == GOAWAY:
                break
        assert int.from_bytes(payload[4:8]) == ENHANCE_YOUR_CALM
