"""The canonical layout of files: what changes, what stays, and what is refused."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.bundle.canonical import CanonicalError, canonical_text
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.yaml_text import parse_yaml

ROOT = Path(__file__).parents[2]
UNTIDY = """\
roles:
    CLERK:   # the clerk
        assigned:   company
        description: 'works "hard"'
        kind: 'primary'
        grants:
        # every day
        -   {object: case,   actions: [ read,update ]}   # see the handbook



        - object: report
          actions:
              - read
    # the last one
    CHIEF: {assigned: company}
"""
TIDY = """\
roles:
  CLERK:  # the clerk
    assigned: company
    description: 'works "hard"'
    kind: "primary"
    grants:
      # every day
      - {object: case, actions: [read, update]}  # see the handbook

      - object: report
        actions:
          - read
  # the last one
  CHIEF: {assigned: company}
"""


def test_layout() -> None:
    """Indentation, spaces, blank lines and quotes become the same; keys, items and comments stay in their order."""
    assert canonical_text("roles.yaml", UNTIDY.encode()).decode() == TIDY


def test_it_is_done_after_once() -> None:
    """What is canonical stays as it is."""
    assert canonical_text("roles.yaml", TIDY.encode()) == TIDY.encode()


@pytest.mark.parametrize("path", sorted(ROOT.glob("policies/**/*.yaml")) + sorted(ROOT.glob("examples/**/*.yaml")))
def test_bundles_are_canonical(path: Path) -> None:
    """The bundles that come with the project are laid out so."""
    assert canonical_text(path.name, path.read_bytes()).decode() == path.read_text()


@st.composite
def untidy(draw: st.DrawFn) -> str:
    """A valid file of any indentation, quotes and line ends, with comments, blank lines and texts of several lines."""
    numbers = iter(range(1000))
    lines: list[str] = []

    def between(column: int) -> None:
        for what in draw(st.lists(st.sampled_from(["blank", "here", "left", "right"]), max_size=2)):
            deep = {"here": column, "left": draw(st.integers(0, column)), "right": column + 3}.get(what, 0)
            lines.append("" if what == "blank" else " " * deep + f"# c{next(numbers)}")

    def behind() -> str:
        return draw(st.sampled_from(["", "", " # behind", f"   # x: [{next(numbers)}]"]))

    def scalar() -> str:
        texts = ("a", "'b'", "'it''s'", '"\\u202e #"', "x#y", "", "3", "'say \"'", "http://x")
        return draw(st.sampled_from(texts)) or "''"

    def flow(depth: int) -> str:
        if not depth or draw(st.booleans()):
            return scalar()
        inner = [flow(depth - 1) for _ in range(draw(st.integers(0, 8)))]
        if draw(st.booleans()):
            pairs = [f"k{number}{draw(st.sampled_from([': ', ' :   ']))}{value}" for number, value in enumerate(inner)]
            return "{" + draw(st.sampled_from([", ", ",", " ,  "])).join(pairs) + "}"
        return "[ " + draw(st.sampled_from([", ", ",\n        ", " ,  "])).join(inner) + " ]"

    def rows(column: int) -> None:
        lines[-1] += " [" + behind()
        for _ in range(draw(st.integers(0, 3))):
            between(column + 2)
            lines.append(" " * (column + 2) + flow(1).replace("\n", "") + "," + behind())
        between(column)
        lines.append(" " * column + "]" + behind())

    def text(column: int) -> None:
        sign = draw(st.sampled_from(["|", ">", "|-", ">+", "|2"]))
        deep = column + (2 if sign == "|2" else draw(st.integers(1, 4)))
        lines[-1] += f" {sign}" + draw(st.sampled_from(["", "  # of a text"]))
        lines.extend([" " * deep + "one # two", "", " " * deep + "   three", ""])

    def value(column: int, depth: int) -> None:
        """What follows a key or a dash at the end of the last line; `column` is where that stands."""
        form = draw(st.sampled_from(["flow", "rows", "text", "long", "below", "mapping", "list"]))
        if form == "mapping" and depth:
            lines[-1] += behind()
            mapping(column + draw(st.integers(1, 4)), depth - 1)
        elif form == "list" and depth:
            lines[-1] += behind()
            items(column + draw(st.integers(1, 3)), depth - 1)
        elif form == "rows":
            rows(column + 1)
        elif form == "text":
            text(column)
        elif form == "long":
            lines[-1] += draw(st.sampled_from([" one", ' "one'])) + " two"
            lines.append(" " * (column + 3) + "three" + ('"' if '"one' in lines[-1] else ""))
        elif form == "below":
            lines[-1] += behind()
            lines.append(" " * (column + 2) + scalar())
        else:
            lines[-1] += f" {flow(2)}" + behind()

    def mapping(column: int, depth: int) -> None:
        for number in range(draw(st.integers(1, 3))):
            between(column)
            lines.append(" " * column + f"k{number}:")
            value(column, depth)

    def items(column: int, depth: int) -> None:
        for _ in range(draw(st.integers(1, 3))):
            between(column)
            lines.append(" " * column + "-")
            if depth and draw(st.booleans()):
                lines[-1] += "   k:"
                value(column + 4, depth - 1)
            else:
                value(column, depth)

    lines += draw(st.sampled_from([[], ["# top"], ["# top", "", "---"], ["--- # top"]]))
    mapping(0, 3)
    between(0)
    return "\n".join([*lines, ""])


@given(untidy(), st.booleans())
def test_any_file_keeps_its_data(text: str, windows: bool) -> None:
    """Whatever a file holds, it is laid out, its data and comments are the same, and a second time changes nothing."""
    once = canonical_text("x.yaml", (text.replace("\n", "\r\n") if windows else text).encode())
    findings = Findings()
    assert parse_yaml(once, "x.yaml", findings) == parse_yaml(text.encode(), "x.yaml", findings)
    assert not findings.refused
    laid_out = once.decode()
    assert Counter(re.findall(r"# (?:c\d+|behind|top|of a text|x: \[\d+\])", laid_out)) == Counter(
        re.findall(r"# (?:c\d+|behind|top|of a text|x: \[\d+\])", text)
    )
    assert canonical_text("x.yaml", once) == once


def test_long_lines_are_broken() -> None:
    """A list or a mapping that is too long for a line is broken after commas, never inside a text."""
    row = ", ".join(f'"- c {number}, x"' for number in range(30))
    text = f"a:\n  b:\n    [{row}]\n"
    once = canonical_text("x.yaml", text.encode())
    assert yaml.safe_load(once) == yaml.safe_load(text)
    lines = once.decode().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 120
    assert canonical_text("x.yaml", once) == once


def test_rows() -> None:
    """Rows have one space after each comma, no spaces at their ends and no more than one blank line between them."""
    text = "p,alice ,  data1,read\n\n\n# people\n  g, alice,admin\np, bob, f(a,b), write\n"
    assert canonical_text("policy.csv", text.encode()).decode() == (
        "p, alice, data1, read\n\n# people\ng, alice, admin\np, bob, f(a,b), write\n"
    )


def test_texts_of_several_lines_stay() -> None:
    """Blank lines and a `#` inside a text are its own."""
    text = "a: |\n  one\n\n\n\n  # two  \nb: 1\n"
    assert yaml.safe_load(canonical_text("x.yaml", text.encode())) == yaml.safe_load(text)


def test_what_is_not_valid_is_refused() -> None:
    """A file with an error is not laid out."""
    with pytest.raises(CanonicalError, match="it is not valid"):
        canonical_text("x.yaml", b"a: [")


def test_other_files_are_left_alone() -> None:
    """The model and notes are their authors'."""
    assert canonical_text("model.conf", b"[a]\n  b=1") == b"[a]\n  b=1"


