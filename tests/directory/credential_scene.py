"""A store with a few identities, the operations on credentials, and a clock that is set by hand."""

from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from sqlalchemy import Table, select

from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.authentication import Authenticator
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.credentials.passwords import Passwords
from authz_sidecar.directory.credentials.use import Use
from authz_sidecar.directory.jwt.verification import JwtVerifier
from authz_sidecar.directory.memory.assembly import Assembler
from authz_sidecar.directory.memory.copy import DirectoryCopy
from authz_sidecar.directory.memory.loading import load
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, Issued, Rotated
from authz_sidecar.directory.storage.schema import AUDIT
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values import Reason
from authz_sidecar.values.directory_rules import DAY, YEAR, DirectoryRules, KeyRules, KindRules, RoleFacts, TokenRules
from authz_sidecar.values.identity import Authenticated, IdentityKind

NOW = 1_800_000_000.0
ADMIN = Actor("admin", credential="key:admins-key", address="ipv4:192.0.2.1:5000", call="call-1")
PASSWORD = "correct horse battery staple"

# As the documents of two products have it: ten keys for users, fifty for service accounts that expire in a window.
RULES = DirectoryRules(
    roles={"ADMIN": RoleFacts("platform"), "SERVICE": RoleFacts("company"), "CLIENT": RoleFacts("company")},
    users=KindRules(keys=KeyRules(most=10)),
    service_accounts=KindRules(
        keys=KeyRules(most=50, least_seconds=180 * DAY, most_seconds=2 * YEAR),
        passwords=False,
        tokens=TokenRules(5 * YEAR, sliding=False, most_seconds=0.0),
    ),
    role_tokens={"SERVICE": TokenRules(5 * YEAR, sliding=False, most_seconds=0.0)},
)


def quick_passwords() -> Passwords:
    """Hashes by the same algorithm, made cheap."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class Scene:
    """A directory with `alice`, a user of acme, `bob`, one of globex, and `robot`, a service account of acme."""

    def __init__(self, store: Store, rules: DirectoryRules = RULES, jwts: JwtVerifier | None = None) -> None:
        self.store = store
        self.time = NOW
        self.rules = rules
        self.revisions: list[int] = []
        view: Callable[[], PolicyView] = lambda: PolicyView(self.rules, "v1")  # noqa: E731 - read anew each time
        self.identities = IdentityAdministration(store, view, lambda: self.time)
        self.credentials = CredentialAdministration(
            store, view, lambda: self.time, self.revisions.append, jwts=jwts, passwords=quick_passwords()
        )
        for id, kind, company in (
            ("alice", IdentityKind.USER, "acme"),
            ("bob", IdentityKind.USER, "globex"),
            ("robot", IdentityKind.SERVICE_ACCOUNT, "acme"),
        ):
            self.identities.create_identity(ADMIN, IdentityRecord(id=id, kind=kind, company=company))
        self.use = Use(store, lambda: self.time)
        self.copy = DirectoryCopy()
        self.authenticator = Authenticator(self.copy, rules=lambda: self.rules, use=self.use)
        self.load()

    def load(self) -> None:
        """Bring the copy to what the store has."""
        self.copy.replace(load(self.store, Assembler()))

    def key(self, identity: str = "alice", name: str = "ci", **more: Any) -> Issued:
        """A new key."""
        if identity == "robot":
            more.setdefault("expires_at", self.time + YEAR)
        issued: Issued = self.credentials.create_key(ADMIN, identity, name, **more).record
        return issued

    def rotate(self, id: str, **more: Any) -> Rotated:
        """A key in the place of another."""
        rotated: Rotated = self.credentials.rotate_key(ADMIN, id, **more).record
        return rotated

    def ask(self, text: str) -> Authenticated | Reason:
        """What a sidecar says that has all changes."""
        if self.copy.revision != self.store.state().revision:
            self.load()
        return self.authenticator.authenticate(text, self.time)

    def works(self, text: str) -> bool:
        """Whether a credential is good there."""
        return isinstance(self.ask(text), Authenticated)

    def rows(self, table: Table) -> list[Any]:
        """All rows of a table."""
        with self.store.read() as connection:
            return list(connection.execute(select(table)).all())

    def audited(self) -> list[str]:
        """The actions in the audit, the oldest first."""
        return [row.action for row in sorted(self.rows(AUDIT), key=lambda row: row.sequence)]
