"""How often a client may ping, seen with bare HTTP/2 frames: a stock client limits its own pings."""

from tests.server.bare_http2 import ACK, GOAWAY, PING, Connection, frame
from tests.server.sidecar import Sidecar

ENHANCE_YOUR_CALM = 0xB
# The documented minimum between two pings.
INTERVAL_SECONDS = 1.0


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
