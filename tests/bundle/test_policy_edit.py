"""Edits of a policy in its owners' words: what changes in the text, and what is decided afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.policy_edit import Changed, PolicyEditError, PolicyEditor
from authz_sidecar.bundle.standard_model import BASIC
from tests.review.small_bundle import MANIFEST

ROLES = """\
data_domains:
  PAPERS: {objects: [report]}
roles:
  CLERK:  # works on cases
    assigned: company
    grants:
      # every day
      - {object: case, actions: [read, update]}  # see the handbook
      - {objects: [case, report], actions: [create, delete]}
  CHIEF:
    assigned: company
    inherits: [CLERK]
    data_domains: [PAPERS]
  ROOT:
    assigned: platform
    grants: [{object: "*", actions: ["*"]}]
"""
PEOPLE = """\
assignments:
  - {subject: carol, roles: [CLERK], company: acme}  # since May
  - subject: dan
    roles:
      - CLERK
      - CHIEF
    company: acme
"""
FILES = {
    "model.conf": BASIC.encode(),
    "manifest.yaml": MANIFEST.replace("[read, export]", "[create, read, delete, export]").encode(),
    "people.yaml": PEOPLE.encode(),
    "roles.yaml": ROLES.encode(),
}


def read(changed: Changed) -> Bundle:
    """The bundle with these files changed; it has no error."""
    bundle, problems = parse_bundle({**FILES, **changed}, "edited")
    assert bundle is not None, problems
    return bundle


BUNDLE = read({})


def editor(roles: str = "", people: str = "") -> PolicyEditor:
    """An editor of the bundle as it stands, or with other definitions."""
    files = {**FILES, "roles.yaml": (roles or ROLES).encode(), "people.yaml": (people or PEOPLE).encode()}
    return PolicyEditor(read(files), files)


def lines(changed: Changed, file: str) -> tuple[set[str], set[str]]:
    """Which lines of a file went and which came."""
    assert set(changed) == {file}
    before, after = set(FILES[file].decode().splitlines()), set(changed[file].decode().splitlines())
    return before - after, after - before


def access(bundle: Bundle, role: str) -> set[tuple[str, str]]:
    """Types and actions that a role's rows allow."""
    rows = zip(*bundle.tables["p"].columns, strict=True)
    return {(row[2], row[4]) for row in rows if row[0] == f"role:{role}" and row[-1] == "allow"}


def test_granting_extends_a_grant() -> None:
    """An action on a type that a grant is about is added to it, and its line keeps its comment."""
    changed = editor().grant("CLERK", "delete", "case")
    assert changed == {}, "it has it already, from the other grant"
    changed = PolicyEditor(BUNDLE, FILES).grant("CLERK", "export", "report")
    assert lines(changed, "roles.yaml") == (set(), {"      - {object: report, actions: [export]}"})


def test_granting_to_a_role_without_grants() -> None:
    """A role without grants gets the key, at its end."""
    changed = editor().grant("CHIEF", "export", "report", scope="own")
    gone, came = lines(changed, "roles.yaml")
    assert (gone, came) == (set(), {"      - {object: report, actions: [export], scope: own}"})
    text = changed["roles.yaml"].decode()
    assert "    data_domains: [PAPERS]\n    grants:\n      - {object: report" in text


def test_granting_an_action_of_the_same_type() -> None:
    """The grant of just that type takes the action."""
    changed = editor().grant("CLERK", "*", "case")
    gone, came = lines(changed, "roles.yaml")
    assert gone == {"      - {object: case, actions: [read, update]}  # see the handbook"}
    assert came == {'      - {object: case, actions: [read, update, "*"]}  # see the handbook'}


def test_refusing() -> None:
    """A deny is a grant of its own."""
    changed = editor().grant("CLERK", "update", "case", deny=True)
    assert lines(changed, "roles.yaml")[1] == {"      - {object: case, actions: [update], effect: deny}"}


def test_revoking_an_action() -> None:
    """An action goes from the list of its grant; with the last one, the grant and the comment above it go."""
    changed = editor().revoke("CLERK", "update", "case")
    assert lines(changed, "roles.yaml")[1] == {"      - {object: case, actions: [read]}  # see the handbook"}
    files = {**FILES, **changed}
    again = PolicyEditor(read(changed), files).revoke("CLERK", "read", "case")
    assert "every day" not in again["roles.yaml"].decode()


def test_revoking_from_several_types() -> None:
    """Of a grant for several types the others keep what they have, and the type keeps its other actions."""
    changed = editor().revoke("CLERK", "delete", "report")
    gone, came = lines(changed, "roles.yaml")
    assert gone == {"      - {objects: [case, report], actions: [create, delete]}"}
    assert came == {
        "      - {objects: [case], actions: [create, delete]}",
        "      - {object: report, actions: [create]}",
    }


