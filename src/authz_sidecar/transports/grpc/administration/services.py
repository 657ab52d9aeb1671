"""The services of administration as one: what a server with a directory has beside `AuthorizationService`."""

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from authz_sidecar._proto.authz.v1 import audit_service_pb2, credential_service_pb2, directory_service_pb2
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.review.policy_review import PolicyPlace
from authz_sidecar.engine.status import StatusReader
from authz_sidecar.transports.grpc.administration.audit_service import AuditService, Bell
from authz_sidecar.transports.grpc.administration.credential_service import CredentialService
from authz_sidecar.transports.grpc.administration.desk import THREADS, Desk, Threads
from authz_sidecar.transports.grpc.administration.directory_service import DirectoryService
from authz_sidecar.transports.grpc.administration.guard import Guard
from authz_sidecar.transports.grpc.administration.policy_versions import PolicyAdministration
from authz_sidecar.transports.grpc.admission import Gate
from authz_sidecar.transports.grpc.errors import ErrorReason
from authz_sidecar.transports.grpc.methods import MethodTable

DIRECTORY = directory_service_pb2.DESCRIPTOR.services_by_name["DirectoryService"]
CREDENTIALS = credential_service_pb2.DESCRIPTOR.services_by_name["CredentialService"]
AUDIT = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"]

# Calls that wait for the store or for a thread.
MAX_CALLS = 100
# Sign-ins that are under way: of those that hash a password, few run at once.
MAX_SIGN_INS = 40
SIGN_IN_THREADS = 20
MAX_FOLLOWERS = 20
# Comparisons of policies that wait for their turn.
MAX_REVIEWS = 5


class AdministrationServices:
    """DirectoryService, CredentialService and AuditService, and what PolicyService has beside Refresh.

    Make it inside the event loop of the engine. `place` is where the policies are (None: nobody can tell here), `store`
    the URL of the directory, `status` says what is known of the policies of the whole sidecar.
    """

    def __init__(
        self,
        guard: Guard,
        identities: IdentityAdministration,
        credentials: CredentialAdministration,
        *,
        place: PolicyPlace | None,
        store: str,
        status: StatusReader,
        message_bytes: int,
    ) -> None:
        self._threads = Threads(THREADS, "administration")
        self._sign_ins = Threads(SIGN_IN_THREADS, "sign-in")
        desk = Desk(guard, identities, self._threads)
        self._directory = DirectoryService(desk)
        self._credentials = CredentialService(desk, credentials, self._sign_ins)
        # To be rung when the store may have changed.
        self.bell = Bell()
        self._audit = AuditService(desk, identities.store.read, self.bell)
        self.policies = PolicyAdministration(
            guard,
            place=place,
            store=store,
            # The same twice, as JSON and as text, in one message.
            report_bytes=message_bytes // 2,
            status=status,
        )
        self._calls = Gate("administration", MAX_CALLS, ErrorReason.TOO_MANY_CALLS, "calls of administration")
        self._entrances = Gate("sign_ins", MAX_SIGN_INS, ErrorReason.TOO_MANY_CALLS, "sign-ins")
        self._followers = Gate("audit_followers", MAX_FOLLOWERS, ErrorReason.TOO_MANY_STREAMS, "streams of the audit")
        self._reviews = Gate("policy_reviews", MAX_REVIEWS, ErrorReason.TOO_MANY_CALLS, "reviews of policies")

    @property
    def names(self) -> tuple[str, ...]:
        """The services, for health and reflection."""
        return (DIRECTORY.full_name, CREDENTIALS.full_name, AUDIT.full_name)

    @property
    def files(self) -> tuple[FileDescriptor, ...]:
        """Their descriptions, for reflection."""
        return (directory_service_pb2.DESCRIPTOR, credential_service_pb2.DESCRIPTOR, audit_service_pb2.DESCRIPTOR)

    @property
    def in_flight(self) -> int:
        """Calls that have been accepted and have not ended."""
        gates = (self._calls, self._entrances, self._followers, self._reviews)
        return sum(gate.in_flight for gate in gates)

    def register(self, methods: MethodTable) -> None:
        """Serve all methods; those of PolicyService are the server's, which asks `gate` where they are admitted."""
        methods.add(DIRECTORY, self._directory, self.gate, facts=True)
        methods.add(CREDENTIALS, self._credentials, self.gate, facts=True)
        methods.add(AUDIT, self._audit, self.gate, facts=True)

    def gate(self, method: MethodDescriptor) -> Gate:
        """Where a method is admitted."""
        if method.server_streaming:
            return self._followers
        if method.name == "SignIn":
            return self._entrances
        return self._reviews if method.name in ("ListPolicyVersions", "DiffPolicyVersions") else self._calls

    def drain(self) -> None:
        """End what would wait."""
        self._audit.drain()

    def close(self) -> None:
        """Give the threads back, once all calls have ended."""
        self._threads.close()
        self._sign_ins.close()
