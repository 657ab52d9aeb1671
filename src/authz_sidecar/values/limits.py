"""What the sidecar takes at most. Limits on single values stand in `values.request`."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """The bounds of one serving process.

    `batch` checks in one call; `message_bytes` of one message, received or sent, after decompression; `calls` of
    `AuthorizationService` in flight at once, of which `streams` may be streams and `explanations` explanations;
    `stream_checks` on one stream;
    `watches` of health and reflection at once; `connections` at once; `metadata_bytes` of one call's metadata. Past
    any of them a call is refused at once with RESOURCE_EXHAUSTED, and past `connections` the connection is closed.
    After `connection_seconds` (0: never) a client is asked to connect anew.
    """

    batch: int = 1_000
    message_bytes: int = 4 * 1024 * 1024
    calls: int = 2_000
    streams: int = 200
    explanations: int = 50
    stream_checks: int = 1_000_000
    watches: int = 1_000
    connections: int = 1_000
    connection_seconds: float = 0.0
    metadata_bytes: int = 16 * 1024
