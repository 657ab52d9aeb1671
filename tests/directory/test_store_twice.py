"""A store that is opened twice in one process loses nothing."""

import subprocess
import sys
from pathlib import Path

from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.store import Store

LOOK = """
import sys
from authz_sidecar.directory.storage.store import Store
store = Store.open(sys.argv[1], migrate=False, check=False)
print(store.state().audit_sequence)
store.close()
"""


def look(path: Path) -> str:
    """What another process sees, which opens the store and closes it again."""
    command = (sys.executable, "-c", LOOK, str(path))
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_opening_a_store_again_keeps_the_locks_of_the_first(tmp_path: Path) -> None:
    """A second opening in the same process, and another process that comes and goes, leave the log that the first
    writes to in its place: what it writes then is there for everybody."""
    path = tmp_path / "directory.db"
    first = Store.open(str(path))
    with first.change(Actor("operator:ada"), 1.0) as change:
        change.audit("identity.create")
    Store.open(str(path), migrate=False, check=False).close()
    assert look(path) == "1"
    with first.change(Actor("operator:ada"), 2.0) as change:
        change.audit("identity.update")
    assert look(path) == "2"
    first.close()
    assert look(path) == "2"
