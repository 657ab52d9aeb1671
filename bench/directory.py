"""The directory of identities: `python -m bench.directory SCENARIO`, each scenario in a process of its own.

million     1 M identities with 3 roles each in a SQLite file: reading it as a sidecar does at its start, memory after
            it, and decisions for them on the default bundle's roles
creates     identities made one by one, each durable before the next: SQLite, and PostgreSQL with its defaults
revocation  20 sidecars on one PostgreSQL: from the acknowledgement of a revoked key to the last answer that allows by
            it
"""

import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide import Decider
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.memory.assembly import Assembler
from authz_sidecar.directory.memory.loading import load
from authz_sidecar.directory.storage.records import Actor, IdentityRecord
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import build_request
from authz_sidecar.values.identity import IdentityKind
from bench.measure import median, memory_mb, peak_memory_mb, percentile, time_each

POLICIES = Path(__file__).parent.parent / "policies"
IDENTITIES, COMPANIES = 1_000_000, 10_000
ROLES = ("CLIENT", "CLIENT_SERVICE", "CLIENT_OPERATOR", "CLIENT_ADMIN")
ROLES_EACH = 3
REQUESTS, ROUNDS = 20_000, 7
CREATES = 1_000
SIDECARS, REVOCATIONS = 20, 60
ACTOR = Actor("operator:bench")


def decider() -> Decider:
    """The default bundle's."""
    bundle = load_bundle(POLICIES).bundle
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle, searches=False)
    assert snapshot is not None
    return Decider(snapshot)


