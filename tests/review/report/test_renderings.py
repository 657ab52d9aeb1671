"""The same report as markdown, HTML and JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from authz_sidecar.review.access.change import Change, Kind
from authz_sidecar.review.report.access_html import access_html
from authz_sidecar.review.report.access_json import access_json
from authz_sidecar.review.report.access_markdown import access_markdown
from authz_sidecar.review.report.access_report import AccessReport
from authz_sidecar.review.report.access_text import access_text
from authz_sidecar.values.texts import ANY, texts, values_of
from authz_sidecar.values.visible import visible
from tests.review.report.access_changes import (
    HOSTILE,
    OTHERS,
    OWN,
    box,
    cause,
    identity_gains,
    inexact,
    report,
    role_gains,
)
from tests.review.report.test_markup import Seen, shown

SCHEMA = Path(__file__).parents[3] / "schemas" / "access-diff.schema.json"
URL = "https://git.example/x/blob/{commit}/{path}#L{line}"


def document(of: AccessReport) -> Any:
    """The JSON form, which the published schema takes."""
    value = json.loads(access_json(of))
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(value)
    return value


def sample(**more: Any) -> AccessReport:
    """A report with something of everything."""
    return report(
        role_gains("CLERK", box("folder", "update"), "ann", line=41),
        role_gains("CLERK", box("salary", "read"), "ann", line=42),
        role_gains("BOSS", box("report", "create", ANY), "joe", line=9, gained=False),
        identity_gains("ann", box("folder", "update", values_of(["acme"])), cause(41), roles=["role:CLERK"]),
        parts=[inexact()],
        rules=(2, 1),
        **more,
    )


def test_markdown_begins_with_a_first_screen() -> None:
    """Counts, sensitive data, what is not exact and the first entries stand on at most fifteen lines; all else is
    folded away."""
    many = [role_gains(f"R{number}", box("folder", f"a{number}"), line=number) for number in range(40)]
    text = access_markdown(report(*many, parts=[inexact()], rules=(40, 0)))
    first, _, rest = text.partition("<details>")
    assert len(first.strip().splitlines()) <= 15
    assert "### Access changes: 40 roles" in first
    assert "… and 36 more entries below" in first
    assert "1 part of the policies cannot be compared exactly" in first
    assert rest.count("gains `folder`") == 40


def test_markdown_links_lines_of_both_sides() -> None:
    """A line that was added is linked in head's commit, one that was removed in base's."""
    text = access_markdown(sample(source_url=URL))
    assert f"\\+ [`policies/roles.yaml:41`](<https://git.example/x/blob/{'2' * 40}/p/roles.yaml#L41>)" in text
    assert f"− [`policies/roles.yaml:9`](<https://git.example/x/blob/{'1' * 40}/p/roles.yaml#L9>)" in text
    assert "](" not in access_markdown(sample())


def test_small_changes_are_not_folded_away() -> None:
    """What the first screen says completely is not said again."""
    text = access_markdown(report(role_gains("CLERK", box("folder", "update"), "ann")))
    assert "<details>" not in text
    assert text.count("CLERK") == 1


def test_names_that_a_sentence_leaves_out_are_folded_away() -> None:
    """The first screen names ten roles that change alike, the section below it every one."""
    changes = [role_gains(f"R{at:02}", box("folder", "create"), line=at + 1) for at in range(12)]
    first, _, below = access_markdown(report(*changes)).partition("<details>")
    assert "`R09` and 2 more gain" in first
    assert "  - all 12: `R00`, " in below
    assert "`R10`, `R11`\n" in below


@pytest.mark.parametrize("most", [2_000, 20_000, 60_000])
def test_markdown_is_bounded(most: int) -> None:
    """A huge change fits into a comment, closes what it opens and says how much was left out."""
    many = [
        Change(gained=True, kind=Kind.IDENTITY, subjects=("@" * 900 + str(n),), box=box("folder", f"a{n}", ANY))
        for n in range(500)
    ]
    text = access_markdown(report(*many), most)
    assert len(text) <= most
    assert text.count("<details>") == text.count("</details>")
    assert "left out here**, for want of space: `--format html` and `--format json` show everything" in text


def hostile(name: str) -> AccessReport:
    """A report in which everything that can be chosen is `name`."""
    named = cause(3, rule=f"g, {name}, role:{name}, {name}", file=f"{name}.yaml")
    return report(
        Change(
            gained=True,
            kind=Kind.ROLE,
            subjects=(f"role:{name}",),
            box=box(id=values_of([name]), company=values_of([name]), owner=texts((), ("",), [name])),
            causes=(named,),
            holders=(name,),
        ),
        identity_gains(name, box(id=values_of([name]), company=values_of([name])), named),
        identity_gains("other", box("folder", "read", values_of([name])), cause(4)),
        kinds={name: "user"},
        notes=[name],
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_names(name: str) -> None:
    """No name makes a link, a tag, a heading, a cell or an unseen character, in any format."""
    of = hostile(name)
    plain = "\n".join("".join(p if isinstance(p, str) else p[0] for p in line) for line in access_text(of))
    assert all(line.isprintable() for line in plain.split("\n"))
    assert visible(name) in plain
    markdown = access_markdown(of)
    assert all(line.isprintable() for line in markdown.split("\n"))
    seen = shown(markdown)
    assert not {"a", "img", "script", "em", "s", "ol", "h1"} & set(seen.tags)
    assert seen.tags.count("h3") == 1
    assert not seen.comments
    assert seen.tags.count("details") == markdown.count("<details>")
    page = Seen(access_html(of))
    assert not {"a", "img", "script"} & set(page.tags)
    assert not page.comments
    assert not any(key.startswith("on") for key, _ in page.attributes)
    assert visible(name) in page.text
    assert document(of)["roles"][0]["subjects"] == [f"role:{name}"]


def test_html_is_complete() -> None:
    """Every name and every line of policy is on the page, whatever their number."""
    holders = [f"holder{number:03}" for number in range(300)]
    page = Seen(access_html(report(role_gains("CLERK", box("folder", "update"), *holders), parts=[inexact()])))
    assert all(holder in page.text for holder in holders)
    assert "policies/roles.yaml:41" in page.text
    assert "r.obj.level > 3" in page.text
    assert page.tags.count("table") >= 3
    assert page.tags.count("caption") == 1


def test_json_says_sets_completely() -> None:
    """Sets of texts are spelt out so that nothing is left to guess, the subject's own objects apart."""
    of = report(
        role_gains("A", box("folder report", "read", texts((), ("",), ["", "acme"]), owner=OWN)),
        role_gains("B", box(company=ANY, id=texts(["7"], ["t-"], ["t-1"]), owner=OTHERS)),
        role_gains("C", box("folder", "read", owner=values_of(["bob"])), gained=False),
    )
    first, second, third = document(of)["roles"]
    nothing: dict[str, Any] = {"any": False, "values": [], "prefixes": [], "except_values": [], "except_prefixes": []}
    assert first["type"] == nothing | {"values": ["folder", "report"]}
    assert first["company"] == nothing | {"prefixes": [""], "except_values": ["", "acme"]}
    assert first["owner"] == nothing | {"subject": True}
    assert first["scope"] == "own"
    assert second["type"] == nothing | {"any": True, "prefixes": [""]}
    assert second["id"] == nothing | {"values": ["7"], "prefixes": ["t-"], "except_values": ["t-1"]}
    assert second["owner"] == nothing | {"any": True, "prefixes": [""], "subject": False}
    assert second["scope"] == "others"
    assert third["owner"] == nothing | {"values": ["bob"], "subject": False}
    assert [each["effect"] for each in (first, second, third)] == ["gained", "gained", "lost"]


