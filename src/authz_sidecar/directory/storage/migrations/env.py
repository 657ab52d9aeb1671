"""What Alembic runs: the migrations, in the transaction of the connection that `migration.bring_forward` gives."""

from alembic import context

from authz_sidecar.directory.storage.migration import VERSION_TABLE
from authz_sidecar.directory.storage.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
context.run_migrations()
