"""A sidecar whose role in PostgreSQL may only add to the audit."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from authz_sidecar.audit.verification import verify
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.store import Store
from tests.postgres import PASSWORD, shared_postgres


@pytest.fixture
def store() -> Iterator[Store]:
    """A store as a role sees it that can change all tables but the audit."""
    server = shared_postgres()
    url = server.create_database()
    Store.open(url).close()
    name = url.partition("@/")[2].partition("?")[0]
    with server.connect(name) as connection:
        connection.execute("CREATE ROLE adder LOGIN")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO adder")
        connection.execute("REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM adder")
    opened = Store.open(url.replace(f"authz:{PASSWORD}", "adder"), migrate=False)
    yield opened
    opened.close()
    with server.connect(name) as connection:
        connection.execute("DROP OWNED BY adder")
        connection.execute("DROP ROLE adder")
    server.drop_database(url)


def test_a_role_that_may_only_add_is_enough(store: Store) -> None:
    """Changes are made and audited, and the audit cannot be changed."""
    for number in range(3):
        with store.change(Actor("anna"), time.time()) as change:
            change.audit("identity.update", subject=f"user-{number}")
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(DirectoryError), store.change(Actor("anna"), time.time()) as change:
            change.connection.execute(text(statement))
    with store.read() as connection:
        report = verify(connection)
    assert report.intact
    assert report.records == 3
