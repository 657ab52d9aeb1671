"""Cerbos, the peer of the comparison: its policies made from ours, its server, and the same questions in its messages.

    npm install --prefix bench/.peer --no-save cerbos@0.51.0

The registry package holds the server's binary. Its messages are read from the server's own reflection.
"""

import json
import os
import socket
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from authz_sidecar.bundle.bundle import Bundle
from bench.data import Question
from bench.h2load import SkippedError
from bench.servers import ROOT, Server

VERSION = "0.51.0"
INSTALL = f"npm install --prefix bench/.peer --no-save cerbos@{VERSION}"
CHECK_RESOURCES = "/cerbos.svc.v1.CerbosService/CheckResources"
API = "api.cerbos.dev/v1"
# The company of whoever holds a role on the platform.
PLATFORM = "*"
IN_COMPANY = f'(P.attr.company == "{PLATFORM}" || P.attr.company == R.attr.company)'
CONDITIONS = {
    "company": IN_COMPANY,
    "own": f"{IN_COMPANY} && R.attr.owner == P.id",
    "platform": f'P.attr.company == "{PLATFORM}"',
}


def program() -> Path:
    """The server's binary; raises SkippedError."""
    found = sorted((ROOT / "bench" / ".peer" / "node_modules" / "@cerbos").glob("cerbos-*/cerbos-*"))
    if not found:
        raise SkippedError(f"Cerbos {VERSION} is not installed (`{INSTALL}`)")
    return found[0]


def policies(bundle: Bundle) -> dict[str, Any]:
    """The rules of a standard-model bundle as Cerbos policies, by file name: a resource policy for each object type,
    and for each role and scope a derived role that carries the condition."""
    fields = bundle.model.sections[""].fields
    table = bundle.tables["p"]
    rules: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    derived: dict[str, tuple[str, str]] = {}
    for row in range(len(table)):
        rule = dict(zip(fields, table.values(row), strict=True))
        role = rule["sub"].removeprefix("role:")
        name = f"{role}.{rule['scope']}"
        derived[name] = (role, CONDITIONS[rule["scope"]])
        for kind in bundle.manifest.object_types if rule["type"] == "*" else (rule["type"],):
            rules[kind][name, rule["eft"]].add(rule["act"])
    files: dict[str, Any] = {
        "derived_roles.json": {
            "apiVersion": API,
            "derivedRoles": {
                "name": "standard",
                "definitions": [
                    {"name": name, "parentRoles": [role], "condition": {"match": {"expr": condition}}}
                    for name, (role, condition) in sorted(derived.items())
                ],
            },
        }
    }
    for kind, granted in rules.items():
        files[f"{kind}.json"] = {
            "apiVersion": API,
            "resourcePolicy": {
                "resource": kind,
                "version": "default",
                "importDerivedRoles": ["standard"],
                "rules": [
                    {"actions": sorted(actions), "effect": f"EFFECT_{effect.upper()}", "derivedRoles": [name]}
                    for (name, effect), actions in sorted(granted.items())
                ],
            },
        }
    return files


@contextmanager
def running(bundle: Bundle) -> Iterator[Server]:
    """A Cerbos server on the bundle's policies, two processors, without telemetry, audit and logs of requests."""
    binary = program()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "policies"
        directory.mkdir()
        for name, policy in policies(bundle).items():
            (directory / name).write_text(json.dumps(policy))
        address, http = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
        config = Path(folder) / "config.json"
        config.write_text(
            json.dumps(
                {
                    "server": {"grpcListenAddr": address, "httpListenAddr": http},
                    "telemetry": {"disabled": True},
                    "audit": {"enabled": False},
                    "storage": {"driver": "disk", "disk": {"directory": str(directory), "watchForChanges": False}},
                }
            )
        )
        with subprocess.Popen(
            [str(binary), "server", f"--config={config}", "--log-level=error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"GOMAXPROCS": "2", "CERBOS_NO_TELEMETRY": "1"},
        ) as process:
            try:
                with grpc.insecure_channel(address) as channel:
                    grpc.channel_ready_future(channel).result(timeout=30)
                yield Server(process.pid, address, {})
            finally:
                process.terminate()
                process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


class CerbosClient:
    """Asks a Cerbos server, with its own descriptions of its messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self._request = GetMessageClass(pool.FindMessageTypeByName("cerbos.request.v1.CheckResourcesRequest"))
        response = GetMessageClass(pool.FindMessageTypeByName("cerbos.response.v1.CheckResourcesResponse"))
        self._call = channel.unary_unary(
            CHECK_RESOURCES,
            request_serializer=self._request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def request(self, questions: list[Question], roles: list[str], home: str) -> Message:
        """Questions of one subject as one request, an entry with one action for each. The subject's roles and its
        company come with the request: Cerbos does not keep them."""
        message: Any = self._request(request_id="1")
        message.principal.id = questions[0][0]
        message.principal.roles.extend(roles)
        message.principal.attr["company"].string_value = home
        for _, action, kind, id, company, owner in questions:
            entry = message.resources.add(actions=[action])
            entry.resource.kind, entry.resource.id = kind, id
            entry.resource.attr["company"].string_value = company
            entry.resource.attr["owner"].string_value = owner
        return message  # type: ignore[no-any-return]

    def ask(self, message: Message) -> list[bool]:
        """Whether each is allowed."""
        answer: Any = self._call(message, timeout=10)
        return [next(iter(result.actions.values())) == 1 for result in answer.results]
