"""Boxes of requests as the fewest readable lines."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.review.access.change import SELF, Box
from authz_sidecar.review.report.permission import Permission, Vocabulary, permissions_of
from authz_sidecar.review.report.wording import (
    Name,
    company_phrase,
    id_phrase,
    owner_phrase,
    plain_phrase,
    texts_phrase,
)
from authz_sidecar.values.texts import ANY, Texts, prefix_of, texts, values_of
from tests.review.report.access_changes import IN_A_COMPANY, OTHERS, OWN, box, bundle, cause

WORDS = Vocabulary(bundle())


def lines(*boxes: Box) -> list[str]:
    """The lines that say what the boxes do."""
    return [plain_phrase(line.phrase()) for line in permissions_of([(each, ()) for each in boxes], WORDS)]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([box("folder", "read")], ["folder: read in every company"]),
        ([box("folder", "read"), box("salary", "read")], ["folder, salary: read in every company"]),
        ([box("folder", "read"), box("folder", "update")], ["folder: read, update in every company"]),
        (
            [box("folder", "read"), box("folder", "update", owner=OWN)],
            ["folder: read in every company", "folder: update (own) in every company"],
        ),
        ([box("folder", "read", owner=OWN), box("folder", "read", owner=OTHERS)], ["folder: read in every company"]),
        (
            [box("folder", "read", values_of(["b"])), box("folder", "read", values_of(["a"]))],
            ["folder: read in a, b"],
        ),
        ([Box()], ["everything everywhere"]),
        ([box("", "read", ANY)], ["every type: read everywhere"]),
        ([box("folder", "", ANY)], ["folder: every action everywhere"]),
        ([box("folder", "read", id=prefix_of("tmp-"))], ["folder beginning with tmp-: read in every company"]),
        ([box("folder", "create", id=values_of([""]))], ["folder without id: create in every company"]),
        ([box("folder", "read", section="2")], ["folder: read (section 2) in every company"]),
        (
            [Box(company=IN_A_COMPANY, type=texts((), ("",), ["user"]), action=values_of(["read"]))],
            ["every type except user: read in every company"],
        ),
    ],
)
def test_boxes_read_well(boxes: list[Box], expected: list[str]) -> None:
    """What can be said on one line is, and nothing is said that the boxes do not hold."""
    assert lines(*boxes) == expected


def test_whole_data_domains_are_named() -> None:
    """All types and actions of a data domain are the domain; what is beside it stays beside it."""
    assert lines(box("salary", "read update"), box("bonus", "read"), box("report", "read")) == [
        "all of data domain PAYROLL in every company",
        "report: read in every company",
    ]


def test_all_types_of_a_data_domain_are_named_with_their_actions() -> None:
    """A data domain that is granted in part is named with what is granted of it."""
    assert lines(box("salary bonus folder", "read")) == ["data domain PAYROLL, folder: read in every company"]


def test_sensitive_lines_come_first() -> None:
    """What the manifest or a data domain marks as sensitive is marked and leads."""
    found = permissions_of([(box("folder", "create"), ()), (box("salary", "update"), ())], WORDS)
    assert [(line.sensitive, plain_phrase(line.what())) for line in found] == [
        (True, "salary: update"),
        (False, "folder: create"),
    ]


def test_a_line_has_the_causes_of_its_boxes() -> None:
    """Lines of policy follow what they cause, each once, additions first."""
    boxes = [
        (box("folder", "read"), (cause(4), cause(9, "base"))),
        (box("report", "read"), (cause(3), cause(4))),
    ]
    (line,) = permissions_of(boxes, WORDS)
    assert [(each.side, each.rule.span.line) for each in line.causes] == [("head", 3), ("head", 4), ("base", 9)]


KINDS = ["folder", "report", "salary", "bonus"]
ACTIONS = ["create", "read", "update"]


def holds(line: Permission, kind: str, action: str, company: str, owner: str) -> bool:
    """Whether a line says this request, by its words' own parts."""
    if company not in line.company or owner not in line.owner:
        return False
    in_domain = any(
        (kind, action) in WORDS.cells[name] if line.whole else kind in WORDS.objects[name] for name in line.domains
    )
    return in_domain if line.whole else (in_domain or kind in line.types) and action in line.actions


