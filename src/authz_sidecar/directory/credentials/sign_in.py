"""Sign-in: a password, or a JWT of an identity provider, is traded for an access token.

What is told of a failure is one thing, whoever it was that there is no such user, that the password is another, or that
too many have been tried: each takes the hashing of one password and one change of the store. Only whoever has the right
password is told that the identity is switched off. Each sign-in, whether it succeeds or fails, is in the audit before
it is answered; in the audit, and only there, a failure has its cause. A name that no identity has is kept nowhere:
people type their password there.
"""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.administration.field_checks import check_justification
from authz_sidecar.directory.administration.operation import Changed, invalid
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.administration.role_changes import kind_rules
from authz_sidecar.directory.credentials import lockout
from authz_sidecar.directory.credentials.passwords import Passwords, password_problem
from authz_sidecar.directory.credentials.tokens import OBJECT_TYPE, TokenAdministration
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, Issued, TokenRecord
from authz_sidecar.directory.storage.rows import audited, find_identity, identity_record, select_identities
from authz_sidecar.directory.storage.schema import IDENTITIES, PASSWORDS
from authz_sidecar.directory.storage.secrets import NewSecret, SecretKind, create_secret
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values import Reason
from authz_sidecar.values.request import value_problem

if TYPE_CHECKING:
    from authz_sidecar.directory.jwt.verification import JwtIdentity, JwtVerifier

# What audit records say that a failed sign-in failed for.
UNKNOWN, NO_PASSWORD, WRONG, LOCKED, INACTIVE = "unknown", "no_password", "wrong_password", "locked", "inactive"
# Of a JWT whose identity in the directory is of another kind or company than it says, or not one of its issuer's.
OTHER = "other_identity"
# Failures of names that no identity has are counted together, which costs what counting one's own costs.
_NOBODY = lockout.count_identity("")


