"""Editing YAML in place: what goes, what stays, and what is refused."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.bundle.yaml_edit import Path, YamlEditError, YamlText, apply_edits, flow_text

TEXT = """\
# about the file
roles:
  CLERK:  # the clerk
    assigned: company
    grants:
      # reading
      - {object: case, actions: [read, update]}  # daily work
      # two lines
      # of comment
      - object: report
        actions:
          - read
          - export  # rarely

      - {objects: [a, b, c], actions: [read]}
  CHIEF:
    assigned: company
"""


def removed(*paths: Path, text: str = TEXT) -> str:
    """The text without what stands at these paths."""
    return apply_edits(text, YamlText(text).remove(*paths))


def lines_without(*numbers: int) -> str:
    """`TEXT` without some of its lines, counted from 1."""
    return "".join(line for number, line in enumerate(TEXT.splitlines(keepends=True), 1) if number not in numbers)


def test_an_item_goes_with_its_comments() -> None:
    """Taking out an item takes its lines and the comments right above it, and nothing else."""
    assert removed(("roles", "CLERK", "grants", 0)) == lines_without(6, 7)
    assert removed(("roles", "CLERK", "grants", 1)) == lines_without(8, 9, 10, 11, 12, 13)


def test_an_item_of_a_flow_list_goes_with_its_comma() -> None:
    """In a list on one line the comma goes too, whether the item is the first, the last, or several."""
    path = ("roles", "CLERK", "grants", 2, "objects")
    assert "{objects: [b, c], actions" in removed((*path, 0))
    assert "{objects: [a, c], actions" in removed((*path, 1))
    assert "{objects: [a, b], actions" in removed((*path, 2))
    edited = YamlText(TEXT)
    starts = [TEXT.index("[a, b, c]") + at for at in (1, 7)]
    assert "{objects: [b], actions" in apply_edits(TEXT, edited.remove_items(starts))


def test_a_key_goes_with_its_value() -> None:
    """Taking out a key of a mapping takes all of its value."""
    assert removed(("roles", "CHIEF")) == lines_without(16, 17)
    assert "- {object: case}  # daily work" in removed(("roles", "CLERK", "grants", 0, "actions"))


def test_the_first_key_of_an_item_goes() -> None:
    """The key that stands behind a dash goes without the dash."""
    assert "      - actions:\n          - read\n" in removed(("roles", "CLERK", "grants", 1, "object"))


def test_what_is_left_empty_goes() -> None:
    """A list whose last item is taken out goes with its key, and a file that is left empty is an empty mapping."""
    text = "a:\n  grants:\n    - {x: 1}\n  b: 2\n"
    assert removed(("a", "grants", 0), text=text) == "a:\n  b: 2\n"
    assert removed(("a", "b"), text="a:\n  b: 2\n") == "{}\n"


def test_an_item_is_added() -> None:
    """An item is added behind the last one, in the way in which the list is written, before what comes after it."""
    edited = YamlText(TEXT)
    text = apply_edits(TEXT, [edited.append(("roles", "CLERK", "grants"), {"object": "x", "actions": ["*"]})])
    assert '      - {objects: [a, b, c], actions: [read]}\n      - {object: x, actions: ["*"]}\n  CHIEF:' in text
    text = apply_edits(TEXT, [edited.append(("roles", "CLERK", "grants", 1, "actions"), "print")])
    assert "          - export  # rarely\n          - print\n\n" in text
    text = apply_edits(TEXT, [edited.append(("roles", "CLERK", "grants", 0, "actions"), "delete")])
    assert "actions: [read, update, delete]}  # daily work" in text


def test_a_key_is_added() -> None:
    """A key is added at the end of its mapping; a list may take a line for each item."""
    edited = YamlText(TEXT)
    text = apply_edits(TEXT, [edited.set(("roles", "CHIEF"), "grants", [{"object": "x"}, "z"], block=True)])
    assert text.endswith("  CHIEF:\n    assigned: company\n    grants:\n      - {object: x}\n      - z\n")
    text = apply_edits(TEXT, [edited.set((), "flags", {})])
    assert text.endswith("    assigned: company\nflags: {}\n")


def test_a_last_line_without_a_break() -> None:
    """What is added to a file that does not end in a line break stands on a line of its own."""
    edited = YamlText("a:\n  - b")
    assert apply_edits(edited.text, [edited.append(("a",), "c")]) == "a:\n  - b\n  - c\n"


def test_line_ends_of_windows_stay() -> None:
    """A file whose lines end in CR LF keeps them, and what is added has them too."""
    text = TEXT.replace("\n", "\r\n")
    edited = YamlText(text)
    edits = [*edited.remove(("roles", "CLERK", "grants", 1)), edited.set((), "flags", {})]
    assert "\n" not in apply_edits(text, edits).replace("\r\n", "")


def test_a_value_is_replaced_in_its_quotes() -> None:
    """A text takes the place of another; where that was in double quotes, it is too."""
    text = "a: \"x\"\nb: y  # why\nc: [p, 'q']\n"
    edited = YamlText(text)
    edits = [edited.replace_at(text.index(found), "new") for found in ('"x"', "y  #", "'q'")]
    assert apply_edits(text, edits) == 'a: "new"\nb: new  # why\nc: [p, new]\n'


def test_wrong_places_are_refused() -> None:
    """Nothing is edited where nothing of that kind begins, and overlapping edits are an error."""
    edited = YamlText(TEXT)
    with pytest.raises(YamlEditError, match="no item begins there"):
        edited.remove_items([3])
    with pytest.raises(YamlEditError, match="there is no"):
        edited.remove(("roles", "NOBODY"))
    with pytest.raises(ValueError, match="the same text"):
        apply_edits("abc", [*edited.remove(("roles", "CLERK")), *edited.remove(("roles", "CLERK", "grants", 0))])


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=8)
VALUES = st.recursive(
    st.one_of(NAMES, st.booleans(), st.integers(-99, 99), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


@given(VALUES)
def test_any_value_is_read_as_it_was_written(value: Any) -> None:
    """What is written on one line is read as the same value."""
    assert yaml.safe_load(f"- {flow_text(value)}") == [value]


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, list[Any]]]:
    """A file of lists, in either style, with comments, and what it holds."""
    data = draw(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.lists(VALUES, min_size=1, max_size=4), min_size=1))
    lines: list[str] = []
    for key, items in data.items():
        if draw(st.booleans()):
            lines.append(f"{key}: {flow_text(items)}")
            continue
        lines.append(f"{key}:")
        for item in items:
            if draw(st.booleans()):
                lines.append("  # a comment - [of, its] own: x")
            lines.append(f"  - {flow_text(item)}" + draw(st.sampled_from(["", "  # behind"])))
            if draw(st.booleans()):
                lines.append("")
    return "\n".join(lines) + "\n", data


ITEMS = st.lists(NAMES, min_size=1, max_size=5)
LAYOUTS = st.sampled_from(["block", "flow", "rows", "commas first"])


@st.composite
def commented_lists(draw: st.DrawFn) -> tuple[str, dict[str, list[str]]]:
    """A file of lists in every layout, whose comments name the item that they stand above or behind."""
    data = draw(st.dictionaries(st.sampled_from(["a", "b", "c"]), ITEMS, min_size=1))
    lines = ["# about the file"]
    for key, items in data.items():
        layout = draw(LAYOUTS)
        if layout == "flow":
            lines.append(f"{key}: [{', '.join(map(flow_text, items))}]  # {key}")
            continue
        lines.append(f"{key}:  # {key}" if layout == "block" else f"{key}: [  # {key}")
        for at, item in enumerate(items):
            last = at == len(items) - 1
            if draw(st.booleans()):
                lines.append(f"    # above {key}{at}")
            sign = {"block": "- ", "rows": "", "commas first": ", " if at else "  "}[layout]
            comma = "," if layout == "rows" and (not last or draw(st.booleans())) else ""
            behind = f"  # behind {key}{at}" if draw(st.booleans()) else ""
            lines.append(f"    {sign}{flow_text(item)}{comma}{behind}")
        if layout != "block":
            lines.append("  ]")
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""]), data


def comments(text: str) -> set[str]:
    """The comments of such a file; no text in it holds two blanks before a `#`."""
    return {line.partition("# ")[2].strip() for line in text.splitlines() if "# " in line}


@given(commented_lists(), st.data())
def test_removing_keeps_what_is_about_others(document: tuple[str, dict[str, list[str]]], data: st.DataObject) -> None:
    """Whichever items are taken out of lists of any layout, the others stay, and so does each comment about one."""
    text, content = document
    edited = YamlText(text)
    every = [(key, at) for key, items in content.items() for at in range(len(items))]
    gone = data.draw(st.sets(st.sampled_from(every), max_size=len(every) - 1))
    after = apply_edits(text, edited.remove(*gone))
    rest = {key: [item for at, item in enumerate(items) if (key, at) not in gone] for key, items in content.items()}
    assert yaml.safe_load(after) == {key: items for key, items in rest.items() if items}
    about_gone = {f"{where} {key}{at}" for key, at in gone for where in ("above", "behind")}
    about_empty = {key for key, items in rest.items() if not items}
    assert comments(text) - comments(after) <= about_gone | about_empty
    assert after.count("\n") == after.count("\r\n") or "\r\n" not in text


@given(commented_lists(), st.data())
def test_adding_keeps_everything(document: tuple[str, dict[str, list[str]]], data: st.DataObject) -> None:
    """An item added to a list of any layout comes last, and no comment goes."""
    text, content = document
    key = data.draw(st.sampled_from(sorted(content)))
    after = apply_edits(text, [YamlText(text).append((key,), "x: y")])
    assert yaml.safe_load(after) == {**content, key: [*content[key], "x: y"]}
    assert comments(after) == comments(text)


SHARED = """\
a:
  grants: &g
    - {x: 1, y: 2}
    - &one z
