"""YAML text: what is taken, what is refused, and where."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.yaml_nodes import YamlList, YamlMap, span_at
from authz_sidecar.bundle.yaml_text import MAX_DEPTH, parse_yaml
from authz_sidecar.values import Span

ALIAS_HELP = 'define it first, or put the text in quotes: a leading `*` makes an alias, `"*"` does not'
SYNTAX_HELP = "check the indentation, brackets and quotes on this line and the one above"
MAPPING_HELP = "write `section:` lines at the left margin, or remove the file"


def parse(text: str | bytes) -> tuple[YamlMap | None, list[tuple[str, str, str, str]]]:
    """The data, and every finding as place, code, message and help."""
    findings = Findings()
    root = parse_yaml(text.encode() if isinstance(text, str) else text, "x.yaml", findings)
    return root, [(str(d.span), d.code, d.message, d.help) for d in findings.sorted()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("007", 7),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("2026-01-31", "2026-01-31"),
        ("12:30:45", "12:30:45"),
        ('"12"', "12"),
        ("'true'", "true"),
        ("1.2.3", "1.2.3"),
        ("+", "+"),
        ("- ", [None]),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("é😀", "é😀"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """Only `true`, `false`, `null` and numbers are other than text (core schema)."""
    separator = "\n  " if text == "- " else " "
    root, findings = parse(f"a:{separator}{text}")
    assert findings == []
    assert root == {"a": value}


def test_places_are_counted_in_characters() -> None:
    """Keys, values and items know line and column; a character outside ASCII is one column."""
    root, _ = parse('é: {ü: "ä", list: [1,\n  2]}\n')
    assert root is not None
    inner = root["é"]
    assert isinstance(inner, YamlMap)
    assert isinstance(inner["list"], YamlList)
    assert inner.span == Span("x.yaml", 1, 1)
    assert inner.key_span("ü") == Span("x.yaml", 1, 5)
    assert inner.value_span("ü") == Span("x.yaml", 1, 8)
    assert inner.text_span("ü", 0) == Span("x.yaml", 1, 9)
    assert span_at(root, ("é", "list", 1)) == Span("x.yaml", 2, 3)
    assert span_at(root, ("é", "list", 9)) == Span("x.yaml", 1, 19)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        pytest.param(
            "a: 1\nb: 2\na: 3\n",
            (
                "x.yaml:3:1",
                "yaml-duplicate-key",
                "the key `a` is given twice",
                "remove one of them; the first is on line 1",
            ),
            id="duplicate key",
        ),
        pytest.param(
            "a:\n\t- b\n",
            ("x.yaml:2:1", "yaml-tab", "a tab stands where YAML takes spaces only", "indent with spaces"),
            id="tab",
        ),
        pytest.param(
            "a: 1\n---\nb: 2\n",
            (
                "x.yaml:2:1",
                "yaml-document",
                "the file holds a second document",
                "remove the `---` line, or move what follows it to a file of its own",
            ),
            id="second document",
        ),
        pytest.param("- a\n", ("x.yaml:1:1", "yaml-document", "the file holds no mapping", MAPPING_HELP), id="list"),
        pytest.param(
            "# only\n", ("x.yaml:1:1", "yaml-document", "the file holds no mapping", MAPPING_HELP), id="empty"
        ),
        pytest.param(
            "a: 1\n<<: {b: 2}\n",
            (
                "x.yaml:2:1",
                "yaml-merge",
                "the merge key `<<` is not taken",
                "write the fields out, or share a whole value by an alias",
            ),
            id="merge key",
        ),
        pytest.param(
            "a: !secret b\n",
            (
                "x.yaml:1:4",
                "yaml-tag",
                "the tag `!secret` is not taken",
                "remove the tag; put a value in quotes to make it text",
            ),
            id="tag",
        ),
        pytest.param(
            "a: !!python/object:os.system {}\n",
            (
                "x.yaml:1:4",
                "yaml-tag",
                "the tag `tag:yaml.org,2002:python/object:os.system` is not taken",
                "remove the tag; put a value in quotes to make it text",
            ),
            id="tag of a mapping",
        ),
        pytest.param(
            "1: a\n",
            ("x.yaml:1:1", "yaml-key", "the key `1` is not text", 'put it in quotes: `"1":`'),
            id="number as key",
        ),
        pytest.param(
            "true: a\n",
            ("x.yaml:1:1", "yaml-key", "the key `true` is not text", 'put it in quotes: `"true":`'),
            id="boolean as key",
        ),
        pytest.param(
            "? [a]\n: b\n",
            ("x.yaml:1:3", "yaml-key", "a key is a list or a mapping", "write the key as text"),
            id="list as key",
        ),
        pytest.param(
            "a: &k x\n*k : b\n",
            ("x.yaml:2:1", "yaml-key", "a key is an alias", "write the key as text"),
            id="alias as key",
        ),
        pytest.param(
            "a: *b\n",
            ("x.yaml:1:4", "yaml-alias", "the alias `*b` has no anchor before it", ALIAS_HELP),
            id="unknown alias",
        ),
        pytest.param(
            "a: &b [*b]\n",
            ("x.yaml:1:8", "yaml-alias", "the alias `*b` stands inside its own anchor", "write the value out"),
            id="alias of itself",
        ),
        pytest.param(
            "a: &x 1\nb: &x 2\n",
            ("x.yaml:2:4", "yaml-alias", "the anchor `&x` is defined twice", "give each anchor a name of its own"),
            id="anchor twice",
        ),
        pytest.param(
            "object: *\n",
            ("x.yaml:1:9", "yaml-syntax", "`*` begins something else in YAML than text", 'put it in quotes: `"*"`'),
            id="bare star",
        ),
        pytest.param(
            "a: @home\n",
            ("x.yaml:1:4", "yaml-syntax", "`@` begins something else in YAML than text", 'put it in quotes: `"@"`'),
            id="bare at",
        ),
        pytest.param(
            "a: [1, 2\n",
            (
                "x.yaml:2:1",
                "yaml-syntax",
                "the file is not YAML: while parsing a flow sequence: did not find expected ',' or ']'",
                SYNTAX_HELP,
            ),
            id="open bracket",
        ),
        pytest.param(
            "a: b: c\n",
            (
                "x.yaml:1:5",
                "yaml-syntax",
                "the file is not YAML: mapping values are not allowed in this context",
                SYNTAX_HELP,
            ),
            id="colon",
        ),
        pytest.param(
            "a: .inf\n",
            (
                "x.yaml:1:4",
                "field-value",
                "the number `.inf` is too large, too long or not finite",
                "put it in quotes if it is an id; numbers have at most 18 digits",
            ),
            id="infinite number",
        ),
        pytest.param(
            "a: 12345678901234567890\n",
            (
                "x.yaml:1:4",
                "field-value",
                "the number `12345678901234567890` is too large, too long or not finite",
                "put it in quotes if it is an id; numbers have at most 18 digits",
            ),
            id="long number",
        ),
        pytest.param(
            b"a: caf\xe9\n",
            (
                "x.yaml:1:7",
                "file-encoding",
                "the file is not UTF-8: byte 0xe9 does not begin or continue a character",
                "save the file as UTF-8",
            ),
            id="not UTF-8",
        ),
        pytest.param(
            b"\xef\xbb\xbfa: 1\n",
            (
                "x.yaml:1:1",
                "file-encoding",
                "the file begins with a byte-order mark",
                "save the file as UTF-8 without a byte-order mark",
            ),
            id="byte-order mark",
        ),
        pytest.param(
            "a: 1\nb: x\x07y\n",
            (
                "x.yaml:2:5",
                "file-encoding",
                "the file holds the control character U+0007",
                "remove the character; it is not visible in most editors",
            ),
            id="control character",
        ),
    ],
)
def test_what_yaml_has_and_a_bundle_has_not(text: str | bytes, finding: tuple[str, str, str, str]) -> None:
    """Each is refused with code, place, message and remedy."""
    assert parse(text) == (None, [finding])


DEEP = (
    f"x.yaml:1:{MAX_DEPTH + 1}",
    "yaml-depth",
    "the file is nested more than 64 deep",
    "write it flatter; a bundle needs less than ten levels",
)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_refused_before_anything_is_built(depth: int) -> None:
    """A file of a hundred thousand brackets is one finding, and the process goes on."""
    assert parse("[" * depth) == (None, [DEEP])


def test_nesting_to_the_limit_is_taken() -> None:
    """Sixty-four levels are no finding."""
    root, findings = parse("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
    assert root is not None
    assert findings == []


def test_aliases_share_a_value() -> None:
    """An alias stands for its anchor's value."""
    root, _ = parse("a: &list [1, 2]\nb: *list\nc: {d: *list}\n")
    assert root == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}


