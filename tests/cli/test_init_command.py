"""`authz-sidecar init`, run as a command: starter bundles that lint, test and serve, and nothing written over."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from authz_sidecar.cli.starter import TEMPLATES, starter_files, write_new
from authz_sidecar.sources.load import load_bundle
from tests.cli.command_line import Run
from tests.server.sidecar import check_of, environment, running_sidecar

# For each template a question that its bundle allows, and the same by somebody who is not known.
ALLOWED = {
    "company-roles": {"subject": "eli", "action": "create", "type": "document", "id": "", "company": "acme"},
    "data-domains": {"subject": "sam", "action": "update", "type": "customer", "company": ""},
    "casbin": {"subject": "eli", "action": "write", "type": "document", "company": ""},
}


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with its text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_starter_bundle_lints_and_tests_clean(run: Run, tmp_path: Path, template: str) -> None:
    """What `init` writes has no finding and passes its policy tests, of which it has allowed and denied ones."""
    done = run("init", "mine", "--template", template)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(f"wrote mine/{path}" for path in contents(tmp_path / "mine"))
    assert "authz-sidecar test mine\n" in done.stderr
    lint, tested = run("lint", "mine"), run("test", "mine")
    assert (lint.returncode, lint.stdout) == (0, "no findings\n")
    assert tested.returncode == 0, tested.stdout
    assert tested.stderr == ""
    bundle = load_bundle(tmp_path / "mine").bundle
    assert bundle is not None
    assert {test.allowed for test in bundle.tests} == {True, False}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_starter_bundle_is_served(run: Run, tmp_path: Path, template: str) -> None:
    """A sidecar starts on what `init` wrote and answers by its rules."""
    assert run("init", "--template", template).returncode == 0
    question = ALLOWED[template]
    with running_sidecar(policies=tmp_path / "policies") as sidecar:
        assert sidecar.stub.Check(check_of(**question)).allowed
        assert not sidecar.stub.Check(check_of(**question | {"subject": "stranger"})).allowed


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_yaml_file_names_a_schema_that_takes_it(run: Run, tmp_path: Path, template: str) -> None:
    """Editors find the schemas beside the files, and the schemas accept them."""
    assert run("init", "--template", template).returncode == 0
    paths = list((tmp_path / "policies").rglob("*.yaml"))
    assert len(paths) >= 2
    for path in paths:
        text = path.read_text(encoding="utf-8")
        found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
        assert found, path
        jsonschema.validate(yaml.safe_load(text), json.loads((path.parent / found[1]).read_text(encoding="utf-8")))


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_readme_has_commands_that_work(run: Run, tmp_path: Path, template: str) -> None:
    """The commands of the README run in its directory, except the server, which would not end."""
    assert run("init", ".", "--template", template, "--name", "shop").returncode == 0
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# shop\n")
    commands = re.findall(r"^authz-sidecar (.+)$", readme, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["lint", "test", "serve", "check"]
    for command in commands:
        if not command.startswith("serve"):
            done = run(*command.split())
            assert done.returncode in ((0, 1) if command.startswith("check") else (0,)), command
            assert done.stderr == "", command


def test_the_template_is_company_roles_where_nobody_can_be_asked(run: Run, tmp_path: Path) -> None:
    """Without a terminal and without `--template` the default is written, into `policies`."""
    assert run("init").returncode == 0
    # The mark of the name is all that a template leaves open.
    assert contents(tmp_path / "policies") == starter_files("company-roles", tmp_path.name)


def init_on_a_terminal(folder: Path, typed: str, *arguments: str, **settings: str) -> tuple[int, str]:
    """Run `init` with a terminal as standard input and error, type something: exit code and what was shown."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "authz_sidecar", "init", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment() | settings, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.write(ours, typed.encode())
        code = process.wait(60)
    shown = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    return code, shown


def test_a_terminal_is_asked_for_the_template(tmp_path: Path) -> None:
    """On a terminal the templates are listed and the one that is typed is written."""
    code, shown = init_on_a_terminal(tmp_path, "casbin\n")
    assert code == 0, shown
    assert all(name in shown and purpose in shown for name, purpose in TEMPLATES.items())
    assert (tmp_path / "policies" / "policy.csv").is_file()


def test_return_takes_the_default(tmp_path: Path) -> None:
    """A line without an answer is the default template."""
    code, shown = init_on_a_terminal(tmp_path, "\n")
    assert code == 0, shown
    assert (tmp_path / "policies" / "roles.yaml").read_text(encoding="utf-8") == starter_files("company-roles", "x")[
        "roles.yaml"
    ]


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_terminal_is_not_asked_what_it_said(tmp_path: Path, by: str) -> None:
    """With `--template` or `AUTHZ_TEMPLATE` there is no question."""
    option, setting = (("--template", "casbin"), {}) if by == "option" else ((), {"AUTHZ_TEMPLATE": "casbin"})
    code, shown = init_on_a_terminal(tmp_path, "", *option, **setting)
    assert code == 0, shown
    assert TEMPLATES["casbin"] not in shown
    assert (tmp_path / "policies" / "policy.csv").is_file()


