"""What `serve` was told."""

import msgspec

from authz_sidecar.sources.build import BuildReport
from authz_sidecar.transports.address import Address, SocketAccess
from authz_sidecar.transports.certificates import TlsFiles
from authz_sidecar.values.limits import Limits


class LogSettings(msgspec.Struct, frozen=True):
    """The form (`json` or `text`) and the least level of log lines, and whether each decision is one."""

    form: str = "json"
    level: str = "info"
    decisions: bool = False


class ServeSettings(msgspec.Struct, frozen=True):
    """How to serve the bundle in `policies`.

    `grace` seconds are given to accepted calls once the server is told to stop. Each `watch_interval` seconds (0:
    never) the bundle is looked at. With `wait_for_policies` the server starts also where no bundle can be loaded yet.
    With `tls` the gRPC port speaks TLS.
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
