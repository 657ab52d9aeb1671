"""Decisions in process: `python -m bench.decisions SCENARIO`, each scenario in a process of its own.

plain      1 M rules and 1 M assignments over 10,000 companies, traffic of 1,000 subjects, and the same
           policy with subjects drawn from the whole million
growth     the same requests on 1 k and on 1 M rules, alternating
standard   the standard model with the default bundle's roles, and a million assignments
pycasbin   9 k rules in both engines, the same requests, alternating
"""

import gc
import json
import random
import sys
import time
from collections.abc import Iterable

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide import Decider
from bench.data import PLAIN_MODEL, USERS_PER_COMPANY, Question, plain_rows, plain_traffic, request
from bench.measure import median, memory_mb, percentile, settle, time_each

COMPANIES = 10_000
COMPANY_ROLES = ("role:CLIENT", "role:CLIENT_SERVICE", "role:CLIENT_OPERATOR", "role:CLIENT_ADMIN")
ROUNDS = 7
REQUESTS = 20_000


def compile_files(files: dict[str, bytes]) -> Snapshot:
    """A snapshot of the given files, which are known to be good."""
    gc.disable()
    bundle, diagnostics = parse_bundle(files, "bench")
    if bundle is None:
        raise SystemExit(f"the generated bundle is not valid: {diagnostics[:3]}")
    snapshot, diagnostics = compile_bundle(bundle)
    if snapshot is None:
        raise SystemExit(f"the generated bundle does not compile: {diagnostics[:3]}")
    gc.enable()
    return snapshot


def plain_decider(companies: int) -> Decider:
    """Plain RBAC with domains, 100 rules and 100 users a company."""
    text = "\n".join(plain_rows(companies)).encode()
    return Decider(compile_files({"model.conf": PLAIN_MODEL.encode(), "policy.csv": text}))


def thousand_subjects(companies: int, seed: int = 2) -> list[tuple[int, int]]:
    """1,000 (company, user) pairs, spread over up to 1,000 of the companies."""
    chance = random.Random(seed)
    if companies * USERS_PER_COMPANY <= 1000:
        return [(company, user) for company in range(companies) for user in range(USERS_PER_COMPANY)]
    return [(company, chance.randrange(USERS_PER_COMPANY)) for company in chance.choices(range(companies), k=1000)]


def ask(decider: Decider, traffic: list[Question]) -> list[int]:
    """Nanoseconds of each decision; the request is made just before, as a server has just read it."""
    return time_each(decider.decide, traffic, request)


def measure(decider: Decider, traffic: list[Question]) -> dict[str, float]:
    """Median, p99 and longest call over several rounds of the traffic, in microseconds."""
    ask(decider, traffic)
    taken = [ask(decider, traffic) for _ in range(ROUNDS)]
    return {
        "median_us": median([median(times) for times in taken]) / 1000,
        "p99_us": median([percentile(times, 0.99) for times in taken]) / 1000,
        "max_ms": max(max(times) for times in taken) / 1e6,
        "allowed": sum(decider.decide(request(item)).allowed for item in traffic) / len(traffic),
    }


def plain() -> dict[str, object]:
    """The first and the third figure."""
    started = time.perf_counter()
    decider = plain_decider(COMPANIES)
    settle()
    loaded = time.perf_counter() - started
    subjects = thousand_subjects(COMPANIES)
    hot = measure(decider, plain_traffic(subjects, REQUESTS))
    chance = random.Random(3)
    everyone = [(chance.randrange(COMPANIES), chance.randrange(USERS_PER_COMPANY)) for _ in range(REQUESTS * 20)]
    taken = ask(decider, plain_traffic(everyone, len(everyone), seed=4))
    return {
        "build_s": loaded,
        "memory_mb": memory_mb(),
        "thousand_subjects": hot,
        "uniform": {
            "median_us": median(taken) / 1000,
            "p99_us": percentile(taken, 0.99) / 1000,
            "max_ms": max(taken) / 1e6,
            "requests": len(taken),
        },
    }


