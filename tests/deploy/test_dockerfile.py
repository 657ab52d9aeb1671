"""The Dockerfile, as far as can be known without an engine that builds it: its files exist, its steps agree with the
lock, and the image is what `docs/operations.md` says."""

import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path, PurePosixPath

import click
import pytest

from authz_sidecar.cli.main import LAZY, cli

ROOT = Path(__file__).parents[2]
Instruction = tuple[str, str]


def read_stages(text: str) -> list[list[Instruction]]:
    """The instructions of each stage, with continued lines joined; each stage begins with its FROM."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stages: list[list[Instruction]] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, " ".join(rest.split())))
    return stages


STAGES = read_stages((ROOT / "Dockerfile").read_text())
INSTRUCTIONS = [instruction for stage in STAGES for instruction in stage]


def values(name: str, stage: list[Instruction]) -> list[str]:
    """What stands behind each instruction called `name`."""
    return [value for found, value in stage if found == name]


def environment(stage: list[Instruction]) -> dict[str, str]:
    """The variables that a stage sets."""
    parts = [part for value in values("ENV", stage) for part in shlex.split(value)]
    return dict(part.split("=", 1) for part in parts)


def copied_files() -> list[str]:
    """What the Dockerfile copies from the repository."""
    copies = [shlex.split(value) for value in values("COPY", INSTRUCTIONS) if "--from=" not in value]
    return [source for copy in copies for source in copy[:-1]]


def is_sent(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore leaves `path` in the build context: the last pattern that matches it or a folder above."""
    sent = True
    above = [path, *(str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")]
    for pattern in patterns:
        plain = pattern.removeprefix("!").removeprefix("**/")
        names = [part for name in above for part in (name, PurePosixPath(name).name)] if "**/" in pattern else above
        if any(fnmatch.fnmatchcase(name, plain) for name in names):
            sent = pattern.startswith("!")
    return sent


def ignore_patterns() -> list[str]:
    """The patterns of .dockerignore."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_every_copied_file_exists_and_is_sent() -> None:
    """What the Dockerfile copies is in the repository and in the build context."""
    for source in copied_files():
        assert (ROOT / source).exists(), source
        assert is_sent(source, ignore_patterns()), source


@pytest.mark.parametrize(
    "path",
    [".git/config", "policies/roles.yaml", "tests/conftest.py", "src/authz_sidecar/__pycache__", ".venv/bin/pip"],
)
def test_nothing_else_is_sent(path: str) -> None:
    """Neither history nor policies nor what was made on the way reach the build."""
    assert not is_sent(path, ignore_patterns())


def test_the_wheel_is_built_from_what_is_copied() -> None:
    """The files that the package's metadata names are copied before it is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "src"}
    assert needed <= set(copied_files())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == {"src/authz_sidecar"}


def test_nothing_is_fetched_but_locked_packages() -> None:
    """One install reads an index, and it takes nothing but what the lock has a hash for; no other step fetches."""
    assert not values("ADD", INSTRUCTIONS)
    commands = [part.strip() for run in values("RUN", INSTRUCTIONS) for part in run.split("&&")]
    installs = [command for command in commands if re.match(r"pip .*\binstall\b", command)]
    fetching = [command for command in installs if "--no-index" not in command]
    assert len(fetching) == 1
    assert {"--require-hashes", "requirements.lock"} <= set(fetching[0].split())
    first_words = {command.split()[0] for command in commands}
    assert first_words <= {"python", "pip", "install"}


def test_what_only_the_installation_needs_is_removed() -> None:
    """The packages that are in the lock for hatchling alone are those that the build uninstalls."""
    wanted_by: dict[str, set[str]] = {}
    name = ""
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if found := re.match(r"([a-z0-9-]+)==", line):
            name = found[1]
            wanted_by[name] = set()
        elif found := re.match(r" +# +(?:via +)?(?!via$)(\S.*)", line):
            wanted_by[name].add(found[1])
    for_building = {"authz-sidecar (pyproject.toml:build)"}
    while more := {name for name, by in wanted_by.items() if by <= for_building} - for_building:
        for_building |= more
    (uninstall,) = re.findall(r"uninstall --yes ([a-z0-9 -]+?) &&", " ".join(values("RUN", INSTRUCTIONS)))
    assert set(uninstall.split()) == for_building - {"authz-sidecar (pyproject.toml:build)"}


def test_the_image_runs_the_command_as_a_number_that_is_not_root() -> None:
    """The last stage ends as user 65532, starts the installed command, and is listening where it is told to alone."""
    last = STAGES[-1]
    assert values("USER", last)[-1] == "65532:65532"
    (command,) = json.loads(values("ENTRYPOINT", last)[-1])
    assert command in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(values("CMD", last)[-1]) == ["serve"]
    assert "serve" in LAZY
    assert not any("pip" in value for value in values("RUN", last))


def test_the_image_sets_real_options() -> None:
    """Every AUTHZ_ variable of the image is one that `serve` reads."""
    command = cli.get_command(click.Context(cli), "serve")
    assert command is not None
    known = {parameter.envvar for parameter in command.params}
    settings = environment(STAGES[-1])
    assert settings["AUTHZ_POLICIES"] == "/policies"
    assert {name for name in settings if name.startswith("AUTHZ_")} <= known


def test_the_image_is_probed_by_a_program_that_it_holds() -> None:
    """The health check runs the probe under the name that the build installs it by."""
    (check,) = values("HEALTHCHECK", STAGES[-1])
    program, path = json.loads(check.partition(" CMD ")[2])
    assert path == "/readyz"
    assert f"probe.py /opt/authz-sidecar/bin/{program}" in " ".join(values("RUN", INSTRUCTIONS))
    assert "/opt/authz-sidecar/bin" in environment(STAGES[-1])["PATH"].split(":")
