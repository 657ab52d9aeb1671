"""What a credential costs: `python -m bench.authentication SCENARIO`, each scenario in a process of its own.

process  authenticating in memory by keys and tokens, right, wrong and unknown; Check with a key against Check with a
         subject, called through the server's table of methods as grpcio calls it
wire     Check with a key against Check with a subject, over gRPC, one worker, in turn

The directory is a SQLite file with the identity that the default bundle's test asks about, and 10,000 others.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc

from authz_sidecar._proto.authz.v1 import authorization_service_pb2, check_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.identity_import import ImportRow
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.authentication import Authenticator
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.credentials.use import Use
from authz_sidecar.directory.memory import loading
from authz_sidecar.directory.memory.assembly import Assembler
from authz_sidecar.directory.memory.copy import DirectoryCopy
from authz_sidecar.directory.storage.records import Actor, IdentityRecord
from authz_sidecar.directory.storage.secrets import SecretKind, checksum, create_secret
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.engine import Counts, Engine, Identities
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.transports.grpc.admission import Gate
from authz_sidecar.transports.grpc.errors import ErrorReason
from authz_sidecar.transports.grpc.methods import MethodTable
from authz_sidecar.transports.grpc.service import AuthorizationService
from authz_sidecar.values.identity import Authenticated, IdentityKind
from authz_sidecar.values.limits import Limits
from bench.beside import load
from bench.h2load import CHECK, STREAMS, SkippedError
from bench.measure import median, percentile, settle, time_each
from bench.servers import running, sidecar_command
from bench.wire import POLICIES, ROUNDS, TIMEOUT

SERVICE = authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"]
SUBJECT, COMPANY = "bench-client", "acme"
OTHERS = 10_000
CALLS, TURNS = 5_000, 15
ACTOR = Actor("operator:bench")


class Credentials(NamedTuple):
    """Texts of credentials of the subject."""

    key: str
    token: str


def snapshot() -> Any:
    """The default bundle's."""
    bundle = load_bundle(POLICIES).bundle
    assert bundle is not None
    compiled, _ = compile_bundle(bundle)
    assert compiled is not None
    return compiled


def fill(url: str) -> Credentials:
    """Write the directory."""
    view = PolicyView(snapshot().directory_rules)
    store = Store.open(url)
    identities = IdentityAdministration(store, lambda: view)
    credentials = CredentialAdministration(store, lambda: view)
    identities.create_identity(ACTOR, IdentityRecord(id=SUBJECT, kind=IdentityKind.USER, company=COMPANY), ("CLIENT",))
    rows = [
        ImportRow(
            IdentityRecord(id=f"user-{number}", kind=IdentityKind.USER, company=f"company-{number % 100}"),
            (("CLIENT", None),),
        )
        for number in range(OTHERS)
    ]
    for begin in range(0, OTHERS, 1000):
        identities.import_identities(ACTOR, rows[begin : begin + 1000])
    key = credentials.create_key(ACTOR, SUBJECT, "bench").record.secret
    token = credentials.create_token(ACTOR, SUBJECT).record.secret
    store.close()
    return Credentials(key, token)


