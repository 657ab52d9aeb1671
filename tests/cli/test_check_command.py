"""`authz-sidecar check`, run as a command."""

import json
from pathlib import Path

import pytest

from tests.cli.command_line import RBAC_MODEL, RBAC_POLICY, Run, WriteBundle

ATTRIBUTE_MODEL = """\
[request_definition]
r = sub, obj, act, level
[policy_definition]
p = sub, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.act == p.act && r.obj.size > 10 && r.sub.grade == "a" && r.level == 3
"""
TIME_MODEL = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, start, end
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && timeMatch(p.start, p.end)
"""
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
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
m2 = r2.sub == p2.sub && r2.act == p2.act
"""


@pytest.mark.usefixtures("rbac")
def test_allow_is_the_first_word_and_exit_code_0(run: Run) -> None:
    """An allowed request prints decision, reason and policy version in one line and exits 0."""
    done = run("check", "alice", "folder:1", "read")
    assert done.returncode == 0
    assert done.stdout.startswith("allow reason=allowed_by_rule policy_version=sha256:")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.usefixtures("rbac")
def test_deny_is_the_first_word_and_exit_code_1(run: Run) -> None:
    """A denied request prints its reason and exits 1."""
    done = run("check", "alice", "folder:1", "write")
    assert done.returncode == 1
    assert done.stdout.startswith("deny reason=no_matching_rule policy_version=sha256:")
    assert done.stderr == ""


@pytest.mark.usefixtures("rbac")
def test_explain_names_rule_place_and_role_path(run: Run) -> None:
    """An explained allow shows the rule with its fields, its file and line, and the path of roles to it."""
    done = run("check", "alice", "folder:2", "delete", "--explain")
    assert done.returncode == 0
    assert "p sub=author obj=folder:2 act=delete\n" in done.stdout
    assert " policies/policy.csv:4:1\n" in done.stdout
    assert "alice -> editor -> author\n" in done.stdout


@pytest.mark.usefixtures("rbac")
def test_explain_of_a_deny_shows_roles_and_near_misses(run: Run) -> None:
    """An explained deny shows the subject's roles and the rules that failed on one field, with their places."""
    done = run("check", "alice", "folder:1", "write", "--explain")
    assert done.returncode == 1
    assert "author, editor\n" in done.stdout
    assert "near miss 1" in done.stdout
    assert "p sub=alice obj=folder:1 act=read\n" in done.stdout
    assert " policies/policy.csv:1:1\n" in done.stdout


