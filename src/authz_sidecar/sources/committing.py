"""A commit of exactly the files that somebody changed through us, beside whatever else they are in the middle of.

Objects, the branch and git's index are written with dulwich: no git program and no hooks are run, nothing is signed.
"""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from authz_sidecar.bundle.wording import quote
from authz_sidecar.sources.objects import BLOB, Entry, Objects, RepositoryError, blob_id, damaged
from authz_sidecar.sources.writing import replace_file

if TYPE_CHECKING:
    from dulwich.config import StackedConfig
    from dulwich.file import _GitFile
    from dulwich.index import ConflictedIndexEntry, IndexEntry
    from dulwich.repo import Repo

_UNDER_WAY = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
}
_FILE = 0o100644
_FOLDER = 0o40000
_NOBODY = "0" * 40


class _Change(msgspec.Struct, frozen=True):
    """One file: its new content (None: removed), and what HEAD has of it."""

    path: str
    content: bytes | None
    before: Entry | None
    content_before: bytes | None


def commit_files(
    repo: "Repo",
    objects: Objects,
    root: Path | None,
    changes: Mapping[str, bytes | None],
    message: str,
    branch: str | None,
    author: str | None,
) -> str:
    """See `Repository.commit_files`."""
    config = repo.get_config_stack()
    _refuse_disorder(repo, config)
    current, head = _current(repo)
    tree = None if head is None else objects.links(head).tree
    wanted = [_change(objects, tree, path, content) for path, content in sorted(changes.items())]
    for change in wanted:
        if root is not None:
            _refuse_other_work(root, change)
    here = branch is None or f"refs/heads/{branch}" == current
    if not here:
        _refuse_branch(repo, branch or "")
    elif current is None:
        raise RepositoryError("no branch is checked out", "name a branch for the commit, or check one out")
    who = _identity(config, "COMMITTER")
    by = _author(author) if author is not None else _identity(config, "AUTHOR")
    with _index_lock(repo) if here and root is not None else _nothing() as lock:
        index = None if lock is None else _Index(repo, lock)
        if index is not None:
            for change in wanted:
                index.refuse_other_work(change)
        with damaged("the repository"):
            id = _write_commit(repo, objects, tree, wanted, message, (head, by, who))
        _move(repo, current or "" if here else f"refs/heads/{branch}", head, here, id, who, message)
        if index is not None and root is not None:
            for change in wanted:
                index.take(change, _place(root, change))
            index.write()
    return id


def _refuse_disorder(repo: "Repo", config: "StackedConfig") -> None:
    control = Path(repo.controldir())
    for name, what in _UNDER_WAY.items():
        if (control / name).exists():
            raise RepositoryError(f"{what} is under way in this repository", "finish or abort it first")
    if config.get_boolean((b"commit",), b"gpgsign", False):
        raise RepositoryError(
            "this repository signs its commits (`commit.gpgsign`), which is not done here",
            "write the change without committing it, and commit it with `git commit`",
        )


def _current(repo: "Repo") -> tuple[str | None, str | None]:
    """The reference of the branch that is checked out (None: none is), and its commit (None: none yet)."""
    with damaged("HEAD"):
        symbolic = (repo.refs.read_ref(b"HEAD") or b"").decode("utf-8", "surrogateescape")  # type: ignore[arg-type]
        try:
            head = repo.head().decode("ascii")
        except KeyError:
            head = None
    return (symbolic.removeprefix("ref: ") if symbolic.startswith("ref: ") else None), head


