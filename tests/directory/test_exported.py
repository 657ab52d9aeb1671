"""What a directory says of who holds what, for comparisons of bundles and changes of policies; on both databases."""

import time
from pathlib import Path

import msgspec
import pytest

from authz_sidecar.bundle.identities import DIRECTORY_FILE
from authz_sidecar.bundle.identity_merge import merge_identities
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.review.exported import exported_identities
from authz_sidecar.directory.review.orphans import OrphanCheck, find_orphans, held_roles
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.records import AssignmentRecord, GrantRecord, ShareRecord
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.review.held_roles import HeldRole
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import Severity
from tests.bundle.expectations import rows_of
from tests.directory.people import OPERATOR, ROLES, WITHOUT_CHIEF, add, people, write_policies

HOUR = 3600.0


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A bundle with three roles and a flag."""
    return write_policies(tmp_path / "policies")


@pytest.fixture
def administration(store: Store, policies: Path) -> IdentityAdministration:
    """Ann and Bob with roles in acme, Cleo on the platform, and a service account without any."""
    made = people(store, policies)
    add(made, "ann", "CHIEF")
    add(made, "bob", "CLERK")
    add(made, "cleo", "BOSS", company="")
    add(made, "robot", program=True)
    return made


def assign(made: IdentityAdministration, identity: str, role: str, company: str, **fields: float | bool | str) -> None:
    """Assign a role by hand."""
    record = AssignmentRecord(identity=identity, role=role, company=company)
    made.create_assignment(OPERATOR, msgspec.structs.replace(record, **fields))


def test_roles_as_of_a_moment(store: Store, administration: IdentityAdministration) -> None:
    """What has expired or has not begun is not held, and an inactive identity holds nothing."""
    now = time.time()
    assign(administration, "bob", "CHIEF", "globex", expires_at=now + HOUR)
    assign(administration, "ann", "CLERK", "globex", begins_at=now + HOUR, expires_at=now + 3 * HOUR)
    administration.update_identity(OPERATOR, "cleo", {"active": False})

    def held(at: float) -> dict[str, list[tuple[str, str]]]:
        content = exported_identities(store, at)
        return {one.id: [(role.role, role.company) for role in one.roles] for one in content.identities}

    assert held(now) == {"ann": [("CHIEF", "acme")], "bob": [("CLERK", "acme"), ("CHIEF", "globex")], "robot": []}
    assert held(now + 2 * HOUR) == {
        "ann": [("CHIEF", "acme"), ("CLERK", "globex")],
        "bob": [("CLERK", "acme")],
        "robot": [],
    }


def test_what_identities_hold_becomes_rules_of_a_bundle(
    store: Store, administration: IdentityAdministration, policies: Path
) -> None:
    """Roles, grants, shares and flags come to the rows that the same would be in a bundle's assignments, and kinds are
    told."""
    grant = GrantRecord(identity="robot", company="acme", object_type="folder", object_id="7", actions=("update",))
    administration.create_grant(OPERATOR, msgspec.structs.replace(grant, condition="r.obj.open == True"))
    administration.create_grant(OPERATOR, msgspec.structs.replace(grant, company="", effect="deny", actions=("read",)))
    administration.create_share(
        OPERATOR,
        ShareRecord(
            identity="robot",
            company="globex",
            object_type="folder",
            object_id="case-*",
            actions=("read",),
            impersonation=True,
        ),
    )
    administration.update_identity(OPERATOR, "ann", {"flags.may_update": False})
    content = exported_identities(store)
    assert {one.id: one.kind for one in content.identities} == {
        "ann": "user",
        "bob": "user",
        "cleo": "user",
        "robot": "service_account",
    }
    bundle = load_bundle(policies).bundle
    assert bundle is not None
    (merged,), problems = merge_identities(content, [("head", bundle)], lenient=True)
    assert (problems, merged.notes) == ([], ())
    assert sorted(rows_of(merged.bundle, "g")) == [
        "g, ann, role:CHIEF, acme",
        "g, bob, role:CLERK, acme",
        "g, cleo, role:BOSS, *",
    ]
    own = [row for row in rows_of(merged.bundle, "p") if not row.startswith("p, role:")]
    assert sorted(own) == [
        "p, ann, *, folder, *, update, platform, deny, True",
        "p, robot, *, folder, 7, read, platform, deny, True",
        "p, robot, acme, folder, 7, update, company, allow, r.obj.open == True",
        "p, robot, globex, folder, case-*, impersonate, company, allow, True",
        "p, robot, globex, folder, case-*, read, company, allow, True",
    ]
    table = merged.bundle.tables["g"]
    assert {str(table.span(row)) for row in range(len(table))} == {DIRECTORY_FILE}


@pytest.mark.usefixtures("administration")
def test_what_a_bundle_cannot_take_is_told(store: Store, policies: Path) -> None:
    """A role that neither side defines is left out with a note, where an exported file would be refused."""
    bundle = load_bundle(write_policies(policies, WITHOUT_CHIEF)).bundle
    assert bundle is not None
    content = exported_identities(store)
    merged, problems = merge_identities(content, [("base", bundle), ("head", bundle)], lenient=True)
    assert problems == []
    assert [one.notes for one in merged] == [
        (f"1 exported entry left out of {side}: there is no role `CHIEF`",) for side in ("base", "head")
    ]
    _, refused = merge_identities(content, [("base", bundle), ("head", bundle)])
    assert [found.message for found in refused] == ["unknown role `CHIEF`"]


def test_roles_in_use(store: Store, administration: IdentityAdministration) -> None:
    """They are counted by where they are held, with some of the identities: also what is held for a time, begins later
    or belongs to an inactive identity, and not what has expired."""
    now = time.time()
    for name in ("dora", "emil", "fay"):
        add(administration, name, "CLERK", company="globex")
    assign(administration, "bob", "CHIEF", "globex", expires_at=now + HOUR)
    administration.update_identity(OPERATOR, "ann", {"active": False})
    with store.read() as connection:
        assert held_roles(connection, now) == [
            HeldRole("BOSS", "platform", 1, ("cleo",)),
            HeldRole("CHIEF", "company", 2, ("ann", "bob")),
            HeldRole("CLERK", "company", 4, ("bob", "dora", "emil")),
        ]
        assert [one.count for one in held_roles(connection, now + 2 * HOUR)] == [1, 1, 4]


@pytest.mark.usefixtures("administration")
def test_a_role_that_is_gone_or_moved_leaves_orphans(store: Store, store_url: str) -> None:
    """A bundle without a role in use, or with one that is held elsewhere, is told with who holds it."""
    now = time.time()
    kept = {"BOSS": "platform", "CHIEF": "company", "CLERK": "company"}
    assert find_orphans(store, kept, now) == []
    check = OrphanCheck(store_url)
    assert check(kept) == ""
    assert check({**kept, "NEW": "company"}) == ""
    assert check({"BOSS": "platform", "CLERK": "company"}) == (
        "it drops a role in use, `CHIEF`: 1 identity holds it in companies: `ann`"
    )
    assert check({**kept, "BOSS": "company"}) == (
        "it moves a role in use, `BOSS`: 1 identity holds it on the platform: `cleo`"
    )
    assert check({}).startswith("it drops a role in use, `BOSS`: 1 identity holds it on the platform: `cleo`; it drops")


def test_many_orphans_are_told_in_one_line(store: Store, store_url: str, policies: Path) -> None:
    """Three roles and three holders of each are named, and the rest is counted."""
    more = "".join(f"  R{number}: {{assigned: company}}\n" for number in range(5))
    wide = people(store, write_policies(policies, ROLES.replace("  BOSS:", f"{more}  BOSS:")))
    for number in range(5):
        for holder in range(5 if number == 0 else 1):
            add(wide, f"p{number}{holder}", f"R{number}")
    told = OrphanCheck(store_url)({"BOSS": "platform", "CHIEF": "company", "CLERK": "company"})
    assert told.endswith("; and 2 more")
    assert "`R0`: 5 identities hold it in companies: `p00`, `p01`, `p02` and 2 more" in told


def test_a_store_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Nobody can say which roles are in use where there is no store."""
    with pytest.raises(DirectoryError):
        OrphanCheck(str(tmp_path / "missing.db"))({})


def test_a_flag_of_somebody_whose_role_is_gone_is_told(
    store: Store, administration: IdentityAdministration, policies: Path
) -> None:
    """It changes nothing, and keeps no comparison from being made."""
    administration.update_identity(OPERATOR, "bob", {"flags.may_update": False})
    bundle = load_bundle(policies).bundle
    assert bundle is not None
    (merged,), problems = merge_identities(exported_identities(store), [("head", bundle)], lenient=True)
    assert [(found.code, found.severity) for found in problems] == [("flag-role", Severity.WARNING)]
    assert [row for row in rows_of(merged.bundle, "p") if row.startswith("p, bob")] == []
