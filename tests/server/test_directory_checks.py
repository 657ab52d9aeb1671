"""Checks by a running sidecar that has a directory: identities, credentials, revisions and impersonation."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from authz_sidecar._proto.authz.v1 import authenticate_pb2, check_pb2, explain_pb2, filter_pb2, identity_pb2
from authz_sidecar.cli import main
from authz_sidecar.directory.credentials.authentication import Authenticator
from authz_sidecar.directory.memory.copy import Changes, Contents, DirectoryCopy
from authz_sidecar.directory.storage.schema import AUDIT
from authz_sidecar.engine import Engine, Identities
from authz_sidecar.transports.grpc.service import BATCH_TURN, TOKEN_TURN, AuthorizationService
from authz_sidecar.values.limits import Limits
from tests.server.directory_scene import OPERATOR, Scene, ask, follows, reason, served
from tests.server.sidecar import Sidecar, check_of, failure_of, until
from tests.sources.git_program import commit, init

PROMISE_SECONDS = 1.0
WRONG = "azk_" + "x" * 16 + "_" + "y" * 43 + "_zzzzzz"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A bundle and a directory."""
    made = Scene(tmp_path_factory.mktemp("directory"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def sidecar(scene: Scene) -> Iterator[Sidecar]:
    """A sidecar that serves them."""
    log = scene.folder / "decisions"
    with served(scene, "--decision-log", str(log)) as running:
        yield running


def filter_of(**more: Any) -> filter_pb2.FilterObjectsRequest:
    """Which folders may be read?"""
    return filter_pb2.FilterObjectsRequest(**({"action": "read", "object_type": "folder"} | more))


def test_a_role_of_the_directory_decides(sidecar: Sidecar, scene: Scene) -> None:
    """A subject may what its roles in the directory grant, or the bundle's assignments, and nothing more."""
    assert ask(sidecar, "ann").allowed
    assert not ask(sidecar, "ann", "update").allowed
    assert not ask(sidecar, "ann", company="globex").allowed
    assert ask(sidecar, "in-git").allowed
    assert ask(sidecar, "nobody").reason == reason("UNKNOWN_SUBJECT")
    revision = scene.assign("in-git-too", "CHIEF") if scene.person("in-git-too", "acme") else 0
    follows(sidecar, revision)
    answer = ask(sidecar, "in-git-too", "update")
    assert answer.allowed
    assert answer.directory_revision >= revision


def test_a_key_authenticates_and_decides_in_one_call(sidecar: Sidecar, scene: Scene) -> None:
    """A check with an API key is decided for the key's identity, which the answer names, and no other."""
    _, secret = scene.key("ann", "of a call")
    follows(sidecar, scene.store.state().revision)
    answer = ask(sidecar, credential=secret)
    assert (answer.allowed, answer.subject, answer.actor) == (True, "ann", "")
    assert not ask(sidecar, credential=secret, action="update").allowed
    assert ask(sidecar, "ann").subject == ""


def test_a_wrong_credential_is_a_deny(sidecar: Sidecar) -> None:
    """What is no credential, and a key that nobody has, are denied with one reason; the call itself succeeds."""
    for credential in (WRONG, "letmein", "eyJhbGciOiJub25lIn0.e30."):
        answer = ask(sidecar, credential=credential)
        assert (answer.allowed, answer.reason, answer.subject) == (False, reason("INVALID_CREDENTIAL"), "")
        assert answer.directory_revision > 0
        assert answer.decision_id


def test_a_revoked_key_is_refused_at_once(sidecar: Sidecar, scene: Scene) -> None:
    """Less than a second after a key was revoked, by another process, it is denied, and told so."""
    key, secret = scene.key("ann", "to be revoked")
    follows(sidecar, scene.store.state().revision)
    assert ask(sidecar, credential=secret).allowed
    scene.revoke(key)
    began = time.monotonic()
    until(lambda: not ask(sidecar, credential=secret).allowed)
    assert time.monotonic() - began < PROMISE_SECONDS
    assert ask(sidecar, credential=secret).reason == reason("CREDENTIAL_REVOKED")


def test_an_inactive_identity_may_nothing(sidecar: Sidecar, scene: Scene) -> None:
    """An identity that is switched off is denied by name and by credential, and has its access back afterwards."""
    scene.person("bea", "acme", "CLERK")
    _, secret = scene.key("bea")
    follows(sidecar, scene.switch("bea", active=False))
    assert ask(sidecar, "bea").reason == reason("INACTIVE_SUBJECT")
    assert ask(sidecar, credential=secret).reason == reason("INACTIVE_SUBJECT")
    follows(sidecar, scene.switch("bea", active=True))
    assert ask(sidecar, "bea").allowed
    assert ask(sidecar, credential=secret).allowed


def test_a_check_may_demand_a_revision(sidecar: Sidecar, scene: Scene) -> None:
    """A directory that has not reached what a message asks for ends any call with FAILED_PRECONDITION."""
    revision = scene.store.state().revision
    follows(sidecar, revision)
    assert ask(sidecar, "ann", minimum_directory_revision=revision).allowed
    beyond = check_of(subject="ann", minimum_directory_revision=revision + 1000)
    for call in (
        lambda: sidecar.stub.Check(beyond, timeout=10),
        lambda: sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[beyond]), timeout=10),
        lambda: list(sidecar.stub.CheckStream(iter([check_pb2.CheckStreamRequest(check=beyond)]), timeout=10)),
        lambda: sidecar.stub.Explain(explain_pb2.ExplainRequest(check=beyond), timeout=10),
        lambda: sidecar.stub.FilterObjects(
            filter_of(subject="ann", minimum_directory_revision=revision + 1000), timeout=10
        ),
    ):
        failure = failure_of(call)
        assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
        assert failure.info.reason == "DIRECTORY_REVISION_NOT_REACHED"
        assert failure.info.metadata["minimum_directory_revision"] == str(revision + 1000)


