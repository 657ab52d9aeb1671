"""Which grants policy tests exercise, which cases are missing, and what counts as changed."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.changed_grants import changed_since
from authz_sidecar.review.exercise import Exercise, measure_exercise
from authz_sidecar.review.exercised_matrix import CellShare, exercise_matrix
from authz_sidecar.review.material import Material
from authz_sidecar.review.suggestion import CaseFinder, suggestion_yaml
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import build_request
from tests.review.small_bundle import ROLES, material_of, plain_material, report_of

BUNDLES = Path(__file__).resolve().parents[2]
READS = """\
tests:
  - {name: reads, subject: carol, object: case:1, company: acme, action: read, expect: allow}
"""

WITHOUT_DOMAIN = ROLES.replace("    data_domains: [CASES]\n", "")


def told(exercise: Exercise) -> dict[str, int]:
    """Each grant, by role, type, action and effect, with the number of its tests."""
    return {
        f"{grant.holder} {grant.fields['type']} {grant.fields['act']} {grant.fields['eft']}": grant.tests
        for grant in exercise.grants
    }


def suggested(material: Material, exercise: Exercise) -> str:
    """The missing cases as text."""
    finder = CaseFinder(material)
    return suggestion_yaml([finder.suggest(grant) for grant in exercise.missing])


def test_a_grant_is_exercised_by_a_test_that_it_allows() -> None:
    """A passing test counts for the grant that it matches and for no other, and roles nobody holds are left out."""
    material = material_of(tests=READS)
    exercise = measure_exercise(material, report_of(material).results)
    assert told(exercise)["role:CLERK case read allow"] == 1
    assert exercise.exercised == 1
    assert exercise.unheld == 1
    assert "role:AUDITOR * * allow" not in told(exercise)


def test_a_grant_is_not_exercised_by_a_failing_test() -> None:
    """A test that expects the other decision fails and exercises nothing."""
    material = material_of(tests=READS.replace("expect: allow", "expect: deny"))
    assert measure_exercise(material, report_of(material).results).exercised == 0


def test_a_grant_counts_where_it_is_written() -> None:
    """What a role inherits is exercised by whoever has it, and is one grant."""
    material = material_of(tests=READS.replace("carol", "dan"))
    counts = told(measure_exercise(material, report_of(material).results))
    assert counts["role:CLERK case read allow"] == 1


def test_a_grant_is_not_exercised_beside_another() -> None:
    """A test that would pass without a grant, as another one answers it too, exercises neither."""
    roles = WITHOUT_DOMAIN.replace("object: case, actions: [delete], effect: deny", "object: report, actions: [read]")
    test = (
        "tests:\n  - {name: own, subject: dan, owner: dan, object: report:1, company: acme, action: read, "
        "expect: allow}\n"
    )
    material = material_of(roles, test)
    exercise = measure_exercise(material, report_of(material).results)
    of_reports = [grant for grant in exercise.grants if grant.fields["type"] == "report"]
    counts = {grant.holder: (grant.tests, grant.shared) for grant in of_reports}
    assert counts == {"role:CLERK": (0, 1), "role:CHIEF": (0, 1)}
    for name, owner, wanted in (("dan", "carol", "role:CHIEF"), ("carol", "carol", "role:CLERK")):
        asked = test.replace("owner: dan", f"owner: {owner}").replace("subject: dan", f"subject: {name}")
        material = material_of(roles, asked)
        exercise = measure_exercise(material, report_of(material).results)
        assert [grant.holder for grant in exercise.grants if grant.tests] == [wanted]


def test_a_deny_is_not_exercised_beside_another() -> None:
    """Of two grants that refuse a request neither is exercised; the allow that they outweigh is not either."""
    second = "kind: additive, assigned: company, grants: [{object: case, actions: [delete], effect: deny}]"
    roles = ROLES.replace("roles: [CHIEF]", "roles: [CHIEF, SECOND]").replace(
        "  AUDITOR:", f"  SECOND: {{{second}}}\n  AUDITOR:"
    )
    material = material_of(
        roles, "tests:\n  - {name: no, subject: dan, object: case:1, company: acme, action: delete, expect: deny}\n"
    )
    exercise = measure_exercise(material, report_of(material).results)
    assert {grant.holder for grant in exercise.grants if grant.shared == 1} == {"role:CHIEF", "role:SECOND"}
    assert exercise.exercised == 0


def policy_of(grants: list[str]) -> str:
    """Definitions with these grants, each behind the number of its role."""
    of = {number: ", ".join(grant[2:] for grant in grants if grant[0] == number) for number in "12"}
    return (
        f"roles:\n  FIRST: {{assigned: company, grants: [{of['1']}]}}\n"
        f"  SECOND: {{assigned: company, kind: additive, inherits: [FIRST], grants: [{of['2']}]}}\n"
        "assignments:\n  - {subject: ann, roles: [FIRST], company: acme}\n"
        "  - {subject: bob, roles: [SECOND], company: acme}\n"
        "  - {subject: cleo, roles: [FIRST, SECOND], company: acme}\n"
    )


GRANT = st.builds(
    "{} {{object: {}, actions: [read]{}}}".format,
    st.sampled_from("12"),
    st.sampled_from(["case", "report", '"*"']),
    st.sampled_from(["", ", scope: own", ", effect: deny", ", id: a", ", effect: deny, id: a"]),
)
ASKED = list(product(("ann", "bob", "cleo"), ("case", "report"), ("a", "b"), (True, False)))


@settings(max_examples=60)
@given(st.lists(GRANT, min_size=1, max_size=4, unique=True), st.sampled_from(ASKED))
def test_what_is_exercised_would_be_missed(grants: list[str], asked: tuple[str, str, str, bool]) -> None:
    """A test that exercises a grant gets another decision, or another reason, where that grant is taken out."""
    subject, kind, id, own = asked
    base = material_of(policy_of(grants), extended=True)
    request, _ = build_request(subject, "read", type=kind, id=id, company="acme", owner=subject if own else "somebody")
    assert request is not None
    decision = base.decider.decide(request)
    test = (
        f"tests:\n  - {{name: x, subject: {subject}, object: {kind}:{id}, company: acme, action: read, "
        f"owner: {request.owner}, expect: {'allow' if decision.allowed else 'deny'}}}\n"
    )
    material = material_of(policy_of(grants), test, extended=True)
    exercise = measure_exercise(material, report_of(material).results)
    exercised = [grant for grant in exercise.grants if grant.tests]
    assert len(exercised) <= 1
    # What lint calls redundant is not looked at: with it, the grant might not be missed.
    assume(not exercise.redundant)
    for grant in exercised:
        line = policy_of(grants).split("\n")[grant.span.line - 1][grant.span.column - 1 :]
        number = {"role:FIRST": "1", "role:SECOND": "2"}[grant.holder]
        (gone,) = [one for one in grants if one[0] == number and line.startswith(one[2:])]
        after = material_of(policy_of([one for one in grants if one != gone]), extended=True).decider.decide(request)
        assert (after.allowed, after.reason) != (decision.allowed, decision.reason)


def test_a_deny_is_exercised_by_a_denial() -> None:
    """A deny counts with a test that it denies, and the allow that it outweighs does not."""
    material = material_of(
        tests="tests:\n  - {name: no, subject: dan, object: case:1, company: acme, action: delete, expect: deny}\n"
    )
    counts = told(measure_exercise(material, report_of(material).results))
    assert counts["role:CHIEF case delete deny"] == 1
    assert all(count == 0 for grant, count in counts.items() if grant != "role:CHIEF case delete deny")


def test_what_decides_nothing_is_not_counted() -> None:
    """A grant that lint calls redundant is no grant to be tested."""
    material = material_of()
    exercise = measure_exercise(material, ())
    # CHIEF has `read` and `update` of cases from CLERK, and again from its data domain; the deny covers `delete`.
    assert exercise.redundant > 0
    assert "role:CHIEF case delete allow" not in told(exercise)


def test_suggested_cases_exercise_everything() -> None:
    """With the cases that are suggested added, every grant that a test can reach is exercised."""
    material = material_of()
    text = suggested(material, measure_exercise(material, ()))
    again = material_of(tests=text)
    report = report_of(again)
    assert not report.failures
    exercise = measure_exercise(again, report.results)
    assert exercise.grants
    assert exercise.missing == ()
    assert exercise.share == 1


@pytest.mark.parametrize(
    "name", ["policies", "examples/viewer", "examples/kissflow", "examples/e6data", "examples/clinia"]
)
def test_suggested_cases_exercise_the_bundles(name: str) -> None:
    """For each bundle that comes with the project there is a case for every grant, and it is decided as it says."""
    bundle = load_bundle(BUNDLES / name).bundle
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle)
    assert snapshot is not None
    material = Material(bundle, snapshot)
    missing = measure_exercise(material, ()).missing
    finder = CaseFinder(material)
    requests = [finder.suggest(grant).request for grant in missing]
    assert len(requests) > 20
    for grant, request in zip(missing, requests, strict=True):
        assert request is not None, grant
        assert material.decider.decide(request).allowed is grant.allows


def test_a_condition_is_filled_where_it_compares() -> None:
    """A grant with a condition of comparisons has a case with these attributes."""
    material = material_of(
        ROLES.replace("{object: report, actions: [read], scope: own}", CONDITIONAL), extended=True, tests=READS
    )
    assert material.bundle.model.text == EXTENDED
    text = suggested(material, measure_exercise(material, report_of(material).results))
    cases = {case["object"]: case for case in yaml.safe_load(text)["tests"]}
    assert cases["report:1"]["attributes"] == {"status": "draft"}
    assert cases["report:1"]["context"] == {"device": "managed"}


CONDITIONAL = """{object: report, actions: [read], when: 'r.obj.status == "draft" && r.context.device == "managed"'}"""


def test_a_grant_without_a_case_is_said() -> None:
    """A grant whose condition cannot be filled by comparing stays as a comment with its place."""
    condition = "{object: report, actions: [read], when: 'r.obj.pages > 4'}"
    material = material_of(ROLES.replace("{object: report, actions: [read], scope: own}", condition), extended=True)
    text = suggested(material, measure_exercise(material, ()))
    assert "# no case was found for roles.yaml:9: sub role:CLERK" in text


def test_hostile_names_stay_data() -> None:
    """A name that would be YAML of its own is a quoted value in the suggestion, and a line break in a place is none."""
    roles = ROLES.replace("subject: carol", 'subject: "x: [y], #\'z"')
    material = material_of(roles)
    cases = yaml.safe_load(suggested(material, measure_exercise(material, ())))["tests"]
    assert "x: [y], #'z" in {case["subject"] for case in cases}


@pytest.mark.parametrize("name", ["0o17", "1e3", "no", "null", "x\u202ey", "-", "a #b"])
def test_suggested_names_are_read_as_they_are(name: str) -> None:
    """What a bundle's own reader would take for a number or for nothing is quoted, and what is not seen is escaped."""
    roles = ROLES.replace("subject: carol", f'subject: "{name}"')
    text = suggested(material_of(roles), measure_exercise(material_of(roles), ()))
    assert "\u202e" not in text
    assert name in {test.subject for test in material_of(roles, text).bundle.tests}