@contextmanager
def directory() -> Iterator[tuple[str, Credentials]]:
    """The URL of a directory, and credentials in it."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as folder:
        url = f"{folder}/directory.db"
        yield url, fill(url)


def message(**who: str) -> check_pb2.CheckRequest:
    """The question of the other figures, asked by a subject or with a credential."""
    thing = check_pb2.Object(type="folder", id="42", company=COMPANY, owner=SUBJECT)
    return check_pb2.CheckRequest(action="update", object=thing, **who)


class _Details:
    method = f"/{SERVICE.full_name}/Check"
    invocation_metadata = (("user-agent", "bench"), ("te", "trailers"))


class _Context:
    @staticmethod
    def time_remaining() -> None:
        """No deadline."""

    @staticmethod
    def peer() -> str:
        """An address."""
        return "ipv4:127.0.0.1:1"


def answer(table: MethodTable, data: bytes) -> bytes:
    """What Check answers."""
    details: Any = _Details()
    context: Any = _Context()
    call = table.service(details).unary_unary(data, context)
    try:
        call.send(None)
    except StopIteration as done:
        return bytes(done.value)
    raise SystemExit("a check waits for something")


def seconds(table: MethodTable, data: bytes) -> float:
    """How long the calls take."""
    started = time.perf_counter()
    for _ in range(CALLS):
        answer(table, data)
    return time.perf_counter() - started


def process() -> dict[str, object]:
    """Microseconds of an authentication, and of a check with and without one."""
    with directory() as (url, right):
        store = Store.open(url)
        copy = DirectoryCopy()
        copy.replace(loading.load(store, Assembler()))
        compiled = snapshot()
        authenticator = Authenticator(copy, rules=lambda: compiled.directory_rules, use=Use(store))
        engine = Engine()
        engine.load(compiled, "f" * 40)
        counts = Counts()
        gate = Gate("calls", 10, ErrorReason.TOO_MANY_CALLS, "calls")
        table = MethodTable(counts, Limits().message_bytes)
        service = AuthorizationService(engine, Limits(), identities=Identities(copy, authenticator, counts))
        table.add(SERVICE, service, lambda _method: gate)
        settle()
        stranger = create_secret(SecretKind.KEY).text
        mixed = f"{right.key[:20]}{stranger[20:64]}"
        texts = {"key": right.key, "token": right.token, "unknown": stranger, "wrong": f"{mixed}_{checksum(mixed)}"}
        now = time.time()
        result: dict[str, object] = {}
        for name, text in texts.items():
            found = authenticator.authenticate(text, now)
            if isinstance(found, Authenticated) != (name in {"key", "token"}):
                raise SystemExit(f"{name}: {found}")
            taken = [
                time_each(lambda credential: authenticator.authenticate(credential, now), [text] * CALLS, str)
                for _ in range(TURNS)
            ][1:]
            result[f"{name}_us"] = median([median(times) for times in taken]) / 1000
            result[f"{name}_p99_us"] = median([percentile(times, 0.99) for times in taken]) / 1000
        asked = [message(**who).SerializeToString() for who in ({"credential": right.key}, {"subject": SUBJECT})]
        for data in asked:
            if not check_pb2.CheckResponse.FromString(answer(table, data)).allowed:
                raise SystemExit("the answers are wrong")
        rounds = [[seconds(table, data) / CALLS * 1e6 for data in asked] for _ in range(TURNS)][1:]
        result |= {
            "check_key_us": median([key for key, _ in rounds]),
            "check_subject_us": median([subject for _, subject in rounds]),
            "ratio": median([subject / key for key, subject in rounds]),
        }
        store.close()
    return result


def wire() -> dict[str, object]:
    """Requests per second of one server, with a key and with a subject in turn."""
    with directory() as (url, right), running(*sidecar_command(POLICIES), directory=url) as server:
        asked = message(credential=right.key), message(subject=SUBJECT)
        with grpc.insecure_channel(server.address) as channel:
            stub = AuthorizationServiceStub(channel)
            if not all(stub.Check(one, timeout=TIMEOUT).allowed for one in asked):
                raise SystemExit("the answers are wrong")

        runs = [[load(server, CHECK, one, STREAMS) for one in asked] for _ in range(ROUNDS)]
    ratios = sorted(key.per_second / subject.per_second for key, subject in runs)
    return {
        "key_per_s": median([key.per_second for key, _ in runs]),
        "subject_per_s": median([subject.per_second for _, subject in runs]),
        "ratio": median(ratios),
        "ratios": ratios,
        "processor_ratio": median([subject.processor / key.processor for key, subject in runs]),
        "processor_us": median([(key.processor - subject.processor) * 1e6 for key, subject in runs]),
    }


SCENARIOS = {"process": process, "wire": wire}

if __name__ == "__main__":
    try:
        print(json.dumps(SCENARIOS[sys.argv[1]]()))
    except SkippedError as missing:
        print(json.dumps({"skipped": str(missing)}))