@pytest.mark.parametrize(
    ("role", "action", "kind", "message", "help"),
    [
        ("ROOT", "read", "case", "has it from a wildcard, at roles.yaml:16:14", "role grant --deny"),
        ("CHIEF", "export", "report", "has it from the data domain `PAPERS`", "role toggle CHIEF PAPERS"),
        ("CHIEF", "read", "case", "inherits it from `CLERK`", "revoke it from `CLERK`"),
        ("CLERK", "export", "report", "does not have `export` of `report`", "matrix"),
        ("CLERKS", "read", "case", "has no role `CLERKS`", "did you mean `CLERK`?"),
        ("CLERK", "read", "cases", "has no object type `cases`", "did you mean `case`?"),
        ("CLERK", "reed", "case", "has no action of `case` called `reed`", "did you mean `read`?"),
    ],
)
def test_what_cannot_be_revoked(role: str, action: str, kind: str, message: str, help: str) -> None:
    """Where the access comes from elsewhere, or there is none, nothing is edited and the error says where to look."""
    with pytest.raises(PolicyEditError) as caught:
        editor().revoke(role, action, kind)
    assert message in caught.value.message
    assert help in caught.value.help


def test_toggling_a_data_domain() -> None:
    """A data domain that the role covers goes, one that it does not comes, and twice is as before."""
    changed, has = editor().toggle("CHIEF", "PAPERS")
    assert not has
    assert lines(changed, "roles.yaml") == ({"    data_domains: [PAPERS]"}, set())
    again, has = PolicyEditor(read(changed), {**FILES, **changed}).toggle("CHIEF", "PAPERS")
    assert has
    assert again["roles.yaml"] == FILES["roles.yaml"]


def test_assigning() -> None:
    """A role is added to the assignment of the identity in that company, or as a new one beside its like."""
    changed = editor().assign("carol", "CHIEF", "acme")
    assert lines(changed, "people.yaml")[1] == {
        "  - {subject: carol, roles: [CLERK, CHIEF], company: acme}  # since May"
    }
    changed = editor().assign("erin", "ROOT")
    assert lines(changed, "people.yaml") == (set(), {"  - {subject: erin, roles: [ROOT]}"})
    assert editor().assign("dan", "CHIEF", "acme") == {}


def test_taking_an_assignment_away() -> None:
    """A role goes from its assignment, and with the last role the assignment goes."""
    changed = editor().unassign("dan", "CHIEF", "acme")
    assert lines(changed, "people.yaml") == ({"      - CHIEF"}, set())
    changed = editor().unassign("carol", "CLERK", "acme")
    assert lines(changed, "people.yaml")[0] == {"  - {subject: carol, roles: [CLERK], company: acme}  # since May"}


@pytest.mark.parametrize(
    ("subject", "role", "company", "message", "help"),
    [
        ("carol", "CLERK", "", "`CLERK` is assigned in a company", "--company"),
        ("carol", "ROOT", "acme", "`ROOT` is assigned on the platform", "leave `--company` away"),
        ("ca\nrol", "CLERK", "acme", "holds the control character", "as requests spell it"),
        ("", "CLERK", "acme", "the subject is empty", "as requests spell it"),
    ],
)
def test_what_cannot_be_assigned(subject: str, role: str, company: str, message: str, help: str) -> None:
    """A role is assigned where it belongs, to an identity that a request may name."""
    with pytest.raises(PolicyEditError) as caught:
        editor().assign(subject, role, company)
    assert message in caught.value.message
    assert help in caught.value.help


def test_taking_away_what_is_not_there() -> None:
    """The error says what the identity holds."""
    with pytest.raises(PolicyEditError) as caught:
        editor().unassign("carol", "CHIEF", "acme")
    assert caught.value.help == "it holds `CLERK` in `acme`"


@given(
    st.sampled_from(["CLERK", "CHIEF", "ROOT"]),
    st.sampled_from(
        [("case", "read"), ("case", "create"), ("case", "update"), ("report", "create"), ("report", "read")]
    ),
    st.booleans(),
)
def test_an_edit_changes_just_that(role: str, what: tuple[str, str], gives: bool) -> None:
    """Granting or revoking changes the rows of that type and action for that role, and no other row of it."""
    kind, action = what
    try:
        changed = editor().grant(role, action, kind) if gives else editor().revoke(role, action, kind)
    except PolicyEditError:
        return
    before, after = access(BUNDLE, role), access(read(changed), role)
    wanted = before | {what} if gives else before - {what}
    assert after == wanted or (gives and not changed and after == before)


def clerk(*grants: str) -> str:
    """Definitions with other grants of CLERK."""
    start, end = ROLES.index("      # every day"), ROLES.index("  CHIEF:")
    return ROLES[:start] + "".join(f"      - {grant}\n" for grant in grants) + ROLES[end:]