@settings(max_examples=150)
@given(
    st.lists(
        st.builds(
            lambda kinds, actions, companies, owner: Box(
                type=values_of(kinds), action=values_of(actions), company=values_of(companies), owner=owner
            ),
            st.sets(st.sampled_from(KINDS), min_size=1),
            st.sets(st.sampled_from(ACTIONS), min_size=1),
            st.sets(st.sampled_from(["a", "b", ""]), min_size=1),
            st.sampled_from([OWN, OTHERS, ANY]),
        ),
        max_size=5,
    )
)
def test_lines_say_what_the_boxes_say(boxes: list[Box]) -> None:
    """Whatever is put together, the lines hold exactly the requests of the boxes."""
    found = permissions_of([(each, ()) for each in boxes], WORDS)
    for kind, action, company, owner in itertools.product(KINDS, ACTIONS, ["a", "b", ""], [SELF, "bob"]):
        wanted = any(
            kind in each.type and action in each.action and company in each.company and owner in each.owner
            for each in boxes
        )
        assert any(holds(line, kind, action, company, owner) for line in found) is wanted


@pytest.mark.parametrize(
    ("company", "words"),
    [
        (ANY, "everywhere"),
        (IN_A_COMPANY, "in every company"),
        (values_of([""]), "on the platform"),
        (values_of(["acme"]), "in acme"),
        (values_of(["", "acme"]), "on the platform and in acme"),
        (texts((), ("",), ["", "acme"]), "in every company except acme"),
        (texts((), ("",), ["acme"]), "on the platform and in every company except acme"),
        (prefix_of("eu-"), "in companies beginning with eu-"),
    ],
)
def test_companies_in_words(company: Texts, words: str) -> None:
    """The platform, every company and single ones are told apart."""
    assert plain_phrase(company_phrase(company)) == words


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        (ANY, ""),
        (OWN, " (own)"),
        (OTHERS, " (others')"),
        (values_of([""]), " (nobody's)"),
        (values_of(["bob"]), " (owned by bob)"),
        (values_of([SELF, "bob"]), " (own or owned by bob)"),
        (texts((), ("",), [""]), " (somebody's)"),
        (texts((), ("",), ["bob"]), " (owned by anybody except bob)"),
        (texts((), ("",), ["bob", SELF]), " (owned by anybody except bob, not own)"),
        (texts((), ("",), ["", SELF]), " (somebody's, not own)"),
    ],
)
def test_owners_in_words(owner: Texts, words: str) -> None:
    """The subject's own objects are told apart from those of others and of nobody."""
    assert plain_phrase(owner_phrase(owner)) == words


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        (ANY, ""),
        (values_of(["7"]), " 7"),
        (values_of([""]), " without id"),
        (texts((), ("",), [""]), " with an id"),
        (texts([""], ["t-"]), " beginning with t- or without id"),
        (texts((), ("",), ["7"]), " any except 7"),
    ],
)
def test_ids_in_words(identifier: Texts, words: str) -> None:
    """An object without id is told apart from any object."""
    assert plain_phrase(id_phrase(identifier)) == words


def test_long_lists_are_counted_after_ten() -> None:
    """Ten names are shown and the others counted, unless all are asked for."""
    many = values_of([f"t{number:02}" for number in range(12)])
    assert plain_phrase(texts_phrase(many, "all")).endswith("t09 and 2 more")
    assert plain_phrase(texts_phrase(many, "all", most=None)).endswith("t10, t11")


def test_names_of_several_words_are_told_apart() -> None:
    """In plain text a name that could be several is put in backticks, and an empty one can be seen."""
    assert plain_phrase(texts_phrase(values_of(["a, b", "", "c"]), "all")) == "``, `a, b`, c"
    # Nothing in a name ends it.
    assert plain_phrase((Name("ann` gains nothing"), " gains")) == r"`ann\x60 gains nothing` gains"
