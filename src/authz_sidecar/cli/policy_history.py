"""The versions of the policies in git, and how the access of some subjects changed from each to the next."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.access.change import Box, Change, Inexact, Kind
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.permission import Permission, Vocabulary, permissions_of
from authz_sidecar.sources.commit import Commit
from authz_sidecar.sources.git import bundle_digest
from authz_sidecar.sources.load import LoadedBundle, load_bundle, load_files
from authz_sidecar.sources.repository import Repository
from authz_sidecar.values import Severity
from authz_sidecar.values.request import ROLE_PREFIX

# What a merge brought is listed up to this.
MAX_MERGED = 20
_TESTS = "tests/"


class Question(msgspec.Struct, frozen=True):
    """Whose access is asked about, and which requests: `name` is a role as the bundle names it or an identity, "" for
    every role."""

    name: str
    box: Box


class SubjectAccess(msgspec.Struct, frozen=True):
    """What one subject gained or lost, in the fewest lines that say it."""

    subject: str
    gained: bool
    permissions: tuple[Permission, ...]


class AccessStep(msgspec.Struct, frozen=True):
    """One version in which the access changed. `commit` is None for what is not committed. `merged` are the commits
    that a merge brought, newest first."""

    commit: Commit | None
    changes: tuple[SubjectAccess, ...]
    inexact: tuple[Inexact, ...]
    merged: tuple[Commit, ...] = ()


class Unreadable(msgspec.Struct, frozen=True):
    """A version that does not load, and so was never served: it is left out."""

    commit: Commit
    problem: str


class PolicyHistory:
    """The history of the bundle in `folder` of a repository, from `start` back.

    After `steps` has come to its end, `unreadable` has the versions that were left out, `edge` the commit at which a
    shallow clone ends, if it does, `versions` how many were looked at, `more` says that the limit ended it, and `names`
    are all subjects of every version.
    """

    def __init__(self, repository: Repository, folder: str, start: str, visited: Callable[[], None]) -> None:
        self.unreadable: list[Unreadable] = []
        self.edge: Commit | None = None
        self.more = False
        self.versions = 0
        self.names: set[str] = set()
        self._repository = repository
        self._folder = folder
        self._start = start
        self._visited = visited
        self._last: tuple[str, Material] | None = None
        self._names_of: dict[int, frozenset[str]] = {}

    def steps(self, question: Question, policies: Path | None, limit: int, since: float) -> Iterator[AccessStep]:
        """The changes of access, newest first: at most `limit`, and none from before `since`. What `policies`, a
        directory, has beyond `start` comes first. Raises RepositoryError."""
        found = 0
        for commit, base, head in self._pairs(policies, since):
            step = self._compare(question, commit, base, head)
            if step is None:
                continue
            if found == limit:
                self.more = True
                return
            found += 1
            yield step

    def _pairs(
        self, policies: Path | None, since: float
    ) -> Iterator[tuple[Commit | None, Material | None, Material | None]]:
        """Each version and the one before it, newest first; None is no policy."""
        newer: list[tuple[Commit | None, Material | None]] = []
        if policies is not None:
            loaded = load_bundle(policies)
            if loaded.policy_version != self._start and (material := self._material(loaded)[0]) is not None:
                newer = [(None, material)]
        for commit in self._repository.history(self._start, self._folder, first_parent=True):
            self._visited()
            self.versions += 1
            material, problem = self._version(commit)
            if problem:
                self.unreadable.append(Unreadable(commit, problem))
            else:
                if newer:
                    yield newer[0][0], material, newer[0][1]
                newer = [(commit, material)]
                if commit.committed < since:
                    return
            if commit.edge:
                self.edge = commit
                return
        if newer:
            yield newer[0][0], None, newer[0][1]

    def _version(self, commit: Commit) -> tuple[Material | None, str]:
        """The bundle of a commit (None where it has none), or why it does not load."""
        if self._repository.tree(commit.id, self._folder) is None:
            return None, ""
        files, unread = self._repository.read_bundle(commit.id, self._folder)
        # Tests decide nothing.
        digest = "" if files is None else bundle_digest({n: d for n, d in files.items() if not n.startswith(_TESTS)})
        if self._last is not None and digest == self._last[0]:
            return self._last[1], ""
        policies = None if files is None else BundleFiles(_without_tests(files), files.name)
        material, problem = self._material(load_files(policies, unread, lambda _files, _digest: commit.id))
        if material is not None:
            self._last = digest, material
        return material, problem

    def _material(self, loaded: LoadedBundle) -> tuple[Material | None, str]:
        problems = loaded.errors
        snapshot = None
        if loaded.bundle is not None:
            snapshot, found = compile_bundle(loaded.bundle, searches=False)
            problems += tuple(one for one in found if one.severity is Severity.ERROR)
        if loaded.bundle is None or snapshot is None or problems:
            return None, f"{problems[0].span}: {problems[0].message}" if problems else "it does not load"
        return Material(loaded.bundle, snapshot), ""

    def _compare(
        self, question: Question, commit: Commit | None, base: Material | None, head: Material | None
    ) -> AccessStep | None:
        """What changed from one version to the next; None if nothing that is asked about did."""
        known = self._subjects(base) | self._subjects(head)
        self.names |= known
        subjects: tuple[str, ...] = ()
        kinds = frozenset((Kind.ROLE,))
        if question.name:
            subjects = tuple(name for name in (question.name, ROLE_PREFIX + question.name) if name in known)
            kinds = frozenset((Kind.ROLE, Kind.IDENTITY))
            if not subjects:
                return None
        diff = diff_access(base, head, within=Region(box=question.box, subjects=subjects, kinds=kinds))
        changes = [*diff.roles, *(change for change in diff.identities if change.kind is Kind.IDENTITY and subjects)]
        if not changes and not diff.inexact:
            return None
        merged: tuple[Commit, ...] = ()
        if commit is not None and len(commit.parents) > 1:
            merged = self._merged(commit)
        return AccessStep(commit, tuple(_by_subject(changes, subjects, base, head)), diff.inexact, merged)

    def _subjects(self, material: Material | None) -> frozenset[str]:
        if material is None:
            return frozenset()
        known = self._names_of.get(id(material))
        if known is None:
            known = subject_names(material.bundle)
            # Of the two that are compared; an id may be used again once its owner is gone.
            if len(self._names_of) > 1:
                self._names_of.clear()
            self._names_of[id(material)] = known
        return known

    def _merged(self, merge: Commit) -> tuple[Commit, ...]:
        """The commits that changed the folder on the merged side."""
        history = self._repository.history
        before = {commit.id for commit in history(merge.parents[0], self._folder, 10 * MAX_MERGED)}
        found: list[Commit] = []
        for parent in merge.parents[1:]:
            for commit in history(parent, self._folder, MAX_MERGED):
                if commit.id in before:
                    break
                found.append(commit)
        return tuple(found[:MAX_MERGED])


def subject_names(bundle: Bundle) -> frozenset[str]:
    """Roles and identities that the bundle names, as rules write them."""
    names: set[str] = {ROLE_PREFIX + role for role in bundle.roles}
    for section in bundle.model.sections.values():
        columns = bundle.tables[section.ptype].columns
        names.update(columns[section.fields.index("sub")] if "sub" in section.fields else columns[0])
    for definition in bundle.model.roles:
        for column in bundle.tables[definition].columns[:2]:
            names.update(column)
    return frozenset(names)


def _by_subject(
    changes: Sequence[Change], subjects: Sequence[str], base: Material | None, head: Material | None
) -> Iterator[SubjectAccess]:
    """What each subject gained, then what it lost."""
    for gained in (True, False):
        material = head if gained else base
        words = Vocabulary(None if material is None else material.bundle)
        of: dict[str, list[Change]] = {}
        for change in changes:
            if change.gained is gained:
                for subject in change.subjects:
                    if not subjects or subject in subjects:
                        of.setdefault(subject, []).append(change)
        for subject, theirs in sorted(of.items()):
            yield SubjectAccess(
                subject, gained, permissions_of([(change.box, change.causes) for change in theirs], words)
            )


def _without_tests(files: BundleFiles) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.startswith(_TESTS)}
