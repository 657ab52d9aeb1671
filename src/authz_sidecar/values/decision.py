"""What the engine answers: a decision, its reason, and on demand its explanation."""

import enum

import msgspec

from authz_sidecar.values.rule import Rule


class Reason(enum.IntEnum):
    """Why a decision came out as it did: a closed set, numbered as `authz.v1.Reason` on the wire."""

    ALLOWED_BY_RULE = 1
    DENIED_BY_RULE = 2
    NO_MATCHING_RULE = 3
    NO_ROLE_IN_COMPANY = 4
    UNKNOWN_SUBJECT = 5
    INVALID_REQUEST = 6
    EVALUATION_ERROR = 7
    NO_POLICY = 8
    # Only under `e = !some(where (p.eft == deny))`, which allows whatever no rule denies.
    ALLOWED_WITHOUT_RULE = 9
    # The identity is switched off.
    INACTIVE_SUBJECT = 10
    # No credential, or not this one: which of the two is told to nobody.
    INVALID_CREDENTIAL = 11
    CREDENTIAL_EXPIRED = 12
    CREDENTIAL_REVOKED = 13
    CREDENTIAL_INACTIVE = 14
    # The directory has not been seen for so long that credentials are not to be trusted.
    STALE_DIRECTORY = 15
    # `on_behalf_of` by somebody who may not act for that user there.
    IMPERSONATION_NOT_ALLOWED = 16
    # The object's company is none of those that this sidecar holds.
    COMPANY_NOT_HELD = 17

    @property
    def label(self) -> str:
        """The name used in YAML, on the command line and in metrics: `no_matching_rule`."""
        return self.name.lower()


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The answer to one request.

    `rule` is the index of the deciding rule in the snapshot's rule table (-1: none decided);
    `detail` is a sentence for an operator, set with EVALUATION_ERROR and INVALID_REQUEST. `source` names the record of
    the directory that decided, where that was no rule of the policy: `grant:ID`, `share:ID`, `flag:NAME` or
    `kind:NAME`.
    """

    allowed: bool
    reason: Reason
    rule: int = -1
    detail: str = ""
    source: str = ""


class NearMiss(msgspec.Struct, frozen=True):
    """A rule that failed on exactly one field.

    `field` is the policy field (or the condition's text) that failed; `wanted` what the rule says,
    `got` what the request said; `sentence` says it for people.
    """

    rule: Rule
    field: str
    wanted: str
    got: str
    sentence: str


class Explanation(msgspec.Struct, frozen=True):
    """Why: the decision, the deciding rule with its place, the role path, and the nearest misses.

    `role_path` runs from the subject to the rule's subject, both included, then through the roles that
    the grant was inherited from; empty when no rule decided. `roles` are all roles (the subject itself
    excluded) that the subject holds for this request, sorted. `fields` are the names of the values of the rules here.
    """

    decision: Decision
    rule: Rule | None = None
    role_path: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    fields: tuple[str, ...] = ()
