"""A system of the repository as its users run it: its bundle, a directory with a first administrator, and a sidecar on
both. Whoever a test needs is made through administration, by a call of the sidecar."""

import itertools
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import field_mask_pb2, timestamp_pb2

from authz_sidecar._proto.authz.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    check_pb2,
    credential_service_pb2,
    credential_service_pb2_grpc,
    directory_service_pb2,
    directory_service_pb2_grpc,
    identity_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
)
from authz_sidecar.cli import main
from tests.server.sidecar import Failure, Sidecar, environment, failure_of, running_sidecar

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
DAY = 86_400
FIRST = "root"
# The services of administration, and the stub of each.
SERVICES: tuple[tuple[Any, Any], ...] = (
    (directory_service_pb2, directory_service_pb2_grpc.DirectoryServiceStub),
    (credential_service_pb2, credential_service_pb2_grpc.CredentialServiceStub),
    (policy_service_pb2, policy_service_pb2_grpc.PolicyServiceStub),
    (audit_service_pb2, audit_service_pb2_grpc.AuditServiceStub),
)
_numbers = itertools.count(1)


def unique(what: str) -> str:
    """A name that no other test has."""
    return f"{what}-{next(_numbers)}"


def reason_of(answer: check_pb2.CheckResponse) -> str:
    """The name of an answer's reason, without what all of them begin with."""
    return check_pb2.Reason.Name(answer.reason).removeprefix("REASON_")


def in_seconds(seconds: float) -> timestamp_pb2.Timestamp:
    """A moment so many seconds from now."""
    return timestamp_pb2.Timestamp(seconds=int(time.time() + seconds))


def mask(*paths: str) -> field_mask_pb2.FieldMask:
    """An update mask."""
    return field_mask_pb2.FieldMask(paths=paths)


def question(subject: str, action: str, type: str, id: str = "", company: str = "", **more: Any) -> Any:
    """A check of a subject that is named. `owner` is the object's; what else is given are fields of the request."""
    thing = check_pb2.Object(type=type, id=id, company=company, owner=more.pop("owner", ""))
    return check_pb2.CheckRequest(subject=subject, action=action, object=thing, **more)


class System:
    """A sidecar that serves a system. `root` is the API key of the first administrator, whose id is FIRST."""

    def __init__(self, sidecar: Sidecar, policies: Path, url: str, root: str) -> None:
        self.sidecar, self.policies, self.url, self.root = sidecar, policies, url, root
        self._methods = {
            method.name: getattr(stub(sidecar.channel), method.name)
            for messages, stub in SERVICES
            for service in messages.DESCRIPTOR.services_by_name.values()
            for method in service.methods
        }

    def ask(self, message: Any, by: str | None = "") -> Any:
        """Call the method of administration whose request this is, as who has the credential `by`: the first
        administrator if none is given, nobody for None."""
        method = self._methods[message.DESCRIPTOR.name.removesuffix("Request")]
        metadata = () if by is None else (("authorization", f"Bearer {by or self.root}"),)
        return method(message, metadata=metadata, timeout=SECONDS)

    def refusal(self, message: Any, by: str | None = "") -> Failure:
        """How such a call is refused."""
        return failure_of(lambda: self.ask(message, by))

    def create(self, id: str, *roles: str, company: str = "", program: bool = False, by: str = "", **more: Any) -> str:
        """Make an identity, a user unless it is a program; its id. `justification` is the call's, what else is given is
        the identity's."""
        self.ask(creation(id, *roles, company=company, program=program, **more), by)
        return id

    def assign(self, identity: str, role: str, company: str = "", *, replace: bool = False, **more: Any) -> Any:
        """Give a role; the assignment."""
        return self.ask(assignment(identity, role, company, replace=replace, **more)).assignment

    def roles(self, identity: str) -> dict[str, str]:
        """The roles that the directory says an identity holds, each with where it comes from."""
        asked = directory_service_pb2.ListRoleAssignmentsRequest(identity=identity)
        return {held.role: held.source for held in self.ask(asked).assignments}

    def take_away(self, identity: str, role: str) -> None:
        """Take a role from an identity."""
        asked = directory_service_pb2.ListRoleAssignmentsRequest(identity=identity, role=role)
        for held in self.ask(asked).assignments:
            self.ask(directory_service_pb2.DeleteRoleAssignmentRequest(id=held.id))

    def update(self, id: str, *paths: str, **fields: Any) -> Any:
        """Change an identity; how it is now."""
        changed = identity_pb2.Identity(id=id, **fields)
        asked = directory_service_pb2.UpdateIdentityRequest(identity=changed, update_mask=mask(*(paths or fields)))
        return self.ask(asked).identity

    def key(self, identity: str, *, days: float | None = None, by: str = "") -> str:
        """Make an API key, which lasts so many days or for good; what callers send."""
        ends = None if days is None else in_seconds(days * DAY)
        asked = credential_service_pb2.CreateKeyRequest(identity=identity, name=unique("key"), expire_time=ends)
        return str(self.ask(asked, by).secret)

    def token(self, identity: str, **more: Any) -> credential_service_pb2.CreateTokenResponse:
        """Make an access token."""
        made = self.ask(credential_service_pb2.CreateTokenRequest(identity=identity, **more))
        assert isinstance(made, credential_service_pb2.CreateTokenResponse)
        return made

    def sign_in(self, identity: str, password: str) -> credential_service_pb2.SignInResponse:
        """Trade a password for an access token."""
        made = self.ask(credential_service_pb2.SignInRequest(identity=identity, password=password), None)
        assert isinstance(made, credential_service_pb2.SignInResponse)
        return made

    def check(self, subject: str, action: str, type: str, id: str = "", company: str = "", **more: Any) -> Any:
        """The answer to one check."""
        return self.sidecar.stub.Check(question(subject, action, type, id, company, **more), timeout=SECONDS)

    def presents(self, credential: str, action: str, type: str, id: str = "", company: str = "", **more: Any) -> Any:
        """The answer to one check of who shows a credential."""
        return self.check("", action, type, id, company, credential=credential, **more)

    def answers(self, questions: Iterable[check_pb2.CheckRequest]) -> list[check_pb2.CheckResponse]:
        """The answers to many checks, in batches."""
        asked = list(questions)
        found: list[check_pb2.CheckResponse] = []
        for start in range(0, len(asked), 1000):
            batch = check_pb2.BatchCheckRequest(checks=asked[start : start + 1000])
            found += self.sidecar.stub.BatchCheck(batch, timeout=SECONDS).results
        assert len(found) == len(asked)
        return found

    def audit(self, by: str = "", **filters: Any) -> Sequence[Any]:
        """The records of the audit that fit the fields of a filter, the oldest first: the first thousand."""
        asked = audit_service_pb2.ListAuditRecordsRequest(
            filter=audit_service_pb2.AuditFilter(**filters), page_size=1000
        )
        found: Sequence[Any] = self.ask(asked, by).records
        return found


