"""What a diff says of single edits: of roles, identities, anybody, causes, and what it cannot know."""

from collections.abc import Mapping

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.review.access.change import SELF, AccessDiff, Box, Change, Kind
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.access.space import AccessSpace
from authz_sidecar.review.material import Material
from authz_sidecar.values.texts import ANY, Texts, values_of
from tests.review.access.test_diff_against_pycasbin import material_of

MANIFEST = """\
name: small
schema_version: 1
object_types:
  case: {actions: [create, read, update]}
  report: {actions: [read]}
"""
ROLES = """\
data_domains:
  FILES: {objects: [case]}
roles:
  CLERK:
    assigned: company
    data_domains: [FILES]
  CHIEF:
    assigned: company
    grants:
      - {object: report, actions: [read]}
  ADMIN:
    assigned: platform
    grants:
      - {object: "*", actions: ["*"]}
"""
ASSIGNMENTS = """\
assignments:
  - {subject: ann, roles: [CLERK], company: acme}
  - {subject: ben, roles: [CLERK], company: globex}
  - {subject: cat, roles: [CHIEF], company: acme}
  - {subject: root, roles: [ADMIN]}
"""
RBAC = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = """


def yaml(changes: Mapping[str, str] | None = None, extended: bool = False) -> Material:
    """The small bundle with pieces of its text replaced."""
    texts = {"manifest.yaml": MANIFEST, "roles.yaml": ROLES, "assignments.yaml": ASSIGNMENTS}
    for old, new in (changes or {}).items():
        assert sum(text.count(old) for text in texts.values()) == 1, old
        texts = {name: text.replace(old, new) for name, text in texts.items()}
    texts["model.conf"] = EXTENDED if extended else BASIC
    return material_of({name: text.encode() for name, text in texts.items()})


def rows(matcher: str, text: str) -> Material:
    """A plain Casbin bundle."""
    return material_of({"model.conf": (RBAC + matcher).encode(), "policy.csv": text.encode()})


def changes_of(diff: AccessDiff, subject: str) -> list[Change]:
    """The changes of one role or identity."""
    return [change for change in (*diff.roles, *diff.identities) if subject in change.subjects]


def test_a_grant_is_told_of_the_role_and_of_those_who_hold_it() -> None:
    """A grant added to a role changes the role in every company, its holders in theirs, and names its line."""
    diff = diff_access(
        yaml(), yaml({"- {object: report, actions: [read]}": "- {objects: [report, case], actions: [read]}"})
    )
    (role,) = diff.roles
    not_platform = Texts(prefixes=("",), except_values=frozenset(("",)))
    assert role.gained
    assert role.subjects == ("role:CHIEF",)
    assert role.box == Box(company=not_platform, type=values_of(["case"]), action=values_of(["read"]))
    assert role.holders == ("cat",)
    (identity,) = diff.identities
    assert identity.subjects == ("cat",)
    assert identity.roles == ("role:CHIEF",)
    assert identity.box.company == values_of(["acme"])
    (cause,) = identity.causes
    assert (cause.side, str(cause.rule.span)) == ("head", "roles.yaml:10:9")
    assert (diff.rules_added, diff.rules_removed) == (1, 0)


def test_holders_in_many_companies_share_a_change_of_their_role() -> None:
    """A data domain that shrinks takes from its role, and from each holder in the holder's own company."""
    diff = diff_access(yaml({"objects: [case]": "objects: [case, report]"}), yaml())
    (role,) = diff.roles
    assert (role.gained, role.subjects, role.holders) == (False, ("role:CLERK",), ("ann", "ben"))
    companies = {change.subjects: change.box.company for change in diff.identities}
    assert companies == {("ann",): values_of(["acme"]), ("ben",): values_of(["globex"])}


def test_own_scope_is_a_part_of_the_answer() -> None:
    """A grant narrowed to own objects takes those of others, which the box says."""
    narrowed = yaml({"- {object: report, actions: [read]}": "- {object: report, actions: [read], scope: own}"})
    (lost,) = diff_access(yaml(), narrowed).roles
    assert not lost.gained
    assert lost.box.scope == "others"
    (gained,) = diff_access(narrowed, yaml()).roles
    assert gained.gained
    assert gained.box.scope == "others"
    (whole,) = changes_of(diff_access(None, narrowed), "role:CHIEF")
    assert whole.box.owner == values_of([SELF])


def test_an_assignment_changes_nobody_else() -> None:
    """A role given to an identity changes that identity, by the line of the assignment, and no role."""
    diff = diff_access(yaml(), yaml({"{subject: ben, roles: [CLERK]": "{subject: ben, roles: [CLERK, CHIEF]"}))
    assert diff.roles == ()
    (change,) = diff.identities
    assert (change.gained, change.subjects, change.roles) == (True, ("ben",), ())
    assert change.box == Box(company=values_of(["globex"]), type=values_of(["report"]), action=values_of(["read"]))
    (cause,) = change.causes
    assert (cause.rule.ptype, cause.rule.span.line) == ("g", 3)


def test_a_refactoring_that_changes_no_decision_is_no_change() -> None:
    """A renamed data domain, a role split into inherited ones and rules in another order change nothing."""
    assert diff_access(yaml(), yaml()).unchanged
    renamed = {
        "  FILES: {objects: [case]}": "  PAPERS: {objects: [case]}",
        "data_domains: [FILES]": "data_domains: [PAPERS]",
    }
    assert diff_access(yaml(), yaml(renamed)).unchanged
    spelled = "grants:\n      - {object: case, actions: [update, read]}\n      - {object: case, actions: [create]}"
    diff = diff_access(yaml(), yaml({"data_domains: [FILES]": spelled}))
    assert diff.unchanged


