"""Administration of identities and what they hold, on both databases: the rules of the policy, in the transaction."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from authz_sidecar.audit import chain
from authz_sidecar.directory import own_rules
from authz_sidecar.directory.administration import IdentityAdministration, ImportRow
from authz_sidecar.directory.errors import DirectoryError, Fault
from authz_sidecar.directory.policy import PolicyView
from authz_sidecar.directory.records import (
    Actor,
    AssignmentRecord,
    GrantRecord,
    IdentityRecord,
    ShareRecord,
)
from authz_sidecar.directory.schema import AUDIT, CHANGES, KEYS, PASSWORDS, TOKENS
from authz_sidecar.directory.store import Store
from authz_sidecar.values.directory_rules import DirectoryRules, FlagFacts, GroupFacts, KindRules, RoleFacts
from authz_sidecar.values.identity import IdentityKind

ADMIN = Actor("root", credential="key:k", address="203.0.113.1", call="c-1")
HOUR, DAY = 3_600.0, 86_400.0
NOW = 1_800_000_000.0
USER, SERVICE = IdentityKind.USER, IdentityKind.SERVICE_ACCOUNT

RULES = DirectoryRules(
    form="extended",
    roles={
        "ADMIN": RoleFacts("platform", sensitive=True),
        "OPERATOR": RoleFacts("platform"),
        "CLIENT": RoleFacts("company"),
        "CLIENT_ADMIN": RoleFacts("company"),
        "EXTRA": RoleFacts("company", kind="additive"),
        "AUDITOR": RoleFacts("platform", kind="additive"),
        "NO_ACCESS": RoleFacts("platform", kind="sole"),
    },
    object_types={
        "folder": ("create", "read", "update", "delete"),
        "person": ("read",),
        "sidecar.identity": ("create", "read"),
    },
    justified=frozenset({"person"}),
    flags={"can_start": FlagFacts(("CLIENT",), "folder", ("create",))},
    groups=(
        GroupFacts("operators", ("OPERATOR",)),
        GroupFacts("auditors", ("AUDITOR",)),
        GroupFacts("acme", ("CLIENT", "EXTRA"), "acme"),
    ),
)


class Clock:
    """The time, as a test sets it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """The time that was set."""
        return self.now


class Directory(IdentityAdministration):
    """Administration whose policy and time a test sets."""

    clock: Clock
    rules: DirectoryRules
    bundle: dict[str, tuple[tuple[str, str], ...]]
    told: list[int]

    def rule(self, **rules: Any) -> None:
        """Change the rules."""
        self.rules = msgspec.structs.replace(self.rules, **rules)

    def user(self, id: str, *roles: str, **fields: Any) -> IdentityRecord:
        """Make a user."""
        made = self.create_identity(ADMIN, IdentityRecord(id=id, kind=USER, **fields), roles, justification="needed")
        record = made.record
        assert isinstance(record, IdentityRecord)
        return record

    def service(self, id: str, *roles: str, **fields: Any) -> IdentityRecord:
        """Make a service account."""
        made = self.create_identity(ADMIN, IdentityRecord(id=id, kind=SERVICE, **fields), roles)
        record = made.record
        assert isinstance(record, IdentityRecord)
        return record

    def assign(self, identity: str, role: str, company: str = "", **fields: Any) -> AssignmentRecord:
        """Assign a role."""
        replace = fields.pop("replace", False)
        given = AssignmentRecord(identity=identity, role=role, company=company, **fields)
        record = self.create_assignment(ADMIN, given, replace=replace).record
        assert isinstance(record, AssignmentRecord)
        return record

    def held(self, identity: str) -> set[tuple[str, str, str]]:
        """The roles that an identity holds now, with company and source."""
        now = self.clock()
        return {
            (record.role, record.company, record.source)
            for record in self.list_assignments(identity=identity).records
            if (record.begins_at or 0.0) <= now < (record.expires_at or 1e12)
        }

    def audit(self) -> list[dict[str, Any]]:
        """The audit."""
        with self.store.read() as connection:
            texts = connection.execute(select(AUDIT.c.record).order_by(AUDIT.c.sequence)).scalars()
            return [json.loads(text) for text in texts]

    def touched(self, revision: int) -> set[tuple[str, str]]:
        """What a revision touched."""
        with self.store.read() as connection:
            rows = connection.execute(select(CHANGES.c.kind, CHANGES.c.key).where(CHANGES.c.revision == revision))
            return {(kind, key) for kind, key in rows}


@pytest.fixture
def directory(store: Store) -> Directory:
    """An empty directory under `RULES`."""
    told: list[int] = []
    made = Directory(
        store,
        lambda: PolicyView(made.rules, "v1", lambda identity: made.bundle.get(identity, ())),
        Clock(),
        told.append,
    )
    made.rules, made.bundle, made.told = RULES, {}, told
    return made


@contextmanager
def refused(fault: Fault, *words: str, field: str = "", **details: str) -> Iterator[None]:
    """The block is refused with that fault, in words that hold these, at that field."""
    with pytest.raises(DirectoryError) as caught:
        yield
    error = caught.value
    assert error.fault is fault, error.message
    for word in words:
        assert word in f"{error.message}; {error.help}", (error.message, error.help)
    if field:
        assert field in [violation.field for violation in error.violations]
    assert {name: error.details.get(name) for name in details} == details


# --- identities ------------------------------------------------------------------------------------------------------


