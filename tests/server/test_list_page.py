"""The example that turns a filter into SQL, on a table of objects."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar._proto.authz.v1.filter_pb2 import FilterObjectsResponse
from authz_sidecar.engine import FilterAnswer
from authz_sidecar.transports.grpc.filter_conversion import filter_message
from examples.list_page import where
from tests.decide.casbin_judge import decider
from tests.decide.test_filter_against_check import COMPANIES, IDS, SUBJECTS, ask, objects, wide_systems
from tests.server.sidecar import running_sidecar

ROOT = Path(__file__).parents[2]
OWNERS = (*SUBJECTS, "", "acme")


def selected(response: FilterObjectsResponse, rows: list[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """The rows that a database selects by a filter."""
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE item (company TEXT NOT NULL, id TEXT NOT NULL, owner TEXT NOT NULL)")
        database.executemany("INSERT INTO item VALUES (?, ?, ?)", rows)
        text, values = where(response)
        found = set(database.execute(f"SELECT company, id, owner FROM item WHERE {text}", values))  # noqa: S608 - it is what is tested
    database.close()
    return found


@given(st.data(), wide_systems())
def test_a_database_selects_what_checks_allow(data: st.DataObject, system: tuple[str, str, dict[str, Any]]) -> None:
    """The rows selected by an exact filter are those that a check allows; by another, all of those and more."""
    model, policy, matching = system
    made = decider(model, policy, **matching)
    asked = ask(
        data.draw(st.sampled_from(SUBJECTS)),
        "read",
        "doc",
        data.draw(st.sampled_from((None, None, "acme"))),
        context={"mfa": True},
        subject_attributes={"friends": ["alice", "acme"]},
        time=1.7e9,
    )
    checks = list(objects(asked, COMPANIES, IDS, OWNERS))
    rows = list({(check.company, check.id, check.owner) for check in checks})
    response = filter_message(FilterAnswer(made.filter(asked), "", 0, ""))
    found = selected(response, rows)
    for check in checks:
        passes = (check.company, check.id, check.owner) in found
        allowed = made.decide(check).allowed
        assert passes == allowed if response.exact else passes or not allowed, (model, policy, asked, check, response)


def test_the_documentation_shows_what_the_example_makes_of_an_answer() -> None:
    """The answer in docs/filters.md parses, and the example turns it into the statement that stands there."""
    text = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    answer = next(block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "clauses" in block)
    statement = re.findall(r"```sql\n(.*?)\n```", text, re.DOTALL)
    response = text_format.Parse(answer, FilterObjectsResponse())
    condition, values = where(response)
    assert statement == [condition]
    assert values == ["13", "acme", "globex", "initech", "alice"]


def test_no_value_of_a_filter_becomes_a_part_of_the_text() -> None:
    """Values are bound: quotes, percent signs and the like in a policy or a question mean themselves."""
    odd = "x' OR '1' = '1"
    made = decider(
        "[request_definition]\nr = sub, id, act\n[policy_definition]\np = sub, id, act\n"
        "[policy_effect]\ne = some(where (p.eft == allow))\n"
        "[matchers]\nm = r.sub == p.sub && keyMatch(r.id, p.id) && r.act == p.act",
        f"p, alice, {odd}, read\np, alice, 100%*, read\np, alice, a_*, read",
    )
    response = filter_message(FilterAnswer(made.filter(ask("alice", "read", "doc", None)), "", 0, ""))
    text, values = where(response)
    assert "x'" not in text
    assert odd in values
    rows = [("", name, "") for name in (odd, "x", "100%", "100%1", "1000", "a_b", "ab", "A_b")]
    assert selected(response, rows) == {("", odd, ""), ("", "100%", ""), ("", "100%1", ""), ("", "a_b", "")}


def test_an_effect_that_is_not_known_passes_nothing() -> None:
    """A clause of an effect that the caller does not know takes its objects away."""
    response = FilterObjectsResponse()
    response.clauses.add().id.values.append("1")
    response.clauses.add(effect="CLAUSE_EFFECT_ALLOW")
    assert selected(response, [("", "1", ""), ("", "2", "")]) == {("", "2", "")}


def test_the_example_prints_the_filter_of_a_running_sidecar() -> None:
    """`examples/list_page.py` against the default bundle prints a statement and its values."""
    with running_sidecar(policies=ROOT / "policies") as sidecar:
        example = [sys.executable, str(ROOT / "examples" / "list_page.py"), sidecar.grpc]
        ended = subprocess.run(example, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == (
        "SELECT id FROM folder WHERE (company IN (?) AND owner IN (?)) ORDER BY id LIMIT 50\n['acme', 'acme-client']\n"
    )
