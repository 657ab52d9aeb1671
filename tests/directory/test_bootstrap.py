"""The first administrator is made once, whole or not at all, and can make others."""

import pytest
from sqlalchemy import select

from authz_sidecar.decide.decider import Decider
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.bootstrap import bootstrap
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, KeyRecord
from authz_sidecar.directory.storage.schema import AUDIT
from authz_sidecar.directory.storage.secrets import parse
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.identity import IdentityKind
from tests.server.administered import snapshot_of

OPERATOR = Actor(id="operator:ada")
FIRST = IdentityRecord(id="ada", kind=IdentityKind.USER)
SNAPSHOT = snapshot_of()
VIEW = PolicyView(SNAPSHOT.directory_rules, "sha256:test")


def test_the_first_administrator_holds_the_role_and_a_key(store: Store) -> None:
    """One change makes the identity, its role and its key, and the audit has all of it."""
    made = bootstrap(store, OPERATOR, FIRST, "ROOT", VIEW, decider=Decider(SNAPSHOT))
    identities = IdentityAdministration(store, lambda: VIEW)
    assert identities.get_identity("ada") == made.identity
    held = identities.list_assignments(identity="ada").records
    assert [(one.role, one.company) for one in held] == [("ROOT", "")]
    key = made.key.record
    assert isinstance(key, KeyRecord)
    assert CredentialAdministration(store, lambda: VIEW).get_key(key.id) == key
    parsed = parse(made.key.secret)
    assert parsed is not None
    assert parsed.id == key.id
    assert store.state().revision == made.revision == 1
    with store.read() as connection:
        actions = connection.execute(select(AUDIT.c.action).order_by(AUDIT.c.sequence)).scalars().all()
        texts = connection.execute(select(AUDIT.c.record)).scalars().all()
    assert actions == ["identity.create", "assignment.create", "key.create", "directory.bootstrap"]
    assert parsed.secret not in "".join(texts)


def test_it_is_made_once(store: Store) -> None:
    """A second first administrator is refused, and nothing is changed; also where the first is gone."""
    bootstrap(store, OPERATOR, FIRST, "ROOT", VIEW)
    IdentityAdministration(store, lambda: VIEW).delete_identity(OPERATOR, "ada")
    before = store.state()
    with pytest.raises(DirectoryError) as caught:
        bootstrap(store, OPERATOR, FIRST, "ROOT", VIEW)
    assert caught.value.fault is Fault.PRECONDITION
    assert caught.value.help
    assert store.state() == before


@pytest.mark.parametrize(
    ("record", "role", "fault"),
    [
        (FIRST, "NO_SUCH_ROLE", Fault.INVALID),
        (FIRST, "AUDITOR", Fault.PRECONDITION),
        (FIRST, "COMPANY_ADMIN", Fault.INVALID),
        (IdentityRecord(id="ada", kind=IdentityKind.USER, company="acme"), "COMPANY_ADMIN", Fault.PRECONDITION),
        (IdentityRecord(id="role:ada", kind=IdentityKind.USER), "ROOT", Fault.INVALID),
    ],
    ids=str,
)
def test_whoever_could_not_administer_is_refused_whole(
    store: Store, record: IdentityRecord, role: str, fault: Fault
) -> None:
    """An unknown role, one that is held elsewhere and one that does not permit administration are refused; nothing is
    left behind, and it may be tried again."""
    with pytest.raises(DirectoryError) as caught:
        bootstrap(store, OPERATOR, record, role, VIEW, decider=Decider(SNAPSHOT))
    assert (caught.value.fault, bool(caught.value.help)) == (fault, True)
    assert (store.state().revision, store.state().bootstrapped_at) == (0, None)
    assert bootstrap(store, OPERATOR, FIRST, "ROOT", VIEW, decider=Decider(SNAPSHOT)).revision == 1