def test_a_filter_may_demand_a_policy_version(sidecar: Sidecar) -> None:
    """A filter that asks for a commit which the policy does not contain is refused as a check is."""
    failure = failure_of(
        lambda: sidecar.stub.FilterObjects(filter_of(subject="ann", minimum_policy_version="0" * 40), timeout=10)
    )
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.info.reason == "POLICY_VERSION_NOT_CONTAINED"


def test_a_batch_is_answered_at_one_revision(sidecar: Sidecar, scene: Scene) -> None:
    """All items of large batches, asked while the directory changes, are of one revision, and agree with each other."""
    scene.person("cleo", "acme", "CLERK")
    _, secret = scene.key("cleo")
    follows(sidecar, scene.store.state().revision)
    one, other = check_of(subject="cleo"), check_of(subject="", credential=secret)
    batch = check_pb2.BatchCheckRequest(checks=[one, other] * 400)
    revisions = set()
    for number in range(10):
        future = sidecar.stub.BatchCheck.future(batch, timeout=30)
        scene.switch("cleo", active=bool(number % 2))
        results = future.result().results
        assert len({(result.allowed, result.directory_revision) for result in results}) == 1
        revisions.add(results[0].directory_revision)
    assert len(revisions) > 1


def test_what_is_invalid_in_a_batch_is_of_its_revision() -> None:
    """An item that is no valid check is answered at the revision of its batch, also where the directory changes before
    its turn."""
    copy, engine = DirectoryCopy(), Engine()
    copy.replace(Contents("epoch", 7))
    service = AuthorizationService(engine, Limits(), identities=Identities(copy, Authenticator(copy), engine.counts))
    checks = [*[check_of(subject="ann")] * BATCH_TURN, check_of(subject="ann", action="")]

    async def answer() -> check_pb2.BatchCheckResponse:
        call: Any = SimpleNamespace(id="")
        # It changes when the batch lets others have a turn.
        asyncio.get_running_loop().call_soon(copy.apply, Changes(8))
        raw = await service.BatchCheck(check_pb2.BatchCheckRequest(checks=checks), call)
        assert isinstance(raw, bytes)
        return check_pb2.BatchCheckResponse.FromString(raw)

    results = asyncio.run(answer()).results
    service.close()
    assert copy.revision == 8
    assert {result.directory_revision for result in results} == {7}
    assert results[-1].reason == reason("INVALID_REQUEST")


