"""What a reader calls a commit (`main`, `v1.2`, `HEAD~2`, `9f0c1d3`) to its id, by the rules of gitrevisions(7).

Where git would choose between two things of one name with a warning, this refuses: what a review is measured against
must not depend on a tag that somebody named like a branch.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from authz_sidecar.bundle.wording import closest, listed, quote
from authz_sidecar.sources.merge_base import merge_base
from authz_sidecar.sources.objects import COMMIT, KINDS, UNSHALLOW, Objects, RepositoryError, damaged

if TYPE_CHECKING:
    from dulwich.repo import Repo

_REVISION = re.compile(r"(?P<base>.*?)(?P<upstream>@\{(?:u|upstream)\})?(?P<steps>(?:~\d*|\^\d*|\^\{(?:commit)?\})*)")
_STEP = re.compile(r"~\d*|\^\{(?:commit)?\}|\^\d*")
_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_ID = re.compile(r"[0-9a-f]{4,63}")
# In the order in which git looks; HEAD, FETCH_HEAD and their like stand in git's own directory.
_PLACES = ("refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")
_OWN = re.compile(r"[A-Z][A-Z_]*HEAD|HEAD")
_NO_NAME = re.compile(r"[ ~^:?*\[\\]|@\{")
_MAX_STEPS = 1_000_000
_MAX_NAMES = 5000
_MAX_LINE = 4096
# A shallow clone has the one branch, and `--unshallow` alone brings no other.
_FETCH_ALL = (
    "fetch everything with `git fetch --unshallow origin '+refs/heads/*:refs/remotes/origin/*'`; "
    "in a workflow, check out with `fetch-depth: 0`"
)


def resolve_revision(repo: "Repo", objects: Objects, revision: str) -> str:
    """The id of the commit that `revision` names; raises RepositoryError."""
    if "..." in revision:
        return _merge_base(repo, objects, revision)
    if ".." in revision:
        raise RepositoryError(
            f"{quote(revision)} is a range of commits",
            "give one revision, or `A...B` for the commit where A and B parted",
        )
    match = _REVISION.fullmatch(revision)
    # What git allows in no name of a reference: the rest of its notations, such as `HEAD^{tree}`, names no commit here.
    if match is None or not revision or not revision.isprintable() or _NO_NAME.search(match["base"]):
        raise RepositoryError(
            f"{quote(revision)} names no commit",
            "name a branch, a tag or a commit, such as `main`, `v1.2`, `9f0c1d3`, `HEAD~2` or `origin/main`",
        )
    base = match["base"] or "HEAD"
    commit = _upstream(repo, objects, base) if match["upstream"] else _base(repo, objects, base)
    for step in _STEP.findall(match["steps"]):
        commit = _step(objects, revision, commit, step)
    # What lies at the edge of a shallow clone is named by the clone, and may yet be missing.
    objects.links(commit)
    return commit


def _base(repo: "Repo", objects: Objects, name: str) -> str:
    if _FULL_ID.fullmatch(name.lower()):
        return _known(objects, name.lower())
    found = {place: _peeled(objects, id, name) for place, id in _references(repo, name).items()}
    if _SHORT_ID.fullmatch(name.lower()):
        found |= {id: id for id in _beginning_with(objects, name.lower())}
    commits = set(found.values())
    if not commits:
        raise _unknown(repo, objects, name)
    if len(commits) > 1:
        raise RepositoryError(f"{quote(name)} is ambiguous", f"write {listed(list(found))}")
    return commits.pop()


def _references(repo: "Repo", name: str) -> dict[str, str]:
    """Every reference that `name` may mean, and the id that it has; one in git's own directory outranks all."""
    name = "HEAD" if name == "@" else name
    if _OWN.fullmatch(name) and (id := _reference(repo, name)):
        return {name: id}
    places = (name,) if name.startswith("refs/") else ()
    return {place: id for form in (*places, *_PLACES) if (id := _reference(repo, place := form.format(name)))}


def _reference(repo: "Repo", name: str) -> str | None:
    from dulwich.refs import check_ref_format

    encoded = name.encode("utf-8", "surrogateescape")
    if "/" in name and not check_ref_format(encoded):  # type: ignore[arg-type]  # a name is bytes to us
        return None
    with damaged(f"the reference {quote(name)}"):
        if name == "FETCH_HEAD":
            return _fetched(repo)
        try:
            return repo.refs[encoded].decode("ascii")  # type: ignore[index]  # as above
        except KeyError:
            return None


def _fetched(repo: "Repo") -> str | None:
    """What the last fetch brought first: a list of ids with their origins, where other references are an id."""
    try:
        with (Path(repo.controldir()) / "FETCH_HEAD").open("rb") as file:
            first = file.readline(_MAX_LINE).decode("utf-8", "replace").split("\t")[0]
    except FileNotFoundError:
        return None
    return first if _FULL_ID.fullmatch(first) else None


def _known(objects: Objects, id: str) -> str:
    try:
        return _peeled(objects, id, id)
    except RepositoryError as error:
        if f"the object {quote(id)} is missing" not in error.message:
            raise
        if objects.shallow:
            raise RepositoryError(
                f"the commit {quote(id)} is not in this shallow clone: it may lie beyond its edge", UNSHALLOW
            ) from None
        if objects.partial:
            raise
        raise RepositoryError(
            f"there is no commit {quote(id)} in this repository", "if the remote has it, `git fetch` brings it"
        ) from None


