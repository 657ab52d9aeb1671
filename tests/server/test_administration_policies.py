"""PolicyService with a directory: which policy is served, which there were, and who gains what between two."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import policy_service_pb2 as policy
from authz_sidecar.directory.review import policy_reviewer
from authz_sidecar.directory.review.policy_review import DiffOrder, PolicyPlace, Refused, Versions, VersionsOrder
from authz_sidecar.sources.remote import parse_remote
from authz_sidecar.sources.source import GitSettings, GitSource, find_clone
from tests.server.administered import MANIFEST, MODEL, ROLES, Administered, administered, snapshot_of
from tests.server.sidecar import failure_of
from tests.sources.git_server import git

WIDER = ROLES.replace(
    """\
    description: Reads folders.
    assigned: company
    grants:
      - {object: folder, actions: [read]}
""",
    """\
    description: Reads folders.
    assigned: company
    grants:
      - {object: folder, actions: [read, update]}
""",
)


class Policies:
    """A work tree with a bundle in the folder `policies`, and its commits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "policies"
        self.folder.mkdir(parents=True)
        git(root, "init", "--quiet", "--initial-branch=main")
        (self.folder / "model.conf").write_bytes(MODEL.read_bytes())
        (self.folder / "manifest.yaml").write_text(MANIFEST)

    def write(self, roles: str) -> None:
        """Have other roles in the work tree."""
        (self.folder / "roles.yaml").write_text(roles)

    def commit(self, message: str) -> str:
        """Commit what is there."""
        git(self.root, "add", ".")
        git(self.root, "commit", "--quiet", "--allow-empty", f"--message={message}")
        return git(self.root, "rev-parse", "HEAD")

    def branch(self, name: str, manifest: str) -> str:
        """A commit with another manifest, on a branch of its own."""
        git(self.root, "switch", "--quiet", "--create", name)
        path = self.folder / "manifest.yaml"
        path.write_text(manifest)
        made = self.commit("Be stricter")
        git(self.root, "switch", "--quiet", "main")
        return made