def _change(objects: Objects, tree: str | None, path: str, content: bytes | None) -> _Change:
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.casefold() in (".git", "git~1") or "\0" in part for part in parts):
        raise RepositoryError(f"{quote(path)} is no path of a repository", "give it from the root of the repository")
    entry: Entry | None = None
    for number, part in enumerate(parts):
        entry = objects.entries(tree).get(part) if tree is not None else None
        if entry is None:
            break
        last = number == len(parts) - 1
        if last != stat.S_ISREG(entry.mode) or (not last and not stat.S_ISDIR(entry.mode)):
            raise RepositoryError(f"{quote(path)} is no plain file in the last commit", "commit it with git")
        tree = entry.id
    before = None if entry is None else objects.content(entry.id, BLOB)
    if content is None and before is None:
        raise RepositoryError(f"{quote(path)} cannot be removed: the last commit does not have it", "")
    # Beside line feeds alone in git, other line ends are the platform's.
    if content is not None and before is not None and b"\r\n" not in before:
        content = content.replace(b"\r\n", b"\n")
    return _Change(path, content, entry, before)


def _place(root: Path, change: _Change) -> Path:
    place = root / change.path
    with damaged(quote(change.path)):
        if not place.parent.resolve().is_relative_to(root):
            raise RepositoryError(f"{quote(change.path)} leads out of the repository", "replace the link by the folder")
    return place


def _refuse_other_work(root: Path, change: _Change) -> None:
    """Refuse a file that has been changed otherwise since the last commit."""
    place = _place(root, change)
    with damaged(quote(change.path)):
        if place.is_symlink() or (place.exists() and not place.is_file()):
            raise RepositoryError(f"{quote(change.path)} is no plain file", "commit it with git")
        now = place.read_bytes() if place.exists() else None
    if not any(_same(now, known) for known in (change.content_before, change.content)):
        raise RepositoryError(
            f"{quote(change.path)} has other changes that are not committed", "commit or undo them first"
        )


def _same(one: bytes | None, other: bytes | None) -> bool:
    """Whether two files are the same but for the line ends of the platform."""
    if one is None or other is None:
        return one is other
    return one == other or one.replace(b"\r\n", b"\n") == other


def _refuse_branch(repo: "Repo", branch: str) -> None:
    from dulwich.refs import check_ref_format

    name = f"refs/heads/{branch}".encode("utf-8", "surrogateescape")
    if branch.startswith("-") or not check_ref_format(name):  # type: ignore[arg-type]  # a name is bytes to us
        raise RepositoryError(f"{quote(branch)} is no name for a branch", "use letters, digits, `-`, `_`, `.` and `/`")
    with damaged("the references"):
        taken = name in repo.refs.allkeys()
    if taken:
        raise RepositoryError(f"there is a branch {quote(branch)} already", "name another one, or check it out first")


def _identity(config: "StackedConfig", role: str) -> bytes:
    """`Name <address>` of who commits, as git finds it: the environment, then its configuration."""
    found = {}
    for field in ("name", "email"):
        value = os.environ.get(f"GIT_{role}_{field.upper()}", "")
        for section in (role.lower(), "user"):
            if not value:
                try:
                    value = config.get((section.encode(),), field.encode()).decode("utf-8", "replace")
                except KeyError:
                    continue
        found[field] = value.strip()
    if not found["name"] or not found["email"]:
        raise RepositoryError(
            "git does not know who you are",
            'tell it with `git config user.name "Your Name"` and `git config user.email you@example.org`',
        )
    return _author(f"{found['name']} <{found['email']}>")


def _author(text: str) -> bytes:
    name, bracket, address = text.partition(" <")
    address = address.removesuffix(">")
    if not bracket or any(character in "<>\n\0" for character in name + address) or not name.strip():
        raise RepositoryError(f"{quote(text)} is no author", "write `Name <address>`")
    return f"{name.strip()} <{address}>".encode()


