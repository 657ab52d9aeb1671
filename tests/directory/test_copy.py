"""The directory in memory: it holds what the store has, and what changed brings it to what a fresh reading would."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from authz_sidecar.directory.memory.assembly import Assembler
from authz_sidecar.directory.memory.copy import DirectoryCopy
from authz_sidecar.directory.memory.loading import GapError, HaltedError, changes_since, load
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.records import AssignmentRecord, GrantRecord, IdentityRecord, ShareRecord
from authz_sidecar.directory.storage.schema import STATE
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.identity import FOREVER, IdentityKind, OwnRule, TimedRole
from tests.directory.copied import ACTOR, administration, loaded, told

YEAR_3000 = 32_503_680_000.0
NOW = 1_000_000_000.0


def user(id: str, company: str = "acme", kind: IdentityKind = IdentityKind.USER, **more: Any) -> IdentityRecord:
    """A user's record."""
    return IdentityRecord(id=id, kind=kind, company=company, **more)


def test_an_identity_is_as_decisions_read_it(store: Store) -> None:
    """Roles held for good and for a time, grants, shares and attributes of records become those of an identity."""
    people, _ = administration(store)
    people.create_identity(
        ACTOR, user("ann", kind=IdentityKind.SERVICE_ACCOUNT, attributes={"level": 3}), ["CLERK", "ADMIN"]
    )
    people.create_assignment(ACTOR, AssignmentRecord(identity="ann", role="CHIEF", company="b", expires_at=YEAR_3000))
    grant = people.create_grant(
        ACTOR, GrantRecord(identity="ann", object_type="folder", actions=("read",), effect="deny")
    ).record
    share = people.create_share(
        ACTOR,
        ShareRecord(
            identity="ann",
            company="acme",
            object_type="report",
            object_id="q*",
            actions=("read",),
            impersonation=True,
            expires_at=YEAR_3000,
        ),
    ).record
    ann = loaded(store).identity("ann")
    assert ann is not None
    assert ann.roles.by_company == {"": ("ADMIN",), "acme": ("CLERK",)}
    assert ann.timed == (TimedRole("CHIEF", "b", YEAR_3000),)
    assert ann.rules == (
        OwnRule("*", "folder", "*", "read", "platform", False, "", f"grant:{grant.id}"),
        OwnRule("acme", "report", "q*", "read", "company", True, "", f"share:{share.id}", YEAR_3000),
        OwnRule("acme", "report", "q*", "impersonate", "company", True, "", f"share:{share.id}", YEAR_3000),
    )
    assert (ann.active, ann.company, ann.attributes) == (True, "acme", {"level": 3})


def test_equal_roles_are_one_object(store: Store) -> None:
    """Identities with the same roles share one set, those that are read later included: caches serve them all."""
    people, _ = administration(store)
    assembler = Assembler()
    copy = loaded(store)
    for id in ("ann", "bob"):
        people.create_identity(ACTOR, user(id), ["CLERK", "CHIEF"])
        changes = changes_since(store, copy, assembler)
        assert changes is not None
        copy.apply(changes)
    first, second = copy.identity("ann"), copy.identity("bob")
    assert first is not None
    assert second is not None
    assert first.roles is second.roles


def test_credentials_are_known_by_their_ids(store: Store) -> None:
    """Keys and tokens say whose they are, until when they hold, and whether they were revoked."""
    people, credentials = administration(store)
    people.create_identity(ACTOR, user("ann"))
    key = credentials.create_key(ACTOR, "ann", "one").record.record
    other = credentials.create_key(ACTOR, "ann", "two", expires_at=YEAR_3000).record.record
    credentials.revoke_key(ACTOR, other.id)
    token = credentials.create_token(ACTOR, "ann").record.record
    copy = loaded(store)
    facts = copy.key(key.id)
    assert facts is not None
    assert (facts.identity, facts.active, facts.expires, facts.revoked) == ("ann", True, FOREVER, False)
    facts = copy.key(other.id)
    assert facts is not None
    assert (facts.expires, facts.revoked) == (YEAR_3000, True)
    found = copy.token(token.id)
    assert found is not None
    assert (found.identity, found.expires, found.ends) == ("ann", token.expires_at, token.ends_at or FOREVER)
    assert copy.credentials == 3


def test_nothing_is_read_where_nothing_has_changed(store: Store) -> None:
    """A copy at the newest revision lacks nothing."""
    assert changes_since(store, loaded(store), Assembler()) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"epoch": "another"}, "another history"),
        ({"revision": 1}, "is at revision 1, which is before 2"),
        ({"revision": 9, "changes_from": 4}, "from revision 4 on, which is after 3"),
    ],
)
def test_a_gap_is_noticed(store: Store, changed: dict[str, Any], why: str) -> None:
    """A copy does not guess what changed: not after a restore, not backwards, not past changes that are forgotten."""
    people, _ = administration(store)
    people.create_identity(ACTOR, user("ann"))
    people.create_identity(ACTOR, user("bob"))
    copy = loaded(store)
    with store.engine.begin() as connection:
        connection.execute(update(STATE).values(changed))
    with pytest.raises(GapError, match=why):
        changes_since(store, copy, Assembler())


