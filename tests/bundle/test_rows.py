"""Casbin rows: the syntax, the places, and everything that is wrong with a row."""

import sys
import unicodedata

import casbin
import pytest
from casbin.persist.adapter import load_policy_line
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.findings import MAX_SHOWN
from authz_sidecar.bundle.text import INVISIBLE
from authz_sidecar.values import Span
from tests.bundle.expectations import RBAC, Finding, expect_findings, findings_of, read, rows_bundle, rows_of

PRIORITY = RBAC.replace("p = sub, dom, obj, act, eft", "p = priority, sub, dom, obj, act, eft").replace(
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))", "priority(p.eft) || deny"
)
TIMES = RBAC.replace("g2 = _, _", "g2 = _, _, (_, _)")
GOOD = "p, alice, acme, data, read, allow"
DEFINITION = "`p = sub, dom, obj, act, eft`"


def test_rows_are_read_with_their_places() -> None:
    """Values are stripped, comments and blank lines skipped, and every row knows file, line and column."""
    bundle = read(rows_bundle("# who\n\n  p , alice,acme , data,read,allow  \ng, bob, admin, acme\n"))
    assert rows_of(bundle, "p") == ["p, alice, acme, data, read, allow"]
    assert rows_of(bundle, "g") == ["g, bob, admin, acme"]
    assert bundle.tables["p"].span(0) == Span("policy.csv", 3, 3)
    assert bundle.tables["g"].span(0) == Span("policy.csv", 4, 1)
    assert len(bundle.tables["g2"]) == 0


def test_files_are_read_in_the_order_of_their_paths() -> None:
    """Every `*.csv` at any depth belongs to the bundle; order of paths is order of rows."""
    files = {
        "model.conf": RBAC,
        "b.csv": "p, b, acme, data, read, allow\n",
        "a/z.csv": "p, az, acme, data, read, allow",
        "a.csv": "p, a, acme, data, read, deny\n",
    }
    table = read(files).tables["p"]
    assert table.columns[0] == ["a", "az", "b"]
    assert [table.span(row).file for row in range(3)] == ["a.csv", "a/z.csv", "b.csv"]


def test_commas_in_brackets_do_not_separate() -> None:
    """A value may hold commas inside round or square brackets, whichever closes which, as in Casbin."""
    bundle = read(rows_bundle("p, f(a, b), acme, [x, (y, z)], g(a, b], allow\n"))
    assert bundle.tables["p"].values(0) == ("f(a, b)", "acme", "[x, (y, z)]", "g(a, b]", "allow")


def test_equal_values_are_one_object() -> None:
    """A value that stands in many rows is stored once, over files and over both ways of reading."""
    files = rows_bundle(GOOD + "\n" + GOOD + "\n", **{"z.csv": "# c\n" + GOOD + "\ng, alice, (x), acme\n"})
    bundle = read(files)
    column = bundle.tables["p"].columns[0]
    assert column[0] is column[1] is column[2] is bundle.tables["g"].columns[0][0]


@pytest.mark.parametrize("before", ["", GOOD + "\n", "# é\n(\n"])
def test_a_long_line_is_refused_unread(before: str) -> None:
    """Megabytes of brackets are not scanned: a line has 64 KiB at most, whatever it holds."""
    line = before.count("\n") + 1
    found = findings_of(rows_bundle(f"{before}p, {'(,)' * 30_000}\n{GOOD}\n"))
    assert [finding for finding in found if "long" in finding.message] == [
        Finding(
            f"policy.csv:{line}:1",
            "rule-value",
            "the line is 90,003 bytes long; at most 65,536 are taken",
            "shorten the values, or end the row where the next one begins",
        )
    ]
    assert len(found) == 1 + before.count("(")


def test_a_line_of_64_kib_is_read() -> None:
    """The limit itself is inside, and a file of shorter lines may be as long as it likes."""
    comment = "#" * 65_536
    assert len(read(rows_bundle(f"{comment}\n{GOOD}\n" * 40)).tables["p"]) == 40


