"""What the measurements share: timing each call, memory of this process, and a table to print."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def time_each(call: Callable[[Any], Any], arguments: Sequence[Any], prepare: Callable[[Any], Any]) -> list[int]:
    """Nanoseconds of each `call(prepare(argument))`, preparing excluded, the clock's own cost included."""
    clock = time.perf_counter_ns
    taken = []
    for argument in arguments:
        prepared = prepare(argument)
        start = clock()
        call(prepared)
        taken.append(clock() - start)
    return taken


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def memory_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_memory_mb() -> float:
    """The most that this process has had resident, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def settle() -> None:
    """What a server does after a load: collect once, then keep what lives out of later collections."""
    gc.collect()
    gc.freeze()
