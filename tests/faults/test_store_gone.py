"""A sidecar whose database goes away while it serves, and comes back."""

import os
import signal
from pathlib import Path

import grpc

from authz_sidecar._proto.authz.v1 import audit_service_pb2 as audit
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.storage.store import Store
from tests.faults.scene import MANIFEST, OPERATOR, ROLES, Scene, ask, check_whole, reason
from tests.postgres import PASSWORD, Postgres
from tests.server.administered import snapshot_of
from tests.server.sidecar import failure_of, until

WORD = "a password for ann"


def test_a_database_that_is_gone_and_back(tmp_path: Path, own_postgres: Postgres) -> None:
    """While the database is down checks go on, administration fails with a remedy, and staleness shows; past what is
    allowed it is not ready and trusts no credential. Back again all of it recovers, what was asked on behalf of others
    meanwhile is in the audit, and what somebody else revoked is in force."""
    scene = Scene(tmp_path, own_postgres.create_database())
    with scene.served("--max-staleness", "3", "--workers", "2") as (sidecar, root):
        for id in ("ann", "bea"):
            root.create(id, "CLERK")
        root.set_password("ann", WORD)
        root.create("robot", "CLERK", kind=record.IDENTITY_KIND_SERVICE_ACCOUNT)
        shared = record.Share(identity="robot", company="acme", object_type="folder", object_id="1", impersonation=True)
        message = directory.CreateShareRequest(share=shared)
        message.share.justification = "a test"
        root.ask(root.directory.CreateShare, message)
        ann, bea = root.create_key("ann"), root.create_key("bea")
        until(lambda: ask(sidecar, credential=bea.secret).allowed)
        own_postgres.stop(kill=True)

        assert ask(sidecar, credential=ann.secret).allowed
        assert ask(sidecar, "ann").allowed
        assert ask(sidecar, "robot", on_behalf_of="ann").allowed
        for attempt in (
            lambda: root.create("late", "CLERK"),
            lambda: root.revoke_key(bea.key.id),
            root.identities,
            lambda: root.sign_in("ann", WORD),
        ):
            failure = failure_of(attempt)
            assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert "cannot be reached" in failure.message
            assert "see that the database is running" in failure.message
            assert failure.retry_after == 1.0
            assert PASSWORD not in str(failure.status)
        until(lambda: "cannot be reached" in sidecar.ready()[1]["directory"].get("unseen", ""))
        assert sidecar.metric("authz_directory_audit_waiting") == 1
        until(lambda: sidecar.metric("authz_directory_audit_failing") == 1)

        until(lambda: sidecar.ready()[0] == 503)
        assert sidecar.metric("authz_directory_staleness_seconds") > 3
        # The sidecar tells of the worker that saw the store longest ago; the other one is soon as far.
        until(lambda: ask(sidecar, credential=ann.secret).reason == reason("STALE_DIRECTORY"))
        assert ask(sidecar, "ann").allowed
        failure = failure_of(lambda: root.create("late", "CLERK"))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STALE_DIRECTORY")

        own_postgres.start()
        store = Store.open(scene.url)
        view = PolicyView(snapshot_of(ROLES, MANIFEST).directory_rules)
        revision = CredentialAdministration(store, lambda: view).revoke_key(OPERATOR, bea.key.id).revision
        store.close()
        until(lambda: sidecar.ready()[0] == 200)
        until(lambda: ask(sidecar, "ann").directory_revision >= revision)
        assert ask(sidecar, credential=bea.secret).reason == reason("CREDENTIAL_REVOKED")
        assert ask(sidecar, credential=ann.secret).allowed
        until(lambda: sidecar.metric("authz_directory_staleness_seconds") < 3)
        assert "unseen" not in sidecar.ready()[1]["directory"]
        root.create("late", "CLERK")
        until(lambda: sidecar.metric("authz_directory_audit_waiting") == 0)
        assert sidecar.metric("authz_directory_audit_left_out_total") == 0
        until(lambda: sidecar.metric("authz_directory_audit_failing") == 0)
        found = root.ask(root.audit.ListAuditRecords, audit.ListAuditRecordsRequest())
        assert [entry.on_behalf_of for entry in found.records if entry.on_behalf_of] == ["ann"]
        assert PASSWORD not in sidecar.log
    assert {"ann", "bea", "late"} < check_whole(scene.url)


def test_a_database_that_hangs(tmp_path: Path, own_postgres: Postgres) -> None:
    """A database that takes connections and says nothing holds up no check; administration ends at the caller's
    deadline, staleness shows, and once the database goes on so does everything."""
    scene = Scene(tmp_path, own_postgres.create_database())
    with scene.served("--max-staleness", "1.5") as (sidecar, root):
        root.create("ann", "CLERK")
        key = root.create_key("ann").secret
        stopped = own_postgres.processes()
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        try:
            message = directory.GetIdentityRequest(id="ann")
            failure = failure_of(lambda: root.ask(root.directory.GetIdentity, message, 0.5))
            assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert ask(sidecar, credential=key).allowed
            until(lambda: sidecar.ready()[0] == 503)
            assert ask(sidecar, "ann").allowed
            assert ask(sidecar, credential=key).reason == reason("STALE_DIRECTORY")
        finally:
            for process in stopped:
                os.kill(process, signal.SIGCONT)
        until(lambda: sidecar.ready()[0] == 200)
        assert ask(sidecar, credential=key).allowed
        root.create("bea", "CLERK")
    assert check_whole(scene.url) == {"root", "ann", "bea"}