def laid_out(text: str, file: str = "x.yaml") -> str:
    """The canonical layout of a text."""
    return canonical_text(file, text.encode()).decode()


def test_lists_with_comments_have_a_line_for_each_item() -> None:
    """A list in brackets stays in brackets; with comments inside it has a line for each item, which keeps its own."""
    text = "a:\n - {x: [ # of x\n     b, # of b\n     c # of c\n     # the end\n    ], y: 1}\n"
    assert laid_out(text) == (
        "a:\n  - {\n      x: [  # of x\n        b,  # of b\n        c  # of c\n        # the end\n      ],\n"
        "      y: 1\n    }\n"
    )


def test_comments_stay_with_their_block() -> None:
    """A comment below the last item of a list stays in the list, one at the left margin stays there."""
    text = "a:\n- b\n# next\nc:\n    - d\n    # e\n# f\n    - g\n    # end\n# last\n"
    assert laid_out(text) == "a:\n  - b\n# next\nc:\n  - d\n  # e\n# f\n  - g\n  # end\n# last\n"


def test_comments_between_a_key_and_its_value_go_above() -> None:
    """What cannot stay where it is goes above the line, and is not lost."""
    assert laid_out("a: # one\n  b\nc:\n  -  # two\n     d: e\n") == "# one\na: b\nc:\n  # two\n  - d: e\n"


def test_escapes_stay_escapes() -> None:
    """A character that is written by its number, as it cannot be seen, stays so."""
    assert laid_out('a:   "x\\u202e\\t"\n') == 'a: "x\\u202e\\t"\n'


def test_anchors_stay() -> None:
    """An anchor and its aliases stay where they are."""
    text = "a: &x\n  - b\nc: *x\nd: &y {e: &z f}\n"
    assert laid_out(text.replace("&x\n", "  &x\n\n").replace("e: ", "e:  ")) == text.replace("&x\n", "&x\n\n")


@pytest.mark.parametrize("row", ["p, (a, b", "p, a), b", "p, \x07"])
def test_rows_that_are_not_valid_are_refused(row: str) -> None:
    """Rows whose brackets do not match, or that hold control characters, are not laid out."""
    with pytest.raises(CanonicalError, match="it is not valid"):
        laid_out(row, "policy.csv")


@pytest.mark.parametrize("data", [b"p, \xff", b"\xef\xbb\xbfp, a\n"])
def test_other_encodings_are_refused(data: bytes) -> None:
    """What is not UTF-8, or has a byte-order mark, is not laid out, rows neither."""
    for file in ("policy.csv", "x.yaml"):
        with pytest.raises(CanonicalError, match="it is not valid"):
            canonical_text(file, data)


def test_line_ends_of_windows_stay() -> None:
    """Lines that end in CR LF still do, and such a file is as canonical as another."""
    for file, text in (("x.yaml", "a:   b\n"), ("policy.csv", "p,a\n")):
        once = laid_out(text.replace("\n", "\r\n"), file)
        assert once == laid_out(text, file).replace("\n", "\r\n")
        assert laid_out(once, file) == once


def test_empty_rows_stay_empty() -> None:
    """A file without rows has none afterwards."""
    assert laid_out("", "policy.csv") == laid_out("\n\n", "policy.csv") == ""
