"""A line of the decision log: what was asked, what was answered, and what came of it.

The log is JSON Lines, one `LoggedDecision` a line; `schemas/decision-log.schema.json` publishes it. Fields may be
added; none that is here changes its meaning. A field that holds its default is left out of the line.
"""

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# A value that is hashed begins with this; 32 hex digits of an HMAC-SHA256 follow.
HASHED = "hmac:"
# The share of what is not sampled. A line leaves it out if it is this very object.
WHOLE = 1.0


class Masked(enum.StrEnum):
    """The fields that a log may hide, by their names in a line."""

    SUBJECT = "subject"
    ACTION = "action"
    TYPE = "object.type"
    ID = "object.id"
    COMPANY = "object.company"
    OWNER = "object.owner"
    CALL_ID = "call_id"
    SUBJECT_ATTRIBUTES = "subject_attributes"
    OBJECT_ATTRIBUTES = "object.attributes"
    CONTEXT = "context"


NAMES = frozenset(str(name) for name in Masked)
# Maps of attributes; of these single keys may be hidden, such as `context.ip`.
ATTRIBUTES = (Masked.SUBJECT_ATTRIBUTES, Masked.OBJECT_ATTRIBUTES, Masked.CONTEXT)


class LoggedObject(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The object of a logged request."""

    type: str = ""
    id: str = ""
    company: str = ""
    owner: str = ""
    attributes: Mapping[str, Any] | None = None


class LoggedDecision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """One decision of a running sidecar."""

    time: Annotated[
        str,
        Meta(
            description="When it was decided: RFC 3339 in UTC, with microseconds.",
            # Checked by who reads it as a time, which is quicker.
            extra_json_schema={"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"},
        ),
    ]
    decision_id: Annotated[str, Meta(description="As in the answer; unique over processes and restarts.")]
    subject: Annotated[
        str, Meta(description="The identity that was decided for; empty where a credential stood for nobody.")
    ] = ""
    action: Annotated[str, Meta(description="What it wanted to do.")] = ""
    object: LoggedObject = LoggedObject()
    allowed: Annotated[bool, Meta(description="The answer; of a `filter` whether any object may pass.")]
    reason: Annotated[str, Meta(description="Why, as in metrics: `allowed_by_rule`, `no_matching_rule` and so on.")]
    kind: Annotated[
        Literal["check", "explain", "filter"],
        Meta(
            description="What was asked: a check (also of a batch or a stream), an explanation, or a filter of the "
            "objects of a type, which is of any company where it names none."
        ),
    ] = "check"
    policy_version: Annotated[str, Meta(description="The policy that decided.")] = ""
    directory_revision: Annotated[int, Meta(description="The revision of the directory of identities.", ge=0)] = 0
    rule: Annotated[str, Meta(description="The deciding rule's file, line and column.")] = ""
    role: Annotated[str, Meta(description="Whom the deciding rule is for: a role, or the identity itself.")] = ""
    source: Annotated[
        str,
        Meta(
            description="The record of the directory that decided, where no rule of the policy did: `grant:ID`, "
            "`share:ID`, `flag:NAME` or `kind:NAME`."
        ),
    ] = ""
    actor: Annotated[str, Meta(description="The service account that asked on behalf of the subject.")] = ""
    credential: Annotated[
        str,
        Meta(
            description="The credential that the caller showed, without its secret: `key:ID`, `token:ID` or "
            "`jwt:ISSUER`."
        ),
    ] = ""
    call_id: Annotated[str, Meta(description="The caller's name of the call (`x-request-id`).")] = ""
    section: Annotated[str, Meta(description="Which of a model's numbered sections decided.")] = ""
    subject_attributes: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    masked: Annotated[
        tuple[str, ...], Meta(description="Fields of the request that are left out of this line, or hashed.")
    ] = ()
    sample: Annotated[
        float,
        Meta(description="The share of such decisions that is logged: this line stands for 1/sample.", gt=0, le=1),
    ] = WHOLE
    dropped: Annotated[
        int, Meta(description="How many decisions before this one were not logged, since the queue was full.", ge=0)
    ] = 0
