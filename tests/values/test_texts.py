"""Sets of texts: values, beginnings, and what is taken away."""

from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.values.texts import ANY, NOTHING, Texts, prefix_of, texts, values_of

SOME = ("", "a", "b", "ab", "abc", "abd", "b*", "*", "ac")
parts = st.frozensets(st.sampled_from(SOME), max_size=3)
sets = st.builds(texts, parts, parts, parts, parts)


@given(parts, parts, parts, parts)
def test_a_set_holds_what_it_says(
    values: frozenset[str], prefixes: frozenset[str], less: frozenset[str], begun: frozenset[str]
) -> None:
    """A text is in a set if it is a value or begins as said, and is not taken away; leaving out what is redundant
    changes nothing."""
    made = texts(values, prefixes, less, begun)
    for text in SOME:
        said = text in values or any(text.startswith(prefix) for prefix in prefixes)
        taken = text in less or any(text.startswith(prefix) for prefix in begun)
        assert (text in made) == (said and not taken)


@given(sets, sets)
def test_an_intersection_holds_what_both_hold(one: Texts, other: Texts) -> None:
    """The intersection of two sets holds the texts of both."""
    both = one.intersect(other)
    assert all((text in both) == (text in one and text in other) for text in SOME)


@given(sets, sets)
def test_a_union_holds_what_either_holds(one: Texts, other: Texts) -> None:
    """The union of two sets, where it is a set, holds the texts of either."""
    either = one.union(other)
    assert either is None or all((text in either) == (text in one or text in other) for text in SOME)


@given(sets)
def test_a_complement_holds_everything_else(made: Texts) -> None:
    """The complement of a set, where it is a set, holds all other texts."""
    rest = made.complement()
    assert rest is None or all((text in rest) != (text in made) for text in SOME)


@given(sets, sets)
def test_what_is_within_a_set_has_no_other_text(one: Texts, other: Texts) -> None:
    """A set that is said to be within another holds no text that the other lacks."""
    if one.within(other):
        assert all(text in other for text in SOME if text in one)


@given(sets)
def test_a_set_is_within_itself_and_everything(made: Texts) -> None:
    """Every set is seen to be within itself and within the set of all texts."""
    assert made.within(made)
    assert made.within(ANY)


def test_simple_sets_have_simple_complements_and_unions() -> None:
    """Of values, of a beginning, and of everything there always is a complement, and of two such a union."""
    assert values_of(("a",)).complement() == texts((), ("",), ("a",))
    assert prefix_of("a").complement() == texts((), ("",), (), ("a",))
    assert (ANY.complement(), NOTHING.complement()) == (NOTHING, ANY)
    assert values_of(("a", "b")).union(prefix_of("a")) == texts(("b",), ("a",))
    assert prefix_of("") is ANY


def test_only_one_text_is_the_only_one() -> None:
    """A set tells its only text, and none where it has several, none, or any that begin alike."""
    assert values_of(("a",)).only == "a"
    assert (values_of(("a", "b")).only, NOTHING.only, prefix_of("a").only) == (None, None, None)