def test_items_of_a_batch_may_be_of_different_callers(sidecar: Sidecar, scene: Scene) -> None:
    """Each item is decided for its own subject or credential; an invalid one is denied in its place."""
    _, secret = scene.key("ann", "in a batch")
    follows(sidecar, scene.store.state().revision)
    checks = [
        check_of(subject="ann"),
        check_of(subject="", credential=secret),
        check_of(subject="", credential=WRONG),
        check_of(subject="ann", credential=secret),
        check_of(subject=""),
        check_of(subject="", credential=secret, action=""),
    ]
    results = sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks), timeout=10).results
    assert [result.allowed for result in results] == [True, True, False, False, False, False]
    invalid = reason("INVALID_REQUEST")
    assert [result.reason == invalid for result in results] == [False, False, False, True, True, True]
    assert results[2].reason == reason("INVALID_CREDENTIAL")
    assert len({result.directory_revision for result in results}) == 1
    streamed = sidecar.stub.CheckStream(
        iter([check_pb2.CheckStreamRequest(check=check) for check in checks]), timeout=10
    )
    assert [answer.result.allowed for answer in streamed] == [True, True, False, False, False, False]


def test_a_request_names_its_subject_once(sidecar: Sidecar) -> None:
    """Subject and credential together, or neither, is invalid with a directory as without."""
    for check, field in (
        (check_of(subject="ann", credential=WRONG), "credential"),
        (check_of(subject=""), "subject"),
        (check_of(subject="", on_behalf_of="ann"), "subject"),
        (check_of(subject="robot", on_behalf_of="role:ADMIN"), "on_behalf_of"),
        (check_of(subject="role:ADMIN", on_behalf_of="ann"), "subject"),
        # A secret in the place of a name would go to logs.
        (check_of(subject=WRONG), "subject"),
        (check_of(subject="robot", on_behalf_of=WRONG), "on_behalf_of"),
    ):
        failure = failure_of(lambda check=check: sidecar.stub.Check(check, timeout=10))  # type: ignore[misc]
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert set(failure.violations) == {field}
        assert WRONG not in failure.message


def test_tokens_of_a_batch_leave_others_their_turn() -> None:
    """While the tokens of identity providers in a batch are verified other calls are answered, and each that is no good
    is verified once, whatever it is asked about."""
    copy, engine = DirectoryCopy(), Engine()
    copy.replace(Contents("epoch", 7))
    service = AuthorizationService(engine, Limits(), identities=Identities(copy, Authenticator(copy), engine.counts))
    tokens = [f"eyJ.{number}.x" for number in range(20)]
    checks = [check_of(subject="", credential=token, company=f"c{at}") for at in range(5) for token in tokens]
    turns = 0

    async def answer() -> check_pb2.BatchCheckResponse:
        call: Any = SimpleNamespace(id="")

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        raw = await service.BatchCheck(check_pb2.BatchCheckRequest(checks=checks), call)
        other.cancel()
        assert isinstance(raw, bytes)
        return check_pb2.BatchCheckResponse.FromString(raw)

    results = asyncio.run(answer()).results
    service.close()
    assert {result.reason for result in results} == {reason("INVALID_CREDENTIAL")}
    assert turns >= len(tokens) // TOKEN_TURN
    assert engine.counts.authentications["invalid_credential"] == len(tokens)


def test_authenticate_tells_whom_a_credential_stands_for(sidecar: Sidecar, scene: Scene) -> None:
    """It gives the identity, the credential's name and expiry, and the roles of directory and bundle."""
    scene.person("in-both", "acme", "CHIEF")
    key, secret = scene.key("in-both", expires_at=4_000_000_000.0)
    follows(sidecar, scene.store.state().revision)
    answer = sidecar.stub.Authenticate(authenticate_pb2.AuthenticateRequest(credential=secret), timeout=10)
    assert (answer.authenticated, answer.subject, answer.company) == (True, "in-both", "acme")
    assert answer.kind == identity_pb2.IDENTITY_KIND_USER
    assert (answer.credential_name, answer.expire_time.seconds) == (f"key:{key}", 4_000_000_000)
    assert [(held.role, held.company) for held in answer.roles] == [("CHIEF", "acme")]
    denied = sidecar.stub.Authenticate(authenticate_pb2.AuthenticateRequest(credential=WRONG), timeout=10)
    assert (denied.authenticated, denied.reason, denied.subject) == (False, reason("INVALID_CREDENTIAL"), "")
    empty = failure_of(lambda: sidecar.stub.Authenticate(authenticate_pb2.AuthenticateRequest(), timeout=10))
    assert empty.code is grpc.StatusCode.INVALID_ARGUMENT