def test_an_identity_is_made_read_changed_and_removed(directory: Directory) -> None:
    """An identity has what it was given and what the server sets, each change is a revision, and the audit has before
    and after."""
    made = directory.user(
        "ann", "CLIENT", company="acme", name="Ann", flags={"can_start": False}, attributes={"a": [1]}
    )
    assert (made.created_by, made.created_at, made.updated_at, made.revision) == ("root", NOW, NOW, 1)
    assert directory.get_identity("ann") == made
    directory.clock.now += 5
    changed = directory.update_identity(
        ADMIN, "ann", {"active": False, "flags.can_start": None, "description": "gone"}, expect=1, justification="left"
    )
    assert changed.record == msgspec.structs.replace(
        made, active=False, flags={}, description="gone", updated_at=NOW + 5, revision=2
    )
    assert directory.get_identity("ann") == changed.record
    assert directory.touched(2) == {("identity", "ann")}
    assert directory.delete_identity(ADMIN, "ann", expect=2).revision == 3
    with refused(Fault.NOT_FOUND, "no identity `ann`"):
        directory.get_identity("ann")
    assert directory.list_assignments(identity="ann").records == ()
    records = directory.audit()
    assert [record["action"] for record in records] == [
        "identity.create",
        "assignment.create",
        "identity.update",
        "identity.delete",
    ]
    update = records[2]
    assert (update["before"]["flags"], update["after"].get("flags")) == ({"can_start": False}, None)
    assert (update["actor"], update["subject"], update["company"]) == ("root", "ann", "acme")
    assert (update["justification"], update["policy_version"], update["credential"]) == ("left", "v1", "key:k")
    assert records[3]["before"]["held"] == {"assignments": 1}
    assert directory.told == [1, 2, 3]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"id": ""}, "identity.id", "has an id"),
        ({"id": "role:ADMIN"}, "identity.id", "cannot begin with `role:`"),
        ({"id": "operator:root"}, "identity.id", "cannot be called `operator:root`"),
        ({"id": "sidecar"}, "identity.id", "cannot be called `sidecar`"),
        ({"id": "*"}, "identity.id", "`*` is no identity"),
        ({"id": "a\0b"}, "identity.id", "control character U+0000"),
        ({"id": "x" * 1_025}, "identity.id", "at most 1024"),
        ({"id": "\ud800"}, "identity.id", "not valid UTF-8"),
        ({"id": "bo\u200bb"}, "identity.id", "U+200B, which nobody sees"),
        ({"id": "bob\u202e"}, "identity.id", "U+202E, which nobody sees"),
        ({"id": "be\u0301a"}, "identity.id", "taken apart"),
        ({"company": "ac*"}, "identity.company", "cannot hold `*`"),
        ({"company": " acme"}, "identity.company", "white space"),
        ({"name": "x" * 257}, "identity.name", "at most 256 characters; this one has 257"),
        ({"name": "a\nb"}, "identity.name", "control character"),
        ({"description": "ä" * 2_049}, "identity.description", "4,098 bytes; at most 4,096"),
        ({"description": "a\x1b[31m"}, "identity.description", "control character U+001B"),
        ({"flags": {"can_strat": False}}, "identity.flags.can_strat", "did you mean `can_start`?"),
        ({"attributes": {"a": float("nan")}}, "identity.attributes", "not finite"),
        ({"attributes": {"a": 1 << 70}}, "identity.attributes", "63 bits"),
        ({"attributes": {"a": ["\0"]}}, "identity.attributes", "U+0000"),
        ({"attributes": {"a": "x" * 65_536}}, "identity.attributes", "more than 65536 characters"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dialect", ["sqlite"])
def test_values_that_no_identity_has_are_refused(
    directory: Directory, fields: Mapping[str, Any], field: str, words: str
) -> None:
    """Each value that may not stand in an identity is refused with its field, and nothing is written."""
    with refused(Fault.INVALID, words, field=field):
        directory.create_identity(ADMIN, IdentityRecord(**{"id": "ann", "kind": USER, **fields}))
    assert directory.store.state().revision == 0


def test_an_id_is_taken_once(directory: Directory) -> None:
    """A second identity under an id is refused, and the first stays as it is."""
    directory.user("ann")
    with refused(Fault.ALREADY_EXISTS, "`ann` already", field="identity.id"):
        directory.service("ann")
    assert directory.get_identity("ann").kind is USER


def test_an_etag_that_is_not_the_last_is_refused(directory: Directory) -> None:
    """An update that expects another revision than the record's is refused, whatever changed it."""
    directory.user("ann")
    directory.update_identity(ADMIN, "ann", {"name": "Ann"})
    with refused(Fault.CONFLICT, "has changed since", etag="2"):
        directory.update_identity(ADMIN, "ann", {"name": "Anne"}, expect=1)
    with refused(Fault.CONFLICT, "has changed since"):
        directory.delete_identity(ADMIN, "ann", expect=1)
    assert directory.get_identity("ann").name == "Ann"


def test_an_update_that_changes_nothing_writes_nothing(directory: Directory) -> None:
    """An update to what is there already keeps the revision and the audit."""
    directory.user("ann", name="Ann")
    assert directory.update_identity(ADMIN, "ann", {"name": "Ann", "active": True}).revision == 1
    assert len(directory.audit()) == 1


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_what_of_an_identity_cannot_be_changed(directory: Directory) -> None:
    """Unknown fields, fields that never change and values of another type are refused."""
    directory.user("ann")
    with refused(Fault.INVALID, "nothing is to be changed", field="update_mask"):
        directory.update_identity(ADMIN, "ann", {})
    with refused(Fault.INVALID, "`kind` of an identity cannot be changed", field="update_mask"):
        directory.update_identity(ADMIN, "ann", {"kind": 2})
    with refused(Fault.INVALID, "did you mean `active`?"):
        directory.update_identity(ADMIN, "ann", {"actve": True})
    with refused(Fault.INVALID, "of another type", field="identity.active"):
        directory.update_identity(ADMIN, "ann", {"active": 1})
    with refused(Fault.INVALID, field="identity.flags.can_start"):
        directory.update_identity(ADMIN, "ann", {"flags.can_start": "yes"})


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_flags_that_a_policy_no_longer_has_stay_until_they_are_removed(directory: Directory) -> None:
    """A flag that is set stays when the policy drops it; no other unknown flag can be set."""
    directory.user("ann", flags={"can_start": False})
    directory.rule(flags={})
    directory.update_identity(ADMIN, "ann", {"name": "Ann"})
    with refused(Fault.INVALID, "the policy defines no flags"):
        directory.update_identity(ADMIN, "ann", {"flags.other": True})
    directory.update_identity(ADMIN, "ann", {"flags.can_start": None})
    assert directory.get_identity("ann").flags == {}


def test_companies_have_so_many_service_accounts(directory: Directory) -> None:
    """The number of identities of one kind in a company is limited, apart from other companies, other kinds and the
    platform, and the error names the limit."""
    directory.rule(service_accounts=KindRules(most=2))
    for id in ("s1", "s2"):
        directory.service(id, company="acme")
    with refused(
        Fault.LIMIT,
        "at most 2 service accounts in a company; `acme` has 2",
        limit="2",
        limit_name="identities.service_accounts.max",
    ):
        directory.service("s3", company="acme")
    directory.service("s3", company="beta")
    directory.service("s4")
    directory.user("u1", company="acme")
    directory.delete_identity(ADMIN, "s1")
    directory.service("s5", company="acme")


def test_names_are_bounded_and_unique(directory: Directory) -> None:
    """Names of one kind are at most so long and unique in a company, without regard to case and to what nobody
    sees, when made and when changed."""
    directory.rule(service_accounts=KindRules(name_length=79, unique_names=True))
    directory.service("s1", company="acme", name="Reports Bot")
    with refused(Fault.INVALID, "at most 79 characters; this one has 80", field="identity.name", limit="79"):
        directory.service("s2", company="acme", name="x" * 80)
    with refused(Fault.ALREADY_EXISTS, "`s1` is called `reports bot` already", field="identity.name"):
        directory.service("s2", company="acme", name="reports bot")
    for alike in ("Reports\u200b Bot", "Reports  Bot", "\uff32eports Bot"):
        with refused(Fault.ALREADY_EXISTS, field="identity.name"):
            directory.service("s2", company="acme", name=alike)
    with refused(Fault.INVALID, "have names here"):
        directory.service("s2", company="acme")
    directory.service("s2", company="beta", name="Reports Bot")
    directory.user("u1", company="acme", name="Reports Bot")
    directory.service("s3", company="acme", name="x" * 79)
    with refused(Fault.ALREADY_EXISTS, field="identity.name"):
        directory.update_identity(ADMIN, "s3", {"name": "REPORTS BOT"})
    directory.update_identity(ADMIN, "s1", {"name": "REPORTS BOT"})


def test_deleting_takes_all_that_an_identity_holds(directory: Directory) -> None:
    """Roles, grants, shares, keys, tokens and the password go with the identity, in one revision that touches each
    credential."""
    directory.service("s1", "CLIENT", company="acme")
    grant = GrantRecord(identity="s1", company="acme", object_type="folder", actions=("read",))
    directory.create_grant(ADMIN, grant)
    directory.create_share(
        ADMIN, ShareRecord(identity="s1", company="acme", object_type="folder", object_id="1", impersonation=True)
    )
    with directory.store.change(ADMIN, NOW) as change:
        common = {"identity": "s1", "hash": b"", "created_by": "", "created_at": 0.0, "revision": 1}
        change.connection.execute(insert(KEYS), {**common, "id": "k", "name": "", "active": True, "rotated_from": ""})
        change.connection.execute(insert(TOKENS), {**common, "id": "t", "expires_at": 0.0, "sliding_seconds": 0.0})
        change.connection.execute(insert(PASSWORDS), {"identity": "s1", "hash": "", "changed_at": 0.0})
    revision = directory.delete_identity(ADMIN, "s1").revision
    assert directory.touched(revision) == {("identity", "s1"), ("key", "k"), ("token", "t")}
    with directory.store.read() as connection:
        for table in (KEYS, TOKENS, PASSWORDS):
            assert connection.execute(select(table)).all() == []
    assert directory.list_grants().records == directory.list_shares().records == ()
    assert directory.audit()[-1]["before"]["held"] == {
        "assignments": 1,
        "grants": 1,
        "shares": 1,
        "keys": 1,
        "tokens": 1,
    }


def test_what_somebody_made_outlives_them(directory: Directory) -> None:
    """Deactivating and deleting who made an identity changes nothing of it."""
    directory.user("maker")
    maker = Actor("maker")
    directory.create_identity(maker, IdentityRecord(id="s1", kind=SERVICE, company="acme"), ["CLIENT"])
    before = directory.get_identity("s1"), directory.held("s1")
    directory.update_identity(ADMIN, "maker", {"active": False})
    directory.delete_identity(ADMIN, "maker")
    assert (directory.get_identity("s1"), directory.held("s1")) == before
    assert before[0].created_by == "maker"


# --- lists -----------------------------------------------------------------------------------------------------------


def test_lists_come_in_pages_under_filters(directory: Directory) -> None:
    """Every identity under the filters comes once, in the order of ids, whatever the size of the pages."""
    rows = [
        ImportRow(
            IdentityRecord(
                id=f"{prefix}{number}",
                kind=USER if number % 2 else SERVICE,
                company=("", "acme", "beta")[number % 3],
                active=number % 5 != 0,
                name=f"N{number}",
            ),
            (("AUDITOR", None),) if number % 4 == 0 else (),
        )
        for prefix in ("b", "B", "ß", "a")
        for number in range(12)
    ]
    assert directory.import_identities(ADMIN, rows).created == 48
    records = sorted((row.record for row in rows), key=lambda record: record.id.encode())

    def ids(size: int, **filters: Any) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = directory.list_identities(page_size=size, page_token=token, **filters)
            found += [record.id for record in page.records]
            token = page.next_page_token
            if not token:
                return found

    expected: list[tuple[dict[str, Any], Callable[[IdentityRecord], bool]]] = [
        ({}, lambda _: True),
        ({"company": "acme"}, lambda record: record.company == "acme"),
        ({"company": ""}, lambda record: not record.company),
        ({"companies": ["beta", "acme"]}, lambda record: bool(record.company)),
        ({"companies": []}, lambda _: False),
        ({"kind": SERVICE}, lambda record: record.kind is SERVICE),
        ({"active": False, "kind": USER}, lambda record: not record.active and record.kind is USER),
        ({"prefix": "b"}, lambda record: record.id[0] == "b"),
        ({"prefix": "N1"}, lambda record: record.name.startswith("N1")),
        ({"prefix": "ß"}, lambda record: record.id[0] == "ß"),
        ({"prefix": "%"}, lambda _: False),
        ({"role": "AUDITOR"}, lambda record: int(record.id[1:]) % 4 == 0),
        ({"role": "ADMIN"}, lambda _: False),
    ]
    for filters, holds in expected:
        wanted = [record.id for record in records if holds(record)]
        for size in (1, 7, 0, 1_000):
            assert ids(size, **filters) == wanted, (filters, size)


def test_page_tokens_are_of_one_list(directory: Directory) -> None:
    """Garbage, tokens of another list and sizes beyond the limit are refused; a token outlives what it stands at."""
    for number in range(5):
        directory.user(f"u{number}")
    token = directory.list_identities(page_size=2).next_page_token
    directory.delete_identity(ADMIN, "u1")
    assert [record.id for record in directory.list_identities(page_size=2, page_token=token).records] == ["u2", "u3"]
    for garbage in ("x", "é", "AAAA", "W10", token[:-2], token * 2, "A" * 5_000, "\0", "WyJhXHUwMDAwIiwiIl0"):
        with refused(Fault.INVALID, "not that of this list", field="page_token"):
            directory.list_identities(page_token=garbage)
    with refused(Fault.INVALID, field="page_token"):
        directory.list_identities(page_token=token, kind=USER)
    for size in (-1, 1_001):
        with refused(Fault.INVALID, "at most 1,000", field="page_size"):
            directory.list_identities(page_size=size)


def test_ids_and_filters_that_no_database_takes_are_told(directory: Directory) -> None:
    """An id that cannot be is not there, and a filter that cannot be is refused, on both databases alike."""
    for text in ("a\0b", "\ud800", "x" * 2_000):
        for get in (directory.get_identity, directory.get_assignment, directory.get_grant, directory.get_share):
            with refused(Fault.NOT_FOUND):
                get(text)
        with refused(Fault.INVALID, field="role"):
            directory.list_identities(role=text)
        with refused(Fault.INVALID, field="companies"):
            directory.list_identities(companies=["acme", text])
        for listed in (directory.list_assignments, directory.list_grants, directory.list_shares):
            with refused(Fault.INVALID, field="identity"):
                listed(identity=text)


# --- roles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_roles_are_held_where_they_belong(directory: Directory) -> None:
    """Platform roles are assigned outside companies, company roles inside one, and unknown roles nowhere."""
    directory.user("ann")
    with refused(Fault.INVALID, "`OPERATOR` is assigned in the company `acme`", field="assignment.company"):
        directory.assign("ann", "OPERATOR", "acme")
    with refused(Fault.INVALID, "`CLIENT` is assigned without a company", field="assignment.company"):
        directory.assign("ann", "CLIENT")
    with refused(Fault.INVALID, "did you mean `CLIENT`?", field="assignment.role"):
        directory.assign("ann", "CLINET", "acme")
    with refused(Fault.INVALID, "cannot hold `*`", field="assignment.company"):
        directory.assign("ann", "CLIENT", "*")
    with refused(Fault.NOT_FOUND, "no identity `bob`"):
        directory.assign("bob", "CLIENT", "acme")
    with refused(Fault.INVALID, field="roles[0]"):
        directory.user("bob", "CLIENT")


def test_a_role_is_assigned_and_taken_away(directory: Directory) -> None:
    """An assignment touches the identity, is audited with before and after, and cannot be made twice."""
    directory.user("ann")
    made = directory.assign("ann", "CLIENT", "acme", justification="new job")
    assert directory.get_assignment(made.id) == made
    assert (made.created_by, made.source, made.revision) == ("root", "hand", 2)
    assert directory.touched(2) == {("identity", "ann")}
    with refused(Fault.ALREADY_EXISTS, "`CLIENT` in `acme` already", assignment=made.id):
        directory.assign("ann", "CLIENT", "acme")
    directory.assign("ann", "CLIENT", "beta")
    with refused(Fault.CONFLICT):
        directory.delete_assignment(ADMIN, made.id, expect=3)
    assert directory.delete_assignment(ADMIN, made.id, expect=2, justification="left").revision == 4
    assert directory.held("ann") == {("CLIENT", "beta", "hand")}
    with refused(Fault.NOT_FOUND):
        directory.delete_assignment(ADMIN, made.id)
    last = directory.audit()[-1]
    assert (last["action"], last["company"], last["justification"]) == ("assignment.delete", "acme", "left")
    assert (last["before"]["role"], last.get("after")) == ("CLIENT", None)


def test_a_role_that_stands_alone_is_held_alone(directory: Directory) -> None:
    """A sole role goes together with no other, in whichever order, by hand, in the bundle or with grants beside it,
    unless their times do not meet."""
    directory.user("ann", "OPERATOR")
    with refused(Fault.PRECONDITION, "`NO_ACCESS`, which stands alone, together with `OPERATOR`"):
        directory.assign("ann", "NO_ACCESS")
    directory.user("bob", "NO_ACCESS")
    with refused(Fault.PRECONDITION, "together with `NO_ACCESS`, which stands alone"):
        directory.assign("bob", "AUDITOR")
    directory.bundle["eve"] = (("CLIENT", "acme"),)
    directory.user("eve")
    with refused(Fault.PRECONDITION, "the bundle itself assigns `CLIENT`"):
        directory.assign("eve", "NO_ACCESS")
    directory.assign("ann", "NO_ACCESS", replace=True)
    assert directory.held("ann") == {("NO_ACCESS", "", "hand")}
    directory.user("tim")
    directory.assign("tim", "OPERATOR", expires_at=NOW + DAY)
    directory.assign("tim", "NO_ACCESS", begins_at=NOW + DAY)
    directory.user("flo")
    directory.create_grant(ADMIN, GrantRecord(identity="flo", object_type="folder", actions=("read",)))
    with refused(Fault.PRECONDITION, "with grants of its own"):
        directory.assign("flo", "NO_ACCESS")


def test_a_suspension_is_lifted_by_hand_alone(directory: Directory) -> None:
    """Who was given the default role that stands alone keeps it whatever their groups, until a role by hand lifts it;
    where one of the roles by groups stands alone, it is the only one."""
    leavers = GroupFacts("leavers", ("NO_ACCESS",))
    directory.rule(default_role="NO_ACCESS", groups=(*RULES.groups, leavers))
    directory.user("ann", "OPERATOR")
    directory.assign("ann", "NO_ACCESS", replace=True)
    applied = directory.apply_groups(ADMIN, "ann", ["auditors", "operators"])
    assert applied.record == ()
    assert any("stands alone" in warning for warning in applied.warnings)
    assert directory.held("ann") == {("NO_ACCESS", "", "hand")}
    directory.assign("ann", "AUDITOR")
    assert directory.held("ann") == {("AUDITOR", "", "hand")}
    assert [record["action"] for record in directory.audit()[-2:]] == ["assignment.delete", "assignment.create"]
    directory.user("bob")
    directory.apply_groups(ADMIN, "bob", ["auditors", "operators"])
    directory.apply_groups(ADMIN, "bob", ["auditors", "leavers", "operators"])
    assert directory.held("bob") == {("NO_ACCESS", "", "group:leavers")}


def test_a_second_primary_role_is_pointed_out(directory: Directory) -> None:
    """A second primary role is permitted with a warning that names both; an additive one is not mentioned, and primary
    roles of two companies do not meet."""
    directory.user("ann", "OPERATOR")

    def assign(role: str, company: str = "") -> tuple[str, ...]:
        record = AssignmentRecord(identity="ann", role=role, company=company, justification="why")
        return directory.create_assignment(ADMIN, record).warnings

    assert assign("AUDITOR") == ()
    assert assign("CLIENT", "acme") == ("`ann` has a second primary role, `CLIENT` beside `OPERATOR`",)
    assert assign("EXTRA", "acme") == ()
    directory.user("bob", "CLIENT", company="acme")
    record = AssignmentRecord(identity="bob", role="CLIENT_ADMIN", company="beta")
    assert directory.create_assignment(ADMIN, record).warnings == ()


def test_an_identity_has_so_many_roles(directory: Directory) -> None:
    """The number of roles that are held at once is limited, those of the bundle included; roles whose times do not
    meet are not held at once."""
    directory.rule(roles_per_identity=2)
    directory.bundle["ann"] = (("AUDITOR", ""),)
    directory.user("ann", "CLIENT", company="acme")
    with refused(
        Fault.LIMIT,
        "at most 2 roles; `ann` has `AUDITOR` and `CLIENT`",
        limit="2",
        limit_name="limits.roles_per_identity",
    ):
        directory.assign("ann", "EXTRA", "acme")
    with refused(Fault.LIMIT):
        directory.user("bob", "CLIENT", "EXTRA", "AUDITOR", company="acme")
    directory.user("bob")
    directory.assign("bob", "CLIENT", "acme", expires_at=NOW + DAY)
    directory.assign("bob", "EXTRA", "acme", begins_at=NOW + DAY)
    directory.assign("bob", "AUDITOR")
    with refused(Fault.LIMIT, "at most 2 roles"):
        directory.assign("bob", "CLIENT_ADMIN", "acme", begins_at=NOW + 2 * DAY)


def test_an_identity_has_roles_in_so_many_companies(directory: Directory) -> None:
    """The number of companies in which roles are held is limited; the platform is none."""
    directory.rule(companies_per_identity=1)
    directory.user("ann", "CLIENT", "AUDITOR", company="acme")
    directory.assign("ann", "EXTRA", "acme")
    with refused(Fault.LIMIT, "at most 1 company", limit="1", limit_name="limits.companies_per_identity"):
        directory.assign("ann", "EXTRA", "beta")
    directory.assign("ann", "CLIENT", "beta", replace=True)
    assert directory.held("ann") == {("CLIENT", "beta", "hand")}


def test_every_identity_has_exactly_one_role(directory: Directory) -> None:
    """Where a role is required none is made without, the last is taken away only by replacing it, and none may leave
    a time without."""
    directory.rule(role_required=True, roles_per_identity=1)
    with refused(Fault.PRECONDITION, "every identity has a role", limit_name="identities.role_required"):
        directory.user("ann")
    directory.user("ann", "CLIENT", company="acme")
    (first,) = directory.list_assignments(identity="ann").records
    with refused(Fault.PRECONDITION, "`ann` would be left without one"):
        directory.delete_assignment(ADMIN, first.id)
    with refused(Fault.LIMIT, "at most 1 role"):
        directory.assign("ann", "CLIENT_ADMIN", "acme")
    with refused(Fault.PRECONDITION, "left without"):
        directory.assign("ann", "CLIENT_ADMIN", "acme", replace=True, expires_at=NOW + DAY)
    assert directory.held("ann") == {("CLIENT", "acme", "hand")}
    revision = directory.store.state().revision
    directory.assign("ann", "CLIENT_ADMIN", "acme", replace=True)
    assert directory.held("ann") == {("CLIENT_ADMIN", "acme", "hand")}
    assert directory.store.state().revision == revision + 1
    # An emergency comes on top, and its end takes nothing that is required.
    emergency = directory.assign(
        "ann", "OPERATOR", break_glass=True, expires_at=NOW + HOUR, justification="the operator is ill"
    )
    directory.delete_assignment(ADMIN, emergency.id)


def test_the_default_role_is_held_while_no_other_is(directory: Directory) -> None:
    """A new identity gets the default role; another role lifts it, and it is back when the last is taken away, at the
    moment that the last expires, and before one that begins later."""
    directory.rule(default_role="NO_ACCESS")
    directory.user("ann")
    default = ("NO_ACCESS", "", "default")
    assert directory.held("ann") == {default}
    (held,) = directory.list_assignments(identity="ann").records
    with refused(Fault.PRECONDITION, "because it has no other"):
        directory.delete_assignment(ADMIN, held.id)
    first = directory.assign("ann", "OPERATOR")
    assert directory.held("ann") == {("OPERATOR", "", "hand")}
    directory.delete_assignment(ADMIN, first.id)
    assert directory.held("ann") == {default}
    directory.assign("ann", "CLIENT", "acme", begins_at=NOW + DAY, expires_at=NOW + 2 * DAY)
    directory.assign("ann", "EXTRA", "acme", begins_at=NOW + 1.5 * DAY, expires_at=NOW + 3 * DAY)
    for time, roles in (
        (0.0, {default}),
        (1.0, {("CLIENT", "acme", "hand")}),
        (1.5, {("CLIENT", "acme", "hand"), ("EXTRA", "acme", "hand")}),
        (2.0, {("EXTRA", "acme", "hand")}),
        (3.0, {default}),
    ):
        directory.clock.now = NOW + time * DAY
        assert directory.held("ann") == roles
    directory.user("bob", "OPERATOR")
    assert directory.held("bob") == {("OPERATOR", "", "hand")}
    directory.bundle["eve"] = (("OPERATOR", ""),)
    directory.user("eve")
    assert directory.held("eve") == set()
    actions = [(record["action"], record["object_type"]) for record in directory.audit()]
    assert actions.count(("assignment.delete", "sidecar.assignment")) == 4


def test_a_default_role_of_companies_is_held_in_the_identitys_own(directory: Directory) -> None:
    """A default role that is held in companies is held in that of the identity; who has none has no default role."""
    directory.rule(default_role="CLIENT")
    directory.user("ann", company="acme")
    directory.user("bob")
    assert directory.held("ann") == {("CLIENT", "acme", "default")}
    assert directory.held("bob") == set()


def test_kinds_without_roles_have_none(directory: Directory) -> None:
    """Service accounts that hold no roles get none: not by hand, not when made, not by default, not by groups."""
    directory.rule(service_accounts=KindRules(roles=False), default_role="NO_ACCESS", role_required=True)
    directory.service("s1")
    assert directory.held("s1") == set()
    with refused(Fault.PRECONDITION, "service accounts hold no roles here", field="assignment.identity"):
        directory.assign("s1", "OPERATOR")
    with refused(Fault.PRECONDITION, "service accounts hold no roles here"):
        directory.service("s2", "OPERATOR")
    assert directory.apply_groups(ADMIN, "s1", ["operators"]).record == ()
    directory.create_share(ADMIN, ShareRecord(identity="s1", object_type="folder", object_id="*", actions=("read",)))


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_times_of_assignments_are_in_the_future_and_in_order(directory: Directory) -> None:
    """An assignment ends in the future and after it begins; what began in the past begins at once."""
    directory.user("ann")
    with refused(Fault.INVALID, "expire in the past", field="assignment.expire_time"):
        directory.assign("ann", "OPERATOR", expires_at=NOW)
    with refused(Fault.INVALID, "before it begins", field="assignment.expire_time"):
        directory.assign("ann", "OPERATOR", begins_at=NOW + DAY, expires_at=NOW + HOUR)
    for time in (float("inf"), float("nan"), -1.0, 1e15):
        with refused(Fault.INVALID, "beyond what a calendar has"):
            directory.assign("ann", "OPERATOR", expires_at=time)
    assert directory.assign("ann", "OPERATOR", begins_at=NOW - DAY).begins_at is None


def test_an_emergency_is_short_and_justified(directory: Directory) -> None:
    """Break-glass needs an expiry within the limit and a justification, comes on top of the limit of roles, is listed,
    and lifts the default role for its time alone."""
    directory.rule(roles_per_identity=1, default_role="NO_ACCESS")
    directory.user("ann")
    with refused(Fault.JUSTIFICATION, "an assignment for an emergency needs", field="assignment.justification"):
        directory.assign("ann", "OPERATOR", break_glass=True, expires_at=NOW + HOUR)
    with refused(Fault.INVALID, "within 8 hours", field="assignment.expire_time"):
        directory.assign("ann", "OPERATOR", break_glass=True, justification="fire")
    with refused(Fault.LIMIT, "at most 8 hours", limit="28800.0"):
        directory.assign("ann", "OPERATOR", break_glass=True, justification="fire", expires_at=NOW + 9 * HOUR)
    made = directory.assign("ann", "OPERATOR", break_glass=True, justification="fire", expires_at=NOW + 8 * HOUR)
    assert directory.list_assignments(break_glass=True).records == (made,)
    assert directory.held("ann") == {("OPERATOR", "", "hand")}
    directory.clock.now += 8 * HOUR
    assert directory.held("ann") == {("NO_ACCESS", "", "default")}
    directory.user("bob", "CLIENT", company="acme")
    expires = directory.clock.now + HOUR
    directory.assign("bob", "OPERATOR", break_glass=True, justification="fire", expires_at=expires)
    created = [record for record in directory.audit() if record["action"] == "assignment.create"]
    assert (created[-1]["justification"], created[-1]["after"]["break_glass"]) == ("fire", True)


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_sensitive_roles_need_a_justification(directory: Directory) -> None:
    """A sensitive role is assigned with a justification only, by hand, when an identity is made, and in an import."""
    directory.user("ann")
    with refused(Fault.JUSTIFICATION, "the role `ADMIN` needs a justification", field="assignment.justification"):
        directory.assign("ann", "ADMIN", justification="  ")
    bob = IdentityRecord(id="bob", kind=USER)
    with refused(Fault.JUSTIFICATION, field="justification"):
        directory.create_identity(ADMIN, bob, ["ADMIN"])
    imported = directory.import_identities(ADMIN, [ImportRow(bob, (("ADMIN", None),), 1)])
    assert [failure.error.fault for failure in imported.failures] == [Fault.JUSTIFICATION]
    directory.assign("ann", "ADMIN", justification="on call")
    assert directory.audit()[-1]["justification"] == "on call"


def test_groups_give_and_take_roles(directory: Directory) -> None:
    """Members of groups hold what the policy maps the groups to; leaving takes it away, and no change writes nothing.
    What is assigned by hand stays."""
    directory.user("ann", "AUDITOR")
    applied = directory.apply_groups(ADMIN, "ann", ["operators", "auditors", "unknown"])
    assert {record.source for record in applied.record} == {"group:operators", "group:auditors"}
    assert directory.held("ann") == {
        ("AUDITOR", "", "hand"),
        ("OPERATOR", "", "group:operators"),
        ("AUDITOR", "", "group:auditors"),
    }
    assert directory.apply_groups(ADMIN, "ann", ["auditors", "operators"]).revision == applied.revision
    assert directory.store.state().revision == applied.revision
    directory.apply_groups(ADMIN, "ann", ["acme"], permitted=lambda role, _: role != "EXTRA")
    assert directory.held("ann") == {("AUDITOR", "", "hand"), ("CLIENT", "acme", "group:acme")}
    directory.apply_groups(ADMIN, "ann", [])
    assert directory.held("ann") == {("AUDITOR", "", "hand")}
    with refused(Fault.NOT_FOUND):
        directory.apply_groups(ADMIN, "bob", ["acme"])


def test_leaving_a_group_is_never_held_up(directory: Directory) -> None:
    """A role that a group may not give beside others is left out with a warning, and what was left is taken away all
    the same, though every identity were to have a role."""
    directory.rule(role_required=True, roles_per_identity=1)
    directory.user("ann", "CLIENT", company="beta")
    (by_hand,) = directory.list_assignments(identity="ann").records
    applied = directory.apply_groups(ADMIN, "ann", ["operators"])
    assert applied.record == ()
    assert "at most 1 role" in applied.warnings[0]
    directory.rule(roles_per_identity=0)
    directory.apply_groups(ADMIN, "ann", ["operators"])
    directory.delete_assignment(ADMIN, by_hand.id)
    directory.apply_groups(ADMIN, "ann", [])
    assert directory.held("ann") == set()


def test_the_default_role_comes_back_when_the_last_group_goes(directory: Directory) -> None:
    """The default role is lifted by a group's role and back when that goes."""
    directory.rule(default_role="NO_ACCESS")
    directory.user("ann")
    directory.apply_groups(ADMIN, "ann", ["operators"])
    assert directory.held("ann") == {("OPERATOR", "", "group:operators")}
    directory.apply_groups(ADMIN, "ann", [])
    assert directory.held("ann") == {("NO_ACCESS", "", "default")}


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_roles_of_plain_casbin_bundles_are_names(directory: Directory) -> None:
    """Beside a plain Casbin bundle roles are held in domains, or in none where `g` has none, and there are no grants,
    shares and flags."""
    directory.rules = DirectoryRules(form="casbin", roles={"reader": RoleFacts("company")})
    directory.user("ann")
    directory.assign("ann", "reader", "acme")
    with refused(Fault.INVALID, "did you mean `reader`?"):
        directory.assign("ann", "raeder", "acme")
    with refused(Fault.INVALID, "without a company"):
        directory.assign("ann", "reader")
    directory.rules = DirectoryRules(form="casbin", domains=False)
    directory.assign("ann", "any name")
    with refused(Fault.INVALID, field="assignment.company"):
        directory.assign("ann", "any name", "acme")
    with refused(Fault.PRECONDITION, "plain Casbin bundle"):
        directory.create_grant(ADMIN, GrantRecord(identity="ann", object_type="folder", actions=("read",)))
    with refused(Fault.PRECONDITION, "plain Casbin bundle"):
        directory.create_share(
            ADMIN, ShareRecord(identity="ann", object_type="folder", object_id="1", actions=("read",))
        )
    with refused(Fault.INVALID, "the policy defines no flags"):
        directory.update_identity(ADMIN, "ann", {"flags.x": True})


# --- grants and shares -----------------------------------------------------------------------------------------------

GRANT = GrantRecord(identity="ann", company="acme", object_type="folder", actions=("read",))
SHARE = ShareRecord(identity="bot", company="acme", object_type="folder", object_id="42", actions=("read",))


def test_a_grant_is_given_listed_and_taken_away(directory: Directory) -> None:
    """A grant keeps what it was given, touches its identity, and is audited."""
    directory.user("ann")
    given = msgspec.structs.replace(
        GRANT, condition=' r.obj.status == "draft" ', description="why", effect="deny", expires_at=NOW + DAY
    )
    made = directory.create_grant(ADMIN, given).record
    assert made.condition == 'r.obj.status == "draft"'
    assert directory.get_grant(made.id) == made
    assert directory.list_grants(identity="ann", company="acme").records == (made,)
    assert directory.list_grants(company="").records == directory.list_grants(companies=["beta"]).records == ()
    revision = directory.delete_grant(ADMIN, made.id, expect=2).revision
    assert directory.touched(revision) == {("identity", "ann")}
    with refused(Fault.NOT_FOUND):
        directory.get_grant(made.id)
    assert [record["action"] for record in directory.audit()[1:]] == ["grant.create", "grant.delete"]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"object_type": "foldr"}, "grant.object_type", "did you mean `folder`?"),
        ({"actions": ()}, "grant.actions", "names actions"),
        ({"actions": ("read", "reed")}, "grant.actions[1]", "did you mean `read`?"),
        ({"actions": ("read", "read")}, "grant.actions[1]", "named twice"),
        ({"object_type": "*", "actions": ("fly",)}, "grant.actions[0]", "of any object type"),
        ({"object_id": "a*b"}, "grant.object_id", "no id or pattern"),
        ({"object_id": ""}, "grant.object_id", "no id or pattern"),
        ({"company": "*"}, "grant.company", "cannot hold `*`"),
        ({"scope": "platform"}, "grant.scope", "in a company has platform scope"),
        ({"company": "", "scope": "company"}, "grant.scope", "on the platform has company scope"),
        ({"scope": "owned"}, "grant.scope", "did you mean `own`?"),
        ({"effect": "allwo"}, "grant.effect", "did you mean `allow`?"),
        ({"condition": "r.obj.status =="}, "grant.condition", ""),
        ({"condition": "r.nothing == 1"}, "grant.condition", ""),
        ({"condition": "True\n&& True"}, "grant.condition", "several lines"),
        ({"condition": "True && " * 600}, "grant.condition", "at most 4,096"),
        ({"condition": 'r.sub == "\0"'}, "grant.condition", "control character"),
        ({"expires_at": NOW - 1}, "grant.expire_time", "in the past"),
        ({"description": "x" * 5_000}, "grant.description", "at most 4,096"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dialect", ["sqlite"])
def test_grants_that_mean_nothing_are_refused(
    directory: Directory, fields: Mapping[str, Any], field: str, words: str
) -> None:
    """Each value that no grant has is refused with its field."""
    directory.user("ann")
    with refused(Fault.INVALID, words, field=field):
        directory.create_grant(ADMIN, msgspec.structs.replace(GRANT, **fields))
    assert directory.store.state().revision == 1


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_patterns_and_conditions_need_the_extended_form(directory: Directory) -> None:
    """In the basic form of the standard model grants have neither patterns of ids nor conditions."""
    directory.user("ann")
    directory.create_grant(ADMIN, msgspec.structs.replace(GRANT, object_id="a*", condition="r.sub == r.owner"))
    directory.rule(form="basic")
    directory.create_grant(ADMIN, GRANT)
    with refused(Fault.INVALID, "needs the extended form", field="grant.object_id"):
        directory.create_grant(ADMIN, msgspec.structs.replace(GRANT, object_id="a*"))
    with refused(Fault.INVALID, "needs the extended form", field="grant.condition"):
        directory.create_grant(ADMIN, msgspec.structs.replace(GRANT, condition="True"))


def test_sensitive_objects_need_a_justification(directory: Directory) -> None:
    """Grants and shares of sensitive object types, and of all types, need a justification."""
    directory.user("ann")
    directory.service("bot")
    person = msgspec.structs.replace(GRANT, object_type="person")
    with refused(Fault.JUSTIFICATION, "access to `person`", field="grant.justification"):
        directory.create_grant(ADMIN, person)
    with refused(Fault.JUSTIFICATION, "access to `*`"):
        directory.create_grant(ADMIN, msgspec.structs.replace(GRANT, object_type="*"))
    directory.create_grant(ADMIN, msgspec.structs.replace(person, justification="asked for"))
    shared = msgspec.structs.replace(SHARE, object_type="person")
    with refused(Fault.JUSTIFICATION, field="share.justification"):
        directory.create_share(ADMIN, shared)
    made = directory.create_share(ADMIN, msgspec.structs.replace(shared, justification="asked for")).record
    with refused(Fault.JUSTIFICATION, field="justification"):
        directory.update_share(ADMIN, made.id, {"impersonation": True})
    directory.update_share(ADMIN, made.id, {"impersonation": True}, justification="for users too")
    assert directory.audit()[-1]["justification"] == "for users too"


def test_a_role_that_stands_alone_is_not_got_round(directory: Directory) -> None:
    """Who holds a sole role, be it by default, is given neither grants nor shares."""
    directory.rule(default_role="NO_ACCESS")
    directory.user("ann")
    directory.service("bot")
    with refused(Fault.PRECONDITION, "`ann` has the role `NO_ACCESS`, which stands alone"):
        directory.create_grant(ADMIN, GRANT)
    with refused(Fault.PRECONDITION, "stands alone", field="share.identity"):
        directory.create_share(ADMIN, SHARE)
    directory.assign("ann", "OPERATOR")
    directory.create_grant(ADMIN, GRANT)


def test_grants_and_shares_are_so_many(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity has at most so many grants, and as many shares."""
    monkeypatch.setattr(own_rules, "MOST_OWN_RULES", 2)
    directory.user("ann")
    directory.service("bot")
    for number in range(2):
        directory.create_grant(ADMIN, GRANT)
        directory.create_share(ADMIN, msgspec.structs.replace(SHARE, object_id=str(number)))
    with refused(Fault.LIMIT, "at most 2 grants for an identity; `ann` has 2", limit="2"):
        directory.create_grant(ADMIN, GRANT)
    with refused(Fault.LIMIT, "at most 2 shares"):
        directory.create_share(ADMIN, SHARE)


def test_a_share_is_made_changed_and_ended(directory: Directory) -> None:
    """A share is made once for an object, changed by field with an etag, and ended; each step is audited."""
    directory.service("bot")
    made = directory.create_share(ADMIN, SHARE).record
    with refused(Fault.ALREADY_EXISTS, "`folder:42` is shared with `bot` already", share=made.id):
        directory.create_share(ADMIN, SHARE)
    changed = directory.update_share(
        ADMIN, made.id, {"impersonation": True, "actions": [], "expires_at": NOW + DAY}, expect=made.revision
    )
    assert changed.record == msgspec.structs.replace(
        made, impersonation=True, actions=(), expires_at=NOW + DAY, revision=3
    )
    assert directory.get_share(made.id) == changed.record
    with refused(Fault.CONFLICT):
        directory.update_share(ADMIN, made.id, {"impersonation": False}, expect=made.revision)
    with refused(Fault.INVALID, "permits nothing"):
        directory.update_share(ADMIN, made.id, {"impersonation": False})
    assert directory.update_share(ADMIN, made.id, {"impersonation": True}).revision == 3
    directory.delete_share(ADMIN, made.id)
    assert directory.list_shares(identity="bot").records == ()
    records = directory.audit()[1:]
    assert [record["action"] for record in records] == ["share.create", "share.update", "share.delete"]
    assert records[1]["before"]["actions"] == ["read"]
    assert "actions" not in records[1]["after"]


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_shares_that_mean_nothing_are_refused(directory: Directory) -> None:
    """A share names one object type, permits something, and impersonation is switched on for service accounts alone,
    never through an action."""
    directory.user("ann")
    directory.service("bot")

    def share(**fields: Any) -> None:
        directory.create_share(ADMIN, msgspec.structs.replace(SHARE, **fields))

    with refused(Fault.INVALID, field="share.object_type"):
        share(object_type="*")
    with refused(Fault.INVALID, "permits nothing", field="share.actions"):
        share(actions=())
    with refused(Fault.INVALID, "switch `impersonation` on", field="share.actions"):
        share(actions=("read", "impersonate"))
    with refused(Fault.PRECONDITION, "`ann` is a user", field="share.impersonation"):
        share(identity="ann", impersonation=True)
    with refused(Fault.NOT_FOUND):
        share(identity="nobody")
    share(identity="ann")
    (made,) = directory.list_shares(identity="ann").records
    with refused(Fault.PRECONDITION):
        directory.update_share(ADMIN, made.id, {"impersonation": True})
    with refused(Fault.INVALID, field="update_mask"):
        directory.update_share(ADMIN, made.id, {"object_id": "43"})


# --- dry runs, idempotency keys, imports -----------------------------------------------------------------------------


def test_a_dry_run_says_what_would_come_of_it(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run gives the record, or the refusal, of the real one, that of the audit included, and writes nothing: no
    row, audit or revision."""
    made = directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), dry_run=True)
    assert (made.record.id, made.revision) == ("ann", 0)
    directory.user("ann", "CLIENT", company="acme")
    (role,) = directory.list_assignments().records
    grant = directory.create_grant(ADMIN, GRANT).record
    share = directory.create_share(ADMIN, msgspec.structs.replace(SHARE, identity="ann")).record
    before = directory.store.state()
    with refused(Fault.ALREADY_EXISTS):
        directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), dry_run=True)
    assert directory.update_identity(ADMIN, "ann", {"name": "Ann"}, dry_run=True).record.name == "Ann"
    added = AssignmentRecord(identity="ann", role="EXTRA", company="acme")
    assert directory.create_assignment(ADMIN, added, dry_run=True).revision == before.revision
    directory.delete_assignment(ADMIN, role.id, dry_run=True)
    directory.create_grant(ADMIN, GRANT, dry_run=True)
    directory.delete_grant(ADMIN, grant.id, dry_run=True)
    directory.update_share(ADMIN, share.id, {"actions": ["update"]}, dry_run=True)
    directory.delete_share(ADMIN, share.id, dry_run=True)
    directory.delete_identity(ADMIN, "ann", dry_run=True)
    directory.import_identities(ADMIN, [ImportRow(IdentityRecord(id="bob", kind=USER))], dry_run=True)
    monkeypatch.setattr(chain, "MOST_TEXT_BYTES", 100)
    with refused(Fault.INVALID, "the audit cannot keep this"):
        directory.delete_identity(ADMIN, "ann", dry_run=True)
    assert directory.store.state() == before
    assert [record.id for record in directory.list_identities().records] == ["ann"]
    assert directory.told == [1, 2, 3]