@pytest.mark.parametrize("scope", [None, "company"])
@pytest.mark.parametrize("written", ["", ", scope: company"])
def test_a_scope_may_be_left_away(scope: str | None, written: str) -> None:
    """A grant in the scope that the role has anyway is the same with and without its name."""
    roles = clerk(f"{{object: case, actions: [read]{written}}}")
    assert editor(roles).grant("CLERK", "read", "case", scope=scope) == {}
    changed = editor(roles).grant("CLERK", "update", "case", scope=scope)
    assert f"[read, update]{written}}}" in changed["roles.yaml"].decode()
    changed = editor(roles).grant("CLERK", "read", "report", scope=scope)
    assert "      - {object: report, actions: [read]}\n" in changed["roles.yaml"].decode()


def test_a_wildcard_says_so_already() -> None:
    """What one of the role's grants gives by a wildcard is not granted again."""
    assert editor().grant("ROOT", "read", "case") == {}
    assert editor().grant("ROOT", "*", "*") == {}


def test_revoking_from_all_grants_at_once() -> None:
    """An action goes from every grant that gives it, whatever its scope, and a role may be left without grants."""
    roles = clerk("{object: case, actions: [read, read]}", "{object: case, actions: [read], scope: own}")
    bundle = read(editor(roles).revoke("CLERK", "read", "case"))
    assert bundle.roles["CLERK"].grants == []
    assert access(bundle, "CLERK") == set()


def test_revoking_from_a_type_named_twice() -> None:
    """A list of types with one type twice is about that type alone."""
    roles = clerk("{objects: [case, case], actions: [read, update]}")
    assert access(read(editor(roles).revoke("CLERK", "read", "case")), "CLERK") == {("case", "update")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CHIEF", "export", "report"), "`CHIEF` has it from the data domain `PAPERS`"),
        (("CHIEF", "read", "case"), "`CHIEF` inherits it from `CLERK`"),
    ],
)
def test_revoking_what_would_stay(arguments: tuple[str, str, str], message: str) -> None:
    """Where something else gives the access too, taking out the role's own grant changes nothing: it is refused."""
    grants = "    grants: [{object: report, actions: [export]}, {object: case, actions: [read]}]\n"
    with pytest.raises(PolicyEditError) as caught:
        editor(ROLES.replace("  ROOT:", f"{grants}  ROOT:")).revoke(*arguments)
    assert caught.value.message == message


def test_toggling_what_is_listed_twice() -> None:
    """A data domain goes from the role wherever the list has it."""
    changed, _ = editor(ROLES.replace("[PAPERS]", "[PAPERS, {name: PAPERS, scope: own}]")).toggle("CHIEF", "PAPERS")
    assert read(changed).roles["CHIEF"].data_domains == []


def test_what_is_shared_by_an_alias_is_refused() -> None:
    """A list that several roles share by an alias is not changed for one of them."""
    roles = ROLES.replace("    grants:\n      # every", "    grants: &all\n      # every").replace(
        "    data_domains: [PAPERS]\n", "    data_domains: [PAPERS]\n    grants: *all\n"
    )
    for role in ("CLERK", "CHIEF"):
        with pytest.raises(PolicyEditError, match=r"`roles.yaml` cannot be edited in place: the alias `\*all` stands"):
            editor(roles).grant(role, "export", "report")


def test_a_list_of_several_lines_stays_one() -> None:
    """In a list with a line for each item, an item comes and goes with its line, and comments stay."""
    grant = (
        "object: report\n        actions: [\n          read,  # of reading\n          export  # of export\n        ]"
    )
    roles = clerk(grant)
    changed = editor(roles).grant("CLERK", "delete", "report")
    assert changed["roles.yaml"].decode() == roles.replace(
        "export  # of export\n", "export,  # of export\n          delete\n"
    )
    changed = editor(roles).revoke("CLERK", "read", "report")
    assert changed["roles.yaml"].decode() == roles.replace("          read,  # of reading\n", "")


FLAGGED = ROLES + "flags:\n  may_delete: {roles: [CLERK], object: case, actions: [delete]}\n"
ELSEWHERE = "  - {subject: carol, roles: [CLERK], company: globex}\n"


def test_flags_go_with_the_last_role_that_has_them() -> None:
    """A flag that none of the identity's roles has any more goes with the role, wherever it is set."""
    people = "assignments:\n  - {subject: carol, roles: [CLERK, CHIEF], company: acme, flags: {may_delete: false}}\n"
    changed = editor(FLAGGED, people).unassign("carol", "CLERK", "acme")
    assert changed["people.yaml"].decode() == people.replace("CLERK, ", "").replace(", flags: {may_delete: false}", "")


def test_flags_that_still_count_are_not_lost() -> None:
    """An assignment whose flag counts for another one is not taken out: that would widen the other's access."""
    people = PEOPLE.replace("company: acme}  #", "company: acme, flags: {may_delete: false}}  #") + ELSEWHERE
    with pytest.raises(PolicyEditError, match="sets the flag `may_delete`, which counts for other roles of `carol`"):
        editor(FLAGGED, people).unassign("carol", "CLERK", "acme")