INVISIBLE_HELP = "remove it unless the name really has it; what looks the same without it is another name"


@pytest.mark.parametrize("character", ["\u200b", "\u202e", "\ufeff", "\u00ad", "\U000e0041"])
def test_a_character_that_is_not_seen_is_a_warning(character: str) -> None:
    """It is named with its place, once a line, and the row is read as it is."""
    rows = f"{GOOD}\ng, a{character}lice{character}, admin, acme\n# é\n"
    message = f"the invisible character U+{ord(character):04X} stands in column 5"
    expected = Finding("policy.csv:2:5", "invisible-character", message, INVISIBLE_HELP, "warning")
    expect_findings(rows_bundle(rows), expected)
    assert rows_of(read(rows_bundle(rows)), "g") == [f"g, a{character}lice{character}, admin, acme"]


def test_invisible_characters_are_named_on_a_hundred_lines() -> None:
    """A file that is written in them throughout costs no more than that."""
    found = findings_of(rows_bundle("g, a\u200bb, c, d\n" * 300))
    assert [finding.place for finding in found] == [f"policy.csv:{line}:5" for line in range(1, 101)]


def test_all_format_characters_are_known() -> None:
    """Those of Unicode's category Cf are the invisible ones."""
    formats = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"]
    assert len(formats) > 150
    assert [character for character in formats if not INVISIBLE.fullmatch(character)] == []


def test_windows_line_ends_are_line_ends() -> None:
    """Carriage returns before line feeds do not become part of values."""
    bundle = read(rows_bundle(f"{GOOD}\r\n{GOOD}\r\n"))
    assert bundle.tables["p"].columns[4] == ["allow", "allow"]


