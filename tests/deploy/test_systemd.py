"""The systemd unit: in agreement with the server that it runs, and with nothing left that the server does not need."""

import shlex
from pathlib import Path, PurePosixPath
from typing import Any

from tests.deploy.serve_options import read_options, serve_command

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = "authz-sidecar.service"
# What the supervisor gives its workers beyond the grace period, and some seconds to spare.
BEYOND_GRACE_SECONDS = 5


def read_unit() -> dict[str, list[tuple[str, str]]]:
    """The settings of each section, in order: a name may stand several times."""
    sections: dict[str, list[tuple[str, str]]] = {}
    here: list[tuple[str, str]] = []
    for line in (FOLDER / UNIT).read_text().splitlines():
        if line.startswith("["):
            here = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            here.append((name, value))
    return sections


SERVICE = read_unit()["Service"]
SETTINGS = dict(SERVICE)


def options() -> dict[str, Any]:
    """What the server makes of the unit's command and environment."""
    settings = dict(value.split("=", 1) for name, value in SERVICE if name == "Environment")
    _, *arguments = shlex.split(SETTINGS["ExecStart"])
    known = {parameter.envvar for parameter in serve_command().params}
    assert settings.keys() <= known
    return read_options(arguments, settings)


def test_a_setting_stands_once() -> None:
    """No setting is written twice, but for those that add up."""
    names = [name for section in read_unit().values() for name, _ in section if name != "Environment"]
    assert len(names) == len(set(names))


def test_the_drain_has_time() -> None:
    """Stopping waits longer than the server lets calls finish, and tells the main process alone."""
    assert int(SETTINGS["TimeoutStopSec"]) >= options()["grace"] + BEYOND_GRACE_SECONDS
    assert (SETTINGS["KillMode"], SETTINGS["KillSignal"]) == ("mixed", "SIGTERM")
    assert SETTINGS["Restart"] == "on-failure"


def test_the_socket_lies_where_it_may_be_made() -> None:
    """The only place that the service may write is its runtime directory, and there the socket is, for its group."""
    assert SETTINGS["ProtectSystem"] == "strict"
    assert not SETTINGS.keys() & {"ReadWritePaths", "StateDirectory", "CacheDirectory", "LogsDirectory"}
    folder = PurePosixPath(options()["grpc"].path).parent
    assert folder == PurePosixPath("/run", SETTINGS["RuntimeDirectory"])
    assert SETTINGS["RuntimeDirectoryMode"] == "0750"
    assert options()["socket_mode"] == 0o660


def test_only_this_machine_is_reached() -> None:
    """Addresses are local, and the unit allows no others."""
    assert options()["grpc"].is_local
    assert options()["http"].is_local
    assert not options()["insecure"]
    assert (SETTINGS["IPAddressDeny"], SETTINGS["IPAddressAllow"]) == ("any", "localhost")


def test_the_service_starts_before_its_policies() -> None:
    """At boot the bundle may not be there yet, and the server waits for it."""
    assert options()["wait_for_policies"]
    assert options()["policies"].is_absolute()


def test_the_user_is_made() -> None:
    """The user of the service is the one that systemd-sysusers makes, and is not root."""
    lines = [
        shlex.split(line) for line in (FOLDER / "authz-sidecar.sysusers").read_text().splitlines() if line[:1] == "u"
    ]
    assert [line[1] for line in lines] == [SETTINGS["User"]]
    assert SETTINGS["Group"] == SETTINGS["User"] != "root"


def test_the_service_is_confined() -> None:
    """What a server of policies does not need is taken from it."""
    wanted = {
        "CapabilityBoundingSet": "",
        "LockPersonality": "yes",
        "MemoryDenyWriteExecute": "yes",
        "NoNewPrivileges": "yes",
        "PrivateDevices": "yes",
        "PrivateTmp": "yes",
        "ProtectControlGroups": "yes",
        "ProtectHome": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelTunables": "yes",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
        "RestrictNamespaces": "yes",
        "RestrictSUIDSGID": "yes",
        "SystemCallArchitectures": "native",
        "SystemCallFilter": "@system-service",
    }
    assert wanted.items() <= SETTINGS.items()
    assert "MemoryMax" in SETTINGS
