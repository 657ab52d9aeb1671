"""`Authenticate`: whom a credential stands for, as a message."""

from google.protobuf import timestamp_pb2

from authz_sidecar._proto.authz.v1 import authenticate_pb2, identity_pb2
from authz_sidecar.engine import Identities, ServedPolicy
from authz_sidecar.engine.holdings import held_roles
from authz_sidecar.transports.grpc.conversion import timestamp
from authz_sidecar.transports.grpc.encoding import REASONS
from authz_sidecar.values import Reason
from authz_sidecar.values.identity import IdentityKind

KINDS = {kind: identity_pb2.IdentityKind.Value(f"IDENTITY_KIND_{kind.name}") for kind in IdentityKind}
# Beyond year 9999, which is the last that a Timestamp has.
MAX_SECONDS = 253_402_300_800.0


def authenticate(
    credential: str, identities: Identities, policy: ServedPolicy, time: float
) -> authenticate_pb2.AuthenticateResponse:
    """Whom the credential stands for at `time` (seconds since 1970-01-01 UTC), and the roles held by `policy`."""
    found = identities.authenticate(credential, time)
    revision = identities.directory.revision
    if isinstance(found, Reason):
        return authenticate_pb2.AuthenticateResponse(reason=REASONS[found], directory_revision=revision)
    identity = found.identity
    roles = held_roles(identity, None if policy.decider is None else policy.decider.snapshot, time)
    return authenticate_pb2.AuthenticateResponse(
        authenticated=True,
        subject=identity.id,
        kind=KINDS[identity.kind],
        company=identity.company,
        credential_name=found.credential,
        expire_time=_timestamp(found.expires),
        roles=[authenticate_pb2.HeldRole(role=role, company=company) for role, company in roles],
        directory_revision=revision,
    )


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp | None:
    """None for never."""
    if seconds >= MAX_SECONDS:
        return None
    return timestamp(seconds)