def test_end_of_input_writes_nothing(tmp_path: Path) -> None:
    """Whoever gives up at the question has no directory."""
    code, _ = init_on_a_terminal(tmp_path, "\x04")
    assert code == 130
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_named_and_stays(run: Run, tmp_path: Path) -> None:
    """A directory that is not empty is refused with what it holds, and nothing is written into it."""
    folder = tmp_path / "policies"
    folder.mkdir()
    for name in ("roles.yaml", ".hidden", "a", "b", "c", "d", "e"):
        (folder / name).write_text("precious")
    before = contents(folder)
    done = run("init")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: `policies` is not empty: it holds `.hidden`, `a`, `b`, `c`, `d` and 2 more\n"
        "  help: name a directory that is empty or does not exist yet, as in `authz-sidecar init NEW`\n"
    )
    assert contents(folder) == before


def test_a_second_run_is_refused(run: Run, tmp_path: Path) -> None:
    """What a first run wrote is not written over by a second one."""
    assert run("init").returncode == 0
    before = contents(tmp_path / "policies")
    done = run("init", "--template", "casbin")
    assert done.returncode == 2
    assert contents(tmp_path / "policies") == before


def test_a_new_repository_is_empty(run: Run, tmp_path: Path) -> None:
    """A directory that holds only `.git` is written into, and the history stays."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert run("init", ".").returncode == 0
    assert (tmp_path / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert (tmp_path / "model.conf").is_file()


def test_directories_on_the_way_are_made(run: Run, tmp_path: Path) -> None:
    """A directory is made with those above it, and the name is that of the one around `policies`."""
    assert run("init", "deep/er/../shop/policies").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["shop"]
    manifest = yaml.safe_load((tmp_path / "deep/shop/policies/manifest.yaml").read_text(encoding="utf-8"))
    assert manifest["name"] == "shop"


@pytest.mark.parametrize("link", [False, True], ids=["file", "link to a file"])
def test_a_file_in_the_place_of_the_directory_is_refused(run: Run, tmp_path: Path, link: bool) -> None:
    """A file where the directory should be exits 2 with the system's words, and stays."""
    (tmp_path / "file").write_text("precious")
    target = tmp_path / "policies"
    if link:
        target.symlink_to("file")
    else:
        target.write_text("precious")
    done = run("init")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cannot write to `policies`: not a directory\n  help: ")
    assert target.read_text() == "precious"


@pytest.mark.parametrize("name", ["Käse & Söhne", "yes", "12", "a: b # c", 'quo"ted', "𝒳", "x" * 128])
def test_any_name_is_kept(run: Run, tmp_path: Path, name: str) -> None:
    """The bundle is called what `--name` says, whatever YAML would make of it."""
    assert run("init", "--name", name).returncode == 0
    bundle = load_bundle(tmp_path / "policies").bundle
    assert bundle is not None
    assert bundle.name == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("x" * 129, "has 129 characters; at most 128 are taken"),
        ("a\nb", "holds the control character U+000A"),
        (" a", "begins or ends with white space"),
    ],
    ids=["empty", "long", "line feed", "white space"],
)
def test_a_name_that_no_bundle_has_is_refused(run: Run, tmp_path: Path, name: str, problem: str) -> None:
    """A name that the manifest could not hold is wrong usage, and nothing is written."""
    done = run("init", "--name", name)
    assert done.returncode == 2
    assert problem in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_template_is_refused(run: Run, tmp_path: Path) -> None:
    """The templates are named, and nothing is written."""
    done = run("init", "--template", "rbac")
    assert done.returncode == 2
    assert all(name in done.stderr for name in TEMPLATES)
    assert list(tmp_path.iterdir()) == []


# The second file cannot be written: its folder lies in one that does not exist.
BROKEN = {"a.yaml": "", "b/c/d.yaml": "", "tests/t.yaml": ""}


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """Where a file cannot be written, neither a new directory remains nor a file in one that was there."""
    with pytest.raises(FileNotFoundError):
        write_new(tmp_path / "new" / "policies", BROKEN)
    assert list(tmp_path.iterdir()) == []
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(FileNotFoundError):
        write_new(there, BROKEN)
    assert list(there.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    """A file that came after the look into the directory stays as it is, and nothing comes to lie beside it."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.yaml").write_text("precious")
    with pytest.raises(FileExistsError):
        write_new(tmp_path, {"a.yaml": "", "tests/t.yaml": ""})
    assert contents(tmp_path) == {"tests/t.yaml": "precious"}
