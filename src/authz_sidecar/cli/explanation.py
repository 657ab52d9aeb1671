"""A decision and why it came out so, for reviewers and for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from authz_sidecar.cli.origin import origin_object, origin_text
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.terminal import ALLOW, DENY, FAINT, PLACE, Line, visible
from authz_sidecar.values import Decision, Explanation, NearMiss, Reason, Request, Rule

if TYPE_CHECKING:
    # Only an explanation looks at history.
    from authz_sidecar.sources.blame import Origin

SENTENCES: dict[Reason, str] = {
    Reason.ALLOWED_BY_RULE: "a rule allows it",
    Reason.DENIED_BY_RULE: "a rule denies it",
    Reason.NO_MATCHING_RULE: "no rule matches",
    Reason.NO_ROLE_IN_COMPANY: "the subject holds no role in this company",
    Reason.UNKNOWN_SUBJECT: "the policy does not know the subject",
    Reason.INVALID_REQUEST: "the request is invalid",
    Reason.EVALUATION_ERROR: "a condition could not be evaluated, so it is denied",
    Reason.NO_POLICY: "no policy is loaded",
    Reason.ALLOWED_WITHOUT_RULE: "no rule denies it, and the model's effect allows what no rule denies",
    Reason.INACTIVE_SUBJECT: "the identity is switched off in the directory",
    Reason.INVALID_CREDENTIAL: "the credential is unknown or wrong",
    Reason.CREDENTIAL_EXPIRED: "the credential has expired",
    Reason.CREDENTIAL_REVOKED: "the credential was revoked",
    Reason.CREDENTIAL_INACTIVE: "the credential is switched off",
    Reason.STALE_DIRECTORY: "the directory has not been seen for too long",
    Reason.IMPERSONATION_NOT_ALLOWED: "the subject may not act for that user on this object",
    Reason.COMPANY_NOT_HELD: "the sidecar does not hold this company",
}


def decision_word(allowed: bool) -> str:
    """`allow` or `deny`."""
    return "allow" if allowed else "deny"


def decision_line(decision: Decision, policy_version: str, **who: str) -> Line:
    """The one line that `check` always writes; `who` are identities that the answer names, "" for none."""
    named = "".join(f" {name}={identity}" for name, identity in who.items() if identity)
    return (
        (decision_word(decision.allowed), ALLOW if decision.allowed else DENY),
        f" reason={decision.reason.label} policy_version={visible(policy_version + named)}",
    )


def request_text(request: Request) -> str:
    """The request as a sentence's beginning: `alice read folder:42 in company acme, owner bob`."""
    text = f"{request.subject or '(by credential)'} {request.action} {request.object or '(no object)'}"
    if request.company:
        text += f" in company {request.company}"
    if request.owner:
        text += f", owner {request.owner}"
    return visible(text)


def explanation_lines(explanation: Explanation, places: Places, origin: "Origin | None" = None) -> Iterator[Line]:
    """Why: in a sentence, then the deciding rule with its place and role path, the subject's roles, and on a deny
    the rules that came nearest, nearest first. `origin` is that of the deciding rule, where it is known."""
    decision = explanation.decision
    sentence = SENTENCES[decision.reason]
    if decision.detail:
        sentence += f": {decision.detail}"
    yield _entry("because", visible(sentence))
    if decision.source:
        yield _entry("decided by", visible(f"{decision.source} of the directory"))
    if explanation.rule is not None:
        yield from _rule_lines("rule", explanation.rule, explanation.fields, places)
        if origin is not None:
            yield _entry("", visible(origin_text(origin)), FAINT)
    if explanation.role_path:
        yield _entry("role path", visible(" -> ".join(explanation.role_path)))
    if explanation.rule is None:
        yield _entry("roles", visible(", ".join(explanation.roles)) or "none")
    for number, miss in enumerate(explanation.near_misses, 1):
        yield from _miss_lines(f"near miss {number}", miss, explanation.fields, places)


def _entry(name: str, text: str, style: str = "") -> Line:
    return ("  ", (f"{name:<13}", FAINT), (text, style) if style else text)


def _rule_lines(name: str, rule: Rule, fields: tuple[str, ...], places: Places) -> Iterator[Line]:
    yield _entry(name, visible(_rule_text(rule, fields)))
    yield _entry("", visible(places.show(rule.span)), PLACE)
    if rule.via:
        yield _entry("", visible(f"inherited from {', '.join(rule.via)}"))


def _miss_lines(name: str, miss: NearMiss, fields: tuple[str, ...], places: Places) -> Iterator[Line]:
    yield _entry(name, visible(miss.sentence))
    yield from _rule_lines("", miss.rule, fields, places)


def _rule_text(rule: Rule, fields: tuple[str, ...]) -> str:
    """`p sub=role:CLIENT act=read`; without names where they are not known (a server may be older)."""
    if len(fields) != len(rule.values):
        return str(rule)
    return " ".join((rule.ptype, *(f"{name}={value}" for name, value in zip(fields, rule.values, strict=True))))


def decision_object(decision: Decision) -> dict[str, Any]:
    """The JSON form of a decision."""
    return {
        "decision": decision_word(decision.allowed),
        "allowed": decision.allowed,
        "reason": decision.reason.label,
        "detail": decision.detail,
        **({"source": decision.source} if decision.source else {}),
    }


def explanation_object(explanation: Explanation, places: Places, origin: "Origin | None" = None) -> dict[str, Any]:
    """The JSON form of an explanation; `rule` is null where no rule decided, and has the `origin` that is known."""
    rule = explanation.rule
    known = {} if origin is None else {"origin": origin_object(origin)}
    return {
        "rule": None if rule is None else _rule_object(rule, explanation.fields, places) | known,
        "role_path": list(explanation.role_path),
        "roles": list(explanation.roles),
        "near_misses": [
            {
                "rule": _rule_object(miss.rule, explanation.fields, places),
                "field": miss.field,
                "wanted": miss.wanted,
                "got": miss.got,
                "sentence": miss.sentence,
            }
            for miss in explanation.near_misses
        ],
    }


def _rule_object(rule: Rule, fields: tuple[str, ...], places: Places) -> dict[str, Any]:
    return {
        "ptype": rule.ptype,
        "values": list(rule.values),
        "fields": dict(zip(fields, rule.values, strict=False)),
        "file": places.path(rule.span.file),
        "line": rule.span.line,
        "column": rule.span.column,
        "via": list(rule.via),
    }