def creation(
    id: str, *roles: str, company: str = "", program: bool = False, justification: str = "", **more: Any
) -> directory_service_pb2.CreateIdentityRequest:
    """The request for an identity."""
    kind = identity_pb2.IDENTITY_KIND_SERVICE_ACCOUNT if program else identity_pb2.IDENTITY_KIND_USER
    identity = identity_pb2.Identity(id=id, kind=kind, company=company, **more)
    return directory_service_pb2.CreateIdentityRequest(identity=identity, roles=roles, justification=justification)


def assignment(
    identity: str, role: str, company: str = "", *, replace: bool = False, **more: Any
) -> directory_service_pb2.CreateRoleAssignmentRequest:
    """The request for a role assignment."""
    given = identity_pb2.RoleAssignment(identity=identity, role=role, company=company, **more)
    return directory_service_pb2.CreateRoleAssignmentRequest(assignment=given, replace=replace)


def copy_of(bundle: str, folder: Path, *, without: Sequence[str] = (), **replaced: Sequence[tuple[str, str]]) -> Path:
    """A copy of a bundle of the repository, without its policy tests and the files `without`.

    `replaced` names a file (`manifest` for `manifest.yaml`) and the texts to replace in it, each of which stands there
    once.
    """
    copy = folder / "policies"
    shutil.copytree(ROOT / bundle, copy, ignore=shutil.ignore_patterns("tests", *without))
    for name, changes in replaced.items():
        path = copy / f"{name}.yaml"
        for old, new in changes:
            text = path.read_text()
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
            path.write_text(text.replace(old, new))
    return copy


def command(*arguments: str, **settings: str) -> int:
    """Run the command line in this process, with these environment variables alone of those that are ours; its exit
    code."""
    with pytest.MonkeyPatch.context() as patch:
        for name in {*os.environ} - {*environment()}:
            patch.delenv(name)
        for name, value in settings.items():
            patch.setenv(name, value)
        return main.run(arguments)


def bootstrapped(
    policies: Path, url: str, folder: Path, role: str, *, company: str = "", days: int | None = None
) -> str:
    """Make the first administrator, `root`, with the command for it; their API key."""
    output = folder / "root-key.json"
    more = ["--company", company] if company else []
    more += [] if days is None else ["--expires", f"{days}d"]
    more += ["--justification", "somebody has to be the first"]
    options = ("--role", role, "--policies", str(policies), "--output", str(output), *more)
    # A URL with a password is refused as an argument, which every user of a machine can read.
    assert command("directory", "bootstrap", FIRST, *options, AUTHZ_DIRECTORY=url) == 0
    return str(json.loads(output.read_text())["secret"])


@contextmanager
def running_system(
    policies: Path,
    url: str,
    folder: Path,
    role: str,
    *options: str,
    company: str = "",
    days: int | None = None,
) -> Iterator[System]:
    """A system in service: the bundle in the directory `policies`, with the store at `url`.

    The first administrator holds `role`, in `company` or outside of companies; the key lasts `days`, or for good.
    `options` are those of `serve`: another `--policies` serves the bundle from a repository.
    """
    root = bootstrapped(policies, url, folder, role, company=company, days=days)
    with running_sidecar(*options, policies=policies, AUTHZ_DIRECTORY=url) as sidecar:
        yield System(sidecar, policies, url, root)
