"""The rules that a bundle sets for a directory, for commands that change a store themselves."""

import time
from pathlib import Path

from authz_sidecar.cli.loading import CompiledBundle, require_bundle
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.engine.holdings import assigned_places, assigned_roles


def read_policy_view(terminal: Terminal, policies: Path) -> PolicyView:
    """What the bundle in `policies` says; raises CommandError where it does not load."""
    return policy_view(require_policies(terminal, policies))


def require_policies(terminal: Terminal, policies: Path) -> CompiledBundle:
    """The bundle whose rules a store is to keep; raises CommandError where there is none."""
    if not policies.is_dir():
        help = "name the bundle that the sidecars of this directory serve by `--policies DIR`"
        raise CommandError(terminal, (f"there is no bundle in `{policies}`, whose rules a change has to keep", help))
    return require_bundle(terminal, policies)


def policy_view(bundle: CompiledBundle) -> PolicyView:
    """What a compiled bundle says."""
    snapshot = bundle.snapshot
    return PolicyView(
        snapshot.directory_rules,
        bundle.policy_version,
        lambda subject: assigned_roles(snapshot, subject, time.time()),
        lambda subject: assigned_places(snapshot, subject),
    )