def test_json_has_everything() -> None:
    """Both sides, counts, causes with places and links, holders, explained identities and inexact parts."""
    value = document(sample(source_url=URL, kinds={"ann": "user"}, notes=["a note"]))
    assert value["changed"] is True
    assert value["exact"] is False
    assert value["base"] == {"name": "main", "policy_version": "1" * 40}
    assert value["summary"]["gained"] == {
        "roles": 1,
        "identities": 1,
        "people": 1,
        "service_accounts": 0,
        "anyone": False,
        "companies": ["acme"],
        "everywhere": False,
        "object_types": ["salary"],
        "data_domains": [],
    }
    change = value["roles"][0]
    assert change["holders"] == ["ann"]
    assert change["causes"] == [
        {
            "ptype": "p",
            "values": ["role:CLERK"],
            "via": [],
            "file": "policies/roles.yaml",
            "line": 41,
            "column": 7,
            "url": f"https://git.example/x/blob/{'2' * 40}/p/roles.yaml#L41",
            "side": "head",
        }
    ]
    assert [each["sensitive"] for each in value["roles"]] == [False, True, False]
    assert value["identities"][0]["roles"] == ["role:CLERK"]
    assert value["inexact"][0]["why"] == "the condition reads attributes"
    assert value["inexact"][0]["added"][0]["values"][2] == "r.obj.level > 3"
    assert value["notes"] == ["a note"]


def test_no_change_is_said_in_every_format() -> None:
    """Nothing changes, and every format says so."""
    of = report(rules=(3, 3))
    assert access_text(of)[0] == (("no access changes", "bold"),)
    assert access_markdown(of).startswith("### No access changes\n")
    assert "<h1>No access changes</h1>" in access_html(of)
    value = document(of)
    assert (value["changed"], value["exact"], value["roles"], value["identities"]) == (False, True, [], [])