@pytest.mark.parametrize(
    ("rows", "finding"),
    [
        pytest.param(
            f"{GOOD}\nq, alice\n",
            Finding("policy.csv:2:1", "rule-ptype", "unknown ptype `q`", "the model defines `p`, `g` and `g2`"),
            id="unknown ptype",
        ),
        pytest.param(
            "  P, alice, acme, data, read, allow",
            Finding("policy.csv:1:3", "rule-ptype", "unknown ptype `P`", "did you mean `p`?"),
            id="ptype in capitals",
        ),
        pytest.param(
            ", alice",
            Finding(
                "policy.csv:1:1",
                "rule-ptype",
                "the row has no ptype before its first comma",
                "the model defines `p`, `g` and `g2`",
            ),
            id="no ptype",
        ),
        pytest.param(
            "p, alice, acme, data",
            Finding(
                "policy.csv:1:1",
                "rule-width",
                f"the row has 3 values where {DEFINITION} has 5",
                "add `act` and `eft`",
            ),
            id="short row",
        ),
        pytest.param(
            "g, alice, admin",
            Finding("policy.csv:1:1", "rule-width", "the row has 2 values where `g = _, _, _` has 3", "add `domain`"),
            id="short link",
        ),
        pytest.param(
            GOOD + ", x, y",
            Finding(
                "policy.csv:1:1",
                "rule-width",
                f"the row has 7 values where {DEFINITION} has 5",
                "remove `x` and `y`; a comma inside a value needs brackets around it",
            ),
            id="long row",
        ),
        pytest.param(
            "p, alice, acme, data, read, Allow",
            Finding("policy.csv:1:29", "rule-effect", "unknown effect `Allow`", "did you mean `allow`?"),
            id="effect in capitals",
        ),
        pytest.param(
            "p, alice, acme, data, read,",
            Finding("policy.csv:1:28", "rule-effect", "unknown effect ``", "an effect is `allow` or `deny`"),
            id="empty effect",
        ),
        pytest.param(
            "p, alice, acme, data(, read, allow",
            Finding(
                "policy.csv:1:17",
                "rule-brackets",
                "unbalanced brackets: 1 bracket not closed in `data(, read, allow`",
                "commas inside `()` and `[]` do not separate values, so each bracket needs its partner",
            ),
            id="open bracket",
        ),
        pytest.param(
            "p, alice, acme, data], read, allow",
            Finding(
                "policy.csv:1:21",
                "rule-brackets",
                "unbalanced brackets: `]` closes no bracket",
                "commas inside `()` and `[]` do not separate values, so each bracket needs its partner",
            ),
            id="stray bracket",
        ),
        pytest.param(
            "p, al\x00ice, acme, data, read, allow",
            Finding(
                "policy.csv:1:6",
                "rule-value",
                "the row holds the control character U+0000",
                "remove the character; a value holds printable text only",
            ),
            id="control character",
        ),
        pytest.param(
            "p, alice, ac\tme, data, read, allow",
            Finding(
                "policy.csv:1:13",
                "rule-value",
                "the row holds the control character U+0009",
                "remove the character; a value holds printable text only",
            ),
            id="tab inside a value",
        ),
        pytest.param(
            "p, alice, acme\u2028, data, read, allow",
            Finding(
                "policy.csv:1:15",
                "rule-value",
                "the row holds the control character U+2028",
                "remove the character; a value holds printable text only",
            ),
            id="line separator",
        ),
        pytest.param(
            f"p, alice, acme, {'é' * 2049}, read, allow",
            Finding(
                "policy.csv:1:17",
                "rule-value",
                f"the value `{'é' * 79}…` is 4,098 bytes long; at most 4,096 are taken",
                "shorten the value",
            ),
            id="long value",
        ),
        pytest.param(
            b"p, alice, acme, data, read, allow\np, \xc3\xa9\xff, acme, data, read, allow\n",
            Finding(
                "policy.csv:2:5",
                "file-encoding",
                "the file is not UTF-8: byte 0xff does not begin or continue a character",
                "save the file as UTF-8",
            ),
            id="not UTF-8",
        ),
        pytest.param(
            b"\xef\xbb\xbf" + GOOD.encode(),
            Finding(
                "policy.csv:1:1",
                "file-encoding",
                "the file begins with a byte-order mark",
                "save the file as UTF-8 without a byte-order mark",
            ),
            id="byte-order mark",
        ),
    ],
)
def test_a_malformed_row_is_refused_at_its_place(rows: str | bytes, finding: Finding) -> None:
    """Each fault of a row is an error with code, place, message and remedy."""
    expect_findings(rows_bundle(rows), finding)


@pytest.mark.parametrize("priority", ["-1", "1.5", "high", "", "²", "1" * 19])
def test_a_priority_is_a_whole_number(priority: str) -> None:
    """What Casbin would compare as text, or fail on, is refused."""
    expect_findings(
        rows_bundle(f"p, {priority}, alice, acme, data, read, allow", PRIORITY),
        Finding(
            "policy.csv:1:4",
            "rule-priority",
            f"the priority `{priority}` is not a whole number",
            "a priority is 0 or more in digits, the lowest counting first; at most 18 digits",
        ),
    )


def test_priorities_are_read() -> None:
    """Whole numbers are taken as they are written."""
    bundle = read(rows_bundle("p, 10, a, acme, d, read, deny\np, 007, a, acme, d, read, allow\n", PRIORITY))
    assert bundle.tables["p"].columns[0] == ["10", "007"]


def test_a_links_times_are_times() -> None:
    """A link with a condition takes two times or `_`; anything else is refused at the value."""
    rows = "g2, a, b, _, 2030-01-31 00:00:00\ng2, a, c, 2030-02-30 00:00:00, tomorrow\n"
    help = "write `YYYY-MM-DD hh:mm:ss` in UTC, or `_` for no bound"
    expect_findings(
        rows_bundle(rows, TIMES),
        Finding("policy.csv:2:11", "rule-condition-time", "`2030-02-30 00:00:00` is no time", help),
        Finding("policy.csv:2:32", "rule-condition-time", "`tomorrow` is no time", help),
    )
    assert read(rows_bundle(rows.splitlines()[0], TIMES)).link_conditions == {"g2": "timeMatch"}


