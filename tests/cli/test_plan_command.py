"""`authz-sidecar plan`, run as a command."""

import json

import pytest

from tests.cli.command_line import RBAC_MODEL, Run, WriteBundle

TWO_SECTIONS = """\
[request_definition]
r = sub, obj, act
r2 = sub, act
[policy_definition]
p = sub, obj, act
p2 = sub, act
[policy_effect]
e = some(where (p.eft == allow))
e2 = some(where (p2.eft == allow))
[matchers]
m = r.sub == p.sub && (r.obj == p.obj || keyMatch(r.act, p.act))
m2 = r2.sub == p2.sub && r2.act == p2.act
"""


@pytest.mark.usefixtures("rbac")
def test_text_is_an_aligned_table(run: Run) -> None:
    """Each conjunct stands in one line with its access path and cost, in columns under the headings."""
    done = run("plan")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == "m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
    heading = next(at for at, line in enumerate(lines) if line.split() == ["CONJUNCT", "ACCESS", "COST"])
    access = lines[heading].index("ACCESS")
    rows = lines[heading + 1 :]
    assert [row.split("  ")[1] for row in rows[:3]] == ["g(r.sub, p.sub)", "r.obj == p.obj", "r.act == p.act"]
    assert all(row[access - 1] == " " and row[access] != " " for row in rows)
    assert "hash key on p.obj" in rows[1]
    assert rows[-1].lstrip().startswith("scanned ")


def test_every_section_is_shown_unless_one_is_named(run: Run, write_bundle: WriteBundle) -> None:
    """Without `--section` all matchers are shown; with it only the named one."""
    write_bundle({"model.conf": TWO_SECTIONS, "policy.csv": "p, alice, folder:1, read\np2, bob, read\n"})
    done = run("plan")
    assert "m = " in done.stdout
    assert "m2 = " in done.stdout
    assert "alternative 1 of 2" in done.stdout
    done = run("plan", "--section", "2")
    assert done.stdout.startswith("m2 = ")
    assert "m = " not in done.stdout


def test_json_has_the_documented_names(run: Run, write_bundle: WriteBundle) -> None:
    """The JSON form lists sections, their branches, and the lines of each."""
    write_bundle({"model.conf": TWO_SECTIONS, "policy.csv": "p, alice, folder:1, read\np2, bob, read\n"})
    sections = json.loads(run("plan", "--format", "json").stdout)["sections"]
    assert [section["section"] for section in sections] == ["", "2"]
    for section in sections:
        assert set(section) == {"section", "matcher", "effect", "rules", "branches"}
        assert section["rules"] == 1
        assert all(set(line) == {"conjunct", "access", "cost"} for branch in section["branches"] for line in branch)
    assert [len(section["branches"]) for section in sections] == [2, 1]


@pytest.mark.usefixtures("rbac")
def test_an_unknown_section_is_refused(run: Run) -> None:
    """A number that the model lacks exits 2 with a remedy."""
    done = run("plan", "--section", "7")
    assert done.returncode == 2
    assert "the model has no sections numbered `7`" in done.stderr
    assert "  help: " in done.stderr


def test_a_broken_bundle_has_no_plan(run: Run, write_bundle: WriteBundle) -> None:
    """A bundle that does not load exits 2 with its errors."""
    write_bundle({"model.conf": RBAC_MODEL.replace("r.act == p.act", "r.act == p.nope")})
    done = run("plan")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error[expression-name]" in done.stderr