def test_roles_of_the_bundle_are_told_too(sidecar: Sidecar, scene: Scene) -> None:
    """An identity whom the bundle assigns a role has that one and those of the directory."""
    scene.person("in-git", "acme", "CHIEF")
    _, secret = scene.key("in-git")
    follows(sidecar, scene.store.state().revision)
    answer = sidecar.stub.Authenticate(authenticate_pb2.AuthenticateRequest(credential=secret), timeout=10)
    assert [(held.role, held.company) for held in answer.roles] == [("CHIEF", "acme"), ("CLERK", "acme")]


def test_an_explanation_is_of_the_credentials_identity(sidecar: Sidecar, scene: Scene) -> None:
    """Explain takes a credential, names its identity and the roles it holds in the directory."""
    _, secret = scene.key("ann", "explained")
    follows(sidecar, scene.store.state().revision)
    explained = sidecar.stub.Explain(
        explain_pb2.ExplainRequest(check=check_of(subject="", credential=secret)), timeout=10
    )
    assert (explained.result.allowed, explained.result.subject) == (True, "ann")
    assert list(explained.roles) == ["role:CLERK"]
    denied = sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check_of(subject="", credential=WRONG)), timeout=10)
    assert denied.result.reason == reason("INVALID_CREDENTIAL")
    assert not denied.near_misses


def test_a_filter_is_of_the_credentials_identity(sidecar: Sidecar, scene: Scene) -> None:
    """FilterObjects takes a credential; one that stands for nobody passes nothing."""
    _, secret = scene.key("ann", "filtering")
    follows(sidecar, scene.store.state().revision)
    found = sidecar.stub.FilterObjects(filter_of(credential=secret), timeout=10)
    assert (found.subject, found.kind, found.exact) == ("ann", filter_pb2.FILTER_KIND_COMPANIES, True)
    assert list(found.clauses[0].company.values) == ["acme"]
    none = sidecar.stub.FilterObjects(filter_of(credential=WRONG), timeout=10)
    assert (none.kind, none.reason) == (filter_pb2.FILTER_KIND_NONE, reason("INVALID_CREDENTIAL"))


def test_a_service_account_acts_for_a_user(sidecar: Sidecar, scene: Scene) -> None:
    """With impersonation on for the object it gets what the user may, and never more; elsewhere, nothing."""
    _, secret = scene.key("robot", "acting", expires_at=time.time() + 86_400)
    follows(sidecar, scene.store.state().revision)
    for caller in ({"subject": "robot"}, {"credential": secret}):
        allowed = ask(sidecar, id="shared-1", on_behalf_of="ann", **caller)
        assert (allowed.allowed, allowed.subject, allowed.actor) == (True, "ann", "robot")
        # The user's own denial.
        assert ask(sidecar, action="update", id="shared-1", on_behalf_of="ann", **caller).reason == reason(
            "NO_MATCHING_RULE"
        )
        for refused in (
            {"id": "2", "on_behalf_of": "ann"},
            {"id": "shared-1", "on_behalf_of": "root"},
            {"id": "shared-1", "on_behalf_of": "robot"},
            {"id": "shared-1", "on_behalf_of": "nobody"},
        ):
            answer = ask(sidecar, **refused, **caller)
            assert (answer.allowed, answer.reason) == (False, reason("IMPERSONATION_NOT_ALLOWED")), refused
    assert ask(sidecar, "ann", id="shared-1", on_behalf_of="in-git").reason == reason("IMPERSONATION_NOT_ALLOWED")
    assert ask(sidecar, "nobody", id="shared-1", on_behalf_of="ann").reason == reason("IMPERSONATION_NOT_ALLOWED")


def test_an_explanation_for_another_is_the_users(sidecar: Sidecar) -> None:
    """Explain on behalf of a user gives the user's rule; where one may not act for the other, no rule is named."""
    check = check_of(subject="robot", id="shared-1", on_behalf_of="ann")
    explained = sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check), timeout=10)
    assert (explained.result.allowed, explained.result.actor) == (True, "robot")
    assert explained.rule.file == "roles.yaml"
    check = check_of(subject="robot", id="2", on_behalf_of="ann")
    explained = sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check), timeout=10)
    assert explained.result.reason == reason("IMPERSONATION_NOT_ALLOWED")
    assert not explained.HasField("rule")


