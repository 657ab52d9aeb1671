"""The audit over gRPC: whoever may read what, and nothing else, and as it is written."""

import asyncio
import functools
import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from authz_sidecar._proto.authz.v1 import audit_service_pb2 as messages
from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1.audit_service_pb2_grpc import AuditServiceStub
from authz_sidecar.directory.storage.records import IdentityRecord
from authz_sidecar.transports.grpc.administration.audit_service import MOST_STREAMS, Bell
from authz_sidecar.values.identity import IdentityKind
from tests.server.administered import OPERATOR, ROLES, Administered, administered, snapshot_of
from tests.server.sidecar import failure_of

AUDIT_ROLES = (
    ROLES
    + """\
  AUDIT_ALL:
    description: Reads the audit of everything.
    assigned: platform
    grants:
      - {object: sidecar.audit, actions: [read]}
  AUDIT_COMPANY:
    description: Reads the audit of a company.
    assigned: company
    grants:
      - {object: sidecar.audit, actions: [read]}
  AUDIT_OWN:
    description: Reads what was done to them.
    assigned: company
    grants:
      - {object: sidecar.audit, actions: [read], scope: own}
"""
)
_numbers = itertools.count(1)


class Scene:
    """A server with some records, and readers of them."""

    def __init__(self, server: Administered) -> None:
        server.take(snapshot_of(AUDIT_ROLES), "sha256:audit")
        self.server = server
        self.stub = AuditServiceStub(server.channel)
        self.everywhere = server.person("everywhere", "", "AUDIT_ALL")
        self.acme = server.person("acme-auditor", "acme", "AUDIT_COMPANY")
        self.both = server.person("both-auditor", "acme", "AUDIT_COMPANY")
        server.assign("both-auditor", "AUDIT_COMPANY", "globex")
        self.own = server.person("own-reader", "acme", "AUDIT_OWN")
        self.nothing = server.person("reader", "acme", "READER")
        for company in ("acme", "globex", "initech", ""):
            self.made(company)

    def made(self, company: str) -> str:
        """The id of a new service account; its making is audited."""
        id = f"program-{next(_numbers)}"
        record = IdentityRecord(id=id, kind=IdentityKind.SERVICE_ACCOUNT, company=company)
        self.server.identities.create_identity(OPERATOR, record)
        return id

    def list(self, caller: str, *, size: int = 0, **filter: Any) -> list[messages.AuditRecord]:
        """All records of a list, page by page."""
        found: list[messages.AuditRecord] = []
        token = ""
        while True:
            request = messages.ListAuditRecordsRequest(
                filter=messages.AuditFilter(**filter), page_size=size, page_token=token
            )
            answer = self.stub.ListAuditRecords(request, metadata=self.server.call(caller), timeout=30)
            found += answer.records
            token = answer.next_page_token
            if not token:
                return found

    def follow(self, caller: str, after: int | None, **filter: Any) -> Any:
        """A stream of records."""
        request = messages.FollowAuditRecordsRequest(filter=messages.AuditFilter(**filter), after_sequence=after)
        return self.stub.FollowAuditRecords(request, metadata=self.server.call(caller), timeout=60)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One server for the tests of this module."""
    with administered(tmp_path_factory.mktemp("audit")) as server:
        yield Scene(server)


def _companies(records: list[messages.AuditRecord]) -> set[str]:
    return {record.company for record in records}


def test_readers_see_the_records_of_their_companies(scene: Scene) -> None:
    """A record is shown to whoever the policy lets read the audit of its company, or of the platform."""
    assert _companies(scene.list(scene.everywhere)) == {"", "acme", "globex", "initech"}
    assert _companies(scene.list(scene.acme)) == {"acme"}
    assert _companies(scene.list(scene.both)) == {"acme", "globex"}
    assert {record.subject for record in scene.list(scene.own)} == {"own-reader"}
    assert _companies(scene.list(scene.everywhere, company="")) == {""}
    assert _companies(scene.list(scene.both, company="globex")) == {"globex"}


def test_who_may_read_nothing_is_refused(scene: Scene) -> None:
    """Without a credential, a role or the company there is no list, and no stream."""
    refused: list[tuple[str, dict[str, Any], grpc.StatusCode]] = [
        ("", {}, grpc.StatusCode.UNAUTHENTICATED),
        ("azk_wrong", {}, grpc.StatusCode.UNAUTHENTICATED),
        (scene.nothing, {}, grpc.StatusCode.PERMISSION_DENIED),
        (scene.acme, {"company": "globex"}, grpc.StatusCode.PERMISSION_DENIED),
        (scene.acme, {"company": ""}, grpc.StatusCode.PERMISSION_DENIED),
    ]
    for caller, filter, code in refused:
        listed = failure_of(functools.partial(scene.list, caller, **filter))
        followed = failure_of(functools.partial(next, scene.follow(caller, 0, **filter)))
        assert listed.code == followed.code == code


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pages_join(scene: Scene, size: int) -> None:
    """Pages of any size give each readable record once, in order, whatever lies between that may not be read."""
    whole = [record.sequence for record in scene.list(scene.acme)]
    assert [record.sequence for record in scene.list(scene.acme, size=size)] == whole == sorted(set(whole))


def test_a_page_token_is_of_one_list_and_one_reader(scene: Scene) -> None:
    """A token of another list or reader, and one that was made up, is refused."""
    request = messages.ListAuditRecordsRequest(page_size=1)
    first = scene.stub.ListAuditRecords(request, metadata=scene.server.call(scene.acme))
    assert first.next_page_token
    for caller, actor, token in (
        (scene.everywhere, "", first.next_page_token),
        (scene.acme, "x", first.next_page_token),
        (scene.acme, "", "1"),
    ):
        request = messages.ListAuditRecordsRequest(filter=messages.AuditFilter(actor=actor), page_token=token)
        metadata = scene.server.call(caller)
        failure = failure_of(functools.partial(scene.stub.ListAuditRecords, request, metadata=metadata))
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT


def test_the_view_of_one_service_account(scene: Scene) -> None:
    """What concerns an identity is one list: what was done to it, and by it."""
    id = scene.made("acme")
    secret = scene.server.credentials.create_key(OPERATOR, id, "one").record.secret
    scene.server.assign(id, "COMPANY_ADMIN", "acme")
    other = scene.made("acme")
    request = credential.CreateKeyRequest(identity=other, name="by a program")
    made = scene.server.keys.CreateKey(request, metadata=scene.server.call(secret))
    records = scene.list(scene.acme, identity=id)
    assert [(record.actor == id, record.subject == id) for record in records][-1] == (True, False)
    assert {record.action.partition(".")[0] for record in records} >= {"identity", "key", "assignment"}
    assert records[-1].subject == other
    assert records[-1].credential.startswith("key:")
    assert records[-1].address == "127.0.0.1"
    for record in scene.list(scene.everywhere):
        assert secret.split("_")[2] not in str(record)
        assert made.secret.split("_")[2] not in str(record)
    only = scene.list(scene.acme, identity=id, actions=["key"])
    assert {record.action.partition(".")[0] for record in only} == {"key"}


def test_a_record_has_its_line(scene: Scene) -> None:
    """Each record comes with the line that its hash covers, so that readers can verify what they were given."""
    records = scene.list(scene.everywhere)
    assert [record.sequence for record in records] == list(range(1, len(records) + 1))
    for record in records:
        assert hashlib.sha256(record.text.encode()).hexdigest() == record.hash
    made = next(record for record in records if record.action == "identity.create" and record.company == "acme")
    assert made.after.fields["company"].string_value == "acme"
    assert not made.HasField("before")
    assert made.time.seconds > 1_700_000_000
    assert made.directory_revision > 0


def test_who_follows_sees_records_as_they_are_written(scene: Scene) -> None:
    """A stream begins where it is asked to, and then has each readable record soon after it is written."""
    whole = [record.sequence for record in scene.list(scene.acme)]
    stream = scene.follow(scene.acme, 0)
    assert [next(stream).record.sequence for _ in whole] == whole
    scene.made("globex")
    id = scene.made("acme")
    before = time.monotonic()
    assert next(stream).record.subject == id
    assert time.monotonic() - before < 10
    stream.cancel()


def test_who_follows_from_now_on_sees_nothing_earlier(scene: Scene) -> None:
    """Without a place a stream begins at the end."""
    stream = scene.follow(scene.everywhere, None, actions=["identity.create"])
    # The place is taken while the stream is opened: later ones are seen for sure once one is.
    seen: set[str] = set()
    ids: list[str] = []
    while not seen:
        ids.append(scene.made("acme"))
        if len(ids) == 1:
            continue
        seen.add(next(stream).record.subject)
    assert seen <= set(ids)
    stream.cancel()


def test_a_stream_ends_with_the_right_to_read(scene: Scene) -> None:
    """Whoever loses the role, or the credential, sees no record that is written afterwards."""
    for lose, code in (("role", grpc.StatusCode.PERMISSION_DENIED), ("key", grpc.StatusCode.UNAUTHENTICATED)):
        id = f"leaving-{lose}"
        secret = scene.server.person(id, "acme", "AUDIT_COMPANY")
        stream = scene.follow(secret, 0, identity=id)
        next(stream)
        if lose == "role":
            for held in scene.server.identities.list_assignments(identity=id).records:
                scene.server.identities.delete_assignment(OPERATOR, held.id)
        else:
            for key in scene.server.credentials.list_keys(identity=id).records:
                scene.server.credentials.revoke_key(OPERATOR, key.id)
        rest: list[Any] = []
        assert failure_of(functools.partial(rest.extend, stream)).code == code
        assert {answer.record.subject for answer in rest} <= {id}


def test_what_is_invalid_is_told(scene: Scene) -> None:
    """Each field that is wrong is named."""
    for filter, field in (
        ({"actor": "x" * 2000}, "filter.actor"),
        ({"actions": ["a"] * 51}, "filter.actions"),
        ({"actions": [""]}, "filter.actions"),
    ):
        failure = failure_of(functools.partial(scene.list, scene.everywhere, **filter))
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert [*failure.violations] == [field]


def test_a_changed_store_gives_no_wrong_records(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where a column was changed to let somebody read a record, they get an error and not the record; a server that
    stops ends its streams."""
    with administered(tmp_path_factory.mktemp("changed")) as server:
        scene = Scene(server)
        with server.store.change(OPERATOR, time.time()) as change:
            change.connection.execute(text("UPDATE audit SET company = 'acme' WHERE company = 'globex'"))
        assert failure_of(lambda: scene.list(scene.acme)).code == grpc.StatusCode.DATA_LOSS
        stream = scene.follow(scene.everywhere, None)
        opened = scene.follow(scene.everywhere, 0, company="")
        next(opened)
        server.run(server.server.stop(5))
        for ended in (stream, opened):
            assert failure_of(functools.partial(list, ended)).code == grpc.StatusCode.UNAVAILABLE


