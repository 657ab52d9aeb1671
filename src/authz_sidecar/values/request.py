"""A request for a decision, and the limits every request must keep."""

from collections.abc import Mapping
from typing import Any

import msgspec

from authz_sidecar.values.identity import Identity

MAX_VALUE_BYTES = 1024
MAX_ATTRIBUTE_DEPTH = 16
MAX_ATTRIBUTE_NODES = 4096
MAX_ATTRIBUTE_BYTES = 65536
ROLE_PREFIX = "role:"

# The part of a Request that fills a model's token; a token that is not here comes from the request's context.
SOURCES: Mapping[str, str] = {
    "sub": "subject",
    "dom": "company",
    "domain": "company",
    "tenant": "company",
    "company": "company",
    "obj": "object",
    "type": "type",
    "id": "id",
    "owner": "owner",
    "act": "action",
    "context": "context",
}

EMPTY: Mapping[str, Any] = {}


class Violation(msgspec.Struct, frozen=True):
    """What is invalid in a request: `field` as in the proto (`object.type`), `description` for people."""

    field: str
    description: str


class Request(msgspec.Struct, frozen=True):
    """A question: may `subject` do `action` to the object?

    Build it with `build_request`, which checks the limits. `object` is the Casbin object name, `type:id`, or
    only the part that is set. `company` is the domain. Attributes and context hold JSON values. `time` is
    seconds since 1970-01-01 UTC, for conditions that depend on it. `section` selects the numbered sections
    of a plain Casbin model: "" for `r/p/e/m`, "2" for `r2/p2/e2/m2`. `identity` is what the directory knows of the
    subject, whose id it then has; None without a directory, or for somebody whom it does not know.
    """

    subject: str
    action: str
    type: str = ""
    id: str = ""
    company: str = ""
    owner: str = ""
    object: str = ""
    subject_attributes: Mapping[str, Any] = EMPTY
    object_attributes: Mapping[str, Any] = EMPTY
    context: Mapping[str, Any] = EMPTY
    time: float = 0.0
    section: str = ""
    identity: Identity | None = None


def value_problem(value: str) -> str:
    """Why `value` may not stand in a request, or "" if it may: at most 1,024 bytes of UTF-8, no control
    characters, no outer white space."""
    # Printable ASCII without spaces at the ends is nearly every value: decide it without scanning twice.
    if value.isascii():
        if len(value) > MAX_VALUE_BYTES:
            return f"is {len(value)} bytes long; at most {MAX_VALUE_BYTES} are taken"
    else:
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            return "is not valid UTF-8"
        if size > MAX_VALUE_BYTES:
            return f"is {size} bytes long; at most {MAX_VALUE_BYTES} are taken"
    if not value.isprintable():
        for character in value:
            code = ord(character)
            if code < 32 or 127 <= code < 160 or code in (0x2028, 0x2029):
                return f"holds the control character U+{code:04X}"
    if value and (value[0].isspace() or value[-1].isspace()):
        return "begins or ends with white space"
    return ""


def attribute_problem(root: Mapping[str, Any]) -> str:
    """Why a map of attributes is refused, or "": depth, count and size are bounded."""
    nodes = size = 0
    level: list[Any] = [root]
    for _ in range(MAX_ATTRIBUTE_DEPTH + 1):
        below: list[Any] = []
        for node in level:
            children = node.values() if isinstance(node, Mapping) else node
            if isinstance(node, Mapping):
                size += sum(len(key) for key in node)
            for child in children:
                nodes += 1
                if isinstance(child, str):
                    size += len(child)
                elif isinstance(child, Mapping | list):
                    below.append(child)
            if nodes > MAX_ATTRIBUTE_NODES:
                return f"holds more than {MAX_ATTRIBUTE_NODES} values"
            if size > MAX_ATTRIBUTE_BYTES:
                return f"holds more than {MAX_ATTRIBUTE_BYTES} characters"
        if not below:
            return ""
        level = below
    return f"is nested more than {MAX_ATTRIBUTE_DEPTH} deep"


def plain_request(
    subject: str,
    action: str,
    type: str,
    id: str,
    company: str,
    owner: str,
    section: str,
    time: float,
    identity: Identity | None = None,
) -> Request | None:
    """A checked request without attributes, if one look at all its values together shows that they keep the limits, as
    short printable ASCII does: nearly every request. None says nothing: `build_request` decides."""
    text = f"{subject}{action}{type}{id}{company}{owner}{section}"
    if (
        not subject
        or not action
        or len(text) > MAX_VALUE_BYTES
        or not text.isascii()
        or not text.isprintable()
        or " " in text
        or ":" in type
        or subject.startswith(ROLE_PREFIX)
    ):
        return None
    name = f"{type}:{id}" if type and id else type or id
    return Request(subject, action, type, id, company, owner, name, EMPTY, EMPTY, EMPTY, time, section, identity)


def build_request(
    subject: str,
    action: str,
    *,
    type: str = "",
    id: str = "",
    company: str = "",
    owner: str = "",
    subject_attributes: Mapping[str, Any] = EMPTY,
    object_attributes: Mapping[str, Any] = EMPTY,
    context: Mapping[str, Any] = EMPTY,
    time: float = 0.0,
    section: str = "",
    identity: Identity | None = None,
) -> tuple[Request | None, tuple[Violation, ...]]:
    """A checked request, or None with every violation of the limits.

    Values are data and compared byte for byte: a `*` in one matches only a policy value that says so.
    """
    if not (subject_attributes or object_attributes or context):
        plain = plain_request(subject, action, type, id, company, owner, section, time, identity)
        if plain is not None:
            return plain, ()
    violations = _violations(
        subject, action, type, id, company, owner, section, subject_attributes, object_attributes, context
    )
    if violations:
        return None, violations
    name = f"{type}:{id}" if type and id else type or id
    return (
        Request(
            subject,
            action,
            type,
            id,
            company,
            owner,
            name,
            subject_attributes,
            object_attributes,
            context,
            time,
            section,
            identity,
        ),
        (),
    )


def _violations(
    subject: str,
    action: str,
    type: str,
    id: str,
    company: str,
    owner: str,
    section: str,
    subject_attributes: Mapping[str, Any],
    object_attributes: Mapping[str, Any],
    context: Mapping[str, Any],
) -> tuple[Violation, ...]:
    """Every violation of the limits, value by value."""
    violations: list[Violation] = []

    def refuse(field: str, description: str) -> None:
        violations.append(Violation(field, f"{field} {description}"))

    if not subject:
        refuse("subject", "is empty")
    elif subject.startswith(ROLE_PREFIX):
        refuse("subject", f"begins with `{ROLE_PREFIX}`, which is kept for roles")
    if not action:
        refuse("action", "is empty")
    if ":" in type:
        refuse("object.type", "holds a colon; the type ends before the first one")
    for field, value in (
        ("subject", subject),
        ("action", action),
        ("object.type", type),
        ("object.id", id),
        ("object.company", company),
        ("object.owner", owner),
        ("section", section),
    ):
        # Letters and digits alone (most values) need no closer look.
        if value and not (value.isalnum() and len(value) < 256):
            problem = value_problem(value)
            if problem:
                refuse(field, problem)
    for field, attributes in (
        ("subject_attributes", subject_attributes),
        ("object.attributes", object_attributes),
        ("context", context),
    ):
        if attributes:
            problem = attribute_problem(attributes)
            if problem:
                refuse(field, problem)
    return tuple(violations)
