"""Administration of grants and shares of single identities, on both databases."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from authz_sidecar.directory.administration import own_rules
from authz_sidecar.directory.storage.errors import Fault
from tests.directory.administration_scene import (
    ADMIN,
    DAY,
    GRANT,
    NOW,
    SHARE,
    Directory,
    refused,
)


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
