"""Which policy tests to run: by name, tag and file."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.bundle.wording import closest, listed, quote

SHORTEST_WORD = 3


class Selection(msgspec.Struct, frozen=True):
    """What is asked for. A test is selected if it meets one of each kind that is given: `names` and `files` are a part
    of the text, or with `*` and `?` a pattern of the whole; `tags` are whole. None of its tags may be in `without`."""

    names: Sequence[str] = ()
    tags: Sequence[str] = ()
    without: Sequence[str] = ()
    files: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.tags or self.without or self.files)


class SelectionError(Exception):
    """Something that is asked for selects nothing: each a message and its remedy."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(message for message, _ in problems))
        self.problems = problems


def select_tests(tests: Sequence[PolicyTest], selection: Selection) -> tuple[PolicyTest, ...]:
    """The tests that `selection` asks for, in their order.

    Raises SelectionError if there is none, and for each name, tag or file that no test has: a misspelt one would
    leave tests out without a word.
    """
    names = [(text, _matcher(text)) for text in selection.names]
    files = [(text, _file_matcher(text)) for text in selection.files]
    tags, without = frozenset(selection.tags), frozenset(selection.without)
    problems = [
        *_unmatched(names, {test.name for test in tests}, lambda text: _name_problem(text, tests)),
        *[_tag_problem(tag, tests) for tag in selection.tags if not any(tag in test.tags for test in tests)],
        *_unmatched(files, {test.span.file for test in tests}, lambda text: _file_problem(text, tests)),
    ]
    if problems:
        raise SelectionError(*dict.fromkeys(problems))
    selected = tuple(
        [
            test
            for test in tests
            if (not names or any(matches(test.name) for _, matches in names))
            and (not files or any(matches(test.span.file) for _, matches in files))
            and (not tags or not tags.isdisjoint(test.tags))
            and without.isdisjoint(test.tags)
        ]
    )
    if not selected:
        raise SelectionError(("no test meets all of the filters", "leave one away, and see with `--list` what is left"))
    return selected


_Matches = Callable[[str], bool]


def _matcher(text: str) -> _Matches:
    part = text.casefold()
    if "*" not in text and "?" not in text:
        return lambda name: part in name.casefold()
    glob = re.compile("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in part), re.DOTALL)
    # A name may hold such a sign itself.
    return lambda name: part in name.casefold() or glob.fullmatch(name.casefold()) is not None


def _file_matcher(text: str) -> _Matches:
    matches = _matcher(text)
    # A path from where somebody stands ends in the path within the bundle.
    return lambda file: text.endswith("/" + file) or matches(file)


def _unmatched(
    wanted: Iterable[tuple[str, _Matches]], present: Collection[str], word: Callable[[str], tuple[str, str]]
) -> list[tuple[str, str]]:
    return [word(text) for text, matches in wanted if not any(map(matches, present))]


def _name_problem(text: str, tests: Sequence[PolicyTest]) -> tuple[str, str]:
    names = list(dict.fromkeys(test.matrix or test.name for test in tests))
    words = {word for name in names for word in re.findall(r"\w+", name) if len(word) >= SHORTEST_WORD}
    guess = closest(text, names) or closest(text, words)
    remedy = f"did you mean {quote(guess)}?" if guess else f"there are {listed(names, 'and')}; `--list` shows them all"
    return f"no test is named like {quote(text)}", remedy if names else "the bundle has no tests"


def _tag_problem(tag: str, tests: Sequence[PolicyTest]) -> tuple[str, str]:
    tags = sorted({tag for test in tests for tag in test.tags})
    guess = closest(tag, tags)
    remedy = f"did you mean {quote(guess)}?" if guess else f"the tests are tagged {listed(tags, 'and')}"
    return f"no test has the tag {quote(tag)}", remedy if tags else "no test has any; give `tags` to tests or files"


def _file_problem(text: str, tests: Sequence[PolicyTest]) -> tuple[str, str]:
    files = sorted({test.span.file for test in tests})
    guess = closest(text, files) or closest(text, {file.rpartition("/")[2] for file in files})
    remedy = f"did you mean {quote(guess)}?" if guess else f"there are tests in {listed(files, 'and')}"
    return f"no file of tests is named like {quote(text)}", remedy if files else "the bundle has no tests"