def test_a_filter_for_another_is_met_by_checks(sidecar: Sidecar) -> None:
    """FilterObjects on behalf of a user passes what is shared for impersonation alone, exactly."""
    found = sidecar.stub.FilterObjects(filter_of(subject="robot", on_behalf_of="ann"), timeout=10)
    assert (found.subject, found.actor, found.exact) == ("ann", "robot", True)
    (clause,) = found.clauses
    assert list(clause.company.values) == ["acme"]
    assert list(clause.id.prefixes) == ["shared-"]
    for user in ("root", "nobody", "robot"):
        none = sidecar.stub.FilterObjects(filter_of(subject="robot", on_behalf_of=user), timeout=10)
        assert none.kind == filter_pb2.FILTER_KIND_NONE
        assert none.reason == reason("IMPERSONATION_NOT_ALLOWED"), user


def test_impersonation_is_in_the_audit(sidecar: Sidecar, scene: Scene) -> None:
    """What a service account asks for a user is written to the audit, allowed or not, under the decision's id; what it
    asks for itself is not, unless the manifest says so."""
    itself = ask(sidecar, "robot", id="shared-9")
    allowed = ask(sidecar, "robot", id="shared-9", on_behalf_of="ann")
    denied = ask(sidecar, "robot", id="other", on_behalf_of="ann")
    wanted = {allowed.decision_id: "impersonation.allowed", denied.decision_id: "impersonation.denied"}

    def found() -> dict[str, dict[str, Any]]:
        with scene.store.read() as connection:
            rows = connection.execute(select(AUDIT.c.action, AUDIT.c.record).where(AUDIT.c.actor == "robot"))
            records = [json.loads(record) for _, record in rows]
        return {record.get("decision_id", ""): record for record in records}

    until(lambda: wanted.keys() <= found().keys())
    assert itself.decision_id not in found()
    for decision, action in wanted.items():
        record = found()[decision]
        assert record["action"] == action
        assert (record["actor"], record["on_behalf_of"], record["company"]) == ("robot", "ann", "acme")
        assert record["after"]["action"] == "read"


def test_the_decision_log_names_who_asked_how(sidecar: Sidecar, scene: Scene) -> None:
    """Its lines have the subject, who acted for it, the credential's name and the revision, and never a secret."""
    key, secret = scene.key("robot", "logged", expires_at=time.time() + 86_400)
    follows(sidecar, scene.store.state().revision)
    answer = ask(sidecar, credential=secret, id="shared-1", on_behalf_of="ann")
    wrong = ask(sidecar, credential=WRONG)

    def lines() -> dict[str, dict[str, Any]]:
        text = "".join(file.read_text() for file in scene.folder.glob("decisions*"))
        assert secret not in text
        assert WRONG not in text
        return {line["decision_id"]: line for line in map(json.loads, text.splitlines())}

    until(lambda: {answer.decision_id, wrong.decision_id} <= lines().keys())
    line = lines()[answer.decision_id]
    assert (line["subject"], line["actor"], line["credential"]) == ("ann", "robot", f"key:{key}")
    assert line["directory_revision"] == answer.directory_revision
    line = lines()[wrong.decision_id]
    assert line["reason"] == "invalid_credential"
    assert "subject" not in line
    assert "credential" not in line


def test_authentications_are_counted(sidecar: Sidecar, scene: Scene) -> None:
    """Metrics say how many credentials were right, and why others were not, and how many there are."""
    before = sidecar.metric("authz_authentications_total", outcome="invalid_credential")
    ask(sidecar, credential=WRONG)
    assert sidecar.metric("authz_authentications_total", outcome="invalid_credential") == before + 1
    assert sidecar.metric("authz_authentications_total", outcome="authenticated") > 0
    follows(sidecar, scene.store.state().revision)
    assert sidecar.metric("authz_directory_revision") == scene.store.state().revision
    assert sidecar.metric("authz_directory_identities") >= 3
    assert sidecar.metric("authz_directory_credentials") >= 1
    assert sidecar.metric("authz_directory_follow_lag_seconds_count") > 0
    assert sidecar.metric("authz_decisions_total", reason="invalid_credential") > 0


def test_readiness_names_the_revision(sidecar: Sidecar, scene: Scene) -> None:
    """`/readyz` says at which revision the directory is, and for how long it has not been seen."""
    follows(sidecar, scene.store.state().revision)
    status, body = sidecar.ready()
    assert status == 200
    assert body["directory"]["revision"] == scene.store.state().revision
    assert body["directory"]["staleness_seconds"] < 10


