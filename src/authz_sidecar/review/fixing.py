"""Fixes at work: the edits that lint rules ask for, made in a bundle's files."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.yaml_edit import TextEdit, YamlEditError, YamlText, apply_edits
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.baseline import Baseline
from authz_sidecar.review.choice import Choice
from authz_sidecar.review.lint import lint_bundle
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules import RULES
from authz_sidecar.review.rules.rule import Edit, EditKind
from authz_sidecar.values import Diagnostic, Severity

# One fix may make room for another, and at most 1,000 findings are told at once; what goes on longer is not safe.
MAX_ROUNDS = 50


class Fixed(msgspec.Struct, frozen=True):
    """The files that changed, whole, and how many edits were made and how many had to be left out, as they touch the
    same text as others or a place that cannot be edited by itself."""

    files: dict[str, bytes]
    made: int
    left: int


def make_edits(files: Mapping[str, bytes], fixes: Iterable[Iterable[Edit]]) -> Fixed:
    """Make fixes in the `files` of a bundle. The edits of one fix are made together or not at all; of fixes that touch
    the same text the first is made."""
    editor = _Editor(files)
    wanted = [edits for fix in fixes if (edits := tuple(dict.fromkeys(fix)))]
    taken = editor.possible([], wanted)
    made = sum(map(len, taken))
    return Fixed(editor.edited(taken), made, sum(map(len, wanted)) - made)


class _Editor:
    """Makes edits in files, each of which is parsed once."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._texts: dict[str, YamlText] = {}

    def possible(self, taken: list[tuple[Edit, ...]], wanted: list[tuple[Edit, ...]]) -> list[tuple[Edit, ...]]:
        """The fixes of `wanted` that can be made together, behind those that are `taken`, which can."""
        try:
            self.edited([*taken, *wanted])
        except (YamlEditError, ValueError, KeyError):
            if len(wanted) == 1:
                return taken
            # Few are in the way of others: half by half they are found.
            half = len(wanted) // 2
            return self.possible(self.possible(taken, wanted[:half]), wanted[half:])
        return [*taken, *wanted]

    def edited(self, fixes: Iterable[tuple[Edit, ...]]) -> dict[str, bytes]:
        """The files that change. Raises YamlEditError, ValueError or KeyError where edits cannot be made together."""
        by_file: dict[str, list[Edit]] = {}
        for edits in fixes:
            for edit in edits:
                by_file.setdefault(edit.span.file, []).append(edit)
        changed: dict[str, bytes] = {}
        for file, wanted in by_file.items():
            edited = self._edit_yaml(file, wanted) if file.endswith(".yaml") else self._edit_rows(file, wanted)
            if edited != self._files[file]:
                changed[file] = edited
        return changed

    def _edit_yaml(self, file: str, edits: Iterable[Edit]) -> bytes:
        if file not in self._texts:
            self._texts[file] = YamlText(self._files[file].decode("utf-8"))
        return _edit_yaml(self._texts[file], edits).encode("utf-8")

    def _edit_rows(self, file: str, edits: Iterable[Edit]) -> bytes:
        """A row is a line."""
        lines = self._files[file].split(b"\n")
        gone = set[int]()
        for edit in edits:
            if edit.kind is not EditKind.REMOVE_ITEM or not 0 < edit.span.line <= len(lines):
                raise YamlEditError("only rows can be taken out of such a file")
            gone.add(edit.span.line)
        return b"\n".join([line for number, line in enumerate(lines, 1) if number not in gone])


def _edit_yaml(file: YamlText, edits: Iterable[Edit]) -> str:
    at: dict[EditKind, list[int]] = {kind: [] for kind in EditKind}
    made: list[TextEdit] = []
    for edit in edits:
        offset = file.offset(edit.span.line, edit.span.column)
        at[edit.kind].append(offset)
        if edit.kind is EditKind.REPLACE:
            made.append(file.replace_at(offset, edit.text))
    made += file.remove_items(at[EditKind.REMOVE_ITEM])
    made += file.remove_entries(at[EditKind.REMOVE_ENTRY])
    return apply_edits(file.text, made)


class FixError(Exception):
    """A fix that would not do what it promises; nothing is to be written."""


def fix_bundle(
    files: Mapping[str, bytes], name: str, choice: Choice, new_baseline: Callable[[], Baseline | None]
) -> Fixed:
    """Make every fix of the lint rules of `choice`, again and again until none is left, in a bundle without errors.

    `new_baseline` gives the findings to leave alone. The access that the policy gives is compared before and after:
    raises FixError where it differs, which would be a fault of a rule.
    """
    current: dict[str, bytes] = dict(files)
    first: Material | None = None
    made = left = 0
    for _ in range(MAX_ROUNDS):
        material, diagnostics = _read(current, name)
        first = first or material
        report = lint_bundle(
            material.bundle, material.snapshot, diagnostics, current, choice=choice, baseline=new_baseline()
        )
        fixes = {rule.code: rule.fix for rule in RULES if rule.fix is not None}
        wanted = [tuple(fixes[found.code](material, found)) for found in report.findings if found.code in fixes]
        fixed = make_edits(current, wanted)
        left = fixed.left
        if not fixed.files:
            break
        made += fixed.made
        current |= fixed.files
    changed = {file: content for file, content in current.items() if content != files[file]}
    if changed and first is not None:
        after, _ = _read(current, name)
        diff = diff_access(first, after)
        # Where conditions differ, more than this cannot be told: `a || x` and `a` are the same if `a` always holds.
        if diff.roles or diff.identities:
            raise FixError("the fixes would change who may do what")
    return Fixed(changed, made, left)


def _read(files: Mapping[str, bytes], name: str) -> tuple[Material, list[Diagnostic]]:
    bundle, found = parse_bundle(files, name)
    snapshot, more = compile_bundle(bundle, searches=False) if bundle is not None else (None, [])
    if bundle is None or snapshot is None:
        error = next(d for d in (*found, *more) if d.severity is Severity.ERROR)
        raise FixError(f"the fixed bundle would not load: {error.span}: {error.message}")
    return Material(bundle, snapshot), [*found, *more]