def test_aliases_cannot_grow_without_bound() -> None:
    """Nine lines that would be a billion values are refused where the bound is passed."""
    lines = ["a0: &a0 [" + ",".join("x" * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 9)]
    root, [finding] = parse("\n".join(lines))
    assert root is None
    assert finding == (
        "x.yaml:5:38",
        "yaml-alias",
        "aliases expand to more than 100,000 values",
        "write the values out",
    )


def test_anchors_and_aliases_are_counted() -> None:
    """The hundred-and-first is refused."""
    text = "a: &a x\nb: [" + ",".join(["*a"] * 100) + "]\n"
    root, [finding] = parse(text)
    assert root is None
    assert finding[1:] == ("yaml-alias", "the file has more than 100 anchors and aliases", "write the values out")


def test_values_are_counted() -> None:
    """A file of more than a million values is refused where the million is full."""
    root, [finding] = parse("a: [" + "1," * 1_000_001 + "]")
    assert root is None
    assert finding[1:] == ("file-size", "the file holds more than 1,000,000 values", "split the file")


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_data_or_findings(data: bytes) -> None:
    """Nothing raises: a file gives a mapping, or at least one finding."""
    root, findings = parse(data)
    assert (root is None) == bool(findings)


@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t\u00e9\x85"), max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_signs_are_data_or_findings(text: str) -> None:
    """The same for text made of the signs that YAML cares about."""
    root, findings = parse(text)
    assert (root is None) == bool(findings)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: x\u200by", "x.yaml:1:5"),
        ('a: "x\u200by"', "x.yaml:1:6"),
        ('a: "x\\u200by"', "x.yaml:1:4"),
        ("x\u200by: a", "x.yaml:1:2"),
        ("a: [b, x\u200by]", "x.yaml:1:9"),
        ("a: |\n  x\u200by\n", "x.yaml:1:4"),
    ],
)
def test_a_character_that_is_not_seen_is_a_warning(text: str, place: str) -> None:
    """In a key or a value, written as it is or by an escape; the data keeps it."""
    root, findings = parse(text)
    column = place.rpartition(":")[2]
    assert findings == [
        (
            place,
            "invisible-character",
            f"the invisible character U+200B stands in column {column}",
            "remove it unless the name really has it; what looks the same without it is another name",
        )
    ]
    assert "x\\u200by" in repr(root)


def test_descriptions_are_in_any_script() -> None:
    """Text for people may need characters that join or part letters."""
    assert parse("description: \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645")[1] == []