def test_a_create_that_is_repeated_under_its_key_happens_once(directory: Directory) -> None:
    """Under one idempotency key the same actor gets the same result for 24 hours, whatever became of it; something
    else under it is refused, and other actors' keys are their own."""
    first = directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    directory.update_identity(ADMIN, "ann", {"name": "Ann"})
    again = directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    assert again.record == first.record
    assert directory.store.state().revision == 2
    with refused(Fault.CONFLICT, "something else was asked", field="idempotency_key"):
        directory.create_identity(ADMIN, IdentityRecord(id="bob", kind=USER), idempotency_key="k1")
    with refused(Fault.CONFLICT):
        directory.create_grant(ADMIN, GRANT, idempotency_key="k1")
    other = Actor("other")
    with refused(Fault.ALREADY_EXISTS):
        directory.create_identity(other, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    # What was refused has not used its key.
    directory.create_identity(other, IdentityRecord(id="bob", kind=USER), idempotency_key="k1")
    record = AssignmentRecord(identity="ann", role="CLIENT", company="acme")
    made = directory.create_assignment(ADMIN, record, idempotency_key="k2")
    assert directory.create_assignment(ADMIN, record, idempotency_key="k2").record == made.record
    grant = directory.create_grant(ADMIN, GRANT, idempotency_key="k3").record
    assert directory.create_grant(ADMIN, GRANT, idempotency_key="k3").record == grant
    directory.service("bot")
    share = directory.create_share(ADMIN, SHARE, idempotency_key="k4").record
    assert directory.create_share(ADMIN, SHARE, idempotency_key="k4").record == share
    directory.clock.now += DAY
    with refused(Fault.ALREADY_EXISTS):
        directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    for key in ("x" * 257, "a\nb", " k"):
        with refused(Fault.INVALID, field="idempotency_key"):
            directory.create_identity(ADMIN, IdentityRecord(id="eve", kind=USER), idempotency_key=key)


def test_an_import_makes_what_it_can_and_reports_the_rest(directory: Directory) -> None:
    """An import makes identities with their roles in several transactions; rows that are refused are left out with
    their number and reason, and progress is told after each transaction."""
    directory.user("there", name="Old")
    rows = [
        ImportRow(IdentityRecord(id=f"i{number:04}", kind=USER, company="acme"), (("CLIENT", None),), number)
        for number in range(1_100)
    ]
    rows[3] = ImportRow(IdentityRecord(id="", kind=USER), (), 3)
    rows[7] = ImportRow(IdentityRecord(id="i0001", kind=USER), (), 7)
    rows[600] = ImportRow(IdentityRecord(id="i0600", kind=USER), (("CLINET", "acme"),), 600)
    rows[601] = ImportRow(IdentityRecord(id="i0601", kind=USER), (("CLIENT", "beta"), ("AUDITOR", None)), 601)
    rows[1_000] = ImportRow(IdentityRecord(id="there", kind=USER, name="New"), (), 1_000)
    told = []
    imported = directory.import_identities(ADMIN, rows, progress=lambda done: told.append((done.rows, done.created)))
    assert (imported.rows, imported.created, imported.failed) == (1_100, 1_096, 4)
    assert [(failure.row, failure.id, failure.error.fault) for failure in imported.failures] == [
        (3, "", Fault.INVALID),
        (7, "i0001", Fault.INVALID),
        (600, "i0600", Fault.INVALID),
        (1_000, "there", Fault.ALREADY_EXISTS),
    ]
    assert told == [(500, 498), (1_000, 997), (1_100, 1_096)]
    assert (imported.revision, directory.store.state().revision) == (4, 4)
    assert directory.held("i0000") == {("CLIENT", "acme", "hand")}
    assert directory.held("i0601") == {("CLIENT", "beta", "hand"), ("AUDITOR", "", "hand")}
    assert directory.get_identity("there").name == "Old"
    assert len(directory.touched(2)) == 498


def test_an_import_keeps_limits_within_itself(directory: Directory) -> None:
    """Counts and unique names hold among the rows of one import too."""
    directory.rule(service_accounts=KindRules(most=3, unique_names=True))
    directory.service("s0", company="acme", name="n0")
    rows = [
        ImportRow(IdentityRecord(id=f"s{number}", kind=SERVICE, company="acme", name=name), (), number)
        for number, name in enumerate(["n1", "N1", "n0", "n2", "n3"], 1)
    ]
    imported = directory.import_identities(ADMIN, rows)
    assert [(failure.row, failure.error.fault) for failure in imported.failures] == [
        (2, Fault.ALREADY_EXISTS),
        (3, Fault.ALREADY_EXISTS),
        (5, Fault.LIMIT),
    ]


def test_an_import_again_skips_or_updates(directory: Directory) -> None:
    """Imported again, identities are left as they are, or given the rows' values and missing roles; a row that cannot
    be applied as a whole is not applied at all."""
    directory.rule(roles_per_identity=1)
    rows = [ImportRow(IdentityRecord(id=id, kind=USER, company="acme"), (("CLIENT", None),)) for id in ("a", "b", "c")]
    directory.import_identities(ADMIN, rows)
    skipped = directory.import_identities(ADMIN, rows, existing="skip")
    assert (skipped.unchanged, skipped.revision) == (3, 1)
    same = directory.import_identities(ADMIN, rows, existing="update")
    assert (same.unchanged, same.revision) == (3, 1)
    changed = [
        ImportRow(IdentityRecord(id="a", kind=USER, company="acme", name="A"), (("CLIENT", None),), 1),
        ImportRow(IdentityRecord(id="b", kind=USER, company="acme", name="B"), (("CLIENT_ADMIN", None),), 2),
        ImportRow(IdentityRecord(id="c", kind=USER, company="beta"), (), 3),
        ImportRow(IdentityRecord(id="d", kind=USER, company="acme"), (("CLIENT", None),), 4),
    ]
    imported = directory.import_identities(ADMIN, changed, existing="update")
    assert (imported.updated, imported.created) == (1, 1)
    assert [(failure.row, failure.error.fault) for failure in imported.failures] == [
        (2, Fault.LIMIT),
        (3, Fault.CONFLICT),
    ]
    assert [record.name for record in directory.list_identities().records] == ["A", "", "", ""]
    assert directory.touched(2) == {("identity", "a"), ("identity", "d")}
    assert [record["action"] for record in directory.audit()[6:]] == [
        "identity.create",
        "assignment.create",
        "identity.update",
    ]


# --- at once ---------------------------------------------------------------------------------------------------------


def test_limits_hold_for_those_who_ask_at_once(directory: Directory, store_url: str) -> None:
    """However many ask through however many stores at the same time, no limit is passed and no name given twice."""
    directory.rule(service_accounts=KindRules(most=5, unique_names=True), roles_per_identity=1)
    directory.user("ann")
    other = Directory(Store.open(store_url), directory.policy, directory.clock)
    begin = threading.Barrier(8)

    def ask(number: int) -> list[Fault]:
        through = other if number % 2 else directory
        refusals = []
        begin.wait()
        for count in range(3):
            name = f"n{number % 4}-{count}"
            tries: list[Callable[[], object]] = [
                partial(through.service, f"s{number}-{count}", company="acme", name=name),
                partial(through.assign, "ann", "CLIENT", f"c{number}"),
            ]
            for attempt in tries:
                try:
                    attempt()
                except DirectoryError as error:
                    refusals.append(error.fault)
        return refusals

    with ThreadPoolExecutor(8) as threads:
        refusals = [fault for faults in threads.map(ask, range(8)) for fault in faults]
    other.store.close()
    accounts = directory.list_identities(kind=SERVICE).records
    assert len(accounts) == len({record.name for record in accounts}) == 5
    assert len(directory.held("ann")) == 1
    assert len(refusals) == 24 + 24 - 5 - 1
    assert set(refusals) <= {Fault.LIMIT, Fault.ALREADY_EXISTS}


def test_refusals_hold_no_values_of_columns(directory: Directory) -> None:
    """What the database reports about a statement has none of the values that were written with it."""
    directory.user("ann")
    row = {"id": "k", "identity": "ann", "name": "", "hash": b"a-hash-of-a-secret", "active": True}
    row |= {"rotated_from": "", "created_by": "", "created_at": 0.0, "revision": 1}

    def write_twice() -> None:
        with directory.store.change(ADMIN, NOW) as change:
            change.connection.execute(insert(KEYS), row)
            change.connection.execute(insert(KEYS), row)

    with pytest.raises(IntegrityError) as caught:
        write_twice()
    assert "a-hash-of-a-secret" not in f"{caught.value}{caught.value!r}"
    assert directory.store.state().revision == 1
