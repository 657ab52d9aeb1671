"""Every secret that is used with a sidecar, and every place where one could be left."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from authz_sidecar._proto.authz.v1 import audit_service_pb2 as audit
from authz_sidecar._proto.authz.v1 import authenticate_pb2, check_pb2, explain_pb2, filter_pb2
from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar._proto.authz.v1.audit_service_pb2_grpc import AuditServiceStub
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar._proto.authz.v1.credential_service_pb2_grpc import CredentialServiceStub
from authz_sidecar._proto.authz.v1.directory_service_pb2_grpc import DirectoryServiceStub
from authz_sidecar.audit.signing import create_key
from authz_sidecar.cli.main import run
from authz_sidecar.directory.storage.schema import KEYS, PASSWORDS, TOKENS
from authz_sidecar.directory.storage.secrets import SecretKind, checksum, create_secret, hash_secret, parse
from authz_sidecar.directory.storage.store import Store
from tests.directory.identity_provider import AUDIENCE, ISSUER, ec_key, public, sign
from tests.faults.scene import SECONDS, Scene
from tests.postgres import PASSWORD as OF_THE_DATABASE
from tests.postgres import shared_postgres
from tests.server.sidecar import Sidecar, check_of, environment

WORD, NEW_WORD, WRONG_WORD, SHORT_WORD = (
    "the first word of ann",
    "the second word of ann",
    "no word of anybody at all",
    "short-word!",
)
SERVED = ("--workers", "2", "--log-level", "debug", "--decision-log-attributes")


class Listener:
    """Calls methods, and keeps everything that is told but the secrets that are handed out, which are in `handed`."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.told: list[bytes] = []
        self.handed: list[str] = []
        self.refusals = 0
        self._channel = sidecar.channel

    def call(self, stub: Any, method: str, message: Any, caller: str = "", *more: tuple[str, str]) -> Any:
        """The answer, or None where the call is refused."""
        metadata = ((("authorization", f"Bearer {caller}"),) if caller else ()) + more
        answer: Any = None
        call: Any
        try:
            answer, call = getattr(stub(self._channel), method).with_call(message, metadata=metadata, timeout=SECONDS)
        except grpc.RpcError as error:
            call = error
            self.refusals += 1
            self.told.append(f"{call.code()} {call.details()} {call.debug_error_string()}".encode())
        for key, value in (*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())):
            # The caller's own name of the call is given back as it is.
            if key == "x-request-id":
                continue
            self.told.append(f"{key} {value!r}".encode() + (value if isinstance(value, bytes) else b""))
        if answer is not None:
            shown = type(answer)()
            shown.CopyFrom(answer)
            for field in ("secret", "access_token"):
                if getattr(shown, field, ""):
                    self.handed.append(getattr(shown, field))
                    shown.ClearField(field)
            self.told += [shown.SerializeToString(), str(shown).encode()]
        return answer


def jwt_of(subject: str, **more: Any) -> str:
    """A token of the identity provider; with other claims one that is wrong."""
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600, "groups": ["clerks"]}
    return sign(ec_key(), "ES256", claims | more)


def issuers_file(folder: Path) -> str:
    """The identity provider, with its keys in a file."""
    (folder / "keys.json").write_text(json.dumps({"keys": [public(ec_key())]}))
    issuer = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "algorithms": ["ES256"],
        "jwks": {"file": "keys.json"},
        "prefix": "idp:",
        "company": "acme",
        "claims": {"groups": "groups"},
        "roles": ["CLERK"],
        "identities": "any",
    }
    (folder / "issuers.yaml").write_text(json.dumps({"issuers": [issuer]}))
    return str(folder / "issuers.yaml")