@pytest.mark.usefixtures("rbac")
def test_json_has_the_documented_names(run: Run) -> None:
    """The JSON form of an explained allow has decision, version and explanation under their documented names."""
    done = run("check", "alice", "folder:2", "read", "--explain", "--format", "json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert set(answer) == {"decision", "allowed", "reason", "detail", "policy_version", "explanation"}
    assert (answer["decision"], answer["allowed"], answer["reason"]) == ("allow", True, "allowed_by_rule")
    assert answer["explanation"] == {
        "rule": {
            "ptype": "p",
            "values": ["editor", "folder:2", "read"],
            "fields": {"sub": "editor", "obj": "folder:2", "act": "read"},
            "file": "policies/policy.csv",
            "line": 3,
            "column": 1,
            "via": [],
        },
        "role_path": ["alice", "editor"],
        "roles": ["author", "editor"],
        "near_misses": [],
    }


@pytest.mark.usefixtures("rbac")
def test_json_of_a_deny_lists_near_misses(run: Run) -> None:
    """The JSON form of an explained deny has no rule and names the field on which the nearest rule failed."""
    done = run("check", "bob", "folder:2", "read", "--explain", "--format", "json")
    explanation = json.loads(done.stdout)["explanation"]
    assert done.returncode == 1
    assert explanation["rule"] is None
    misses = {miss["rule"]["line"]: miss for miss in explanation["near_misses"]}
    assert set(misses[2]) == {"rule", "field", "wanted", "got", "sentence"}
    assert (misses[2]["field"], misses[2]["wanted"], misses[2]["got"]) == ("act", "write", "read")


@pytest.mark.usefixtures("rbac")
def test_every_violation_is_shown_with_its_remedy(run: Run) -> None:
    """An invalid request exits 2 with each violation and a help line on standard error and no result."""
    done = run("check", "role:editor", "folder:1", "", "--company", " acme")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: subject begins with `role:`" in done.stderr
    assert "error: action is empty" in done.stderr
    assert "error: object.company begins or ends with white space" in done.stderr
    assert done.stderr.count("  help: ") == 3


@pytest.mark.usefixtures("rbac")
def test_the_object_is_split_at_the_first_colon(run: Run, write_bundle: WriteBundle) -> None:
    """An id may hold colons: `urn:a:b` is type `urn` and id `a:b`."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "p, alice, urn:a:b, read\n"}, "urns")
    assert run("check", "alice", "urn:a:b", "read", "--policies", "urns").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--attribute", "size=11", "--subject-attribute", "grade=a", "--context", "level=3"), 0),
        (("--attribute", "size=10", "--subject-attribute", "grade=a", "--context", "level=3"), 1),
        (("--attribute", "size=11", "--subject-attribute", "grade=b", "--context", "level=3"), 1),
        (("--attribute", "size=11", "--subject-attribute", 'grade="a"', "--context", "level=3"), 0),
        (("--attribute", "size=11", "--subject-attribute", "grade=a", "--context", 'level="3"'), 1),
    ],
)
def test_attributes_are_typed_as_json_types_them(
    run: Run, write_bundle: WriteBundle, arguments: tuple[str, ...], code: int
) -> None:
    """Numbers are numbers, quoted numbers and bare words are text, and each option fills its own part."""
    write_bundle({"model.conf": ATTRIBUTE_MODEL, "policy.csv": "p, alice, read\n"})
    assert run("check", "alice", "folder:1", "read", *arguments).returncode == code


def test_an_evaluation_error_denies_and_says_why(run: Run, write_bundle: WriteBundle) -> None:
    """A missing attribute is a deny with its own reason and a sentence that names the attribute."""
    write_bundle({"model.conf": ATTRIBUTE_MODEL, "policy.csv": "p, alice, read\n"})
    done = run("check", "alice", "folder:1", "read", "--context", "level=3")
    assert done.returncode == 1
    assert done.stdout.startswith("deny reason=evaluation_error ")
    assert "`size`" in done.stdout


def test_a_token_that_nothing_fills_is_no_answer(run: Run, write_bundle: WriteBundle) -> None:
    """A request token that the request leaves out exits 2 and says which option fills it."""
    write_bundle({"model.conf": ATTRIBUTE_MODEL, "policy.csv": "p, alice, read\n"})
    done = run("check", "alice", "folder:1", "read")
    assert done.returncode == 2
    assert "error: context.level is not set; the policy's model reads `r.level`" in done.stderr
    assert "help: give it with `--context level=…`" in done.stderr


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("size",), "`size` is not K=V"),
        (("=5",), "`=5` is not K=V"),
        (("a.b=5",), "`a.b` has a dot"),
        (("a=1", "a=2"), "`--attribute a=…` is given twice"),
        (('a={"b": 1, "b": 2}',), "`a` gives a name twice in one object"),
        (("a=" + "[" * 20_000,), "`a` is nested too deeply"),
    ],
)
@pytest.mark.usefixtures("rbac")
def test_malformed_attributes_are_refused(run: Run, pairs: tuple[str, ...], message: str) -> None:
    """What cannot be one name and one value exits 2 and says what is wrong."""
    arguments = [argument for pair in pairs for argument in ("--attribute", pair)]
    done = run("check", "alice", "folder:1", "read", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("time", "code"),
    [("2024-06-01T00:00:00Z", 0), ("2023-12-31T23:59:59Z", 1), ("2024-01-01T00:30:00+01:00", 1)],
)
def test_time_is_the_time_of_the_request(run: Run, write_bundle: WriteBundle, time: str, code: int) -> None:
    """A condition on time sees `--time`, with its offset applied."""
    policy = "p, alice, 2024-01-01 00:00:00, 2025-01-01 00:00:00\n"
    write_bundle({"model.conf": TIME_MODEL, "policy.csv": policy})
    assert run("check", "alice", "folder:1", "read", "--time", time).returncode == code


def test_time_defaults_to_now(run: Run, write_bundle: WriteBundle) -> None:
    """Without `--time` a rule that ended in the past does not hold and one that is open does."""
    policy = "p, alice, _, 2001-01-01 00:00:00\np, bob, 2001-01-01 00:00:00, _\n"
    write_bundle({"model.conf": TIME_MODEL, "policy.csv": policy})
    assert run("check", "alice", "folder:1", "read").returncode == 1
    assert run("check", "bob", "folder:1", "read").returncode == 0


@pytest.mark.parametrize("time", ["2024-06-01", "2024-06-01T00:00:00", "2024-13-01T00:00:00Z", "now"])
@pytest.mark.usefixtures("rbac")
def test_a_time_without_offset_or_calendar_is_refused(run: Run, time: str) -> None:
    """What is not an RFC 3339 time exits 2 and shows an example."""
    done = run("check", "alice", "folder:1", "read", "--time", time)
    assert done.returncode == 2
    assert f"`{time}` is not an RFC 3339 time such as `2026-01-31T12:00:00Z`" in done.stderr


def test_section_selects_the_numbered_sections(run: Run, write_bundle: WriteBundle) -> None:
    """`--section 2` decides by r2, p2, e2 and m2; a number that the model lacks exits 2 and names those it has."""
    write_bundle({"model.conf": TWO_SECTIONS, "policy.csv": "p, alice, folder:1, read\np2, bob, read\n"})
    assert run("check", "bob", "folder:1", "read").returncode == 1
    assert run("check", "bob", "folder:1", "read", "--section", "2").returncode == 0
    done = run("check", "bob", "folder:1", "read", "--section", "3")
    assert done.returncode == 2
    assert "the model has no sections numbered `3`" in done.stderr
    assert "`--section` takes `2`" in done.stderr


def test_a_broken_bundle_is_no_answer(run: Run, write_bundle: WriteBundle) -> None:
    """A bundle that does not load exits 2 with its errors on standard error, never 1, which means deny."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "p, alice, folder:1\n"})
    done = run("check", "alice", "folder:1", "read")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "policies/policy.csv:1:1 error[rule-width]" in done.stderr
    assert "error: the bundle in `policies` does not load: 1 error" in done.stderr


def test_a_missing_directory_is_no_answer(run: Run) -> None:
    """A directory that does not exist exits 2 and says so in one line with a remedy."""
    done = run("check", "alice", "folder:1", "read")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no directory `policies`\n  help: ")


def test_wrong_usage_is_no_answer(run: Run) -> None:
    """Too few arguments exit 2."""
    assert run("check", "alice").returncode == 2


def test_options_come_from_the_environment(run: Run, write_bundle: WriteBundle) -> None:
    """`AUTHZ_POLICIES` and `AUTHZ_FORMAT` stand in for the options, and the command line outranks them."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": RBAC_POLICY}, "elsewhere")
    env = {"AUTHZ_POLICIES": "elsewhere", "AUTHZ_FORMAT": "json"}
    assert json.loads(run("check", "alice", "folder:1", "read", env=env).stdout)["allowed"] is True
    assert run("check", "alice", "folder:1", "read", "--format", "text", env=env).stdout.startswith("allow ")


@pytest.mark.parametrize(
    ("color", "env", "colored"),
    [
        ("auto", {}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
    ],
)
@pytest.mark.usefixtures("rbac")
def test_colour_follows_the_option_then_the_environment(
    run: Run, color: str, env: dict[str, str], colored: bool
) -> None:
    """`--color` decides; under `auto` a pipe has no colour unless FORCE_COLOR asks, and NO_COLOR outranks that."""
    done = run("check", "alice", "folder:1", "read", "--color", color, env=env)
    assert ("\x1b[" in done.stdout) is colored


def test_policy_text_cannot_drive_the_terminal(run: Run, write_bundle: WriteBundle) -> None:
    """A direction mark in a request is shown escaped."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": RBAC_POLICY})
    done = run("check", "al\u202eice", "folder:1", "read", "--explain")
    assert "\u202e" not in done.stdout
    assert "al\\u202eice" in done.stdout


def test_arguments_that_are_not_utf8_are_refused(run: Run, rbac: Path) -> None:
    """Bytes that are not UTF-8 are a violation, not a traceback."""
    assert rbac.is_dir()
    done = run("check", "alice\udcff", "folder:1", "read")
    assert done.returncode == 2
    assert "error: subject is not valid UTF-8" in done.stderr


def test_the_default_bundle_answers(run: Run, default_policies: str) -> None:
    """The repository's own policies refuse a stranger."""
    done = run("check", "nobody-known", "folder:1", "read", "--company", "acme", "--policies", default_policies)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("deny reason=unknown_subject ")
