"""What `serve` was told."""

import msgspec

from authz_sidecar.server.log_sink import Rotation
from authz_sidecar.sources.build import BuildReport
from authz_sidecar.sources.source import GitSettings
from authz_sidecar.transports.address import Address, SocketAccess
from authz_sidecar.transports.certificates import TlsFiles
from authz_sidecar.values.limits import Limits

# How long a directory may be out of sight until its credentials are not trusted, in seconds.
DIRECTORY_STALENESS = 900.0


class LogSettings(msgspec.Struct, frozen=True):
    """The form (`json` or `text`) and the least level of log lines."""

    form: str = "json"
    level: str = "info"


class DecisionLogSettings(msgspec.Struct, frozen=True):
    """Where decisions are logged: beside the file `path`, as `log_sink` says, or to a stream ("": nowhere).

    `sample` is the share of allowed requests that is logged. `attributes` says that attributes and context are, too;
    `mask` names fields that are not, or with `mask_key` only as hashes (see `log_mask`).
    """

    path: str = ""
    sample: float = 1.0
    attributes: bool = False
    mask: tuple[str, ...] = ()
    mask_key: bytes = b""
    rotation: Rotation = Rotation()


class ShadowSettings(msgspec.Struct, frozen=True):
    """The candidate beside the policy that answers: `text` names a directory or a revision ("": there is none), `git` a
    repository. It decides the share `sample` of requests."""

    text: str = ""
    sample: float = 1.0
    git: GitSettings | None = None


class DirectorySettings(msgspec.Struct, frozen=True):
    """The directory of identities at `url`, of which only the `companies` are held (none: all).

    `issuers` is the file of identity providers whose JWTs are taken ("": none). Past `max_staleness` seconds without
    sight of the store (0: never) the server is not ready, and takes no credential. With `allow_orphans` a bundle may
    drop roles that are in use. With `audit_key`, a file, the audit is signed for in the file `audit_checkpoints`.
    """

    url: str
    companies: tuple[str, ...] = ()
    issuers: str = ""
    max_staleness: float = DIRECTORY_STALENESS
    allow_orphans: bool = False
    audit_key: str = ""
    audit_checkpoints: str = ""

    def __repr__(self) -> str:
        """Without the URL, in which there may be a password."""
        return "DirectorySettings(…)"


class ServeSettings(msgspec.Struct, frozen=True):
    """How to serve the bundle in `policies`.

    `grace` seconds are given to accepted calls once the server is told to stop. Each `watch_interval` seconds (0:
    never) the bundle is looked at. With `wait_for_policies` the server starts also where no bundle can be loaded yet.
    With `tls` the gRPC port speaks TLS. With `git` the policies are those of a repository, which `policies` names.
    `refresh` lets clients ask for a look at the policies. Past `max_staleness` seconds without one (0: never) the
    server is not ready. With `directory` identities and their credentials are known.
    """

    policies: str
    grpc: Address
    http: Address
    access: SocketAccess = SocketAccess()
    workers: int = 1
    grace: float = 10.0
    watch_interval: float = 0.5
    wait_for_policies: bool = False
    limits: Limits = Limits()
    log: LogSettings = LogSettings()
    tls: TlsFiles | None = None
    decision_log: DecisionLogSettings = DecisionLogSettings()
    git: GitSettings | None = None
    refresh: bool = True
    max_staleness: float = 0.0
    shadow: ShadowSettings = ShadowSettings()
    directory: DirectorySettings | None = None


class StartError(Exception):
    """Why the server cannot start; `help` says what to do ("" where the message does)."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class RefusedBundleError(Exception):
    """The bundle does not load; `report` has the findings."""

    def __init__(self, report: BuildReport) -> None:
        super().__init__(report.why)
        self.report = report
