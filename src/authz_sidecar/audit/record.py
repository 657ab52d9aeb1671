"""One record of the audit: who did what to whom, on whose behalf, why, from where, and how it was before and after."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

# Actors that are no identities: the sidecar itself, and whoever works at the store, as `operator:NAME`.
SIDECAR = "sidecar"
OPERATOR_PREFIX = "operator:"

# Every kind of action that is recorded; whoever writes a record names one of these.
AuditAction: TypeAlias = Literal[
    "identity.create",
    "identity.update",
    "identity.delete",
    "assignment.create",
    "assignment.delete",
    "grant.create",
    "grant.delete",
    "share.create",
    "share.update",
    "share.delete",
    "key.create",
    "key.update",
    "key.rotate",
    "key.revoke",
    "password.set",
    "password.remove",
    "sign_in.succeeded",
    "sign_in.failed",
    "token.create",
    "token.revoke",
    "impersonation.allowed",
    "impersonation.denied",
    "decision.allowed",
    "decision.denied",
    "directory.bootstrap",
    "directory.restore",
    "audit.prune",
]
ACTIONS: Final[tuple[str, ...]] = get_args(AuditAction)


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done, as the message `AuditRecord` of the wire has it.

    `sequence` is its place in the audit, from 1 without gaps; `time` is in seconds since 1970-01-01 UTC. `action` is
    one of `ACTIONS`, or what a later release has beside them. `actor` did it ("" where a
    sign-in failed under the name of nobody), for `on_behalf_of` ("" for itself), with `credential` (without its secret,
    `key:ID`), to the identity `subject`; it concerns `company` ("" for the platform). `before` and `after` are the
    record of the directory that `object_type` and `object_id` name, without secrets; None where it was made or removed.
    `directory_revision` is the revision that has it.
    """

    sequence: int
    time: float
    action: str
    actor: str = ""
    on_behalf_of: str = ""
    credential: str = ""
    subject: str = ""
    company: str = ""
    object_type: str = ""
    object_id: str = ""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    justification: str = ""
    address: str = ""
    call_id: str = ""
    directory_revision: int = 0
    policy_version: str = ""
    decision_id: str = ""
