"""authz-sidecar: a policy-as-code authorization sidecar that answers from Casbin policies kept in git."""

__version__ = "0.1.0"

# The release of the `casbin` module whose decisions ours are tested against.
CASBIN_JUDGE = "2.8.0"