def test_a_page_of_large_records_is_short(tmp_path_factory: pytest.TempPathFactory) -> None:
    """However many records are asked for and however large they are, each page can be sent, and all are in one."""
    with administered(tmp_path_factory.mktemp("large")) as server:
        scene = Scene(server)
        with server.store.change(OPERATOR, time.time()) as change:
            for number in range(12):
                change.audit("identity.update", company="acme", after={"name": str(number), "text": "x" * 600_000})
        records = scene.list(scene.acme, size=1000, actions=["identity.update"])
        assert [record.after.fields["name"].string_value for record in records] == [str(number) for number in range(12)]


def test_a_stream_does_not_go_on_over_a_store_that_was_set_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever follows is told when the store was set back, or when their place is beyond its end: they have missed
    nothing in silence."""
    with administered(tmp_path_factory.mktemp("restored")) as server:
        scene = Scene(server)
        stream = scene.follow(scene.everywhere, 0)
        next(stream)
        with server.store.change(OPERATOR, time.time()) as change:
            change.connection.execute(text("UPDATE state SET epoch = 'another'"))
        rest: list[Any] = []
        assert failure_of(functools.partial(rest.extend, stream)).code == grpc.StatusCode.FAILED_PRECONDITION
        for place in (10_000, (1 << 64) - 1):
            failure = failure_of(functools.partial(next, scene.follow(scene.everywhere, place)))
            assert failure.code == grpc.StatusCode.FAILED_PRECONDITION


def test_one_reader_has_few_streams(scene: Scene) -> None:
    """An identity follows so many times at once, others are not kept from it, and a stream that ends makes room."""
    streams = [scene.follow(scene.both, 0) for _ in range(MOST_STREAMS)]
    for stream in streams:
        next(stream)
    refused = failure_of(functools.partial(next, scene.follow(scene.both, 0)))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    other = scene.follow(scene.acme, 0)
    next(other)
    other.cancel()
    streams.pop().cancel()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        again = scene.follow(scene.both, 0)
        try:
            next(again)
        except grpc.RpcError:
            continue
        break
    else:
        pytest.fail("the stream that ended made no room")
    for stream in (*streams, again):
        stream.cancel()


def test_a_filter_that_no_record_can_have_is_invalid(scene: Scene) -> None:
    """A control character in a filter is the caller's mistake on every database, and no failure of the server."""
    for filter in ({"actor": "a\0"}, {"company": "\0"}, {"actions": ["key\0"]}):
        failure = failure_of(functools.partial(scene.list, scene.everywhere, **filter))
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_bell_wakes_who_waits() -> None:
    """What rings in a thread ends the waiting of all that took it before, and of nobody who takes it after."""

    async def scenario() -> tuple[bool, bool]:
        bell = Bell()
        before = bell.next()
        threading.Thread(target=bell.ring).start()
        await asyncio.wait_for(before.wait(), 10)
        return before.is_set(), bell.next().is_set()

    assert asyncio.run(scenario()) == (True, False)
