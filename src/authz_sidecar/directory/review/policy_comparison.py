"""What differs between two versions of the policies, the identities of the directory included."""

import time
from pathlib import Path

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.identity_merge import merge_identities
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.directory.review.exported import exported_identities
from authz_sidecar.directory.review.misplaced_roles import misplaced_roles
from authz_sidecar.directory.review.policy_review import Difference, DiffOrder, Refused
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.held_roles import bundle_assignments, misplaced_notes
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.access_json import access_json
from authz_sidecar.review.report.access_report import AccessReport, Side
from authz_sidecar.review.report.access_text import access_text
from authz_sidecar.sources.load import LoadedBundle, collections_paused, load_bundle, load_files
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.values import Severity
from authz_sidecar.values.lineage import is_commit


class ReviewError(Exception):
    """What is asked cannot be told."""

    def __init__(self, message: str, help: str = "", field: str = "") -> None:
        super().__init__(message)
        self.refused = Refused(message, help, field)


def diff_versions(order: DiffOrder, repository: Repository, folder: str) -> Difference:
    """Who gains and loses what between two commits of a repository. Raises ReviewError, RepositoryError and
    DirectoryError."""
    base = _load(order, repository, folder, order.base, "base")
    head = _load(order, repository, folder, order.head, "head")
    bundles = [loaded.bundle for loaded in (base, head) if loaded is not None and loaded.bundle is not None]
    notes: list[str] = []
    kinds: dict[str, str] = {}
    if order.store:
        bundles, notes, kinds = _with_identities(order.store, bundles)
    if base is None:
        notes.append("there are no policies at base: everything in them is new")
        sides = [None, *bundles]
    else:
        sides = list(bundles)
    materials = [_material(bundle, field) for bundle, field in zip(sides, ("base", "head"), strict=True)]
    with collections_paused():
        diff = diff_access(*materials)
    versions = [order.base if base is None else base.policy_version, "" if head is None else head.policy_version]
    report = AccessReport(
        diff,
        Side(name=order.base or versions[0], policy_version=versions[0], bundle=sides[0]),
        Side(name=order.head or versions[1], policy_version=versions[1], bundle=sides[1]),
        kinds=kinds,
        notes=notes,
    )
    report_json = access_json(report)
    lines = ["".join(part if isinstance(part, str) else part[0] for part in line) for line in access_text(report)]
    report_text = "".join(f"{line.rstrip()}\n" for line in lines)
    # What is too long for a message is not read by the server at all.
    fits = max(len(report_json.encode()), len(report_text.encode())) <= order.most_bytes
    return Difference(
        versions[0],
        versions[1],
        not report.unchanged,
        report_json if fits else None,
        report_text if fits else "",
    )


def _load(order: DiffOrder, repository: Repository, folder: str, revision: str, field: str) -> LoadedBundle | None:
    """The bundle of a revision; None where it has no policies."""
    if revision in ("", order.served) and not is_commit(order.served):
        loaded = load_bundle(Path(order.place.path))
        if loaded.policy_version != order.served:
            raise ReviewError(
                "the policies that are served are no longer in the directory", "refresh, and try again", field
            )
        return loaded
    try:
        commit = repository.resolve(revision or order.served)
    except RepositoryError as error:
        raise ReviewError(error.message, error.help, field) from None
    if field == "base" and repository.lacks(commit, folder):
        return None
    loaded = load_files(*repository.read_bundle(commit, folder), lambda _files, _digest: commit)
    if loaded.bundle is None:
        raise _unloadable(field, f"{loaded.errors[0].span}: {loaded.errors[0].message}")
    return loaded


def _unloadable(field: str, problem: str) -> ReviewError:
    return ReviewError(f"the policies at `{field}` do not load: {problem}", "name a version that loads", field)


def _with_identities(store: str, bundles: list[Bundle]) -> tuple[list[Bundle], list[str], dict[str, str]]:
    """The bundles with the identities of the directory beside their own, notes, and the kinds of identities."""
    opened = Store.open(store, migrate=False, check=False)
    misplaced: list[str] = []
    try:
        content = exported_identities(opened)
        head = bundles[-1]
        if head.manifest.identities.own_company_only:
            with opened.read() as connection:
                misplaced = misplaced_notes(misplaced_roles(connection, time.time(), bundle_assignments(head)))
    finally:
        opened.close()
    names = ("base", "head")[-len(bundles) :]
    merged, problems = merge_identities(content, list(zip(names, bundles, strict=True)), lenient=True)
    notes = [*misplaced, *(note for one in merged for note in one.notes)]
    errors = [one for one in problems if one.severity is Severity.ERROR]
    if errors:
        # The directory holds what it holds: that it is not compared has to be seen.
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        notes.append(f"not all identities of the directory are compared: {errors[0].message}{more}")
    return [one.bundle for one in merged], notes, {record.id: record.kind for record in content.identities}


def _material(bundle: Bundle | None, field: str) -> Material | None:
    if bundle is None:
        return None
    snapshot, found = compile_bundle(bundle, searches=False)
    errors = [one for one in found if one.severity is Severity.ERROR]
    if snapshot is None or errors:
        raise _unloadable(field, f"{errors[0].span}: {errors[0].message}" if errors else "they do not compile")
    return Material(bundle, snapshot)
