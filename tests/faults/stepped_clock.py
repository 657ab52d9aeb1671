"""Runs the command with a calendar clock that a test steps: the seconds in the file named first are added to it.

What goes forward only (`time.monotonic`) is left as it is, as a step of a machine's clock leaves it.
"""

import mmap
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is compiled

OFFSET = struct.Struct("d")


class SteppedClock:
    """The file that a test and its sidecar share: make it, give its path to the sidecar, and `step` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.command = (sys.executable, "-P", __file__, str(path), "serve")
        self.step(0.0)

    def step(self, seconds: float) -> None:
        """Let the clock be so many seconds ahead of the right time; behind it where that is negative."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(OFFSET.pack(seconds))


def _step_time(path: str) -> None:
    with Path(path).open("rb") as file:
        offset = mmap.mmap(file.fileno(), OFFSET.size, access=mmap.ACCESS_READ)
    right = time.time

    def stepped() -> float:
        (seconds,) = OFFSET.unpack(offset)
        return right() + float(seconds)

    # The core of gRPC reads the machine's clock, and compares what it has read with this one.
    cygrpc.time = SimpleNamespace(time=right)
    time.time = stepped


if __name__ == "__main__":
    _step_time(sys.argv.pop(1))
    # Not before: modules take the clock as they are imported.
    from authz_sidecar.cli.main import main

    main()
