"""`authz-sidecar version`: what to put into a report of a fault."""

import json
import platform

import click

from authz_sidecar import CASBIN_JUDGE, __version__
from authz_sidecar.cli.option import format_option

EXAMPLES = """\b
Example:
  authz-sidecar version --format json
"""


@click.command(name="version", epilog=EXAMPLES)
@format_option("text", "json")
def command(form: str) -> None:
    """Show the versions that matter for a report."""
    versions = {
        "authz-sidecar": __version__,
        "pycasbin-compat": CASBIN_JUDGE,
        "python": platform.python_version(),
    }
    if form == "json":
        click.echo(json.dumps(versions))
    else:
        for name, version in versions.items():
            click.echo(f"{name} {version}")