def _peeled(objects: Objects, id: str, name: str) -> str:
    kind, id = objects.peel(id)
    if kind != COMMIT:
        raise RepositoryError(f"{quote(name)} is a {KINDS.get(kind, 'delta')}, not a commit", "name a commit")
    return id


def _beginning_with(objects: Objects, prefix: str) -> list[str]:
    """The commits whose ids, or those of tags on them, begin with `prefix`."""
    peeled = [objects.peel(id) for id in objects.beginning_with(prefix)]
    return sorted({commit for kind, commit in peeled if kind == COMMIT})


def _step(objects: Objects, revision: str, commit: str, step: str) -> str:
    if step.startswith("^{"):
        return commit
    number = int(step[1:] or 1)
    if number > _MAX_STEPS:
        raise RepositoryError(f"{quote(revision)} is further back than any history", "name a later commit")
    if step.startswith("~"):
        for _ in range(number):
            commit = _parent(objects, revision, commit, 1)
        return commit
    return commit if number == 0 else _parent(objects, revision, commit, number)


def _parent(objects: Objects, revision: str, commit: str, number: int) -> str:
    parents = objects.links(commit).parents
    if number <= len(parents):
        return parents[number - 1]
    if commit in objects.shallow:
        raise RepositoryError(f"{quote(revision)} lies beyond the edge of this shallow clone", UNSHALLOW)
    what = "no parent" if not parents else f"no parent number {number}"
    raise RepositoryError(
        f"there is no {quote(revision)}: the commit {quote(commit[:12])} has {what}", "name a later commit"
    )


def _upstream(repo: "Repo", objects: Objects, base: str) -> str:
    branch = _branch(repo, base)
    config = repo.get_config()
    if branch is not None:
        section = (b"branch", branch.encode("utf-8", "surrogateescape"))
        try:
            remote, merge = config.get(section, b"remote").decode(), config.get(section, b"merge").decode()
        except KeyError:
            pass
        else:
            name = merge if remote == "." else f"refs/remotes/{remote}/{merge.removeprefix('refs/heads/')}"
            if (id := _reference(repo, name)) is not None:
                return _peeled(objects, id, name)
            raise RepositoryError(f"the upstream {quote(name)} has not been fetched", f"`git fetch {remote}`")
    raise RepositoryError(
        f"{quote(base)} has no upstream", "name it yourself, such as `origin/main`, or set it with `git branch -u`"
    )


def _branch(repo: "Repo", base: str) -> str | None:
    """The name of a local branch; that of the current one for `HEAD`."""
    if base not in ("HEAD", "@"):
        return base if _reference(repo, f"refs/heads/{base}") else None
    head = repo.refs.read_ref(b"HEAD") or b""  # type: ignore[arg-type]  # a name is bytes to us
    text = head.decode("utf-8", "surrogateescape")
    return text.removeprefix("ref: refs/heads/") if text.startswith("ref: refs/heads/") else None


def _merge_base(repo: "Repo", objects: Objects, revision: str) -> str:
    first, _, second = revision.partition("...")
    if ".." in second.replace("...", ".."):
        raise RepositoryError(f"{quote(revision)} names no commit", "write `A...B` for the commit where A and B parted")
    ends = [resolve_revision(repo, objects, end or "HEAD") for end in (first, second)]
    found = merge_base(objects, *ends)
    if found is not None:
        return found
    if objects.shallow:
        raise RepositoryError(
            f"{quote(revision)}: where the two parted lies beyond the edge of this shallow clone", UNSHALLOW
        )
    raise RepositoryError(f"{quote(revision)}: the two share no commit", "name the revision to compare with itself")


def _unknown(repo: "Repo", objects: Objects, name: str) -> RepositoryError:
    if name in ("HEAD", "@"):
        return RepositoryError("the repository has no commit yet", "commit the policies first")
    message = f"there is no revision {quote(name)}"
    with damaged("the references"):
        references = [ref.decode("utf-8", "replace") for ref in list(repo.refs.allkeys())[:_MAX_NAMES]]
    if any(ref.split("/", 2)[-1] == name for ref in references):
        return RepositoryError(f"the reference {quote(name)} leads to no commit", "set it anew, or delete it")
    # Continuous integration fetches the branch of a remote without making one of its own.
    remote = [ref.removeprefix("refs/remotes/") for ref in references if ref.startswith("refs/remotes/")]
    same = [ref for ref in remote if ref.partition("/")[2] == name]
    local = [ref.split("/", 2)[-1] for ref in references if ref.startswith(("refs/heads/", "refs/tags/"))]
    if objects.shallow and not same:
        return RepositoryError(f"{message}; this clone is shallow, and it may lie beyond its edge", _FETCH_ALL)
    if guess := (same[0] if same else closest(name, [*local, *remote])):
        return RepositoryError(message, f"did you mean {quote(guess)}?")
    return RepositoryError(message, "`git branch --all` and `git tag` list the names; `git fetch` brings new ones")