b:
  grants: *g
c: [*one, w]
"""


@pytest.mark.parametrize(
    "path", [("a", "grants", 0), ("a", "grants", 1), ("a", "grants", 0, "x"), ("a", "grants"), ("a",)]
)
def test_what_an_alias_stands_for_is_not_taken_out(path: Path) -> None:
    """What is written once for several places cannot be taken out of one of them."""
    with pytest.raises(YamlEditError, match="elsewhere"):
        removed(path, text=SHARED)


def test_what_an_alias_stands_for_is_not_added_to() -> None:
    """Nor can anything be added to it, from where it is written or from where the alias stands."""
    edited = YamlText(SHARED)
    with pytest.raises(YamlEditError, match=r"the alias `\*g` stands for it elsewhere"):
        edited.append(("a", "grants"), "x")
    for path in (("b", "grants"), ("b", "grants", 0)):
        with pytest.raises(YamlEditError, match=r"the alias `\*g` stands there"):
            edited.append(path, "x")


def test_an_alias_itself_is_taken_out() -> None:
    """An alias is an item like others."""
    assert removed(("c", 0), text=SHARED) == SHARED.replace("[*one, w]", "[w]")
    assert removed(("b", "grants"), text=SHARED) == SHARED.replace("b:\n  grants: *g\n", "")


def test_an_anchored_block_list_is_edited() -> None:
    """An anchor that nothing uses hinders no edit, whether it stands beside the key or not."""
    text = "a: &x\n  - b  # why\n  # c\n  - c\n"
    assert removed(("a", 1), text=text) == "a: &x\n  - b  # why\n"
    assert apply_edits(text, [YamlText(text).append(("a",), "d")]) == text + "  - d\n"


def test_lists_in_lists() -> None:
    """The first item of a list that begins behind a dash goes, and the next one takes its place with its comment."""
    assert removed(("a", 0, 0), text="a:\n  - - b\n    - c\n") == "a:\n  - - c\n"
    text = "a:\n  - x: 1  # one\n    # two\n    y: 2\n"
    assert removed(("a", 0, "x"), text=text) == "a:\n  - # two\n    y: 2\n"


def test_blank_lines_that_are_text_stay() -> None:
    """A text whose last blank lines count keeps them when a key is added behind it."""
    text = "a:\n  b: |+\n    one\n\n\n"
    after = apply_edits(text, [YamlText(text).set(("a",), "c", 1)])
    assert yaml.safe_load(after) == {"a": {"b": "one\n\n\n", "c": 1}}


def test_several_lists_are_emptied_together() -> None:
    """What is left empty by several removals at once goes as a whole, and takes what holds it along."""
    text = "a:\n  - {x: [1, 1], y: [2]}\n  - {x: [3]}\nb: 1\n"
    paths: list[Path] = [("a", 0, "x", 0), ("a", 0, "x", 1), ("a", 0, "y", 0), ("a", 1, "x", 0)]
    assert removed(*paths, text=text) == "b: 1\n"


def test_a_file_that_is_left_empty_keeps_its_comments() -> None:
    """Where nothing is left, comments above and below still are."""
    text = "# schema\n\na:\n  - b  # why\n# end\n"
    assert removed(("a", 0), text=text) == "# schema\n\n{}  # why\n# end\n"