def million() -> dict[str, object]:
    """Reading a million identities, and deciding for them."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/directory.db"
        if os.fork() == 0:
            # In a process of its own: what writing takes is no part of what reading leaves.
            _write_million(url)
            os._exit(0)
        _, status = os.wait()
        if status:
            raise SystemExit("the store could not be written")
        size = Path(url).stat().st_size / 1e6
        decide = decider()
        opening = time.perf_counter()
        store = Store.open(url)
        before, began = memory_mb(), time.perf_counter()
        contents = load(store, Assembler())
        taken = time.perf_counter() - began
        store.close()
    chance = random.Random(2)
    found = contents.identities
    assert len(found) == IDENTITIES
    result: dict[str, object] = {
        "open_s": began - opening,
        "load_s": taken,
        "memory_mb": memory_mb(),
        "before_mb": before,
        "peak_mb": peak_memory_mb(),
        "file_mb": size,
    }
    for name, ids in (
        ("thousand", chance.choices(range(IDENTITIES), k=1000)),
        ("uniform", [chance.randrange(IDENTITIES) for _ in range(REQUESTS)]),
    ):
        asked = [chance.choice(ids) for _ in range(REQUESTS)]
        times = [time_each(decide.decide, asked, lambda number: _request(found, number)) for _ in range(ROUNDS + 1)][1:]
        result[f"{name}_median_us"] = median([median(one) for one in times]) / 1000
        result[f"{name}_p99_us"] = median([percentile(one, 0.99) for one in times]) / 1000
        result[f"{name}_max_ms"] = max(max(one) for one in times) / 1e6
    return result


def _request(identities: dict[str, Any], number: int) -> Any:
    company = f"company-{number % COMPANIES}"
    id = f"user-{number}"
    request, _ = build_request(id, "read", type="folder", id="42", company=company, owner=id, identity=identities[id])
    return request


def _write_million(url: str) -> None:
    store = Store.open(url)
    now = time.time()
    with store.engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA synchronous=OFF")
        raw.executemany(
            "INSERT INTO identities (id, kind, company, active, name, description, flags, attributes, created_by,"
            " created_at, updated_at, revision) VALUES (?, 1, ?, 1, ?, '', '{}', '{}', 'bench', ?, ?, 1)",
            ((f"user-{n}", f"company-{n % COMPANIES}", f"User {n}", now, now) for n in range(IDENTITIES)),
        )
        raw.executemany(
            "INSERT INTO assignments (id, identity, role, company, source, break_glass, justification, created_by,"
            " created_at, revision) VALUES (?, ?, ?, ?, 'hand', 0, '', 'bench', ?, 1)",
            (
                (f"as{n}-{k}", f"user-{n}", ROLES[(n + k) % len(ROLES)], f"company-{n % COMPANIES}", now)
                for n in range(IDENTITIES)
                for k in range(ROLES_EACH)
            ),
        )
        raw.execute("UPDATE state SET revision = 1")
        raw.commit()
    store.close()


@contextmanager
def postgres(**settings: str) -> Iterator[Any]:
    """A PostgreSQL of ours, durable as it is by default."""
    from tests.postgres import Postgres

    server = Postgres({"fsync": "on", "full_page_writes": "on", **settings})
    try:
        yield server
    finally:
        server.close()


def creates() -> dict[str, object]:
    """Identities a second, each in a transaction of its own; in PostgreSQL also by eight at once."""
    result: dict[str, object] = {}
    view = PolicyView(decider().snapshot.directory_rules)
    with tempfile.TemporaryDirectory(dir=POLICIES.parent) as folder, postgres() as server:
        for name, url in (("sqlite", f"{folder}/directory.db"), ("postgresql", server.create_database())):
            store = Store.open(url)
            administration = IdentityAdministration(store, lambda: view)
            rates = []
            for round in range(3):
                began = time.perf_counter()
                for number in range(CREATES):
                    _create(administration, f"one-{round}-{number}")
                rates.append(CREATES / (time.perf_counter() - began))
            with ThreadPoolExecutor(8) as pool:
                began = time.perf_counter()
                list(pool.map(lambda number: _create(administration, f"at-once-{number}"), range(CREATES)))  # noqa: B023
            result[name] = {
                "per_s": median(rates),
                "range": [min(rates), max(rates)],
                "eight_at_once_per_s": CREATES / (time.perf_counter() - began),
            }
            store.close()
    return result


def _create(administration: IdentityAdministration, id: str) -> None:
    administration.create_identity(ACTOR, IdentityRecord(id=id, kind=IdentityKind.USER, company="acme"), ("CLIENT",))


def revocation() -> dict[str, object]:
    """Milliseconds from when a revocation is acknowledged to when the last sidecar has ceased to allow by the key."""
    import grpc

    from authz_sidecar._proto.authz.v1 import check_pb2
    from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
    from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
    from bench.servers import running, sidecar_command

    view = PolicyView(decider().snapshot.directory_rules)
    with ExitStack() as stack:
        server = stack.enter_context(postgres(max_connections="300"))
        url = server.create_database()
        store = Store.open(url)
        identities = IdentityAdministration(store, lambda: view)
        credentials = CredentialAdministration(store, lambda: view)
        _create(identities, "carol")
        identities.create_identity(ACTOR, IdentityRecord(id="operator", kind=IdentityKind.USER), ("OPERATOR",))
        stubs = []
        for _ in range(SIDECARS):
            sidecar = stack.enter_context(running(*sidecar_command(POLICIES), directory=url))
            channel = stack.enter_context(grpc.insecure_channel(sidecar.address))
            stubs.append(AuthorizationServiceStub(channel))
        thing = check_pb2.Object(type="folder", id="1", company="acme")
        last: list[float] = []
        every: list[float] = []
        for number in range(REVOCATIONS):
            issued = credentials.create_key(ACTOR, "operator", f"key {number}").record
            request = check_pb2.CheckRequest(credential=issued.secret, object=thing, action="read")
            for stub in stubs:
                _until(stub, request, True)
            seen = [0.0] * SIDECARS
            begun = threading.Barrier(SIDECARS + 1)

            def watch(at: int) -> None:
                begun.wait()  # noqa: B023
                seen[at] = _until(stubs[at], request, False)  # noqa: B023

            threads = [threading.Thread(target=watch, args=(at,)) for at in range(SIDECARS)]
            for thread in threads:
                thread.start()
            begun.wait()
            credentials.revoke_key(ACTOR, issued.record.id)
            acknowledged = time.perf_counter()
            for thread in threads:
                thread.join()
            times = [max(0.0, moment - acknowledged) * 1000 for moment in seen]
            every += times
            last.append(max(times))
        store.close()
    return {
        "sidecars": SIDECARS,
        "revocations": REVOCATIONS,
        "last_ms": {name: percentile(last, share) for name, share in SHARES.items()} | {"max": max(last)},
        "each_ms": {name: percentile(every, share) for name, share in SHARES.items()} | {"max": max(every)},
    }


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
WATCH_SECONDS = 30.0


def _until(stub: Any, request: Any, allowed: bool) -> float:
    """When the last answer was given that is otherwise; asked again and again."""
    end = time.monotonic() + WATCH_SECONDS
    before = time.perf_counter()
    while stub.Check(request, timeout=10).allowed is not allowed:
        before = time.perf_counter()
        if time.monotonic() > end:
            raise SystemExit("a sidecar does not follow")
        time.sleep(0.002)
    return before


SCENARIOS = {"million": million, "creates": creates, "revocation": revocation}

if __name__ == "__main__":
    gc.collect()
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
