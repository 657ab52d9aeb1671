"""The first administrator: before there is one nobody may make one, so whoever has the store does it, once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
from sqlalchemy import update

from authz_sidecar.bundle.wording import quote
from authz_sidecar.decide.decider import Decider
from authz_sidecar.directory.administration.holdings import company_of
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, Issued
from authz_sidecar.directory.storage.schema import STATE
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values import build_request
from authz_sidecar.values.identity import Identity, RoleSet

KEY_NAME = "bootstrap"
# What whoever comes first has to be able to do, so that others can come: object type and action.
ESSENTIAL = (("sidecar.identity", "create"), ("sidecar.assignment", "create"), ("sidecar.credential", "create"))


class Bootstrapped(msgspec.Struct, frozen=True):
    """The first administrator, with the API key that stands for them, and the revision that has both."""

    identity: IdentityRecord
    role: str
    key: Issued
    revision: int


def bootstrap(
    store: Store,
    actor: Actor,
    record: IdentityRecord,
    role: str,
    policy: PolicyView,
    *,
    decider: Decider | None = None,
    key_name: str = KEY_NAME,
    expires_at: float | None = None,
    justification: str = "",
    clock: Callable[[], float] = time.time,
) -> Bootstrapped:
    """Make the first administrator: an identity that holds `role` (in its company, or on the platform, as the role is
    assigned) and one API key, in one change with its audit.

    With `decider` the role has to permit, where it is held, what a first administrator needs. Raises DirectoryError:
    PRECONDITION where it has been done before or the role does not permit that, and what the operations on identities
    and keys raise.
    """
    now = clock()
    with store.change(actor, now) as change:
        if change.state.bootstrapped_at is not None:
            raise DirectoryError(
                Fault.PRECONDITION,
                "the directory has its first administrator, who can be made only once",
                "ask an administrator; one whose keys are all lost is given another by `keys create --directory`",
            )
        inside = cast(Store, _Inside(change))
        identities = IdentityAdministration(inside, lambda: policy, lambda: now)
        credentials = CredentialAdministration(inside, lambda: policy, lambda: now)
        made = identities.create_identity(actor, record, (role,), justification=justification).record
        if decider is not None:
            held = RoleSet({company_of(policy.rules, role, made.company): (role,)})
            _require_administrator(decider, Identity(made.id, made.kind, made.company, roles=held), role, now)
        key: Issued = credentials.create_key(
            actor, record.id, key_name, expires_at=expires_at, justification=justification
        ).record
        change.connection.execute(update(STATE).values(bootstrapped_at=now))
        change.audit(
            "directory.bootstrap",
            subject=record.id,
            company=record.company,
            object_type="sidecar.identity",
            object_id=record.id,
            after={"role": role, "key": key.record.id},
            justification=justification,
            policy_version=policy.policy_version,
        )
    return Bootstrapped(made, role, key, change.final_revision)


class _Inside:
    """What operations take for a store while all that they do belongs to one change that is under way."""

    def __init__(self, change: Change) -> None:
        self._change = change

    @contextmanager
    def change(self, actor: Actor, now: float) -> Iterator[Change]:
        """The change that is under way."""
        yield self._change

    @contextmanager
    def read(self) -> Iterator[Any]:
        """Its connection, which sees what it has done."""
        yield self._change.connection


def _require_administrator(decider: Decider, identity: Identity, role: str, now: float) -> None:
    """Raises DirectoryError unless the policy permits the identity what a first administrator needs, where it holds its
    role."""
    (company,) = identity.roles.by_company
    for type, action in ESSENTIAL:
        request, violations = build_request(identity.id, action, type=type, company=company, time=now)
        if request is None:
            raise DirectoryError(Fault.INVALID, "that is no identity", "see what an id may hold", violations=violations)
        if not decider.decide(msgspec.structs.replace(request, identity=identity)).allowed:
            raise DirectoryError(
                Fault.PRECONDITION,
                f"the role {quote(role)} does not permit {quote(action)} on {quote(type)}: nobody could make another"
                " administrator",
                f"choose a role that permits {', '.join(f'`{type}:{action}`' for type, action in ESSENTIAL)}, or grant"
                " them to this one in the policies",
            )