def _write_commit(
    repo: "Repo",
    objects: Objects,
    tree: str | None,
    changes: list[_Change],
    message: str,
    origin: tuple[str | None, bytes, bytes],
) -> str:
    from dulwich.objects import Blob, Commit

    changed: dict[tuple[str, ...], tuple[int, str] | None] = {}
    for change in changes:
        if change.content is None:
            changed[tuple(change.path.split("/"))] = None
            continue
        blob = Blob.from_string(change.content)
        repo.object_store.add_object(blob)
        mode = change.before.mode if change.before else _FILE
        changed[tuple(change.path.split("/"))] = (mode, blob.id.decode("ascii"))
    written = _write_tree(repo, objects, tree, changed)
    if written == tree:
        raise RepositoryError("there is nothing to commit: the last commit has these files", "")
    head, author, committer = origin
    commit = Commit()
    # A commit without a file has the tree without an entry.
    commit.tree = (written or _write_tree(repo, objects, None, {}, keep=True) or "").encode("ascii")
    commit.parents = [] if head is None else [head.encode("ascii")]  # type: ignore[list-item]  # ids are bytes
    commit.author, commit.committer = author, committer
    commit.author_time = commit.commit_time = int(time.time())
    commit.author_timezone = commit.commit_timezone = time.localtime().tm_gmtoff
    commit.message = message.strip().encode("utf-8", "surrogateescape") + b"\n"
    repo.object_store.add_object(commit)
    return commit.id.decode("ascii")


def _write_tree(
    repo: "Repo",
    objects: Objects,
    id: str | None,
    changed: Mapping[tuple[str, ...], tuple[int, str] | None],
    *,
    keep: bool = False,
) -> str | None:
    """Write the tree `id` with the files at these paths replaced; None, and not written, if nothing is left in it."""
    from dulwich.objects import Tree

    entries = {} if id is None else {name: (entry.mode, entry.id) for name, entry in objects.entries(id).items()}
    below: dict[str, dict[tuple[str, ...], tuple[int, str] | None]] = {}
    for path, file in changed.items():
        if len(path) > 1:
            below.setdefault(path[0], {})[path[1:]] = file
        elif file is None:
            entries.pop(path[0], None)
        else:
            entries[path[0]] = file
    for name, inside in below.items():
        mode, folder = entries.get(name, (_FOLDER, None))
        written = _write_tree(repo, objects, folder, inside)
        if written is None:
            entries.pop(name, None)
        else:
            entries[name] = (mode, written)
    if not entries and not keep:
        return None
    tree = Tree()
    for name, (mode, sha) in entries.items():
        tree.add(name.encode("utf-8", "surrogateescape"), mode, sha.encode("ascii"))  # type: ignore[arg-type]
    repo.object_store.add_object(tree)
    return tree.id.decode("ascii")


def _move(repo: "Repo", reference: str, head: str | None, here: bool, id: str, committer: bytes, message: str) -> None:
    """Let the branch name the commit, unless somebody else has moved it meanwhile."""
    name = reference.encode("utf-8", "surrogateescape")
    subject = message.strip().partition("\n")[0].encode("utf-8", "surrogateescape")
    zone = time.localtime().tm_gmtoff
    with damaged(f"the branch {quote(reference)}"):
        if here and head is not None:
            moved = repo.refs.set_if_equals(
                name,  # type: ignore[arg-type]  # a name is bytes to us
                head.encode("ascii"),  # type: ignore[arg-type]  # an id too
                id.encode("ascii"),  # type: ignore[arg-type]
                committer=committer,
                timezone=zone,
                message=b"commit: " + subject,
            )
        else:
            moved = repo.refs.add_if_new(
                name,  # type: ignore[arg-type]
                id.encode("ascii"),  # type: ignore[arg-type]
                committer=committer,
                timezone=zone,
                message=b"commit: " + subject,
            )
    if not moved:
        raise RepositoryError(
            f"the branch {quote(reference.removeprefix('refs/heads/'))} was moved meanwhile", "try again"
        )
    log = Path(repo.controldir()) / "logs" / "HEAD"
    if here and log.exists():
        from dulwich.reflog import format_reflog_line

        line = format_reflog_line(
            (head or _NOBODY).encode("ascii"),
            id.encode("ascii"),
            committer,
            int(time.time()),
            zone,
            b"commit: " + subject,
        )
        with damaged("the log of HEAD"), log.open("ab") as file:
            file.write(line + b"\n")