def test_plain_bundles_are_measured_by_row() -> None:
    """In a plain Casbin bundle each row is a grant, and cases are suggested for it too."""
    material = plain_material(
        "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n"
        "[role_definition]\ng = _, _\n[policy_effect]\ne = some(where (p.eft == allow))\n"
        "[matchers]\nm = g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act\n",
        "p, editor, folder:*, read\np, bob, note, write\ng, ann, editor\n",
    )
    exercise = measure_exercise(material, ())
    assert [grant.rows for grant in exercise.grants] == [(0,), (1,)]
    cases = yaml.safe_load(suggested(material, exercise))["tests"]
    assert [(case["subject"], case["object"], case["action"]) for case in cases] == [
        ("ann", "folder:1", "read"),
        ("bob", "note", "write"),
    ]


def test_new_and_lost_grants_are_changed() -> None:
    """Since a base, a grant that is new counts, one that is gone counts, and what both have does not."""
    base = material_of()
    head = material_of(ROLES.replace("[read, update]}", "[read, create]}").replace("data_domains: [CASES]", ""))
    changed = changed_since(base, head, measure_exercise(head, ()), ())
    found = {(grant.holder, grant.fields["act"], grant.removed) for grant in changed.grants}
    assert ("role:CLERK", "create", False) in found
    assert ("role:CLERK", "update", True) in found
    assert all(action != "read" for _, action, _ in found)


