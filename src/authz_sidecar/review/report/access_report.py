"""An access diff with everything that its renderings say about it, put together once."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from urllib.parse import quote

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.review.access.change import AccessDiff, Change, Kind
from authz_sidecar.review.access.change import Side as SideName
from authz_sidecar.review.gates.violation import Violation
from authz_sidecar.review.report.groups import Entry, entries_of
from authz_sidecar.review.report.permission import Permission, Vocabulary, permissions_of
from authz_sidecar.review.report.summary import Reach, Roles, compare_roles, reach_of
from authz_sidecar.values import Span


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a comparison.

    `name` is what the user called it, `bundle` None where it has no policy. `folder` is what stands before its files in
    a report. `commit` (40 hex digits, "" where what was read is no commit's) and `path`, its folder in that repository,
    make links. `outside` are files that are not of its folder, such as exported identities.
    """

    name: str
    policy_version: str = ""
    bundle: Bundle | None = None
    folder: str = ""
    commit: str = ""
    path: str = ""
    outside: frozenset[str] = frozenset()

    def file(self, span: Span) -> str:
        """The file of a place, as a report names it: `policies/roles.yaml`."""
        return span.file if not self.folder or span.file in self.outside else f"{self.folder}/{span.file}"

    def place(self, span: Span) -> str:
        """`policies/roles.yaml:41`."""
        return f"{self.file(span)}:{span.line}" if span.line else self.file(span)

    def link(self, span: Span, template: str) -> str:
        """`template` with `{commit}`, `{path}` and `{line}` filled in; "" where there is no template or no commit."""
        if not template or not self.commit or span.file in self.outside:
            return ""
        file = f"{self.path}/{span.file}" if self.path not in ("", ".") else span.file
        filled = {"{commit}": self.commit, "{path}": quote(file), "{line}": str(max(span.line, 1))}
        for name, value in filled.items():
            template = template.replace(name, value)
        return template


class AccessReport:
    """What changes between `base` and `head`, ready to be shown.

    `kinds` maps identities to `user` or `service_account`, where that is known. `notes` are sentences about how the
    comparison was made. `source_url` is the template of links to lines of a commit ("" for none).
    """

    def __init__(
        self,
        diff: AccessDiff,
        base: Side,
        head: Side,
        *,
        kinds: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        source_url: str = "",
        violations: Sequence[Violation] = (),
        gated: bool = False,
    ) -> None:
        self.diff = diff
        self.base = base
        self.head = head
        self.kinds: Mapping[str, str] = kinds or {}
        self.notes = tuple(notes)
        self.source_url = source_url
        self.violations = tuple(violations)
        self.gated = gated

    def side(self, name: SideName) -> Side:
        """The side of that name."""
        return self.head if name == "head" else self.base

    @cached_property
    def vocabularies(self) -> Mapping[bool, Vocabulary]:
        """What head (for what is gained: True) and base (for what is lost: False) call things."""
        return {True: Vocabulary(self.head.bundle), False: Vocabulary(self.base.bundle)}

    @cached_property
    def roles(self) -> Roles:
        """Roles that are new, gone or renamed."""
        whole: dict[str, tuple[Permission, ...]] = {}
        directions: dict[str, set[bool]] = {}
        boxes: dict[str, list[Change]] = {}
        for change in self.diff.roles:
            for role in change.subjects:
                boxes.setdefault(role, []).append(change)
                directions.setdefault(role, set()).add(change.gained)
        words = Vocabulary(None)
        for role, changes in boxes.items():
            if len(directions[role]) == 1:
                whole[role] = permissions_of([(change.box, ()) for change in changes], words)
        return compare_roles(self.diff, self.base.bundle, self.head.bundle, whole)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The changes for reading; a role that only has another name is none."""
        unreal = self.roles.same | {self.roles.renamed[role] for role in self.roles.same}
        kept = tuple(
            msgspec.structs.replace(change, subjects=left)
            for change in self.diff.roles
            if (left := tuple(role for role in change.subjects if role not in unreal))
        )
        return entries_of(msgspec.structs.replace(self.diff, roles=kept), self.vocabularies)

    @cached_property
    def gained(self) -> Reach:
        """How far what is gained reaches."""
        return self._reach(True)

    @cached_property
    def lost(self) -> Reach:
        """How far what is lost reaches."""
        return self._reach(False)

    def _reach(self, gained: bool) -> Reach:
        unreal = self.roles.same | {self.roles.renamed[role] for role in self.roles.same}
        changes = [
            change
            for change in (*self.diff.roles, *self.diff.identities)
            if change.gained is gained and not (change.kind is Kind.ROLE and set(change.subjects) <= unreal)
        ]
        reach = reach_of(changes, self.vocabularies[gained])
        return msgspec.structs.replace(reach, roles=tuple(role for role in reach.roles if role not in unreal))

    @property
    def unchanged(self) -> bool:
        """Whether no decision changes, for certain. A role that only has another name changes none."""
        return not (self.entries or self.diff.identities or self.diff.inexact)

    @cached_property
    def assigns(self) -> bool:
        """Whether either side says who holds roles; otherwise holders are simply not known."""
        bundles = [bundle for bundle in (self.base.bundle, self.head.bundle) if bundle is not None]
        return any(len(bundle.tables[name]) for bundle in bundles for name in bundle.model.roles)
