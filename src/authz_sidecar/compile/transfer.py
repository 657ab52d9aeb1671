"""A snapshot on its way: written where it was compiled, rebuilt where it serves, and taken apart when it is replaced.

Nothing here takes longer than the event loop of a serving process can spare: `read_snapshot` and `dismantle` work in
steps, each on a bounded number of entries, and whoever calls them answers requests in between.
"""

from array import array
from collections.abc import Iterator
from typing import Any

from authz_sidecar.compile.decoder import read_snapshot
from authz_sidecar.compile.encoder import dump_snapshot
from authz_sidecar.compile.piece import ENTRIES, FORMS, PLAIN, TransferError
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.values.directory_rules import DirectoryRules

__all__ = ["TransferError", "dismantle", "dump_snapshot", "read_snapshot"]


def dismantle(snapshot: Snapshot, *more: Any) -> Iterator[None]:
    """Empty the containers of a snapshot that nobody uses any more (and `more`), a bounded number of entries a step.

    Freeing a million entries at once would take hundreds of milliseconds. Whatever shares a container with the
    snapshot, such as the bundle it was compiled from, is emptied with it.
    """
    waiting: list[Any] = [*more, snapshot]
    done = 0
    while waiting:
        value = waiting.pop()
        kind = value.__class__
        entries: list[Any] = []
        if kind is dict:
            if len(value) <= ENTRIES:
                entries = list(value.values())
                value.clear()
            else:
                waiting.append(value)
                entries = [value.popitem()[1] for _ in range(ENTRIES)]
        elif kind is list:
            entries = value[-ENTRIES:]
            del value[-ENTRIES:]
            if value:
                waiting.append(value)
        elif kind is set:
            if len(value) <= ENTRIES:
                value.clear()
            else:
                waiting.append(value)
                entries = [value.pop() for _ in range(ENTRIES)]
        elif kind is array:
            del value[:]
        elif kind is tuple:
            entries = value
        elif kind in FORMS and kind is not DirectoryRules:
            # Changes of a directory go by the rules with which they began, to their end.
            entries = [getattr(value, field) for field in FORMS[kind].fields]
        done += 1 + len(entries)
        waiting += [entry for entry in entries if entry.__class__ not in PLAIN]
        del value, entries
        if done >= ENTRIES:
            done = 0
            yield
