"""What lint corrects, and what it says may be removed, changes nobody's access."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.decide import Decider
from authz_sidecar.review.fixing import make_edits
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules import RULES
from authz_sidecar.review.rules.rule import Edit, EditKind
from authz_sidecar.values import Request
from tests.review.test_redundancy import load, outcome, request

MANIFEST = """\
name: small
schema_version: 1
object_types:
  folder: {actions: [read, update, delete]}
  report: {actions: [read, update]}
"""
ROLES = ("BASE", "LEFT", "RIGHT", "TOP")
CONDITIONS = (
    "",
    "",
    "True",
    "1 < 2",
    "r.type == 'folder'",
    "r.act in ('read', 'update')",
    "r.act == 'read' || r.obj.open == True",
    "r.obj.open == True || True",
    "r.obj.open == True",
    "r.sub == r.owner",
)
FIXED = ("duplicate-group-mapping", "implied-role", "needless-condition", "redundant-inheritance", "repeated-item")
BY_CODE = {rule.code: rule for rule in RULES}


def listed(items: Iterable[str]) -> str:
    """A flow list."""
    return f"[{', '.join(items)}]"


@st.composite
def grants(draw: st.DrawFn, least: int = 0) -> str:
    """A list of grants, some of them denies."""

    def grant() -> str:
        condition = draw(st.sampled_from(CONDITIONS))
        fields = [
            draw(st.sampled_from(("object: folder", "object: report", "objects: [folder, report]", 'object: "*"'))),
            "actions: " + draw(st.sampled_from(("[read]", "[update]", "[read, update]", '["*"]'))),
            *draw(st.sampled_from(((), (), ("scope: own",)))),
            *draw(st.sampled_from(((), (), ("effect: deny",)))),
            *draw(st.sampled_from(((), ("id: a",), ('id: "a*"',)))),
            *((f'when: "{condition}"',) if condition else ()),
        ]
        return "{" + ", ".join(fields) + "}"

    return listed(grant() for _ in range(draw(st.integers(least, 3))))


@st.composite
def bundles(draw: st.DrawFn) -> dict[str, str]:
    """A bundle whose roles inherit by several ways, and whose identities hold several roles, some of them flagged."""
    lines = ["roles:"]
    for place, name in enumerate(ROLES):
        parents = draw(st.lists(st.sampled_from(ROLES[:place]), max_size=3)) if place else []
        above = f", inherits: {listed(parents)}" if parents else ""
        lines.append(f"  {name}: {{assigned: company{above}, grants: {draw(grants())}}}")
    flagged = draw(st.lists(st.sampled_from(ROLES), min_size=1, max_size=2))
    actions = draw(st.sampled_from(("[read]", "[read, read]")))
    default = draw(st.sampled_from(("true", "false")))
    lines += [
        "flags:",
        f"  SWITCH: {{roles: {listed(flagged)}, object: folder, actions: {actions}, default: {default}}}",
    ]
    lines += ["assignments:"]
    for subject in ("alice", "bob"):
        held = draw(st.lists(st.sampled_from(ROLES), min_size=1, max_size=3, unique=True))
        for roles in (held[:1], held[1:]):
            if roles:
                own = f", grants: {draw(grants(1))}" if draw(st.integers(0, 3)) == 0 else ""
                lines.append(f"  - {{subject: {subject}, roles: {listed(roles)}, company: acme{own}}}")
    groups = draw(st.lists(st.lists(st.sampled_from(ROLES), min_size=1, max_size=2), max_size=3))
    lines += ["group_mappings:"] if groups else []
    lines += [f"  - {{group: staff, roles: {listed(roles)}, company: acme}}" for roles in groups]
    return {"model.conf": EXTENDED, "manifest.yaml": MANIFEST, "roles.yaml": "\n".join(lines) + "\n"}


REQUESTS = [
    request(subject, action, type=kind, id=id, company=company, owner=owner, object_attributes=attributes)
    for subject in ("alice", "bob", "nobody")
    for action in ("read", "update", "delete")
    for kind in ("folder", "report")
    for id in ("a", "ab", "b")
    for company in ("acme", "globex")
    for owner in ("alice", "")
    for attributes in ({"open": True}, {"open": False}, {})
]


def corrected(files: dict[str, str], edits: Iterable[Iterable[Edit]]) -> dict[str, str]:
    """The files with the edits made, all of them."""
    fixed = make_edits({path: text.encode() for path, text in files.items()}, edits)
    assert fixed.left == 0
    return {**files, **{path: text.decode() for path, text in fixed.files.items()}}


def material_of(files: dict[str, str]) -> Material:
    """The bundle under review."""
    return Material(*load(files))


def decisions(files: dict[str, str], requests: Iterable[Request]) -> list[tuple[bool, object]]:
    """What is decided on each request."""
    decider = Decider(load(files)[1])
    return [outcome(decider.decide(each)) for each in requests]


@settings(max_examples=settings().max_examples // 2)
@given(bundles(), st.sampled_from(FIXED))
def test_what_fix_corrects_changes_no_decision_and_is_not_found_again(files: dict[str, str], code: str) -> None:
    """With every finding of one rule corrected that it can correct, each question has the same answer, and none of
    these findings comes back."""
    rule, material = BY_CODE[code], material_of(files)
    assert rule.fix is not None
    found = list(rule.find(material))
    edits = [tuple(rule.fix(material, finding)) for finding in found]
    after = corrected(files, edits)
    left = sum(not each for each in edits)
    assert len(list(rule.find(material_of(after)))) <= left
    if after != files:
        assert decisions(after, REQUESTS) == decisions(files, REQUESTS)


@settings(max_examples=settings().max_examples // 2)
@given(bundles())
def test_a_deny_that_denies_nothing_can_be_removed(files: dict[str, str]) -> None:
    """Without the denies of roles that are told to be needless, whoever was allowed something still is, and nobody
    else; the reason of a denial may differ."""
    material = material_of(files)
    in_roles = {grant.span for role in material.bundle.roles.values() for grant in role.grants}
    found = [finding for finding in BY_CODE["needless-deny"].find(material) if finding.span in in_roles]
    if found:
        after = corrected(files, [(Edit(EditKind.REMOVE_ITEM, finding.span),) for finding in found])
        before, now = decisions(files, REQUESTS), decisions(after, REQUESTS)
        assert [allowed for allowed, _ in now] == [allowed for allowed, _ in before]


def test_the_random_bundles_have_what_is_looked_for() -> None:
    """Each of these rules finds something in a bundle of this kind, so that the properties are about something."""
    text = """\
roles:
  BASE: {assigned: company, grants: [{object: folder, actions: [read], when: "r.type == 'folder'"}]}
  LEFT: {assigned: company, inherits: [BASE], grants: [{object: report, actions: [update], effect: deny}]}
  TOP: {assigned: company, inherits: [LEFT, BASE, BASE]}
assignments:
  - {subject: alice, roles: [TOP, BASE], company: acme}
group_mappings:
  - {group: staff, roles: [LEFT], company: acme}
  - {group: staff, roles: [LEFT, TOP], company: acme}
"""
    material = material_of({"model.conf": EXTENDED, "manifest.yaml": MANIFEST, "roles.yaml": text})
    for code in (*FIXED, "needless-deny"):
        assert list(BY_CODE[code].find(material)), code