def walk(listener: Listener, root: str, wrong: list[str]) -> list[str]:
    """Everything that is done with secrets, right and wrong; the texts of those that stand for somebody."""
    identities, keys, audits = DirectoryServiceStub, CredentialServiceStub, AuditServiceStub
    for id, kind in (("ann", record.IDENTITY_KIND_USER), ("robot", record.IDENTITY_KIND_SERVICE_ACCOUNT)):
        identity = record.Identity(id=id, kind=kind, company="acme")
        message = directory.CreateIdentityRequest(identity=identity, roles=["CLERK"], idempotency_key=f"make-{id}")
        listener.call(identities, "CreateIdentity", message, root)
    made = credential.CreateKeyRequest(identity="ann", name="first", idempotency_key="once")
    first = listener.call(keys, "CreateKey", made, root)
    listener.call(keys, "CreateKey", made, root)
    listener.call(keys, "CreateKey", credential.CreateKeyRequest(identity="robot", name="tool"), root)
    rotated = listener.call(keys, "RotateKey", credential.RotateKeyRequest(id=first.key.id, overlap_seconds=60), root)
    for id, word in (("ann", WORD), ("ann", SHORT_WORD), ("ann", NEW_WORD), ("robot", NEW_WORD)):
        listener.call(keys, "SetPassword", credential.SetPasswordRequest(identity=id, password=word), root)
    for id, word in (("ann", NEW_WORD), ("ann", WRONG_WORD), ("robot", WRONG_WORD), (NEW_WORD, WORD), ("ann", "")):
        listener.call(keys, "SignIn", credential.SignInRequest(identity=id, password=word))
    listener.call(keys, "CreateToken", credential.CreateTokenRequest(identity="robot"), root)
    right = [*listener.handed, jwt_of("eve")]
    listener.call(keys, "SignIn", credential.SignInRequest(jwt=right[-1]))
    for secret in (root, *right, *wrong):
        listener.call(keys, "SignIn", credential.SignInRequest(jwt=secret))
        asked = check_of("", credential=secret)
        decisions = AuthorizationServiceStub
        listener.call(decisions, "Check", asked)
        listener.call(decisions, "Check", check_of("", credential=secret, on_behalf_of="ann"))
        listener.call(decisions, "Check", check_of("ann", credential=secret))
        listener.call(decisions, "Check", check_of("", "", credential=secret))
        listener.call(decisions, "BatchCheck", check_pb2.BatchCheckRequest(checks=[asked, asked]))
        listener.call(decisions, "Explain", explain_pb2.ExplainRequest(check=asked))
        objects = filter_pb2.FilterObjectsRequest(credential=secret, action="read", object_type="folder")
        listener.call(decisions, "FilterObjects", objects)
        listener.call(decisions, "Authenticate", authenticate_pb2.AuthenticateRequest(credential=secret))
        # As callers of the administration, who give secrets where ids belong, and paste them into reasons and names.
        for caller in (secret, root):
            named = ("x-request-id", secret)
            listener.call(keys, "GetKey", credential.GetKeyRequest(id=secret), caller, named)
            listener.call(keys, "RevokeKey", credential.RevokeKeyRequest(id=secret, justification=secret), caller)
            listener.call(keys, "RevokeTokens", credential.RevokeTokensRequest(id=secret), caller)
            listener.call(keys, "RotateKey", credential.RotateKeyRequest(id=secret), caller)
            listener.call(audits, "ListAuditRecords", audit.ListAuditRecordsRequest(page_token=secret), caller)
        listener.call(keys, "ListKeys", credential.ListKeysRequest(), secret, ("authorization", f"Bearer {root}"))
        listener.call(keys, "ListKeys", credential.ListKeysRequest(), "", ("authorization", secret))
    ending = directory.DeleteIdentityRequest(id="robot", justification=f"its key {right[1]} was found")
    listener.call(identities, "DeleteIdentity", ending, root, ("x-request-id", right[0]))
    listener.call(keys, "RevokeKey", credential.RevokeKeyRequest(id=rotated.key.id, justification=right[2]), root)
    listener.call(keys, "RevokeTokens", credential.RevokeTokensRequest(identity="ann"), root)
    listener.call(keys, "ListKeys", credential.ListKeysRequest(include_ended=True), root)
    listener.call(keys, "ListTokens", credential.ListTokensRequest(), root)
    listener.call(identities, "ListIdentities", directory.ListIdentitiesRequest(), root)
    listener.call(audits, "ListAuditRecords", audit.ListAuditRecordsRequest(page_size=1000), root)
    return right