@contextmanager
def _nothing() -> "Iterator[None]":
    yield None


@contextmanager
def _index_lock(repo: "Repo") -> "Iterator[_GitFile]":
    """Git's lock of the index: whoever else would write it waits or gives up. Left alone unless it is closed."""
    from dulwich.file import FileLocked, GitFile

    path = repo.index_path()
    try:
        lock = GitFile(path, "wb")
    except FileLocked:
        raise RepositoryError(
            "another program is writing the index of this repository",
            f"wait for it; if there is none, remove {quote(f'{path}.lock')}",
        ) from None
    except OSError as error:
        raise RepositoryError(
            f"the index of this repository cannot be written: {(error.strerror or '').lower()}", "make it writable"
        ) from error
    try:
        yield lock
    finally:
        # Without effect on one that has taken the index's place.
        lock.abort()


class _Index:
    """git's index while we hold its lock."""

    def __init__(self, repo: "Repo", lock: "_GitFile") -> None:
        from dulwich.index import IndexChecksumReader, read_index_dict_with_version

        self._format = repo.object_format
        self._lock = lock
        self._entries: dict[bytes, IndexEntry | ConflictedIndexEntry] = {}
        self._version: int | None = None
        with damaged("the index"):
            try:
                with Path(repo.index_path()).open("rb") as file:
                    reader = IndexChecksumReader(file, self._format)
                    self._entries, self._version, _ = read_index_dict_with_version(reader, self._format)
                    # What is left before the checksum is an extension that a writer must know.
                    left = os.fstat(file.fileno()).st_size - self._format.oid_length - file.tell()
            except FileNotFoundError:
                return
        if left > 0:
            raise RepositoryError(
                "the index of this repository is split or sparse, which is not written here",
                "write the change without committing it, and commit it with `git commit`",
            )

    def refuse_other_work(self, change: _Change) -> None:
        """Refuse a file of which something else is staged, or that is in conflict."""
        entry = self._entries.get(change.path.encode("utf-8", "surrogateescape"))
        staged = None if entry is None else getattr(entry, "sha", b"conflict").decode("ascii")
        known = {None if change.before is None else change.before.id}
        known.add(None if change.content is None else blob_id(change.content, len(_NOBODY)))
        if staged not in known:
            raise RepositoryError(f"{quote(change.path)} has other changes that are staged", "commit or unstage them")

    def take(self, change: _Change, place: Path) -> None:
        """Bring the file and its entry to what was committed."""
        from dulwich.index import index_entry_from_stat

        name = change.path.encode("utf-8", "surrogateescape")
        with damaged(quote(change.path)):
            now = place.read_bytes() if place.exists() else None
            if change.content is None:
                self._entries.pop(name, None)
                if now is not None:
                    place.unlink()
                return
            if not _same(now, change.content):
                windows = now is not None and b"\r\n" in now
                content = change.content.replace(b"\n", b"\r\n") if windows else change.content
                place.parent.mkdir(parents=True, exist_ok=True)
                replace_file(place, content, stat.S_IMODE(place.stat().st_mode) if place.exists() else None)
            mode = change.before.mode if change.before else _FILE
            id = blob_id(change.content, len(_NOBODY)).encode("ascii")
            self._entries[name] = index_entry_from_stat(place.lstat(), id, mode=mode)

    def write(self) -> None:
        """Let the new index take the place of the old one. Its extensions are left out: they are all caches, which
        git makes again, and that of trees would be wrong now."""
        from dulwich.index import IndexChecksumWriter, write_index_dict

        with damaged("the index"):
            writer = IndexChecksumWriter(self._lock, self._format)
            write_index_dict(writer, self._entries, version=self._version, object_format=self._format)
            writer.close()