def test_staleness_is_of_a_clock_that_only_goes_forward() -> None:
    """A copy is stale once it has not been seen for longer than allowed, and never where any time is allowed."""
    copy = DirectoryCopy(max_staleness=10.0)
    copy.see(100.0)
    assert not copy.is_stale(110.0)
    assert copy.is_stale(110.5)
    copy.see(110.4)
    assert not copy.is_stale(110.5)
    assert not DirectoryCopy().is_stale(1e9)


def test_only_what_has_to_do_with_the_companies_is_held(store: Store) -> None:
    """Held are identities of the companies and of the platform, and others that hold something there."""
    people, credentials = administration(store)
    for id, company in (("ours", "a"), ("nobodys", ""), ("theirs", "b"), ("both", "b")):
        people.create_identity(ACTOR, user(id, company))
    people.create_assignment(ACTOR, AssignmentRecord(identity="both", role="CLERK", company="a"))
    keys = {id: credentials.create_key(ACTOR, id, "key").record.record.id for id in ("ours", "theirs")}
    copy = loaded(store, frozenset({"a"}))
    assert {id for id in ("ours", "nobodys", "theirs", "both") if copy.identity(id)} == {"ours", "nobodys", "both"}
    assert copy.key(keys["ours"]) is not None
    assert copy.key(keys["theirs"]) is None
    # What is not held is known to be there.
    assert {id for id in (*keys, "nobodys", "both", "unknown") if copy.is_elsewhere(id)} == {"theirs"}
    assert copy.holds("a")
    assert copy.holds("")
    assert not copy.holds("b")


def test_credentials_come_and_go_with_their_identity(store: Store) -> None:
    """Where an identity comes to be held, so do its keys and tokens, and go with it, though no change names them."""
    people, credentials = administration(store)
    people.create_identity(ACTOR, user("ann", "b"))
    key = credentials.create_key(ACTOR, "ann", "key").record.record.id
    token = credentials.create_token(ACTOR, "ann").record.record.id
    companies = frozenset({"a"})
    copy, assembler = loaded(store, companies), Assembler(companies)

    def follow() -> None:
        changes = changes_since(store, copy, assembler)
        assert changes is not None
        copy.apply(changes)

    assert copy.key(key) is None
    assert copy.is_elsewhere("ann")
    assignment = people.create_assignment(ACTOR, AssignmentRecord(identity="ann", role="CLERK", company="a")).record
    follow()
    assert copy.identity("ann") is not None
    assert not copy.is_elsewhere("ann")
    assert copy.key(key) is not None
    assert copy.token(token) is not None
    people.delete_assignment(ACTOR, assignment.id)
    follow()
    assert (copy.identities, copy.credentials) == (0, 0)
    assert copy.is_elsewhere("ann")
    people.delete_identity(ACTOR, "ann")
    follow()
    assert not copy.is_elsewhere("ann")


def test_a_namesake_has_none_of_the_credentials_of_who_was_removed(store: Store) -> None:
    """An identity that was removed and made anew between two looks has only the credentials that it was given since."""
    people, credentials = administration(store)
    people.create_identity(ACTOR, user("ann"))
    old = [credentials.create_key(ACTOR, "ann", "old").record.record.id]
    old_token = credentials.create_token(ACTOR, "ann").record.record.id
    copy, assembler = loaded(store), Assembler()
    people.delete_identity(ACTOR, "ann")
    people.create_identity(ACTOR, user("ann"))
    new = credentials.create_key(ACTOR, "ann", "new").record.record.id
    changes = changes_since(store, copy, assembler)
    assert changes is not None
    copy.apply(changes)
    assert [copy.key(old[0]), copy.token(old_token)] == [None, None]
    assert copy.key(new) is not None
    assert told(copy.contents) == told(loaded(store).contents)


def test_a_reading_that_is_wanted_no_more_ends(store: Store) -> None:
    """Whoever reads a whole store is asked whether that is still wanted, and stops where it is not."""
    with pytest.raises(HaltedError):
        load(store, Assembler(), lambda: True)