def test_the_decision_log_is_replayed_with_the_directory(
    sidecar: Sidecar, scene: Scene, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With `--directory` a replay decides again what the directory let decide: what changes changes by the policy
    alone, and what the directory decides otherwise by now, or cannot tell, is counted apart."""
    for id in ("rita", "mona", "theo", "vera"):
        scene.person(id, "acme", "CLERK")
    _, secret = scene.key("rita")
    _, lost = scene.key("theo")
    follows(sidecar, scene.store.state().revision)
    asked = [
        # Two policies differ on the first alone of these, once with a credential and once without.
        *[ask(sidecar, "rita"), ask(sidecar, credential=secret), ask(sidecar, "rita", "delete")],
        # Of the first, a service account may ask; the user may, or may not.
        *[ask(sidecar, "robot", id=id, on_behalf_of="ann") for id in ("shared-1", "2")],
        # Whom the directory does not know: the bundle does, and nobody does.
        *[ask(sidecar, "in-git", "update"), ask(sidecar, "nobody")],
        # Another role, and gone: by now.
        *[ask(sidecar, "mona", "update"), ask(sidecar, "vera"), ask(sidecar, credential=lost, action="update")],
        ask(sidecar, credential=WRONG),
    ]
    scene.assign("mona", "CHIEF")
    for id in ("theo", "vera"):
        scene.identities.delete_identity(OPERATOR, id)
    wanted = {answer.decision_id for answer in asked}
    lines: list[str] = []

    def all_are_logged() -> bool:
        texts = "".join(file.read_text() for file in scene.folder.glob("decisions*")).splitlines()
        lines[:] = [line for line in texts if json.loads(line)["decision_id"] in wanted]
        return len(lines) == len(wanted)

    until(all_are_logged)
    # A JWT, as a sidecar with an identity provider would log it.
    lines.append(next(line for line in lines if '"credential":"key:' in line).replace('"key:', '"jwt:'))
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + "\n")
    policies = init(tmp_path / "repository") / "policies"
    shutil.copytree(scene.policies, policies)
    served_version = commit(policies, "As it was served")
    roles = (policies / "roles.yaml").read_text()
    commit(policies, "Clerks read no more", {"roles.yaml": roles.replace("[read]}", "[delete]}", 1)})

    def replay(*options: str, policies: Path = policies) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main.run(("replay", str(log), "--policies", str(policies), *options))
        said = capfd.readouterr()
        return code, said.out, said.err

    def told(*options: str, policies: Path = policies) -> dict[str, Any]:
        code, said, _ = replay("--directory", scene.url, "--format", "json", *options, policies=policies)
        assert code == 1
        found: dict[str, Any] = json.loads(said)
        return found

    code, _, said = replay()
    assert code == 2
    assert f"{len(lines)} lines rest on a directory of identities, which is not in the log" in said
    assert "help: name it with `--directory`" in said
    report = told("--against", str(policies), policies=scene.policies)
    assert (report["newly_denied"], report["newly_allowed"], report["same"]) == (3, 1, 3)
    assert {(change["change"], change["role"], change["action"]) for change in report["changes"]} == {
        ("newly_denied", "role:CLERK", "read"),
        ("newly_allowed", "role:CLERK", "delete"),
    }
    assert report["log"]["decisions"] == 7
    assert report["log"]["directory"] == {
        "revision": scene.store.state().revision,
        "decisions": 7,
        "changed_since": 1,
        "changed_since_and_decided_differently": 0,
        "left_out": {"nobody": 1, "company_not_held": 0, "jwt": 1, "policy": 0, "gone": 2},
        "unknown_policy_versions": {},
    }

    # The policy that was served is there no more.
    code, _, said = replay("--directory", scene.url)
    assert code == 2
    lead = "10 lines were decided by policies that `--policies` does not lead to, and were left out"
    assert f"{lead}: `{sidecar.policy_version}`" in said
    # It is in git, under another name.
    log.write_text(log.read_text().replace(sidecar.policy_version, served_version))
    again = told()
    assert again["changes"] == report["changes"]
    assert again["log"]["directory"] == report["log"]["directory"]
    text = replay("--directory", scene.url)[1]
    assert "3 newly denied, 1 newly allowed, 3 the same" in text
    assert "note: 7 decisions were compared by the identities of the directory, now at revision" in text
    assert "note: the directory has changed since 1 decision, which were left out" in text
