"""Commits as values: people, times, trailers and pull requests, with the git program as the judge."""

import random
from pathlib import Path

import pytest

from authz_sidecar.sources.commit import read_commit, read_trailers
from authz_sidecar.sources.repository import Repository
from tests.sources.git_program import commit, git, init

LINES = (
    "Justification: least privilege",
    "Signed-off-by: Ada <ada@example.org>",
    "(cherry picked from commit 0123456789012345678901234567890123456789)",
    "Reviewed-by : Grace",
    "key:",
    "  continued",
    "\tcontinued with a tab",
    "plain words of a sentence",
    "See https://example.org: it says more",
    "two words: no trailer",
    "# a comment",
    " ",
    "",
    "",
)


def test_trailers_are_those_of_git(tmp_path: Path) -> None:
    """On four hundred random messages, what git itself takes for trailers, unfolded."""
    root = init(tmp_path)
    choice = random.Random(7)  # noqa: S311 - not for secrets
    tree = git(root, "mktree", input="")
    ids = [
        git(root, "commit-tree", tree, input="\n".join(choice.choices(LINES, k=choice.randrange(1, 9))))
        for _ in range(400)
    ]
    told = git(root, "log", "--no-walk=unsorted", "--format=%x02%H%x00%(trailers:only,unfold)", *ids)
    seen = 0
    with Repository.open(root) as repository:
        for record in told.split("\x02")[1:]:
            id, _, trailers = record.partition("\x00")
            found = repository.commit(id)
            # git writes one space after the colon, also before nothing.
            expected = [line.rstrip() for line in trailers.split("\n") if line]
            assert [f"{key}: {value}".rstrip() for key, value in found.trailers] == expected, found.message
            seen += bool(expected)
    assert seen > 40


def test_the_trailer_of_a_key_is_found_in_any_case() -> None:
    """Each value of a key that is given twice, in order."""
    message = "subject\n\njustification: one\nReviewed-by: x\nJustification: two\n"
    found = read_commit("0" * 40, b"tree %b\n\n%b" % (b"1" * 40, message.encode()), edge=False)
    assert found.trailer("Justification") == ("one", "two")
    assert read_trailers("Justification: a subject is no trailer") == ()


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("Let clerks read reports (#123)", 123),
        ("Let clerks read reports (#12) (#123)\n\nbody (#4)", 123),
        ("Merge pull request #45 from acme/topic\n\nLet clerks read", 45),
        ("Merge branch 'topic' into 'main'\n\nLet clerks\n\nSee merge request acme/policies!67", 67),
        ("Merge branch 'topic' into 'main'\n\nSee merge request !8", 8),
        ("Merged PR 9: let clerks read", 9),
        ("Merged in topic (pull request #10)", 10),
        ("Fix #11 (see #12 for more)", None),
        ("Let clerks read\n\nCloses (#13)", None),
        ("Let clerks read (#99999999999999)", None),
        ("", None),
    ],
)
def test_the_pull_request_is_what_the_message_says(message: str, number: int | None) -> None:
    """As GitHub, GitLab, Azure DevOps and Bitbucket write it; an issue that is mentioned is none."""
    raw = b"tree %b\n\n%b" % (b"1" * 40, message.encode())
    assert read_commit("0" * 40, raw, edge=False).pull_request == number


def test_a_commit_is_who_when_and_why(tmp_path: Path) -> None:
    """Author, both times, a subject over two lines, and the message, as git tells them."""
    root = init(tmp_path)
    id = commit(root, "Let clerks\nread reports\n\nThey need it.\n", at=1_700_000_000)
    with Repository.open(root) as repository:
        found = repository.commit(id)
    assert (found.author, found.email, found.when, found.committed) == (
        "Ada",
        "ada@example.org",
        1_700_000_000,
        1_700_000_000,
    )
    assert found.subject == git(root, "log", "-1", "--format=%s") == "Let clerks read reports"
    assert found.message == "Let clerks\nread reports\n\nThey need it.\n"


@pytest.mark.parametrize(
    ("header", "author"),
    [
        (b"author  <> 99999999999999999 +0000", ("", "", 0)),
        (b"author Ada 5", ("Ada 5", "", 0)),
        (b"author A\xe9 <a@b> 5 +0000\nencoding latin-1", ("Aé", "a@b", 5)),
        (b"author A\xe9 <a@b> 5 +0000\nencoding nothing-known", ("A\ufffd", "a@b", 5)),
        (b"author Ada <a@b> -5 +0000", ("Ada", "a@b", 0)),
        (b"nothing", ("", "", 0)),
    ],
)
def test_a_badly_written_commit_is_still_read(header: bytes, author: tuple[str, str, int]) -> None:
    """Without an address, with an impossible time, in another encoding: what can be said is said."""
    found = read_commit("0" * 40, b"tree %b\n%b\n\nx" % (b"1" * 40, header), edge=False)
    assert (found.author, found.email, found.when) == author