def test_texts_that_nobody_has_any_more_are_let_go_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many companies and sets of roles come and go, what is kept of them stays bounded, and what is held is as
    it was read."""
    monkeypatch.setattr("authz_sidecar.directory.memory.assembly._SLACK", 20)
    people, _ = administration(store)
    copy, assembler = loaded(store), Assembler()
    most = 0
    for number in range(40):
        people.create_identity(ACTOR, user("ann", f"company-{number}"), ("CLERK",))
        people.create_identity(ACTOR, user("bob", f"company-{number}"), ("CHIEF",))
        people.delete_identity(ACTOR, "bob")
        changes = changes_since(store, copy, assembler)
        assert changes is not None
        copy.apply(changes)
        assembler.let_go(copy.contents.identities.values())
        most = max(most, len(assembler))
        assert told(copy.contents) == told(loaded(store).contents)
        people.delete_identity(ACTOR, "ann")
    assert most <= 60


IDS = st.sampled_from(["ann", "bob", "cleo", "dan"])
COMPANIES = st.sampled_from(["a", "b", ""])
TIMES = st.sampled_from([None, YEAR_3000])
STEPS = st.one_of(
    st.tuples(st.just("create"), IDS, COMPANIES),
    st.tuples(st.just("delete"), IDS),
    st.tuples(st.just("switch"), IDS, st.booleans()),
    st.tuples(st.just("assign"), IDS, st.sampled_from(["CLERK", "CHIEF", "ADMIN"]), COMPANIES, TIMES),
    st.tuples(st.just("unassign"), st.integers(0, 5)),
    st.tuples(st.just("grant"), IDS, COMPANIES, TIMES),
    st.tuples(st.just("ungrant"), st.integers(0, 5)),
    st.tuples(st.just("share"), IDS, COMPANIES, st.booleans()),
    st.tuples(st.just("unshare"), st.integers(0, 5)),
    st.tuples(st.just("key"), IDS),
    st.tuples(st.just("revoke"), IDS, st.integers(0, 5)),
    st.tuples(st.just("token"), IDS),
    st.tuples(st.just("end"), IDS),
)


class Operator:
    """Does the steps, those that are refused excepted."""

    def __init__(self, store: Store) -> None:
        self.people, self.credentials = administration(store)

    def do(self, name: str, *of: Any) -> None:
        """One step."""
        step: Callable[..., Any] = getattr(self, f"_{name}")
        try:
            step(*of)
        except DirectoryError:
            return

    def _create(self, id: str, company: str) -> None:
        kind = IdentityKind.SERVICE_ACCOUNT if id == "dan" else IdentityKind.USER
        self.people.create_identity(ACTOR, user(id, company, kind))

    def _delete(self, id: str) -> None:
        self.people.delete_identity(ACTOR, id)

    def _switch(self, id: str, active: bool) -> None:
        self.people.update_identity(ACTOR, id, {"active": active, "attributes": {"on": active}})

    def _assign(self, id: str, role: str, company: str, ends: float | None) -> None:
        self.people.create_assignment(ACTOR, AssignmentRecord(identity=id, role=role, company=company, expires_at=ends))

    def _unassign(self, number: int) -> None:
        self.people.delete_assignment(ACTOR, self.people.list_assignments().records[number:][0].id)

    def _grant(self, id: str, company: str, ends: float | None) -> None:
        self.people.create_grant(
            ACTOR,
            GrantRecord(identity=id, company=company, object_type="folder", actions=("read",), expires_at=ends),
        )

    def _ungrant(self, number: int) -> None:
        self.people.delete_grant(ACTOR, self.people.list_grants().records[number:][0].id)

    def _share(self, id: str, company: str, impersonation: bool) -> None:
        share = ShareRecord(
            identity=id,
            company=company,
            object_type="report",
            object_id="1",
            actions=("read",),
            impersonation=impersonation,
        )
        self.people.create_share(ACTOR, share)

    def _unshare(self, number: int) -> None:
        self.people.delete_share(ACTOR, self.people.list_shares().records[number:][0].id)

    def _key(self, id: str) -> None:
        number = len(self.credentials.list_keys(identity=id).records)
        self.credentials.create_key(ACTOR, id, f"key {number}")

    def _revoke(self, id: str, number: int) -> None:
        self.credentials.revoke_key(ACTOR, self.credentials.list_keys(identity=id).records[number:][0].id)

    def _token(self, id: str) -> None:
        self.credentials.create_token(ACTOR, id)

    def _end(self, id: str) -> None:
        self.credentials.revoke_tokens(ACTOR, id)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=1, max_size=6))
def test_changes_come_to_what_a_fresh_reading_gives(store: Store, batches: list[list[tuple[Any, ...]]]) -> None:
    """After any changes the copy that took them holds what one that was read anew does, with or without companies."""
    operator = Operator(store)
    followed = [(companies, loaded(store, companies), Assembler(companies)) for companies in (None, frozenset({"a"}))]
    for steps in batches:
        for step in steps:
            try:
                operator.do(*step)
            except IndexError:
                # There is no such record.
                continue
        for companies, copy, assembler in followed:
            changes = changes_since(store, copy, assembler)
            if changes is not None:
                copy.apply(changes)
            assert told(copy.contents) == told(loaded(store, companies).contents)
