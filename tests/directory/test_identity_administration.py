"""Administration of identities, on both databases: the rules of the policy, in the transaction."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select

from authz_sidecar.directory.storage.errors import Fault
from authz_sidecar.directory.storage.records import (
    Actor,
    GrantRecord,
    IdentityRecord,
    ShareRecord,
)
from authz_sidecar.directory.storage.schema import KEYS, PASSWORDS, TOKENS
from authz_sidecar.values.directory_rules import KindRules
from tests.directory.administration_scene import (
    ADMIN,
    NOW,
    SERVICE,
    USER,
    Directory,
    refused,
)


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
        *[({"id": f"bo{mark}b"}, "identity.id", "nobody sees") for mark in "\u115f\u3164\ufe0f\u034f\u2800\U000e0100"],
        ({"id": "ann\u00a0lee"}, "identity.id", "U+00A0, which looks like another"),
        ({"id": f"azk_{'k' * 16}_{'s' * 43}_000000"}, "identity.id", "holds a credential"),
        ({"company": "acme\u200b"}, "identity.company", "U+200B, which nobody sees"),
        ({"company": f"azt_{'k' * 16}_s"}, "identity.company", "holds a credential"),
        ({"attributes": {"a": [{"b": f"azk_{'k' * 16}_s"}]}}, "identity.attributes", "holds a credential"),
        ({"flags": {f"azk_{'k' * 16}_secret": False}}, "identity.flags.(secret)", "unknown flag `(secret)`"),
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
    """A flag that is set stays when the policy drops it; no other unknown flag can be set or
    taken away."""
    directory.user("ann", flags={"can_start": False})
    directory.rule(flags={})
    directory.update_identity(ADMIN, "ann", {"name": "Ann"})
    with refused(Fault.INVALID, "the policy defines no flags"):
        directory.update_identity(ADMIN, "ann", {"flags.other": True})
    with refused(Fault.INVALID, "unknown flag `can_strat`", field="identity.flags.can_strat"):
        directory.update_identity(ADMIN, "ann", {"flags.can_strat": None})
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