class Served:
    """A server beside a repository with three commits, of which the last leaves the policies as they were."""

    def __init__(self, server: Administered, policies: Policies, commits: list[str]) -> None:
        self.server = server
        self.policies = policies
        self.commits = commits

    def ask(self, method: str, message: Any, secret: str = "") -> Any:
        """Call a method of PolicyService, as the root if nobody is named."""
        metadata = self.server.call(secret or self.server.root)
        return getattr(self.server.policies, method)(message, metadata=metadata, timeout=60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The newest commit is served."""
    folder = tmp_path_factory.mktemp("policies")
    policies = Policies(folder / "work")
    policies.write(ROLES)
    commits = [policies.commit("Begin")]
    policies.write(WIDER)
    commits.append(policies.commit("Let readers write\n\nThey asked.\n\nJustification: they asked in a letter"))
    (policies.root / "README").write_text("nothing of policies")
    commits.append(policies.commit("Describe"))
    with administered(folder, PolicyPlace(str(policies.folder))) as server:
        server.take(snapshot_of(WIDER), commits[-1])
        yield Served(server, policies, commits)


def test_the_active_policy_is_told(served: Served) -> None:
    """Version, name, number of rules, when it was loaded, and the directory's revision."""
    active = served.ask("GetActivePolicy", policy.GetActivePolicyRequest())
    assert (active.policy_version, active.bundle) == (served.commits[-1], "administered")
    assert active.load_time.seconds == 1_700_000_000
    assert active.rules > 10
    assert active.directory_revision == served.server.copy.revision
    assert (active.refused_version, active.refused_why) == ("", "")


def test_what_was_refused_is_told(served: Served) -> None:
    """A version that was not taken, and why."""
    served.server.status.refuse("9" * 40, "roles.yaml:3: unknown action", 1_700_000_001.0)
    try:
        active = served.ask("GetActivePolicy", policy.GetActivePolicyRequest())
    finally:
        served.server.status.refused = None
    assert (active.refused_version, active.refused_why) == ("9" * 40, "roles.yaml:3: unknown action")


def test_versions_are_the_commits_that_changed_the_policies(served: Served) -> None:
    """The newest first, with author, first line and justification; the one that is served is marked, also where a
    later commit left the policies as they were."""
    versions = served.ask("ListPolicyVersions", policy.ListPolicyVersionsRequest()).versions
    assert [version.policy_version for version in versions] == [served.commits[1], served.commits[0]]
    newest = versions[0]
    assert (newest.subject, newest.justification, newest.active) == (
        "Let readers write",
        "they asked in a letter",
        True,
    )
    assert newest.author
    assert newest.time.seconds
    assert not versions[1].active


def test_versions_come_page_by_page(served: Served) -> None:
    """Each version is on one page; a token that was not given is refused."""
    first = served.ask("ListPolicyVersions", policy.ListPolicyVersionsRequest(page_size=1))
    second = served.ask(
        "ListPolicyVersions", policy.ListPolicyVersionsRequest(page_size=1, page_token=first.next_page_token)
    )
    found = [version.policy_version for page in (first, second) for version in page.versions]
    assert found == [served.commits[1], served.commits[0]]
    assert not second.next_page_token
    for token in ("x", "AAAA"):
        message = policy.ListPolicyVersionsRequest(page_token=token)
        failure = failure_of(partial(served.ask, "ListPolicyVersions", message))
        assert (failure.code, list(failure.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


def test_uncommitted_policies_are_a_version_of_their_own(served: Served) -> None:
    """Where what is served is not committed, it stands before the commits."""
    dirty = f"{served.commits[-1]}+dirty.0123456789abcdef"
    served.server.take(snapshot_of(WIDER), dirty)
    try:
        versions = served.ask("ListPolicyVersions", policy.ListPolicyVersionsRequest()).versions
    finally:
        served.server.take(snapshot_of(WIDER), served.commits[-1])
    assert [(version.policy_version, version.active) for version in versions] == [
        (dirty, True),
        (served.commits[1], False),
        (served.commits[0], False),
    ]


def test_policies_outside_of_git_have_one_version(served: Served) -> None:
    """The one that is served; there is nothing to compare it with."""
    served.server.take(snapshot_of(), "sha256:of-a-directory")
    try:
        answer = served.ask("ListPolicyVersions", policy.ListPolicyVersionsRequest())
        failure = failure_of(lambda: served.ask("DiffPolicyVersions", policy.DiffPolicyVersionsRequest(base="main")))
    finally:
        served.server.take(snapshot_of(WIDER), served.commits[-1])
    assert [(version.policy_version, version.active) for version in answer.versions] == [
        ("sha256:of-a-directory", True)
    ]
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_VERSIONS")


def test_a_diff_names_the_identities_of_the_directory(served: Served) -> None:
    """Who gains what between two versions is said of the roles, and of whom the directory gives them to."""
    served.server.person("reader-of-acme", "acme", "READER")
    found = served.ask("DiffPolicyVersions", policy.DiffPolicyVersionsRequest(base=served.commits[0]))
    assert (found.base_version, found.head_version, found.access_changes) == (
        served.commits[0],
        served.commits[-1],
        True,
    )
    report = json.loads(found.report_json)
    assert report["changed"]
    assert "reader-of-acme" in found.report_json
    assert "READER" in found.report_text
    same = served.ask("DiffPolicyVersions", policy.DiffPolicyVersionsRequest(base=served.commits[1], head="main"))
    assert (same.access_changes, same.head_version) == (False, served.commits[-1])
    # A version that is new to a rule tells who breaks it.
    served.server.person("auditor-of-acme", "acme", "AUDITOR")
    stricter = served.policies.branch("stricter", f"{MANIFEST}identities: {{own_company_only: true}}\n")
    found = served.ask("DiffPolicyVersions", policy.DiffPolicyVersionsRequest(base="main", head=stricter))
    assert any(
        note.startswith("the role `AUDITOR` is held where its holders do not belong") and "`auditor-of-acme`" in note
        for note in json.loads(found.report_json)["notes"]
    )


@pytest.mark.parametrize("base", ["", "no-such-branch", "/etc", "x" * 300], ids=str)
def test_what_names_no_version_is_refused(served: Served, base: str) -> None:
    """An unknown revision is a violation, and so is a directory, which is none of a caller's to name."""
    failure = failure_of(lambda: served.ask("DiffPolicyVersions", policy.DiffPolicyVersionsRequest(base=base)))
    assert (failure.code, list(failure.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["base"])


def test_a_report_that_no_message_holds_is_told_as_that(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison whose report is longer than a message, as text or as JSON, is refused before it is read."""
    monkeypatch.setattr("authz_sidecar.transports.grpc.administration.policy_versions.DiffOrder", _small_order)
    message = policy.DiffPolicyVersionsRequest(base=served.commits[0], head=served.commits[1])
    failure = failure_of(lambda: served.ask("DiffPolicyVersions", message))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE")


def _small_order(place: PolicyPlace, served: str, base: str, head: str, store: str, _most_bytes: int) -> DiffOrder:
    return DiffOrder(place, served, base, head, store, 200)


def test_a_diff_is_of_the_platform(served: Served) -> None:
    """An administrator of one company reads neither versions nor differences, and has nobody look."""
    secret = served.server.person("acme-admin", "acme", "COMPANY_ADMIN")
    for method, message in (
        ("GetActivePolicy", policy.GetActivePolicyRequest()),
        ("ListPolicyVersions", policy.ListPolicyVersionsRequest()),
        ("DiffPolicyVersions", policy.DiffPolicyVersionsRequest(base="main")),
        ("Refresh", policy.RefreshRequest()),
    ):
        failure = failure_of(partial(served.ask, method, message, secret))
        assert failure.code is grpc.StatusCode.PERMISSION_DENIED
        assert failure.info.metadata["object_type"] == "sidecar.policy"


def test_a_policy_version_that_does_not_load_is_told(served: Served) -> None:
    """What cannot be compared is a violation of the side that is to blame."""
    git(served.policies.root, "checkout", "--quiet", "-b", "broken")
    served.policies.write("roles: 7\n")
    served.policies.commit("Break")
    git(served.policies.root, "checkout", "--quiet", "main")
    message = policy.DiffPolicyVersionsRequest(base="main", head="broken")
    failure = failure_of(lambda: served.ask("DiffPolicyVersions", message))
    assert (failure.code, list(failure.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["head"])
    assert "roles.yaml" in failure.message


def test_versions_are_read_from_a_clone(served: Served) -> None:
    """Where nothing is checked out the versions begin with what was refused, or else with what is served."""
    place = PolicyPlace(str(served.policies.root / ".git"), "policies")
    first, second, third = served.commits
    for tips, newest in (((third,), second), (("9" * 40, first), first)):
        answer = policy_reviewer.answer(VersionsOrder(place, first, tips, "", 10))
        assert isinstance(answer, Versions)
        assert answer.versions[0].policy_version == newest
        assert [version.policy_version for version in answer.versions if version.active] == [first]
    refused = policy_reviewer.answer(VersionsOrder(place, first, ("9" * 40,), "", 10))
    assert isinstance(refused, Refused)


def test_the_clone_is_found_where_it_is_made(tmp_path: Path) -> None:
    """What reads the versions of a followed repository looks where the follower clones it."""
    settings = GitSettings(
        parse_remote(f"git+file://{tmp_path}/work?ref=main&path=policies"), cache=str(tmp_path / "c")
    )
    policies = Policies(tmp_path / "work")
    policies.write(ROLES)
    commit = policies.commit("Begin")
    source = GitSource(settings, None)
    try:
        assert source.look().version == commit
        clone = find_clone(settings)
        assert clone is not None
        order = VersionsOrder(PolicyPlace(str(clone), settings.remote.folder), commit, (commit,), "", 10)
        answer = policy_reviewer.answer(order)
    finally:
        source.close()
    assert isinstance(answer, Versions)
    assert [version.policy_version for version in answer.versions] == [commit]
