"""A commit as a reader of policies sees it: who, when, why, and the pull request that brought it.

Commits are read from their raw text, so that one that another program wrote badly is still shown.
"""

import re
from typing import Literal

import msgspec

# The second line of a squashed or merged change, as the hosts of repositories write it.
_IN_SUBJECT = (
    re.compile(r"\(#(\d{1,9})\)\s*$"),  # GitHub, squashed or rebased; Gitea
    re.compile(r"^Merge pull request #(\d{1,9})\b"),  # GitHub and Bitbucket Server, merged
    re.compile(r"^Merged PR (\d{1,9}):"),  # Azure DevOps
    re.compile(r"\(pull request #(\d{1,9})\)\s*$"),  # Bitbucket Cloud
)
# GitLab names the project before the number.
_MERGE_REQUEST = re.compile(r"^See merge request (?:\S*[^\s!])?!(\d{1,9})\s*$", re.MULTILINE)
_IDENTITY = re.compile(r"(?P<name>[^<]*)<(?P<email>[^>]*)>(?:\s+(?P<when>-?\d{1,18})\s+(?P<zone>[+-]\d{4}))?")
_TRAILER = re.compile(r"([A-Za-z0-9-]+)[ \t]*:(.*)", re.DOTALL)
# git writes these itself; one of them makes a paragraph of trailers that also holds other text.
_GENERATED = ("Signed-off-by: ", "(cherry picked from commit ")
_LATEST = 253_402_300_799  # 9999-12-31, the last day that a calendar here can show


class Commit(msgspec.Struct, frozen=True):
    """One commit.

    `id`, `tree` and `parents` are object ids in hex; `parents` is empty also where `edge` says that the clone is
    shallow here and does not hold them. `when` is the time it was written and `committed` the time it came to be in
    this place, both in seconds since 1970-01-01 UTC. `subject` is the first paragraph of `message` on one line.
    `trailers` are the `Key: value` lines at its end, by git's rules (git-interpret-trailers(1)). `pull_request` is the
    number that the message gives, as GitHub, GitLab, Bitbucket and Azure DevOps write it.
    """

    id: str
    tree: str
    parents: tuple[str, ...]
    author: str
    email: str
    when: int
    committed: int
    subject: str
    message: str
    trailers: tuple[tuple[str, str], ...] = ()
    pull_request: int | None = None
    edge: bool = False

    def trailer(self, key: str) -> tuple[str, ...]:
        """The values of the trailers called `key`, in any case."""
        return tuple(value for name, value in self.trailers if name.casefold() == key.casefold())


class CommitLinks(msgspec.Struct, frozen=True):
    """What a walk through history needs of a commit."""

    tree: str
    parents: tuple[str, ...]
    committed: int


def read_links(raw: bytes) -> CommitLinks:
    """The links of a commit from its raw text; raises ValueError if it names no tree."""
    tree, parents, committed = "", [], 0
    for line in raw.partition(b"\n\n")[0].split(b"\n"):
        if line.startswith(b"parent "):
            parents.append(line[7:].decode("ascii"))
        elif line.startswith(b"tree "):
            tree = line[5:].decode("ascii")
        elif line.startswith(b"committer "):
            committed = _identity(line[10:].decode("utf-8", "replace"))[2]
    if not tree:
        raise ValueError("no tree")
    return CommitLinks(tree, tuple(parents), committed)


def read_commit(id: str, raw: bytes, edge: bool) -> Commit:
    """A commit from its raw text; raises ValueError if it names no tree."""
    links = read_links(raw)
    head, _, body = raw.partition(b"\n\n")
    lines = head.split(b"\n")
    encoding = _header(lines, b"encoding").decode("ascii", "replace") or "utf-8"
    author, email, when = _identity(_decode(_header(lines, b"author"), encoding))
    message = _decode(body, encoding)
    subject = _subject(message)
    return Commit(
        id,
        links.tree,
        () if edge else links.parents,
        author,
        email,
        when,
        links.committed,
        subject,
        message,
        read_trailers(message),
        _pull_request(subject, message),
        edge,
    )


def read_trailers(message: str) -> tuple[tuple[str, str], ...]:
    """The trailers of a commit message: keys and values in order, continued lines joined with a space.

    git's rules: the last paragraph, which is not the first, and of which either every line is a trailer or a
    continuation, or one is written by git and at least a quarter are trailers.
    """
    lines = message.split("\n")
    while lines and (not lines[-1].strip() or lines[-1].startswith("#")):
        lines.pop()
    start = len(lines)
    while start and lines[start - 1].strip():
        start -= 1
    # The first paragraph is what was done, whatever it looks like.
    if not start or not any(line.strip() for line in lines[:start]):
        return ()
    found: list[list[str]] = []
    trailers = others = 0
    generated = False
    # The line that a continuation would continue: a trailer, a line of git's, or neither.
    before: Literal["trailer", "generated", ""] = ""
    for line in lines[start:]:
        match = _TRAILER.fullmatch(line)
        if line.startswith("#"):
            before = ""
        elif line.startswith(_GENERATED) or match is not None:
            trailers += 1
            generated = generated or line.startswith(_GENERATED)
            before = "generated" if match is None else "trailer"
            if match is not None:
                found.append([match[1], match[2]])
        elif line[0].isspace() and before:
            if before == "trailer":
                found[-1][1] += f" {line.lstrip()}"
        else:
            before = ""
            others += 1
    if others and not (generated and trailers * 3 >= others):
        return ()
    return tuple((key, value.strip()) for key, value in found)


def _pull_request(subject: str, message: str) -> int | None:
    for pattern in _IN_SUBJECT:
        if found := pattern.search(subject):
            return int(found[1])
    found = _MERGE_REQUEST.search(message)
    return int(found[1]) if found else None


def _subject(message: str) -> str:
    """The lines up to the first blank one, joined, as git's `%s` has it."""
    return " ".join(line.strip() for line in message.strip("\n").partition("\n\n")[0].split("\n")).strip()


def _header(lines: list[bytes], name: bytes) -> bytes:
    prefix = name + b" "
    return next((line[len(prefix) :] for line in lines if line.startswith(prefix)), b"")


def _identity(text: str) -> tuple[str, str, int]:
    """Name, address and time of `Name <address> 1700000000 +0100`; time 0 where it says none that can be shown."""
    found = _IDENTITY.match(text)
    if found is None:
        return text.strip(), "", 0
    when = int(found["when"] or 0)
    return found["name"].strip(), found["email"].strip(), when if 0 <= when <= _LATEST else 0


def _decode(text: bytes, encoding: str) -> str:
    try:
        return text.decode(encoding)
    except (LookupError, UnicodeDecodeError, ValueError):
        return text.decode("utf-8", "replace")
