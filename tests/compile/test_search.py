"""The search index: rules and links by what a question about many objects knows."""

from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.compile.search import build_search
from tests.decide.casbin_judge import decider

NAMES = st.sampled_from(("alice", "bob", "", "é", "a" * 300))

MODEL = """\
[request_definition]
r = sub, dom, obj, act
[policy_definition]
p = sub, dom, obj, act
[role_definition]
g = _, _, _
g2 = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && {} && r.act == p.act
"""
POLICY = """\
p, editor, acme, folder:1, read
p, editor, globex, folder:2, read
p, editor, acme, folder, read
p, editor, acme, report:1, read
g, alice, editor, acme
g, bob, editor, acme
g2, folder:1, shelf
"""


@given(st.lists(st.tuples(NAMES, NAMES), max_size=30))
def test_a_search_finds_every_pair(pairs: list[tuple[str, str]]) -> None:
    """A search finds the numbers of all pairs of two texts, and of all pairs with one first text."""
    search = build_search([first for first, _ in pairs], [second for _, second in pairs])
    for first, second in pairs:
        assert [at for at, pair in enumerate(pairs) if pair == (first, second)] == sorted(search.find(first, second))
        assert [at for at, pair in enumerate(pairs) if pair[0] == first] == sorted(search.find(first))
    assert not search.find("nobody")


def test_rules_are_found_by_role_type_and_action_and_then_by_company() -> None:
    """A shape's rules stand under the texts that a question knows; a rule about no object stands nowhere."""
    snapshot = decider(MODEL.format("r.obj == p.obj"), POLICY).snapshot
    ((shape,),) = snapshot.searches[""].branches
    # The order of the keys in the matcher, then the roles.
    assert sorted(shape.ranks.find("folder:\0read\0editor")) == [0, 1]
    assert list(shape.ranks.find("folder:\0read\0editor", "globex")) == [1]
    assert list(shape.ranks.find("report:\0read\0editor")) == [3]
    assert len(shape.ranks.entries) == 3


def test_links_are_found_by_name_and_where_objects_hold_roles_by_role() -> None:
    """Only what a question of this model can ask for is kept."""
    snapshot = decider(MODEL.format("g2(r.obj, p.obj)"), POLICY).snapshot
    subjects, objects = snapshot.link_searches["g"], snapshot.link_searches["g2"]
    assert subjects.by_name is not None
    assert (list(subjects.by_name.find("bob")), subjects.by_role) == ([1], None)
    assert objects.by_role is not None
    assert (objects.by_name, list(objects.by_role.find("shelf"))) == (None, [0])
    unused = decider(MODEL.format("r.obj == p.obj"), POLICY).snapshot.link_searches["g2"]
    assert (unused.by_name, unused.by_role) == (None, None)