def test_a_renamed_role_changes_roles_and_no_identity() -> None:
    """Where holders keep their access under another role, the old role loses, the new one gains and nobody changes."""
    diff = diff_access(yaml(), yaml({"  CHIEF:": "  HEAD:", "[CHIEF]": "[HEAD]"}))
    assert diff.identities == ()
    assert [(change.subjects, change.gained, change.holders) for change in diff.roles] == [
        (("role:CHIEF",), False, ()),
        (("role:HEAD",), True, ()),
    ]


def test_a_rule_for_anybody_changes_those_whom_nothing_names() -> None:
    """A rule that reads no subject is told of anyone, and of each identity and role."""
    matcher = '(p.sub == "*" || g(r.sub, p.sub)) && keyMatch(r.obj, p.obj) && r.act == p.act'
    diff = diff_access(rows(matcher, "p, ann, a, read"), rows(matcher, "p, ann, a, read\np, *, b*, read"))
    anyone, named = diff.identities
    assert (anyone.kind, anyone.subjects, anyone.gained) == (Kind.ANYONE, (), True)
    assert named.subjects == ("ann",)
    assert anyone.box == Box(type=Texts(prefixes=("b",)), action=values_of(["read"]))


def test_names_that_a_pattern_takes_in_are_told_by_how_they_begin() -> None:
    """A pattern among subjects changes names that begin so, and no others that nothing names."""
    matcher = "keyMatch(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
    diff = diff_access(rows(matcher, "p, ann, a, read"), rows(matcher, "p, ann, a, read\np, svc-*, a, read"))
    (change,) = diff.identities
    assert (change.kind, change.names) == (Kind.ANYONE, Texts(prefixes=("svc-",)))


def test_a_condition_that_cannot_be_listed_is_said_to_be_so() -> None:
    """A grant with a condition on attributes is not exact where it stands, and exact elsewhere."""
    base = yaml(extended=True)
    head = yaml(
        {"- {object: report, actions: [read]}": "- {object: report, actions: [read], when: r.obj.level > 3}"},
        extended=True,
    )
    diff = diff_access(base, head)
    assert not diff.unchanged
    assert (diff.roles, diff.identities) == ((), ())
    assert {one.subjects for one in diff.inexact} == {("cat",), ("role:CHIEF",)}
    for one in diff.inexact:
        assert one.box.type == values_of(["report"])
        assert "r.obj.level > 3" in one.why
        assert [rule.values[-1] for rule in one.added] == ["r.obj.level > 3"]
        assert [rule.values[-1] for rule in one.removed] == ["True"]
        assert one.responsible == one.added


def test_an_unchanged_condition_taints_nothing() -> None:
    """A grant with a condition that stands on both sides makes no change, nor a change beside it less exact."""
    when = {"- {object: report, actions: [read]}": "- {object: report, actions: [read], when: r.obj.level > 3}"}
    assert diff_access(yaml(when, extended=True), yaml(when, extended=True)).unchanged
    more = {**when, "  ADMIN:": "      - {object: case, actions: [read]}\n  ADMIN:"}
    diff = diff_access(yaml(when, extended=True), yaml(more, extended=True))
    assert diff.inexact == ()
    assert [change.box.type for change in diff.roles] == [values_of(["case"])]


def test_a_region_narrows_what_is_told() -> None:
    """Within a region only its requests, subjects and kinds are told; without a base everything allowed is gained."""
    within = Region(Box(type=values_of(["report"]), action=values_of(["read"]), company=values_of(["acme"])))
    diff = diff_access(None, yaml(), within=within)
    assert sorted(subject for change in diff.roles for subject in change.subjects) == ["role:ADMIN", "role:CHIEF"]
    assert sorted(subject for change in diff.identities for subject in change.subjects) == ["cat", "root"]
    alone = diff_access(None, yaml(), within=Region(within.box, ("cat",)))
    assert (alone.roles, [change.subjects for change in alone.identities]) == ((), [("cat",)])
    kinds = diff_access(None, yaml(), within=Region(kinds=frozenset((Kind.ROLE,))))
    assert kinds.identities == ()


def test_who_holds_a_role_is_told_for_each_side() -> None:
    """Holders are those whom links give the role, wherever."""
    space = AccessSpace(yaml(), yaml({"{subject: ben, roles: [CLERK]": "{subject: ben, roles: [CHIEF]"}))
    assert space.roles == ("role:ADMIN", "role:CHIEF", "role:CLERK")
    assert space.identities == ("ann", "ben", "cat", "root")
    assert space.holders("role:CLERK", "base") == ("ann", "ben")
    assert space.holders("role:CLERK", "head") == ("ann",)


def test_cells_say_what_both_sides_decide() -> None:
    """The cells of a platform role in a region are one where it is allowed everything."""
    cells = AccessSpace(None, yaml()).cells(Kind.ROLE, "role:ADMIN", Box(type=values_of(["case"])))
    (cell,) = cells.cells
    assert (cell.base, cell.head, cell.box.company, cell.example.subject) == (False, True, ANY, "role:ADMIN")


def test_progress_is_told_up_to_the_last_subject() -> None:
    """Progress ends at all subjects done."""
    told: list[tuple[int, int]] = []
    diff_access(yaml(), yaml(), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (8, 8)


def test_subjects_may_be_called_like_examples() -> None:
    """What an identity may do to the objects of others does not depend on how it is called."""
    for name in ("ann", "other", "another"):
        called = {"{subject: ann, roles": f"{{subject: {name}, roles"}
        grants = "grants:\n      - {object: case, actions: [read], scope: own}"
        diff = diff_access(yaml(called), yaml({**called, "data_domains: [FILES]": grants}))
        (change, *_) = [one for one in changes_of(diff, name) if one.box.action == values_of(["read"])]
        assert (change.gained, change.box.scope) == (False, "others")
