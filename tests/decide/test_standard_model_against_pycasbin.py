"""Both published forms of the standard model decide as pycasbin decides the same rows."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.values import Request, build_request
from tests.decide.casbin_judge import Raised, decider, enforcer, judge

SUBJECTS = ("alice", "bob", "carol", "root")
ROLES = ("role:ADMIN", "role:CLIENT", "role:LEAD", "role:AUDIT")
COMPANIES = ("acme", "globex")
TYPES = ("folder", "report", "*")
IDS = ("1", "2", "2024-1", "*")
PATTERNS = ("2024-*", "2*", "2024-1*")
ACTIONS = ("read", "update", "decide", "*")
SCOPES = ("platform", "company", "company", "own", "own")
CONDITIONS = (
    "True",
    "True",
    "r.context.mfa",
    "r.context.mfa == True && r.act != 'decide'",
    "r.obj.level > 3",
    "r.obj.level in (1, 5) || r.obj.owner == r.sub",
    'r.obj.team in ["red", "blue"]',
    'g(r.sub, "role:LEAD", r.dom)',
    "r.id != '1' && !(r.type == 'report')",
    'keyMatch(r.id, "20*")',
)


@st.composite
def policies(draw: st.DrawFn, extended: bool) -> str:
    """Grants in every scope, flags that are off, and assignments on the platform and in companies.

    Some rows say what YAML definitions never make: rules of one company, roles of roles, grants to identities.
    """
    rows: list[str] = []
    ids = (*IDS, "*", "*", *(PATTERNS if extended else ()))
    for _ in range(draw(st.integers(1, 9))):
        row = [
            "p",
            draw(st.sampled_from((*ROLES, *ROLES, *SUBJECTS))),
            draw(st.sampled_from(("*", "*", "*", *COMPANIES))),
            draw(st.sampled_from(TYPES)),
            draw(st.sampled_from(ids)),
            draw(st.sampled_from(ACTIONS)),
            draw(st.sampled_from(SCOPES)),
            draw(st.sampled_from(("allow", "allow", "allow", "deny"))),
            *([draw(st.sampled_from(CONDITIONS))] if extended else []),
        ]
        rows.append(", ".join(row))
    for _ in range(draw(st.integers(0, 2))):
        flag = ["p", draw(st.sampled_from(SUBJECTS)), "*", draw(st.sampled_from(TYPES)), "*"]
        rows.append(
            ", ".join([*flag, draw(st.sampled_from(ACTIONS)), "platform", "deny", *(["True"] if extended else [])])
        )
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.sampled_from(("*", *COMPANIES, *COMPANIES)))
        rows.append(f"g, {draw(st.sampled_from(SUBJECTS))}, {draw(st.sampled_from(ROLES))}, {place}")
    if not draw(st.integers(0, 3)):
        rows.append(f"g, {ROLES[0]}, {ROLES[1]}, {draw(st.sampled_from(('*', *COMPANIES)))}")
    return "\n".join(rows)


@st.composite
def requests(draw: st.DrawFn, policy: str) -> Request:
    """A request that mostly differs from what some rule is about in one part at most."""
    rows = [row.split(", ") for row in policy.splitlines()]
    rule = draw(st.sampled_from([row for row in rows if row[0] == "p"]))
    holders = [(row[1], row[3]) for row in rows if row[0] == "g" and row[2] == rule[1]]
    subject, place = draw(st.sampled_from(holders)) if holders else (rule[1], "*")
    if subject in ROLES:
        subject = draw(st.sampled_from(SUBJECTS))
    company = rule[2] if rule[2] != "*" else place
    parts = {
        "subject": subject,
        "company": company if company != "*" else draw(st.sampled_from((*COMPANIES, "*", ""))),
        "type": rule[3] if rule[3] != "*" else "folder",
        "id": rule[4].replace("*", draw(st.sampled_from(("", "7")))),
        "action": rule[5] if rule[5] != "*" else draw(st.sampled_from(ACTIONS)),
        "owner": subject,
    }
    anything: Mapping[str, tuple[str, ...]] = {
        "subject": (*SUBJECTS, "nobody", "*"),
        "company": (*COMPANIES, "nowhere", "*", ""),
        "type": (*TYPES, "analysis", ""),
        "id": (*IDS, "2024-2", ""),
        "action": (*ACTIONS, "delete"),
        "owner": (*SUBJECTS, ""),
    }
    for changed in draw(st.lists(st.sampled_from(tuple(anything)), max_size=2)):
        parts[changed] = draw(st.sampled_from(anything[changed]))
    attributes = {
        name: draw(values)
        for name, values in (("level", st.sampled_from((1, 4, 5))), ("team", st.sampled_from(("red", "green"))))
        if draw(st.integers(0, 5))
    }
    request, violations = build_request(
        parts["subject"],
        parts["action"],
        type=parts["type"],
        id=parts["id"],
        company=parts["company"],
        owner=parts["owner"],
        object_attributes=attributes,
        context={"mfa": draw(st.booleans())} if draw(st.integers(0, 5)) else {},
    )
    assert request is not None, violations
    return request


@given(st.data(), st.booleans())
def test_standard_models_decide_as_in_pycasbin(data: st.DataObject, extended: bool) -> None:
    """Rows of the standard model, in both forms, are decided as pycasbin decides them; what fails there, denies."""
    model = EXTENDED if extended else BASIC
    policy = data.draw(policies(extended))
    ours, theirs = decider(model, policy), enforcer(model, policy)
    for request in data.draw(st.lists(requests(policy), min_size=6, max_size=12)):
        try:
            expected = judge(theirs, request)
        except Raised:
            assert extended
            expected = False
        assert ours.decide(request).allowed == expected, (policy, request)