def test_a_lost_grant_is_exercised_by_a_denial() -> None:
    """A test that shows that the access is gone exercises the removed grant."""
    base = material_of(WITHOUT_DOMAIN)
    tests = "tests:\n  - {name: no, subject: carol, object: case:1, company: acme, action: update, expect: deny}\n"
    head = material_of(WITHOUT_DOMAIN.replace("[read, update]}", "[read]}"), tests)
    results = report_of(head).results
    changed = changed_since(base, head, measure_exercise(head, results), results)
    assert [(grant.fields["act"], grant.removed, grant.tests) for grant in changed.grants] == [("update", True, 1)]


def test_a_refactoring_changes_no_grant_that_is_lost() -> None:
    """A grant that is written another way, with the same access, leaves nothing to test that is lost."""
    base = material_of()
    head = material_of(ROLES.replace("[read, update]}", '["*"]}'))
    changed = changed_since(base, head, measure_exercise(head, ()), ())
    assert not [grant for grant in changed.grants if grant.removed]


def test_a_renamed_role_loses_nothing() -> None:
    """A role that is called otherwise, in another file of the bundle, has new grants, and none is lost."""
    base = material_of()
    head = material_of(ROLES.replace("CLERK", "WORKER"), READS)
    results = report_of(head).results
    changed = changed_since(base, head, measure_exercise(head, results), results)
    assert {grant.holder for grant in changed.grants} == {"role:WORKER"}
    assert [grant.fields["act"] for grant in changed.grants if grant.tests] == ["read"]


