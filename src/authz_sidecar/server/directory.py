"""The directory of identities in a process that answers: its store, the copy in memory, and what goes on behind it.

To be imported only where a directory is in use: it brings databases, cryptography and more.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from authz_sidecar.audit.checkpoint import CheckpointError, CheckpointFile
from authz_sidecar.audit.checkpoint_writer import CheckpointWriter
from authz_sidecar.audit.record import SIDECAR
from authz_sidecar.audit.signing import KeyFileError, SigningKey
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.authentication import Authenticator
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.credentials.use import Use
from authz_sidecar.directory.memory.copy import DirectoryCopy
from authz_sidecar.directory.memory.follower import Deliver, Follower, StoppedError
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.engine import Counts, DirectoryStatus, Engine, Identities, IssuerStatus
from authz_sidecar.engine.holdings import assigned_places, assigned_roles
from authz_sidecar.engine.status import LOOKS
from authz_sidecar.server.settings import DirectorySettings, StartError
from authz_sidecar.server.witness import DecisionWitness
from authz_sidecar.values.directory_rules import DirectoryRules

if TYPE_CHECKING:
    from authz_sidecar.directory.jwt.identity import JwtCredentials
    from authz_sidecar.directory.jwt.key_source import KeySources, KeyStatus
    from authz_sidecar.directory.jwt.verification import JwtVerifier

logger = logging.getLogger(__name__)

# Between looks at whether the audit is to be signed for.
CHECKPOINT_SECONDS = 30.0
# How long a server that stops waits for the store to take what is left for the audit.
AUDIT_SECONDS = 5.0
# How long it waits at its start for the keys of identity providers; what does not come in time comes later.
ISSUERS_SECONDS = 5.0
# After so long without sight of the store a look that goes on is worth telling; looks are twice a second.
SILENCE_SECONDS = 10.0
STORE_HELP = "see that the store is there and can be reached, or name another with `--directory`"


class ServedDirectory:
    """The directory of one process. Made in a thread, since it reads the whole store; raises StartError.

    `engine` decides, and `deliver` reaches the thread in which it does. Once `stopping` is set nobody wants it any
    more: what goes on ends soon. `first` says that no other process of this sidecar does what is to be done once: to
    look the store through, and to sign for the audit.
    """

    def __init__(
        self, settings: DirectorySettings, engine: Engine, deliver: Deliver, stopping: threading.Event, *, first: bool
    ) -> None:
        self._engine = engine
        self._closing = ExitStack()
        companies = frozenset(settings.companies) or None
        self._copy = DirectoryCopy(companies, settings.max_staleness)
        try:
            self.store = store = Store.open(settings.url, check=first)
            self._closing.callback(store.close)
            late = engine.counts.directory_lag.observe
            # With connections of its own: what changes is seen in time, however many wait for one of the others.
            followed = Store.open(settings.url, migrate=False, check=False)
            self._closing.callback(followed.close)
            self._follower = Follower(followed, self._copy, deliver, stopping=stopping, late=late)
            self._closing.callback(self._follower.stop)
            self._follower.load()
        except DirectoryError as error:
            self._closing.close()
            raise StartError(f"the directory cannot be served: {error.message}", error.help or STORE_HELP) from error
        except StoppedError as error:
            self._closing.close()
            raise StartError("the server was stopped while it read the directory", "start it again") from error
        try:
            self._use = Use(store)
            self._witness = DecisionWitness(store, time.time)
            self._sources, jwts, credentials = _identity_providers(settings.issuers)
            self._checkpoints = _Checkpoints(store, settings) if settings.audit_key and first else None
        except StartError:
            self._closing.close()
            raise
        authenticator = Authenticator(self._copy, credentials, self._rules, self._use)
        self.authenticator = authenticator
        self.identities = Identities(self._copy, authenticator, engine.counts)
        after = self._follower.catch_up
        self.administration = IdentityAdministration(store, self._policy, after=after)
        self.credentials = CredentialAdministration(store, self._policy, after=after, jwts=jwts)
        self.witness = self._witness.see

    def begin(self) -> None:
        """Follow the store and write what waits, from now on."""
        self._follower.start()
        if self._checkpoints is not None:
            # Ended last: what the others write at their end is signed for, too.
            self._checkpoints.start()
            self._closing.callback(self._checkpoints.stop)
        self._use.start()
        self._closing.callback(self._use.stop)
        self._witness.queue.start()
        self._closing.callback(self._witness.queue.close, AUDIT_SECONDS)
        if self._sources is not None:
            self._sources.start()
            self._closing.callback(self._sources.stop)
            if not self._sources.wait(ISSUERS_SECONDS):
                logger.warning("not all keys of identity providers have come yet; going on without")

    def tell(self, moved: Callable[[], None]) -> None:
        """Call `moved`, in some thread, when the store has changed."""
        self._follower.moved = moved

    def close(self) -> None:
        """Write what is left, and end. For a thread other than that of the engine."""
        self._closing.close()

    def status(self) -> DirectoryStatus:
        """How it stands."""
        copy = self._copy
        staleness, problem = copy.staleness(time.monotonic()), self._follower.problem
        if not problem and staleness > SILENCE_SECONDS:
            problem = "a look at it has begun and does not end"
        return DirectoryStatus(
            copy.revision,
            staleness,
            copy.max_staleness,
            problem,
            copy.identities,
            copy.credentials,
            self._witness.queue.waiting,
            self._witness.queue.failing,
            None if self._checkpoints is None else self._checkpoints.age(time.time()),
            self._checkpoints is not None and self._checkpoints.failing,
            tuple([IssuerStatus(found.issuer, found.keys, found.staleness) for found in self._keys()]),
        )

    def count(self, counts: Counts) -> None:
        """Say what has been counted here until now."""
        counts.audit_left_out = self._witness.queue.left_out
        counts.key_looks = {
            found.issuer: dict(zip(LOOKS, (found.good, found.bad), strict=True)) for found in self._keys()
        }

    def _keys(self) -> "tuple[KeyStatus, ...]":
        return () if self._sources is None else self._sources.status()

    def _rules(self) -> DirectoryRules:
        decider = self._engine.snapshot_state.decider
        return DirectoryRules() if decider is None else decider.snapshot.directory_rules

    def _policy(self) -> PolicyView:
        """The policy that is current; raises DirectoryError(UNAVAILABLE) where there is none."""
        policy = self._engine.snapshot_state
        if policy.decider is None:
            raise DirectoryError(
                Fault.UNAVAILABLE, "no policy has been loaded", "try again once there is one", retry_after=5.0
            )

        def held(subject: str) -> tuple[tuple[str, str], ...]:
            # The policy, and not its snapshot alone: it is not taken apart while somebody holds it.
            decider = policy.decider
            return () if decider is None else assigned_roles(decider.snapshot, subject, time.time())

        def places(subject: str) -> frozenset[str]:
            decider = policy.decider
            return frozenset() if decider is None else assigned_places(decider.snapshot, subject)

        return PolicyView(policy.decider.snapshot.directory_rules, policy.policy_version, held, places)


class _Checkpoints:
    """Signs for the audit of a store, in a thread."""

    def __init__(self, store: Store, settings: DirectorySettings) -> None:
        try:
            key = SigningKey.load(Path(settings.audit_key))
        except KeyFileError as error:
            raise StartError(error.message, error.help) from error

        @contextmanager
        def write() -> Iterator[Connection]:
            with store.change(Actor(SIDECAR), time.time()) as change:
                yield change.connection

        file = CheckpointFile(Path(settings.audit_checkpoints))
        self._writer = CheckpointWriter(store.read, write, key, file)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-checkpoints", daemon=True)
        # What was told last, so that it is not told every time.
        self._problem = ""
        self._signed_at: float | None = None

    @property
    def failing(self) -> bool:
        """Whether the last attempt to sign, or to see what was signed, failed."""
        return bool(self._problem)

    def age(self, now: float) -> float | None:
        """How many seconds before `now` (since 1970-01-01 UTC) the audit was last signed for; None for never."""
        return None if self._signed_at is None else max(0.0, now - self._signed_at)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Sign for what has come since, and end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        # What was signed before is looked at first.
        self._attempt(lambda: None)
        while not self._stopping.wait(CHECKPOINT_SECONDS):
            self._attempt(self._writer.run_once)
        self._attempt(lambda: self._writer.run_once(force=True))

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
            last = self._writer.find_last()
            self._signed_at = None if last is None else last.time
        except (CheckpointError, DirectoryError) as error:
            problem = f"{error.message}; {error.help}"
        # It has to live on, whatever it is.
        except Exception as error:
            logger.exception("the audit could not be signed for")
            problem = type(error).__name__
        else:
            problem = ""
        if problem and problem != self._problem:
            logger.error("the audit is not signed for: %s", problem)
        self._problem = problem


def _identity_providers(file: str) -> "tuple[KeySources | None, JwtVerifier | None, JwtCredentials | None]":
    """The identity providers in a file ("" for none); raises StartError."""
    if not file:
        return None, None, None
    from authz_sidecar.bundle.findings import Findings
    from authz_sidecar.directory.jwt.identity import JwtCredentials
    from authz_sidecar.directory.jwt.issuers import load_issuers
    from authz_sidecar.directory.jwt.key_source import KeySources
    from authz_sidecar.directory.jwt.verification import JwtVerifier

    findings = Findings()
    path = Path(file)
    issuers = load_issuers(path, findings)
    if issuers is None:
        first = findings.sorted()[0]
        more = f" (and {findings.errors - 1} more)" if findings.errors > 1 else ""
        raise StartError(f"the identity providers cannot be served: {first.span}: {first.message}{more}", first.help)
    sources = KeySources(issuers, path.parent)
    verifier = JwtVerifier(sources.by_issuer)
    return sources, verifier, JwtCredentials(verifier)
