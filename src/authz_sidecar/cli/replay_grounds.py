"""What a replay of lines that rest on a directory needs besides them: the policies that decided, and the identities."""

import gc
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.identified_requests import LoggedPolicy
from authz_sidecar.sources.load import LoadedBundle
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.side import DirectorySide, RevisionSide
from authz_sidecar.values import Severity
from authz_sidecar.values.identity import Identity
from authz_sidecar.values.lineage import is_commit

if TYPE_CHECKING:
    from authz_sidecar.directory.storage.store import Store

# Policies that are held at once, and that are read in all: a log may name many, or have been made up.
MOST_HELD = 8
MOST_READ = 200
# Versions that are not to be had; after so many none is looked for any more.
MOST_MISSING = 1_000
# Identities that are held at once, of which a log may name any number.
MOST_IDENTITIES = 100_000


class LoggedPolicies:
    """The policies that a log names: commits of the repository that holds `policies`, and the bundle there as it is.
    `known` are those that have been read already, by version."""

    def __init__(self, policies: Path, known: Mapping[str, LoggedPolicy]) -> None:
        self._policies = policies
        self._held: OrderedDict[str, LoggedPolicy] = OrderedDict()
        self._known = known
        self._missing: set[str] = set()
        self._read = 0
        # The version of the bundle as it is; None until it is asked for.
        self._present: str | None = None

    def __call__(self, version: str) -> LoggedPolicy | None:
        """The policy of a version; None for one that is not to be had."""
        found = self._known.get(version)
        if found is not None:
            return found
        if version in self._held:
            self._held.move_to_end(version)
            return self._held[version]
        if version in self._missing or len(self._missing) >= MOST_MISSING or self._read >= MOST_READ:
            return None
        try:
            found = self._find(version)
        except RepositoryError:
            found = None
        if found is None:
            self._missing.add(version)
            return None
        self._held[version] = found
        if len(self._held) > MOST_HELD:
            self._held.popitem(last=False)
            # While a log is read nobody searches for what refers to itself, as a decider does.
            gc.collect()
        return found

    def _find(self, version: str) -> LoggedPolicy | None:
        loaded = self._load(version)
        if loaded is None or loaded.bundle is None or loaded.policy_version != version:
            return None
        self._read += 1
        snapshot, found = compile_bundle(loaded.bundle, searches=False)
        if snapshot is None or any(one.severity is Severity.ERROR for one in (*loaded.diagnostics, *found)):
            return None
        return LoggedPolicy.of(Decider(snapshot))

    def _load(self, version: str) -> LoadedBundle | None:
        if is_commit(version):
            with Repository.open(self._policies) as repository:
                folder = repository.folder(self._policies)
            return RevisionSide(self._policies, version, folder).load()
        # What is not committed is to be had only while it is there.
        if self._present not in (None, version):
            return None
        loaded = DirectorySide(self._policies).load()
        self._present = loaded.policy_version
        return loaded


class PresentIdentities:
    """The identities of a directory as they are now."""

    def __init__(self, terminal: Terminal, store: "Store") -> None:
        from authz_sidecar.directory.memory.assembly import Assembler

        self._terminal = terminal
        self._store = store
        self._assembler = Assembler()
        self._known: dict[str, Identity | None] = {}
        self._revision = 0

    def __call__(self, ids: Collection[str]) -> tuple[int, Mapping[str, Identity]]:
        """The newest revision that was read, and those of the identities that there are. Raises CommandError."""
        from authz_sidecar.directory.memory.loading import read_identities
        from authz_sidecar.directory.storage.errors import DirectoryError

        if len(self._known) > MOST_IDENTITIES:
            self._known.clear()
        missing = {id for id in ids if id not in self._known}
        if missing or not self._revision:
            try:
                self._revision, found = read_identities(self._store, missing, self._assembler)
            except DirectoryError as error:
                raise CommandError(self._terminal, (error.message, error.help)) from None
            self._known.update((id, found.get(id)) for id in missing)
        return self._revision, {id: identity for id in ids if (identity := self._known[id]) is not None}
