"""Looking at a remote repository in a process of its own: start it, wait for it, read what it found.

The process is bounded from outside: in time, since it is ended with all that it started, and in the size of what it
writes. Its order goes to it over a pipe, so that no credential stands on a command line or in an environment.
"""

import contextlib
import os
import signal
import subprocess
import sys

import msgspec

from authz_sidecar.sources.credentials import Credentials
from authz_sidecar.sources.remote import Remote
from authz_sidecar.sources.transport import SshFiles

MODULE = "authz_sidecar.sources.fetcher"
# Beyond its own bound, before it is ended.
END_SECONDS = 5
FETCH_NICENESS = 10
MAX_SAID = 300


class FetchOrder(msgspec.Struct, frozen=True):
    """What to look for.

    In the cache directory `cache` the clone of `remote` is brought up to date within `seconds`, with at most
    `max_bytes` in one fetch. `at` is the commit to serve instead of the ref's newest ("": the newest). `served` is the
    commit that is served now ("": none yet, in which case the one that was served last counts); what does not contain
    it is refused unless `allow_rewind`. With `allowed_signers` the commit must be signed. `fresh` discards the clone
    first.
    """

    remote: Remote
    cache: str
    seconds: float
    max_bytes: int
    at: str = ""
    served: str = ""
    allow_rewind: bool = False
    allowed_signers: str = ""
    credentials_file: str = ""
    credentials: Credentials | None = None
    ssh: SshFiles = SshFiles()
    fresh: bool = False

    def __repr__(self) -> str:
        """Without credentials."""
        return f"FetchOrder({self.remote})"


class FetchReport(msgspec.Struct):
    """What was found.

    `problem` says why the remote could not be looked at ("" if it could), and `help` what to do about it. `commit` is
    what is there to be served ("" with a problem), `refused` why it must not be ("" if it may). `kept` is the commit
    that was served last from this cache and may be served again without the remote ("" for none), last seen there at
    `looked_at` (seconds since 1970-01-01 UTC). `cloned` says that the clone was made anew, and why ("" if it was not).
    """

    commit: str = ""
    refused: str = ""
    problem: str = ""
    help: str = ""
    kept: str = ""
    looked_at: float = 0.0
    cloned: str = ""


class Fetch:
    """A process that looks at a remote. `result` waits for it; `kill` ends it, and all that it started."""

    def __init__(self, order: FetchOrder) -> None:
        self._order = order
        # -P: see `sources.build`.
        command = [sys.executable, "-P", "-m", MODULE]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self._ended = False
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, FETCH_NICENESS)

    def result(self) -> FetchReport:
        """Wait for the end and read the report: a process that fails or takes too long has a problem to tell."""
        try:
            output, said = self._process.communicate(
                msgspec.json.encode(self._order), timeout=self._order.seconds + END_SECONDS
            )
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.communicate()
            return FetchReport(problem=took_too_long(self._order.seconds))
        finally:
            # What it started, such as `ssh`, is not left behind.
            self.kill()
            self._ended = True
        try:
            return msgspec.json.decode(output, type=FetchReport)
        except msgspec.DecodeError:
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            told = ascii(last[:MAX_SAID])[1:-1] or "it said nothing"
            return FetchReport(problem=f"the fetching process ended with {self._process.returncode}: {told}")

    def kill(self) -> None:
        """End the process and its children; whoever waits in `result` sees it."""
        if self._ended:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def took_too_long(seconds: float) -> str:
    """What is said of a fetch that was ended."""
    return f"the remote was not fetched within {seconds:g} s"
