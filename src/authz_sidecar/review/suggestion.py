"""Policy tests that are missing: for grants that no test exercises, a case that would, checked by deciding it."""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice, product
from typing import Any

import msgspec

from authz_sidecar.bundle.yaml_edit import flow_text
from authz_sidecar.compile.snapshot import SectionIndex
from authz_sidecar.model.expression import And, Attribute, Compare, Const, Expr, In, Sequence, Token
from authz_sidecar.review.exercise import ExercisedGrant, GrantsInForce
from authz_sidecar.review.material import Material
from authz_sidecar.values import Reason, Request, build_request
from authz_sidecar.values.request import ROLE_PREFIX, SOURCES

# Ways to fill what a grant leaves open, tried until one is decided by the grant.
MAX_TRIED = 400
MAX_HOLDERS = 20
ANYTHING = "*"
# What stands for a value that the policy leaves open. Another id is for grants beside one that names the first.
SOME_IDS = ("1", "2")
SOMEBODY = "somebody"


class Suggestion(msgspec.Struct, frozen=True):
    """A grant without a test, and a request that it decides; None where none was found, as for most conditions."""

    grant: ExercisedGrant
    request: Request | None


class CaseFinder:
    """Finds cases for the grants of one bundle. For grants that were removed from it, `head` is the policy that must
    decide them otherwise now."""

    def __init__(self, material: Material, head: Material | None = None) -> None:
        self._material = material
        self._head = head
        self._grants = GrantsInForce(material)
        self._numbers = {_key(grant): number for number, grant in enumerate(self._grants.grants)}
        self._holders = _holders(material)
        companies = {place for held in self._holders.values() for _, place in held if place != ANYTHING}
        self._companies = [*sorted(companies)[:1], ""]

    def suggest(self, grant: ExercisedGrant) -> Suggestion:
        """A case for a grant."""
        number = self._numbers.get(_key(grant), -1)
        for request in islice(self._requests(grant), MAX_TRIED):
            if self._exercises(request, grant, number):
                return Suggestion(grant, request)
        return Suggestion(grant, None)

    def _exercises(self, request: Request, grant: ExercisedGrant, number: int) -> bool:
        """Whether a test with that request would exercise the grant."""
        decider = self._material.decider
        wanted = Reason.ALLOWED_BY_RULE if grant.allows else Reason.DENIED_BY_RULE
        if decider.violations(request) or decider.decide(request).reason is not wanted:
            return False
        deciding = self._grants.deciding(request)
        if self._head is None:
            return deciding == {number}
        now = self._head.decider
        return number in deciding and not now.violations(request) and now.decide(request).allowed is not grant.allows

    def _index(self, grant: ExercisedGrant) -> SectionIndex:
        return self._material.snapshot.sections[grant.section]

    def _requests(self, grant: ExercisedGrant) -> Iterator[Request]:
        """Requests that the grant may decide, the plainest first."""
        fields = {SOURCES[name]: value for name, value in grant.fields.items() if name in SOURCES}
        filled = self._attributes(grant)
        for kind, id in self._objects(fields):
            for action in self._actions(kind, fields.get("action", "")):
                for subject, place in self._subjects(grant):
                    companies = self._companies_of(grant, fields.get("company", ANYTHING), place)
                    # An own grant wants the subject for its owner, one that refuses may want another.
                    for company, owner in product(companies, ("", subject, SOMEBODY)):
                        request, _ = build_request(
                            subject,
                            action,
                            type=kind,
                            id=id,
                            company=company,
                            owner=owner,
                            section=grant.section,
                            subject_attributes=filled.get("sub", {}),
                            object_attributes=filled.get("obj", {}),
                            context=filled.get("context", {}),
                        )
                        if request is not None:
                            yield request

    def _subjects(self, grant: ExercisedGrant) -> list[tuple[str, str]]:
        """Who has the grant, and where: holders of its role, or of one that inherits it, or the identity itself."""
        names = [grant.fields.get("sub", grant.holder), grant.holder]
        held = [holder for name in dict.fromkeys(names) for holder in self._holders.get(name, ())[:MAX_HOLDERS]]
        own = [(name, ANYTHING) for name in names[:1] if not name.startswith(ROLE_PREFIX)]
        return list(dict.fromkeys([*held, *own]))

    def _companies_of(self, grant: ExercisedGrant, said: str, place: str) -> list[str]:
        if "company" not in {SOURCES.get(token) for token in self._index(grant).section.tokens}:
            return [""]
        if said != ANYTHING:
            return [said]
        return self._companies if place == ANYTHING else [place]

    def _objects(self, fields: Mapping[str, str]) -> list[tuple[str, str]]:
        """Types and ids that a grant is about."""
        if "type" in fields:
            kinds = [fields["type"]]
            if kinds == [ANYTHING]:
                kinds = [*self._material.bundle.manifest.object_types] or ["thing"]
            return [(kind, id) for id in _filled(fields.get("id", ANYTHING)) for kind in kinds]
        objects = [text.partition(":") for text in _filled(fields.get("object", ""))]
        return [(kind, id) for kind, _, id in objects]

    def _actions(self, kind: str, said: str) -> list[str]:
        if said and said != ANYTHING:
            return [said]
        declared = self._material.bundle.manifest.known_types.get(kind)
        return declared.actions if declared else ["read"]

    def _attributes(self, grant: ExercisedGrant) -> dict[str, dict[str, Any]]:
        """Attributes and context that a plain condition asks for: comparisons for equality, joined by `&&`."""
        filled: dict[str, dict[str, Any]] = {}
        for field, texts in self._index(grant).conditions.items():
            expr = texts.get(grant.fields.get(field, ""))
            for part in expr.operands if isinstance(expr, And) else (expr,):
                _fill(filled, part)
        return filled