def growth() -> dict[str, object]:
    """The fourth figure: one process holds both policies and asks each the same requests in turn."""
    small, large = plain_decider(10), plain_decider(COMPANIES)
    settle()
    traffic = plain_traffic(thousand_subjects(10), REQUESTS)
    for decider in (small, large):
        ask(decider, traffic)
    pairs = [(median(ask(small, traffic)), median(ask(large, traffic))) for _ in range(ROUNDS)]
    return {
        "small_median_us": median([pair[0] for pair in pairs]) / 1000,
        "large_median_us": median([pair[1] for pair in pairs]) / 1000,
        "ratio": median([pair[1] / pair[0] for pair in pairs]),
    }


def standard_policy(more: Iterable[tuple[str, str, str]] = ()) -> tuple[Decider, Bundle]:
    """The default bundle with a million assignments over 10,000 companies, and `more`."""
    from pathlib import Path

    from authz_sidecar.sources.load import load_bundle

    bundle = load_bundle(Path(__file__).parent.parent / "policies").bundle
    if bundle is None:
        raise SystemExit("policies/ does not load")
    table = bundle.tables["g"]
    number = table.file_number("generated")
    gc.disable()
    for company in range(COMPANIES):
        domain = sys.intern(f"company{company}")
        for user in range(USERS_PER_COMPANY):
            table.append((f"user{company}-{user}", COMPANY_ROLES[user % 4], domain), number, 1)
    for assignment in more:
        table.append(assignment, number, 1)
    snapshot, diagnostics = compile_bundle(bundle)
    gc.enable()
    if snapshot is None:
        raise SystemExit(f"the generated bundle does not compile: {diagnostics[:3]}")
    decider = Decider(snapshot)
    settle()
    return decider, bundle


def standard() -> dict[str, object]:
    """The second figure: the default bundle's roles, a million assignments over 10,000 companies."""
    decider, bundle = standard_policy()
    chance = random.Random(5)
    types = [(name, action) for name, kind in bundle.manifest.object_types.items() for action in kind.actions]
    subjects = thousand_subjects(COMPANIES)
    traffic: list[Question] = []
    for turn in range(REQUESTS):
        company, user = subjects[turn % 1000]
        subject, home = f"user{company}-{user}", f"company{company}"
        object_type, action = chance.choice(types)
        owner = subject if chance.random() < 0.5 else "somebody"
        item = str(chance.randrange(1000))
        traffic.append((subject, action, object_type, item, home, owner))
    chance.shuffle(traffic)
    return {"rules": len(bundle.tables["p"]), "assignments": len(bundle.tables["g"]), **measure(decider, traffic)}


def pycasbin() -> dict[str, object]:
    """The fifth figure: 9,000 rules, the same 40 requests in pycasbin's Enforcer and here, three times in turn."""
    import casbin
    from casbin.model import Model
    from casbin.persist.adapters.string_adapter import StringAdapter

    model = Model()
    model.load_model_from_text(PLAIN_MODEL)
    enforcer = casbin.Enforcer(model, StringAdapter("\n".join(plain_rows(90))))
    decider = plain_decider(90)
    traffic = plain_traffic(thousand_subjects(90), 40)
    requests = [request(question) for question in traffic]
    asked = [(item.subject, item.company, item.object, item.action) for item in requests]
    for item, arguments in zip(requests, asked, strict=True):
        if enforcer.enforce(*arguments) != decider.decide(item).allowed:
            raise SystemExit(f"the engines disagree on {item}")
    theirs: list[float] = []
    ours: list[float] = []
    for _ in range(3):
        theirs.append(median(time_each(lambda values: enforcer.enforce(*values), asked, tuple)))
        ours.append(median(ask(decider, traffic)))
    return {
        "pycasbin_median_ms": median(theirs) / 1e6,
        "median_us": median(ours) / 1000,
        "ratio": median([a / b for a, b in zip(theirs, ours, strict=True)]),
    }


SCENARIOS = {"plain": plain, "growth": growth, "standard": standard, "pycasbin": pycasbin}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
