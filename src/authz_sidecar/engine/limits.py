"""What the sidecar takes at most. Limits on single values stand in `values.request`."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """The bounds of a server.

    `batch` checks in one call; `message_bytes` of one message, received or sent, after decompression;
    `calls` in flight at once, streams included; `metadata_bytes` of one call's metadata. Past any of them a call
    is refused at once with RESOURCE_EXHAUSTED, except a long batch, which is INVALID_ARGUMENT.
    """

    batch: int = 1_000
    message_bytes: int = 4 * 1024 * 1024
    calls: int = 2_000
    metadata_bytes: int = 16 * 1024
