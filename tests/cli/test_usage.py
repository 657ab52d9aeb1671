"""Wrong command lines: each is told what is wrong with it and what to write instead."""

import pytest

from tests.cli.command_line import Run


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        ("chekc", "there is no command `chekc`", "did you mean `check`?"),
        ("frobnicate", "there is no command `frobnicate`", "the commands are `serve`, "),
        ("--version", "unknown option `--version`", "did you mean `version`?"),
        (
            "check",
            "the argument `[SUBJECT] OBJECT ACTION` is missing",
            "`authz-sidecar check [OPTIONS] [SUBJECT] OBJECT ACTION`",
        ),
        ("check a b c d", "nothing takes the argument `d`", "`authz-sidecar check [OPTIONS] [SUBJECT] OBJECT ACTION`"),
        ("check a b c --compnay x", "unknown option `--compnay`", "did you mean `--company`?"),
        ("lint --zzz", "unknown option `--zzz`", "see `authz-sidecar lint --help`"),
        ("check a b c --company", "`--company` has no value", "write one after it: `--company VALUE`"),
        ("check a b c --explain=3", "`--explain` takes no value", "write `--explain` alone"),
        ("check a b c --attribute k", "`--attribute`: `k` is not K=V", "`--attribute K=V`: an attribute of the object"),
        ("check a b c --context a.b=1", "`--context`: `a.b` has a dot; ", "`--context K=V`: "),
        ("check a b c --time noon", "`--time`: `noon` is not an RFC 3339 time", "`--time RFC3339`: "),
        ("test --format jnuit", "`--format` cannot be `jnuit`", "did you mean `junit`?"),
        ("lint --format xml", "`--format` cannot be `xml`", "write `text`, `json`, `sarif`, `github` or `gitlab`"),
        ("lint --color mauve", "`--color` cannot be `mauve`", "write `auto`, `always` or `never`"),
        ("serve --workers x", "`--workers`: `x` is no whole number", "`--workers N`: "),
        ("serve --grace x", "`--grace`: `x` is no number", "`--grace SECONDS`: "),
        ("serve --grace nan", "`--grace`: `nan` is no number", "`--grace SECONDS`: "),
        ("whoami", "`--server` is missing", "`--server ADDR`: ask the sidecar"),
        ("audit checkpoint --audit-key k", "`--audit-checkpoints` is missing", "`--audit-checkpoints FILE`: file of "),
        ("serve --workers 0", "`--workers`: 0 is not in the range", "`--workers N`: "),
        ("serve --grpc nowhere", "`--grpc`: `nowhere` is not an address", "see `authz-sidecar serve --help`"),
        ("completion tcsh", "the argument `bash|zsh|fish` cannot be `tcsh`", "write `bash`, `zsh` or `fish`"),
        ("render --model basic --output x", "`--model` prints to standard output", "see `authz-sidecar render --help`"),
        ("lint nowhere", "there is no directory `nowhere`", "name the directory that holds"),
    ],
)
def test_a_wrong_command_line_names_the_remedy(run: Run, line: str, message: str, remedy: str) -> None:
    """Exit code 2, nothing on standard output, and two lines: the fault and the remedy."""
    done = run(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {message}")
    assert second.startswith("  help: ")
    assert remedy in second
    assert not first.endswith(".")
    assert not second.endswith(".")


def test_a_wrong_value_from_the_environment_is_named_by_its_variable(run: Run) -> None:
    """Nobody typed the option, so that the variable is what to correct."""
    done = run("lint", env={"AUTHZ_FORMAT": "xml"})
    assert done.returncode == 2
    assert done.stderr.startswith("error: `AUTHZ_FORMAT` cannot be `xml`\n")


def test_a_long_argument_is_cut(run: Run) -> None:
    """A message stays readable whatever was typed."""
    done = run("x" * 10_000)
    assert done.returncode == 2
    assert max(map(len, done.stderr.splitlines())) < 250