def wrong_secrets(root: str) -> list[str]:
    """Keys and tokens of nobody, with another secret, with another checksum; JWTs that are wrong."""
    id = root.split("_")[1]
    other = create_secret(SecretKind.KEY).text
    text = f"azk_{id}_{create_secret(SecretKind.KEY).text.split('_')[2]}"
    return [
        other,
        f"{text}_{checksum(text)}",
        f"{create_secret(SecretKind.TOKEN).text[:-6]}000000",
        jwt_of("eve", exp=time.time() - 1000),
        jwt_of("mallory", aud="somebody else"),
    ]


def needles(secrets: list[str]) -> dict[str, bytes]:
    """What must not be found: of a key or token its secret, of a JWT its signature, and passwords as they are."""
    found = {}
    for text in secrets:
        parts = text.split("_") if text.startswith("az") else text.split(".")
        found[text] = (parts[2] if len(parts) in (3, 4) else text).encode()
    return found


def processes(process: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield process
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        yield from processes(int(child))


def stored(scene: Scene, began: float) -> bytes:
    """Every byte that the database keeps, and its log."""
    server = shared_postgres()
    name = scene.url.partition("@/")[2].partition("?")[0]
    with server.connect(name) as connection:
        connection.execute("CHECKPOINT")
        number = connection.execute("SELECT oid FROM pg_database WHERE datname = %s", (name,)).fetchone()
    assert number is not None
    data = server.directory / "data"
    files = [*(data / "base" / str(number[0])).iterdir(), *(data / "pg_wal").glob("0*"), server.directory / "log"]
    return b"".join(path.read_bytes() for path in files if path.stat().st_mtime >= began - 1)


MISPLACED: "dict[str, tuple[Any, str, Callable[[str], Any]]]" = {
    "subject": (AuthorizationServiceStub, "Check", check_of),
    "object": (AuthorizationServiceStub, "Check", lambda key: check_of("ann", id=key)),
    "identity": (DirectoryServiceStub, "GetIdentity", lambda key: directory.GetIdentityRequest(id=key)),
    "role": (
        DirectoryServiceStub,
        "CreateRoleAssignment",
        lambda key: directory.CreateRoleAssignmentRequest(
            assignment=record.RoleAssignment(identity="root", role=key, company="acme")
        ),
    ),
    "reason": (
        DirectoryServiceStub,
        "CreateIdentity",
        lambda key: directory.CreateIdentityRequest(
            identity=record.Identity(id="bea", kind=record.IDENTITY_KIND_USER, company="acme"),
            roles=["CLERK"],
            justification=key,
        ),
    ),
}


@pytest.mark.parametrize(
    "fields",
    [
        "subject object identity",
        "role",
        "reason",
    ],
)
def test_a_key_in_the_place_of_something_else(file_scene: Scene, fields: str) -> None:
    """A key that a client gives for a subject, an object, an identity, a role or a reason is neither in the decision
    log, nor in what is refused, nor in the store."""
    key, log = create_secret(SecretKind.KEY).text, file_scene.folder / "decisions.jsonl"
    with file_scene.served("--decision-log", str(log)) as (sidecar, _):
        listener = Listener(sidecar)
        for field in fields.split():
            stub, method, message = MISPLACED[field]
            listener.call(stub, method, message(key), file_scene.root)
    secret = key.split("_")[2].encode()
    assert secret not in b"".join(path.read_bytes() for path in file_scene.folder.glob("decisions*"))
    assert secret not in b"".join(listener.told)
    assert secret not in b"".join(path.read_bytes() for path in file_scene.folder.glob("directory.db*"))


def test_secrets_are_nowhere(postgresql_scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """After a walk through everything that is done with them no key, token, password, JWT or private key is in the log,
    the decision log, an answer or an error, the metrics, the audit, an export, a backup, the arguments or the
    environment of a process, or a byte of the store, which has their digests."""
    began, scene = time.time(), postgresql_scene
    folder = scene.folder
    key, checkpoints, log = folder / "audit.key", folder / "checkpoints.jsonl", folder / "decisions.jsonl"
    create_key(key)
    options = (*SERVED, "--audit-key", str(key), "--audit-checkpoints", str(checkpoints), "--decision-log", str(log))
    places: dict[str, bytes] = {}
    with scene.served(*options, "--issuers", issuers_file(folder)) as (sidecar, _):
        listener = Listener(sidecar)
        wrong = wrong_secrets(scene.root)
        right = walk(listener, scene.root, wrong)
        (folder / "credential").write_text(scene.root)
        server = ("--server", sidecar.grpc, "--credential-file", str(folder / "credential"))
        for command in (
            ("keys", "list", *server),
            ("keys", "create", "ann", "by command", "--output", str(folder / "handed.json"), *server),
            ("tokens", "list", "ann", *server),
            ("audit", "list", *server),
            ("audit", "export", "--output", str(folder / "audit.jsonl")),
            ("audit", "export", "--format", "csv", "--output", str(folder / "audit.csv")),
            ("directory", "backup", "--output", str(folder / "file.backup")),
            ("directory", "status"),
        ):
            with pytest.MonkeyPatch.context() as patch:
                if "--server" not in command:
                    patch.setenv("AUTHZ_DIRECTORY", scene.url)
                assert run(command) == 0, capfd.readouterr()
        printed = capfd.readouterr()
        places["printed"] = (printed.out + printed.err).encode()
        handed = json.loads((folder / "handed.json").read_text())["secret"]
        following = (sys.executable, "-m", "authz_sidecar", "audit", "follow", *server)
        with subprocess.Popen(following, stdout=subprocess.DEVNULL, env=environment()) as follower:
            for process in (*processes(sidecar.process.pid), follower.pid):
                for file in ("cmdline", "environ"):
                    places[f"{file} of {process}"] = Path(f"/proc/{process}/{file}").read_bytes()
            follower.kill()
        assert len(places) >= 1 + 2 * 4
        for path in ("/metrics", "/readyz", "/livez"):
            places[path] = sidecar.get(path)[1].encode()
        sidecar.process.terminate()
        assert sidecar.wait() == (0, "")
        places["log"] = sidecar.log.encode()
    assert listener.refusals > 100
    places["answers"] = b"\n".join(listener.told)
    places["decision log"] = b"".join(path.read_bytes() for path in folder.glob("decisions*"))
    for name in ("audit.jsonl", "audit.csv", "file.backup", "checkpoints.jsonl"):
        places[name] = (folder / name).read_bytes()

    opened = Store.open(scene.url)
    with opened.read() as connection:
        digests = {row.hash for table in (KEYS, TOKENS) for row in connection.execute(select(table.c.hash))}
        passwords = connection.execute(select(PASSWORDS.c.hash)).scalars().all()
    opened.close()
    places["store"] = stored(scene, began)
    private = key.read_text().splitlines()[1]
    signing = str(ec_key().as_dict(private=True)["d"])
    for text, needle in needles(
        [scene.root, *right, *wrong, handed, WORD, NEW_WORD, WRONG_WORD, SHORT_WORD, OF_THE_DATABASE, private, signing]
    ).items():
        for place, data in places.items():
            assert needle not in data, f"{text} is in {place}"
    # The search is no empty one: what is no secret of them is found.
    parsed = parse(right[0])
    assert parsed is not None
    assert hash_secret(parsed.secret) in digests
    for place in ("answers", "decision log", "audit.jsonl", "audit.csv", "printed", "store"):
        assert parsed.id.encode() in places[place], place
    assert hash_secret(parsed.secret) in places["store"]
    assert [hash.startswith("$argon2id$") for hash in passwords] == [True]
