"""Policy tests by what they ask, to tell which of them ask the same."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from authz_sidecar.bundle.policy_tests import PolicyTest

Question: TypeAlias = tuple[object, ...]


def question_of(test: PolicyTest) -> Question:
    """All that the decision on a test may depend on, as a value that can be looked up."""
    return (
        test.subject,
        test.action,
        test.type,
        test.id,
        test.company,
        test.owner,
        test.section,
        test.time,
        _frozen(test.attributes),
        _frozen(test.subject_attributes),
        _frozen(test.context),
    )


def by_question(tests: Iterable[PolicyTest]) -> dict[Question, list[PolicyTest]]:
    """The tests that ask the same, in their order."""
    found: dict[Question, list[PolicyTest]] = {}
    for test in tests:
        found.setdefault(question_of(test), []).append(test)
    return found


def title_of(test: PolicyTest) -> str:
    """What a test is called by its author: its name, or that of the matrix which it is a cell of."""
    return test.matrix or test.name


def _frozen(value: Any) -> object:
    if isinstance(value, Mapping):
        return frozenset((key, _frozen(part)) for key, part in value.items()) if value else ()
    if isinstance(value, list | tuple):
        return ("list", *[_frozen(part) for part in value])
    # `1`, `1.0` and `True` are equal and mean different things.
    return (type(value).__name__, value)
