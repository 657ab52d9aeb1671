"""The first build, begun before anything else: a process that serves takes as long to import what it needs.

INVARIANT: this imports little, and nothing of gRPC or HTTP.
"""

from pathlib import Path

import msgspec

from authz_sidecar.sources.build import Build, BuildError
from authz_sidecar.sources.watch import Sight, look


class EarlyBuild(msgspec.Struct):
    """A build that began before there was anybody to take it, and what was seen before it."""

    sight: Sight
    build: Build

    @classmethod
    def begin(cls, path: Path) -> "EarlyBuild | None":
        """Begin; None where git is writing, or where no process can be started."""
        sight = look(path)
        if sight.locked:
            return None
        try:
            return cls(sight, Build(path))
        except BuildError:
            return None
