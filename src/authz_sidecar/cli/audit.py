"""`authz-sidecar audit`: who changed what in a directory, and the proof that this is all of it."""

import click

from authz_sidecar.cli.audit_keeping import checkpoint, key, prune, verify
from authz_sidecar.cli.audit_records import export, follow, list_records
from authz_sidecar.cli.command_group import CommandGroup

EXAMPLES = """\b
Examples:
  authz-sidecar audit list --identity sa-camera --since 7d --directory directory.db
  authz-sidecar audit follow --action key --server 127.0.0.1:50051
  authz-sidecar audit export --format csv --since 2026-01-01 --output audit.csv --directory directory.db
  authz-sidecar audit key create audit.key
  authz-sidecar audit verify --audit-public-key audit.key.pub --audit-checkpoints checkpoints.jsonl
"""


@click.group(name="audit", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Who did what, on whose behalf, to which identity, why and from where: show, export, verify and keep it."""


for part in (list_records, follow, export, verify, checkpoint, prune, key):
    command.add_command(part)