def test_quotes_are_part_of_a_value_and_warned_about() -> None:
    """Casbin's rows have no quoting: the bundle loads with the quotes in the value, and says so."""
    files = rows_bundle('p, "alice", acme, a"b, read, allow')
    expect_findings(
        files,
        Finding(
            "policy.csv:1:4",
            "rule-quotes",
            'the value `"alice"` is wrapped in quotes, which are part of the value',
            "write `alice`; rows have no quoting",
            "warning",
        ),
    )
    assert read(files).tables["p"].values(0)[0] == '"alice"'


def test_all_rows_are_checked_after_the_first_fault() -> None:
    """Findings of all files come at once, sorted by file, line and column."""
    files = rows_bundle(f"p, x\n{GOOD}\nq, y\n", **{"a.csv": "p, z\n"})
    assert [finding.place for finding in findings_of(files)] == ["a.csv:1:1", "policy.csv:1:1", "policy.csv:3:1"]


def test_a_million_bad_rows_are_counted_not_listed() -> None:
    """At most a thousand findings are shown; the last line says that there are more."""
    found = findings_of(rows_bundle("q\n" * 5000))
    assert len(found) == MAX_SHOWN + 1
    assert found[-1][1:] == (
        "too-many",
        "4,000 more errors were found",
        "the first 1,000 are shown; correct them and run again",
        "error",
    )


VALUE = st.text(st.sampled_from("ab ,()[]#\"'\t\u00e9\u00a0*_"), max_size=6)
LINE = st.one_of(
    st.just(""),
    st.just("# comment, with (brackets"),
    st.just("p, alice, acme, data, read, allow"),
    st.just("g, alice, admin, acme"),
    st.just("  g2,a , b "),
    st.lists(VALUE, max_size=6).map(",".join),
    st.builds(
        lambda ptype, values: ",".join([ptype, *values]), st.sampled_from(["p", "g", "g2", " p"]), st.lists(VALUE)
    ),
)
TEXT = st.builds(lambda lines, end: end.join(lines), st.lists(LINE, max_size=12), st.sampled_from(["\n", "\r\n"]))


# One row of each ptype with a bracket: it makes all rows of its ptype be read one by one.
IRREGULAR = "\np, (x), acme, data, read, allow\ng, (x), admin, acme\ng2, (x), y"


@given(TEXT)
@settings(max_examples=150, deadline=None)
def test_both_ways_of_reading_rows_agree(text: str) -> None:
    """Rows stored by column and rows read one by one give the same rows, places and findings."""
    together, singly = rows_bundle(text), rows_bundle(text + IRREGULAR)
    assert findings_of(together) == findings_of(singly)
    if any(finding.severity == "error" for finding in findings_of(together)):
        return
    for table, other in zip(read(together).tables.values(), read(singly).tables.values(), strict=True):
        assert [table.rule(row) for row in range(len(table))] == [other.rule(row) for row in range(len(other) - 1)]


@given(st.lists(st.text(st.sampled_from("ab ,()[]#\"'\u00e9\u00a0*_"), max_size=14), max_size=5))
@settings(max_examples=150, deadline=None)
def test_rows_are_pycasbins_rows(lines: list[str]) -> None:
    """Whatever is accepted, pycasbin reads as the same rows."""
    text = "\n".join(f"p,{line}" for line in lines)
    model = "[request_definition]\nr = sub\n[policy_definition]\np = sub, obj\n[policy_effect]\n"
    model += "e = some(where (p.eft == allow))\n[matchers]\nm = r.sub == p.sub\n"
    files = rows_bundle(text, model)
    if any(finding.severity == "error" for finding in findings_of(files)):
        return
    judge = casbin.Enforcer.new_model(text=model)
    for line in text.split("\n"):
        load_policy_line(line.strip(), judge)
    table = read(files).tables["p"]
    assert [list(table.values(row)) for row in range(len(table))] == judge["p"]["p"].policy