class SignInAdministration(TokenAdministration):
    """Passwords, and signing in.

    `jwts` verifies the JWTs of identity providers (None: there are none), `passwords` hashes.
    """

    def __init__(
        self,
        store: Store,
        policy: Callable[[], PolicyView],
        clock: Callable[[], float] = time.time,
        after: Callable[[int], None] = lambda _: None,
        *,
        jwts: "JwtVerifier | None" = None,
        passwords: Passwords | None = None,
    ) -> None:
        super().__init__(store, policy, clock, after)
        self._jwts = jwts
        self._passwords = passwords or Passwords()

    def set_password(
        self, actor: Actor, identity: str, password: str, *, justification: str = "", dry_run: bool = False
    ) -> Changed:
        """Give a user another password, or none (""). The tokens that they got with the old one end, and failures are
        forgotten. `Changed.record` is None.

        Raises DirectoryError: NOT_FOUND, INVALID for a password that is not taken, PRECONDITION for an identity that
        does not sign in with one, LOCKED while too many are being hashed.
        """
        check_justification(justification)
        hash = None
        if password:
            # What takes long is done before the change, which keeps others waiting.
            with self.reading() as connection:
                self._check_password(find_identity(connection, identity), password)
            hash = self._passwords.hash(password)

        def work(change: Change) -> None:
            owner = find_identity(change.connection, identity)
            if hash is not None:
                self._check_password(owner, password)
            held = change.connection.execute(delete(PASSWORDS).where(PASSWORDS.c.identity == identity)).rowcount
            if hash is None and not held:
                return
            if hash is not None:
                change.connection.execute(
                    insert(PASSWORDS), {"identity": identity, "hash": hash, "changed_at": change.now}
                )
            lockout.forget_failures(change.connection, lockout.count_identity(identity))
            self.end_own_tokens(change, identity)
            change.audit(
                "password.set" if hash is not None else "password.remove",
                subject=identity,
                company=owner.company,
                object_type="sidecar.credential",
                justification=justification,
                policy_version=self.policy().policy_version,
            )

        _, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(None, revision)

    def sign_in(self, actor: Actor, identity: str, password: str, address: str = "") -> Changed:
        """Trade a password for an access token: `Changed.record` is an `Issued`. `address` is where the call came from.

        Raises DirectoryError: UNAUTHENTICATED whatever is wrong, LOCKED for an address with too many failures or while
        too many passwords are being hashed.
        """
        from_address = lockout.count_address(address)
        with self.reading() as connection:
            self._check_address(connection, from_address)
            # What no identity can be called is not looked for: databases refuse some of it.
            named = "" if value_problem(identity) else identity
            stored = connection.execute(
                select(PASSWORDS.c.hash).where(PASSWORDS.c.identity == named)
            ).scalar_one_or_none()
        right = self._passwords.is_right(password, stored)
        made = create_secret(SecretKind.TOKEN)

        def work(change: Change) -> TokenRecord | str:
            owner = _find(change.connection, named)
            change.actor = msgspec.structs.replace(actor, id="" if owner is None else owner.id, address=address)
            counted = _NOBODY if owner is None else lockout.count_identity(owner.id)
            problem = self._problem(change, owner, counted, stored, right=right)
            if owner is None or problem:
                return self._refuse(change, owner, problem, None if problem == INACTIVE else counted, from_address)
            lockout.forget_failures(change.connection, counted)
            return self._sign_in(change, owner, made)

        outcome, revision = self.perform(actor, work)
        if isinstance(outcome, str):
            raise _refusal(outcome)
        # Not before: what takes longer for a right password would tell that it is right during a lock, too.
        if stored is not None and self._passwords.is_outdated(stored):
            self._renew_hash(actor, identity, password, stored)
        return Changed(Issued(record=outcome, secret=made.text), revision)

    def _renew_hash(self, actor: Actor, identity: str, password: str, stored: str) -> None:
        """Hash a right password as it is done today; where that cannot be now, at another sign-in."""
        with contextlib.suppress(DirectoryError):
            better = self._passwords.hash(password)

            def work(change: Change) -> None:
                change.connection.execute(
                    update(PASSWORDS)
                    .where(PASSWORDS.c.identity == identity, PASSWORDS.c.hash == stored)
                    .values(hash=better)
                )

            self.perform(actor, work)

    def sign_in_jwt(self, actor: Actor, jwt: str, address: str = "") -> Changed:
        """Trade a JWT of an identity provider for an access token: `Changed.record` is an `Issued`.

        The identity has to be in the directory, or is made there where the issuer says `create`. The roles that it
        holds by groups become those of the groups that the token names: who has left a group loses its roles.

        Raises DirectoryError: UNAUTHENTICATED for a token that is not taken, and what the making of an identity raises.
        """
        from_address = lockout.count_address(address)
        with self.reading() as connection:
            self._check_address(connection, from_address)
        actor = msgspec.structs.replace(actor, id="", address=address)
        found = Reason.INVALID_CREDENTIAL if self._jwts is None else self._jwts.verify(jwt, self.clock())
        if isinstance(found, Reason):
            # Who presents one that was good until it expired is guessing nothing.
            counted = from_address if found is Reason.INVALID_CREDENTIAL else None
            self.perform(actor, lambda change: self._refuse(change, None, found.label, None, counted))
            raise DirectoryError(
                Fault.UNAUTHENTICATED,
                "the JWT is not taken" if found is Reason.INVALID_CREDENTIAL else "the JWT has expired",
                "get a new one from the identity provider, for an issuer and audience that this sidecar takes",
                details={"cause": found.label},
            )
        return self._trade(msgspec.structs.replace(actor, id=found.id, credential=found.credential), found)

    def _trade(self, actor: Actor, found: "JwtIdentity") -> Changed:
        """A token for whom a verified JWT speaks of."""
        self._meet(actor, found)
        made = create_secret(SecretKind.TOKEN)

        def work(change: Change) -> TokenRecord | str:
            owner = _find(change.connection, found.id)
            problem = UNKNOWN if owner is None else OTHER if not _is_of(owner, found) else ""
            if owner is not None and not problem and not owner.active:
                problem = INACTIVE
            if owner is None or problem:
                return self._refuse(change, owner, problem, None, None)
            return self._sign_in(change, owner, made)

        outcome, revision = self.perform(actor, work)
        if isinstance(outcome, str):
            raise _refusal(outcome)
        return Changed(Issued(record=outcome, secret=made.text), revision)

    def _meet(self, actor: Actor, found: "JwtIdentity") -> None:
        """Make the identity that a JWT speaks of, where it is to be made, and bring its roles by groups up to date."""
        from authz_sidecar.directory.administration.assignments import roles_by_groups
        from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
        from authz_sidecar.directory.jwt.identity import group_roles

        identities = IdentityAdministration(self.store, self.policy, self.clock, self.after)
        with self.reading() as connection:
            known = _find(connection, found.id)
        if known is None:
            if not found.issuer.create:
                return
            made = IdentityRecord(id=found.id, kind=found.kind, company=found.company or "")
            if not _is_of(made, found):
                return
            rules = self.policy().rules
            # In a plain Casbin bundle roles and subjects are names of one kind: who is called like a role has its
            # rights.
            if rules.form == "casbin" and found.id in rules.roles:
                return
            permitted = frozenset(group_roles(found, rules, made.company))
            by_groups = roles_by_groups(rules, made, found.groups, lambda *role: role in permitted)
            try:
                known = identities.create_identity(actor, made, by_groups=by_groups).record
            except DirectoryError as error:
                # Made meanwhile, by a sign-in beside this one.
                if error.fault is not Fault.ALREADY_EXISTS:
                    raise
        elif not _is_of(known, found) or not known.active:
            return
        home = (found.company or "") if known is None else known.company
        permitted = frozenset(group_roles(found, self.policy().rules, home))
        identities.apply_groups(
            actor, found.id, found.groups, permitted=lambda role, company: (role, company) in permitted
        )

    def _sign_in(self, change: Change, owner: IdentityRecord, made: NewSecret) -> TokenRecord:
        """Write the token of a sign-in that succeeded."""
        self.make_room(change, owner.id)
        record = self.insert_token(change, owner, made, owner.id)
        change.audit(
            "sign_in.succeeded",
            subject=owner.id,
            company=owner.company,
            object_type=OBJECT_TYPE,
            object_id=record.id,
            after=audited(record),
            policy_version=self.policy().policy_version,
        )
        return record

    def _check_password(self, owner: IdentityRecord, password: str) -> None:
        if not kind_rules(self.policy().rules, owner.kind).passwords:
            raise DirectoryError(
                Fault.PRECONDITION,
                f"{quote(owner.id)} does not sign in with a password",
                "make an API key for it",
            )
        problem = password_problem(password, owner.id)
        if problem:
            raise invalid("password", problem, "choose another one")

    def _check_address(self, connection: Any, address: lockout.Counted | None) -> None:
        """Refuse an address that has failed too often, before anything is hashed for it."""
        seconds = 0.0 if address is None else lockout.locked_for(connection, address, self.clock())
        if seconds:
            raise DirectoryError(
                Fault.LOCKED,
                "too many failed sign-ins from this address",
                "wait, and try again",
                retry_after=seconds,
            )

    def _problem(
        self, change: Change, owner: IdentityRecord | None, counted: lockout.Counted, stored: str | None, *, right: bool
    ) -> str:
        """Why a sign-in fails; "" if it does not. Asked while the change holds the store: of attempts at the same time
        each sees what came of the others."""
        locked = lockout.locked_for(change.connection, counted, change.now) > 0
        current = change.connection.execute(
            select(PASSWORDS.c.hash).where(PASSWORDS.c.identity == ("" if owner is None else owner.id))
        ).scalar_one_or_none()
        if owner is None:
            return UNKNOWN
        if locked:
            return LOCKED
        if stored is None or not kind_rules(self.policy().rules, owner.kind).passwords:
            return NO_PASSWORD
        # It may have been changed since it was compared.
        if not right or current != stored:
            return WRONG
        return "" if owner.active else INACTIVE

    def _refuse(
        self,
        change: Change,
        owner: IdentityRecord | None,
        problem: str,
        counted: lockout.Counted | None,
        address: lockout.Counted | None,
    ) -> str:
        """Count a failure and note it; gives its cause."""
        locked = 0.0
        if counted is not None and problem != LOCKED:
            locked = lockout.note_failure(change.connection, counted, change.now)
        if address is not None:
            lockout.note_failure(change.connection, address, change.now)
        after: dict[str, Any] = {"cause": problem}
        if owner is not None and locked:
            after["locked_seconds"] = locked
        change.audit(
            "sign_in.failed",
            subject="" if owner is None else owner.id,
            company="" if owner is None else owner.company,
            after=after,
            policy_version=self.policy().policy_version,
        )
        return problem


def _is_of(owner: IdentityRecord, found: "JwtIdentity") -> bool:
    """Whether an identity is one that the JWT's issuer may speak of, and what the JWT says it is."""
    if owner.kind is not found.kind or not found.issuer.speaks_of(owner.company):
        return False
    return found.company is None or owner.company == found.company


def _find(connection: Connection, identity: str) -> IdentityRecord | None:
    row = connection.execute(select_identities().where(IDENTITIES.c.id == identity)).one_or_none()
    return None if row is None else identity_record(row)


def _refusal(problem: str) -> DirectoryError:
    if problem == INACTIVE:
        return DirectoryError(
            Fault.UNAUTHENTICATED, "the identity is switched off", "ask an administrator", details={"cause": INACTIVE}
        )
    return DirectoryError(
        Fault.UNAUTHENTICATED,
        "the sign-in failed",
        "check the name and the password, or the token; after several failures, wait",
    )