def narrowed(old: str, new: str) -> tuple[Material, Material, Exercise]:
    """A bundle with a grant, the same bundle with another one, and what changed."""
    base = material_of(WITHOUT_DOMAIN.replace("{object: report, actions: [read], scope: own}", old), extended=True)
    head = material_of(WITHOUT_DOMAIN.replace("{object: report, actions: [read], scope: own}", new), extended=True)
    return base, head, changed_since(base, head, measure_exercise(head, ()), ())


def test_a_narrowed_grant_is_lost() -> None:
    """Where the access is given for less, what it was is lost; the case that is suggested is about what is gone."""
    base, head, changed = narrowed("{object: report, actions: [read]}", "{object: report, id: '1', actions: [read]}")
    (lost,) = [grant for grant in changed.grants if grant.removed]
    request = CaseFinder(base, head).suggest(lost).request
    assert request is not None
    assert not head.decider.decide(request).allowed


def test_a_lost_grant_under_a_condition_counts() -> None:
    """A grant that is gone counts also where its condition lets no case be found."""
    old = "{object: report, actions: [read], when: r.obj.pages > 4}"
    _, _, changed = narrowed(old, "{object: case, actions: [read]}")
    assert [grant.fields["when"] for grant in changed.grants if grant.removed] == ["r.obj.pages > 4"]


def test_without_a_base_everything_is_new() -> None:
    """A bundle that the base does not have has changed as a whole."""
    head = material_of()
    whole = measure_exercise(head, ())
    assert changed_since(None, head, whole, ()).grants == whole.grants


def test_the_matrix_counts_both_decisions() -> None:
    """A cell that a role grants is tested by an allow of that role, another by a denial of its holder."""
    tests = READS + "  - {name: no, subject: carol, object: case:1, company: acme, action: delete, expect: deny}\n"
    material = material_of(tests=tests)
    exercised = exercise_matrix(material, report_of(material).results)
    assert exercised.share("CLERK", "case") == CellShare(2, 1, 2, 1)
    assert exercised.share("CLERK", "report") == CellShare(1, 0, 1, 0)
    # dan holds CHIEF and asked nothing.
    assert exercised.share("CHIEF", "case").tested == 0
    assert not exercised.total().complete


def test_the_matrix_counts_what_a_role_does_by_itself() -> None:
    """What two roles of a subject allow is shown for neither, and a denial by a rule for the role of that rule."""
    roles = ROLES.replace("roles: [CHIEF]", "roles: [CHIEF, SECOND]").replace(
        "  AUDITOR:",
        "  SECOND: {kind: additive, assigned: company, grants: [{object: case, actions: [read]}]}\n  AUDITOR:",
    )
    tests = READS.replace("carol", "dan") + (
        "  - {name: no, subject: dan, object: case:1, company: acme, action: delete, expect: deny}\n"
    )
    material = material_of(roles, tests)
    exercised = exercise_matrix(material, report_of(material).results)
    assert exercised.allowed == frozenset()
    assert exercised.denied == {("CHIEF", "case", "delete")}
