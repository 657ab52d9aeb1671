"""`who-can` and `what-can`: complete answers, with the rules that give them."""

import json
from itertools import product
from pathlib import Path

import pytest

from tests.cli.command_line import Run
from tests.review.example_bundles import asker, files_of

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_who_can(call: Run, default_policies: str) -> None:
    """Roles come first with the rule that gives the access, then the identities, with where and whose."""
    done = call("who-can", "delete", "report", "--policies", default_policies)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "role ADMIN" in lines
    assert "role CLIENT_ADMIN" in lines
    assert any(line.startswith("  report: delete in acme") for line in lines)


def test_nobody_can(call: Run) -> None:
    """What nobody may do exits 1 and says so."""
    done = call("who-can", "update", "audit_log", "--policies", str(EXAMPLES / "viewer"))
    assert (done.returncode, done.stdout) == (1, "nobody may\n")


def test_what_can(call: Run, default_policies: str) -> None:
    """An identity's access is told in its companies, its own objects apart."""
    done = call("what-can", "acme-client", "--policies", default_policies)
    assert done.returncode == 0, done.stderr
    assert "(own) in acme" in done.stdout
    assert "policies/roles.yaml:" in done.stdout


def test_what_a_stranger_can(call: Run, default_policies: str) -> None:
    """Whom the policies do not name may do nothing, and the answer says that it is nobody they know."""
    done = call("what-can", "nobody-at-all", "--policies", default_policies)
    assert (done.returncode, done.stdout) == (1, "nothing\n")
    assert "do not name `nobody-at-all`" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["who-can", "", "folder"], "the action is empty"),
        (["who-can", "read", ":7"], "the object type is empty"),
        (["who-can", "read", "*"], "the object type is `*`, which stands for nothing in a request"),
        (["who-can", "read", "folder", "--company", "a\nb"], "the company holds the control character"),
        (["what-can", ""], "the subject is empty"),
        (["what-can", "role:CLEINT"], "the policies have no role `CLEINT`"),
    ],
)
def test_what_nobody_can_ask(call: Run, default_policies: str, arguments: list[str], message: str) -> None:
    """A question that no request can be, or about a role that is not there, is an error and no `nobody may`."""
    refused = call(*arguments, "--policies", default_policies)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr


@pytest.mark.parametrize(
    ("action", "kind", "message"),
    [
        ("read", "foldr", "the bundle declares no object type `foldr`: did you mean `folder`?"),
        ("raed", "folder", "the bundle declares no action `raed` of `folder`: did you mean `read`?"),
    ],
)
def test_misspelt_names_are_pointed_out(call: Run, default_policies: str, action: str, kind: str, message: str) -> None:
    """The answer about a name that the bundle does not declare comes with a warning."""
    assert f"warning: {message}" in call("who-can", action, kind, "--policies", default_policies).stderr


@pytest.mark.usefixtures("rbac")
def test_plain_bundles(call: Run) -> None:
    """Plain Casbin bundles answer too."""
    done = call("who-can", "delete", "folder:2")
    assert done.returncode == 0, done.stderr
    assert "alice" in done.stdout
    done = call("what-can", "alice", "--format", "json")
    allowed = {
        (values["type"]["values"][0], values["action"]["values"][0])
        for values in (entry["requests"] for entry in json.loads(done.stdout)["access"])
    }
    assert allowed == {("folder", "read"), ("folder", "delete")}


def test_answers_agree_with_checks(call: Run) -> None:
    """For an example bundle, whom `who-can` names for an action is who a check allows it to."""
    ask = asker(files_of("viewer"))
    people = [f"{name}" for name in ("dr-okafor", "sam-okoye", "priya", "nobody")]
    for action, kind in product(("read", "update"), ("patient_record", "payroll_record")):
        done = call("who-can", action, kind, "--policies", str(EXAMPLES / "viewer"), "--format", "json")
        shown = json.loads(done.stdout)
        named = {subject for entry in shown["identities"] for subject in entry["subjects"]}
        assert not shown["inexact"]
        for person in people:
            assert (person in named) == ask(person, action, kind, "1"), (person, action, kind)
