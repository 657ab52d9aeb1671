"""The sidecar's own object types: what its administration asks the policies about, known to every YAML bundle.

A request to administer an identity is a check like any other: object type `sidecar.identity`, the identity as id and
owner, its company. So a bundle grants administration as it grants everything else.
"""

from collections.abc import Mapping

OWN_PREFIX = "sidecar."
"""A manifest declares no type that begins so."""

OWN_TYPES: Mapping[str, tuple[str, ...]] = {
    "sidecar.identity": ("create", "read", "update", "delete"),
    "sidecar.assignment": ("create", "read", "delete"),
    "sidecar.grant": ("create", "read", "delete"),
    "sidecar.share": ("create", "read", "update", "delete", "impersonate"),
    "sidecar.credential": ("create", "read", "update", "rotate", "revoke", "set_password"),
    "sidecar.token": ("create", "read", "revoke"),
    "sidecar.audit": ("read",),
    "sidecar.policy": ("read", "diff", "refresh"),
}
"""Each type with its actions."""