def _filled(pattern: str) -> list[str]:
    """Texts that a pattern matches whose last character may be a wildcard."""
    return [pattern[:-1] + id for id in SOME_IDS] if pattern.endswith(ANYTHING) else [pattern]


def _key(grant: ExercisedGrant) -> tuple[object, ...]:
    """What a grant is known by."""
    return (grant.section, grant.span, *grant.fields.values())


def _fill(filled: dict[str, dict[str, Any]], part: Expr | None) -> None:
    match part:
        case Compare("==", Attribute(Token(base), name), Const(value)) | Compare(
            "==", Const(value), Attribute(Token(base), name)
        ):
            filled.setdefault(base, {})[name] = value
        case In(Attribute(Token(base), name), Sequence((Const(value), *_))):
            filled.setdefault(base, {})[name] = value
        case Attribute(Token(base), name):
            filled.setdefault(base, {})[name] = True


def _holders(material: Material) -> dict[str, list[tuple[str, str]]]:
    """For each role those who hold it, directly or through others, each with the place of the link."""
    above: dict[str, list[tuple[str, str]]] = {}
    for name, graph in material.snapshot.graphs.items():
        table = material.snapshot.tables[name]
        domains = table.columns[2] if graph.has_domain else [ANYTHING] * len(table)
        for holder, role, domain in zip(table.columns[0], table.columns[1], domains, strict=True):
            above.setdefault(role, []).append((holder, domain))
    found: dict[str, list[tuple[str, str]]] = {}
    for role in above:
        seen = {role}
        waiting = [role]
        while waiting and len(found.get(role, ())) < MAX_HOLDERS:
            for holder, domain in above.get(waiting.pop(), ()):
                if holder not in seen:
                    seen.add(holder)
                    waiting.append(holder)
                    if not holder.startswith(ROLE_PREFIX):
                        found.setdefault(role, []).append((holder, domain))
    return found


def suggestion_yaml(suggestions: list[Suggestion], taken: Collection[str] = ()) -> str:
    """The cases as the `tests` of a test file, each with the place of its grant; those without one as comments. No two
    have the same name, and none has one that is `taken`."""
    names = set(taken)
    lines = ["tests:"] if any(suggestion.request is not None for suggestion in suggestions) else []
    for suggestion in suggestions:
        grant, request = suggestion.grant, suggestion.request
        place = f"{_one_line(grant.span.file)}:{grant.span.line}"
        if request is None:
            rule = ", ".join(f"{name} {value}" for name, value in grant.fields.items())
            lines.append(f"# no case was found for {place}: {_one_line(rule)}")
            continue
        lines.append(f"  # {place}")
        case = _case(grant, request)
        name, number = case["name"], 1
        while case["name"] in names:
            number += 1
            case["name"] = f"{name} ({number})"
        names.add(case["name"])
        for sign, (key, value) in zip(("-", *" " * len(case)), case.items(), strict=False):
            lines.append(f"  {sign} {key}: {flow_text(value)}")
    return "\n".join(lines)


def _case(grant: ExercisedGrant, request: Request) -> dict[str, Any]:
    # A removed grant of the base is tested by the opposite.
    allowed = grant.allows is not grant.removed
    verb = "may" if allowed else "may not"
    role = grant.holder.removeprefix(ROLE_PREFIX)
    where = f" in {request.company}" if request.company else ""
    whose = " of its own" if request.owner == request.subject else ""
    case: dict[str, Any] = {
        "name": f"{role}: {request.subject} {verb} {request.action} {request.object}{whose}{where}",
        "subject": request.subject,
        "object": request.object,
    }
    if request.company:
        case["company"] = request.company
    if request.owner:
        case["owner"] = request.owner
    case["action"] = request.action
    for key, values in (
        ("attributes", request.object_attributes),
        ("subject_attributes", request.subject_attributes),
        ("context", request.context),
    ):
        if values:
            case[key] = dict(values)
    if request.section:
        case["section"] = request.section
    case["expect"] = "allow" if allowed else "deny"
    if not grant.removed:
        case["reason"] = (Reason.ALLOWED_BY_RULE if allowed else Reason.DENIED_BY_RULE).label
    return case


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
