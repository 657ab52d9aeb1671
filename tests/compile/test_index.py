"""The index: deciding touches as many entries in a large policy as in a small one, and a snapshot is plain data."""

import pickle
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.index import FLAT_LIMIT
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide import Decider
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.values import Request, RuleTable, build_request

ALLOW = "some(where (p.eft == allow))"


def model(matcher: str, fields: str = "sub, obj, act", roles: str = "g = _, _", effect: str = ALLOW) -> str:
    """A model text whose request has what its rules have, but for `eft` and `rule`."""
    tokens = ", ".join([field for field in fields.split(", ") if field not in {"eft", "rule"}])
    return (
        f"[request_definition]\nr = {tokens}\n[policy_definition]\np = {fields}\n[role_definition]\n{roles}\n"
        f"[policy_effect]\ne = {effect}\n[matchers]\nm = {matcher}\n"
    )


def snapshot(text: str, rows: list[str]) -> Snapshot:
    """A compiled model with its rows."""
    bundle, diagnostics = parse_bundle({"model.conf": text.encode(), "policy.csv": "\n".join(rows).encode()}, "rows")
    assert bundle is not None, diagnostics
    compiled, diagnostics = compile_bundle(bundle)
    assert compiled is not None, diagnostics
    return compiled


class Counter:
    """How many entries of an index were looked up or walked over."""

    def __init__(self) -> None:
        self.touched = 0
        # The longest tuple of ranks or of names and ranks that a probe led to.
        self.longest = 0

    def saw(self, entry: Any) -> Any:
        """Count the entries of a leaf that is read as a whole."""
        if isinstance(entry, tuple):
            self.touched += len(entry)
            self.longest = max(self.longest, len(entry))
        return entry


class CountedDict(dict[Any, Any]):
    """A dict that counts its probes."""

    def __init__(self, entries: dict[Any, Any], counter: Counter) -> None:
        super().__init__(entries)
        self.counter = counter

    def get(self, key: Any, default: Any = None) -> Any:
        """One probe."""
        self.counter.touched += 1
        return self.counter.saw(super().get(key, default))

    def __getitem__(self, key: Any) -> Any:
        self.counter.touched += 1
        return self.counter.saw(super().__getitem__(key))

    def __contains__(self, key: object) -> bool:
        self.counter.touched += 1
        return super().__contains__(key)

    def __iter__(self) -> Iterator[Any]:
        self.counter.touched += len(self)
        return super().__iter__()

    def items(self) -> Any:
        """A walk over all entries."""
        self.counter.touched += len(self)
        return super().items()


def counted(store: Any, counter: Counter) -> Any:
    """The same tables, counting at every level."""
    if isinstance(store, dict):
        return CountedDict({key: counted(entry, counter) for key, entry in store.items()}, counter)
    return store


def watched(compiled: Snapshot) -> tuple[Decider, Counter]:
    """A decider on the same index, and what it touches there."""
    counter = Counter()
    sections = {}
    for suffix, section in compiled.sections.items():
        branches = [
            msgspec.structs.replace(
                branch,
                shapes=tuple(
                    [msgspec.structs.replace(shape, table=counted(shape.table, counter)) for shape in branch.shapes]
                ),
            )
            for branch in section.branches
        ]
        sections[suffix] = msgspec.structs.replace(section, branches=tuple(branches))
    decider = Decider(msgspec.structs.replace(compiled, sections=sections))
    counter.touched = 0
    return decider, counter


def ask(subject: str, action: str, type: str, **more: Any) -> Request:
    """A request."""
    request, violations = build_request(subject, action, type=type, **more)
    assert request is not None, violations
    return request


def work(compiled: Snapshot, requests: list[Request]) -> list[tuple[bool, int]]:
    """For each request, whether it is allowed and how many entries deciding it touched."""
    decider, counter = watched(compiled)
    answers = []
    for request in requests:
        counter.touched = 0
        allowed = decider.decide(request).allowed
        answers.append((allowed, counter.touched))
    assert counter.longest <= FLAT_LIMIT
    return answers


class Family:
    """A model, rules that all lead to one leaf, rules that lead elsewhere, links, and requests."""

    def __init__(
        self,
        text: str,
        same: Callable[[int], str],
        other: Callable[[int], str],
        links: list[str],
        requests: list[Request],
    ) -> None:
        self.text = text
        self.same = same
        self.other = other
        self.links = links
        self.requests = requests


ACME = {"company": "acme"}
STANDARD_REQUESTS = [
    ask("alice", "read", "folder", id="1", owner="alice", **ACME),
    ask("alice", "read", "folder", id="1", owner="bob", **ACME),
    ask("alice", "delete", "folder", id="1", owner="bob", **ACME),
    ask("root", "read", "folder", id="1", **ACME),
    ask("nobody", "read", "folder", id="1", **ACME),
    ask("alice", "read", "folder", id="1", company="globex"),
]
STANDARD_LINKS = ["g, alice, role:CLIENT, acme", "g, root, role:ADMIN, *"]
FAMILIES = {
    "acl": Family(
        model("r.sub == p.sub && r.obj == p.obj && r.act == p.act"),
        lambda _: "p, alice, data, read",
        lambda n: f"p, user{n}, data{n}, read",
        [],
        [ask("alice", "read", "data"), ask("alice", "write", "data"), ask("nobody", "read", "data")],
    ),
    "rbac": Family(
        model("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"),
        lambda _: "p, reader, data, read",
        lambda n: f"p, role{n}, data{n}, read",
        ["g, alice, reader", "g, bob, writer"],
        [ask("alice", "read", "data"), ask("bob", "read", "data"), ask("nobody", "read", "data")],
    ),
    "rbac with a deny": Family(
        model(
            "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act",
            "sub, obj, act, eft",
            effect=f"{ALLOW} && !some(where (p.eft == deny))",
        ),
        lambda n: f"p, reader, data, {'write, deny' if n % 2 else 'read, allow'}",
        lambda n: f"p, role{n}, data{n}, read, deny",
        ["g, alice, reader", "g, bob, writer"],
        [ask("alice", "read", "data"), ask("alice", "write", "data"), ask("bob", "read", "data")],
    ),
    "rbac with domains": Family(
        model(
            "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act",
            "sub, dom, obj, act",
            "g = _, _, _",
        ),
        lambda _: "p, reader, acme, data, read",
        lambda n: f"p, reader, company{n % 97}, data{n}, read",
        ["g, alice, reader, acme", "g, bob, reader, globex"],
        [ask("alice", "read", "data", **ACME), ask("bob", "read", "data", **ACME), ask("alice", "read", "data")],
    ),
    "resource roles": Family(
        model("g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act", roles="g = _, _\ng2 = _, _"),
        lambda _: "p, reader, books, read",
        lambda n: f"p, reader, books, act{n}",
        ["g, alice, reader", "g2, novel, books"],
        [ask("alice", "read", "novel"), ask("alice", "read", "pen"), ask("bob", "read", "novel")],
    ),
    "path prefixes": Family(
        model("r.sub == p.sub && keyMatch(r.obj, p.obj) && r.act == p.act"),
        lambda _: "p, alice, /books/*, read",
        lambda n: f"p, alice, /shelf{n:06}/*, read",
        [],
        [ask("alice", "read", "/books/1"), ask("alice", "read", "/pens/1"), ask("bob", "read", "/books/1")],
    ),
    "wildcards": Family(
        model('(p.sub == "*" || r.sub == p.sub) && (p.obj == "*" || r.obj == p.obj) && r.act == p.act'),
        lambda n: ("p, *, data, read", "p, alice, *, read", "p, alice, data, read", "p, *, *, read")[n % 4],
        lambda n: ("p, *, data{}, read", "p, alice{}, *, read", "p, alice, data{}, read", "p, *, *, read{}")[
            n % 4
        ].format(n),
        [],
        [ask("alice", "read", "data"), ask("bob", "read", "data"), ask("bob", "write", "data")],
    ),
    "rules with conditions": Family(
        model("r.sub == p.sub && r.obj == p.obj && r.act == p.act && eval(p.rule)", "sub, obj, act, rule"),
        lambda n: ("p, alice, data, read, r.sub.age > 90", "p, alice, data, read, r.obj.team == 'red'")[n % 2],
        lambda n: f"p, alice{n}, data, read, r.sub.age > 18",
        [],
        [ask("alice", "read", "data", subject_attributes={"age": 20}, object_attributes={"team": "red"})],
    ),
    "standard model": Family(
        BASIC,
        lambda n: (
            "p, role:CLIENT, *, folder, *, read, own, allow",
            "p, role:CLIENT, *, folder, *, update, company, allow",
            "p, role:ADMIN, *, *, *, *, platform, allow",
            "p, role:CLIENT, *, folder, *, decide, company, deny",
        )[n % 4],
        lambda n: f"p, role:R{n % 50}, *, type{n}, *, act{n % 7}, {('own', 'company', 'platform')[n % 3]}, allow",
        STANDARD_LINKS,
        STANDARD_REQUESTS,
    ),
    "standard model with patterns and conditions": Family(
        EXTENDED,
        lambda n: (
            "p, role:CLIENT, *, folder, 1*, read, own, allow, True",
            "p, role:CLIENT, *, folder, *, delete, company, allow, r.context.mfa",
            "p, role:ADMIN, *, *, *, *, platform, allow, True",
            "p, alice, *, folder, *, decide, platform, deny, True",
        )[n % 4],
        lambda n: f"p, role:CLIENT, *, type{n}, id{n:06}*, act{n % 7}, company, allow, r.obj.level > {n % 9}",
        STANDARD_LINKS,
        STANDARD_REQUESTS,
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_leaf_does_not_grow_with_rules_that_say_the_same(name: str) -> None:
    """Ten rules and ten thousand for one role and key lead to the same entries and the same answers."""
    family = FAMILIES[name]
    few, many = (
        work(snapshot(family.text, [*[family.same(n) for n in range(size)], *family.links]), family.requests)
        for size in (10, 10_000)
    )
    assert few == many
    assert max(touched for _, touched in few) < 60


@pytest.mark.parametrize("name", FAMILIES)
def test_work_does_not_grow_with_rules_about_something_else(name: str) -> None:
    """Rules for other roles, keys and prefixes cost nothing, however many there are."""
    family = FAMILIES[name]
    few, many = (
        work(
            snapshot(
                family.text,
                [*[family.same(n) for n in range(8)], *[family.other(n) for n in range(size)], *family.links],
            ),
            family.requests,
        )
        for size in (200, 10_000)
    )
    assert [allowed for allowed, _ in few] == [allowed for allowed, _ in many]
    # A leaf that has grown from a tuple to a dict is probed for what is asked instead of walked.
    assert all(after <= before for (_, before), (_, after) in zip(few, many, strict=True)), (few, many)
    assert any(allowed for allowed, _ in many)


def test_the_smaller_side_is_walked() -> None:
    """Where a leaf knows many roles or a subject holds many, only the fewer are looked at."""
    text = FAMILIES["rbac"].text
    rules = [f"p, role{n}, data, read" for n in range(5_000)]
    ((allowed, touched),) = work(snapshot(text, [*rules, "g, alice, role77"]), [ask("alice", "read", "data")])
    assert allowed
    assert touched < 20
    links = [f"g, alice, role{n}" for n in range(5_000)]
    elsewhere = [f"p, role{n}, other, read" for n in range(5_000)]
    compiled = snapshot(text, [*[f"p, role{n}, data, read" for n in range(6)], *elsewhere, *links])
    ((allowed, touched),) = work(compiled, [ask("alice", "read", "data")])
    assert allowed
    assert touched < 40


def test_prefixes_are_probed_by_length_and_not_by_pattern() -> None:
    """Thousands of prefixes of a few lengths cost a probe for each length that the value reaches."""
    rules = [f"p, alice, /{'x' * (n % 5)}{n:05}/*, read" for n in range(10_000)]
    compiled = snapshot(FAMILIES["path prefixes"].text, [*rules, "p, alice, /*, read"])
    ((allowed, touched),) = work(compiled, [ask("alice", "read", "/shelf/1")])
    assert allowed
    assert touched < 30


def test_rules_are_ranked_as_the_effect_reads_them() -> None:
    """A rule's first occurrence decides, denials come first where one is enough, and priorities order the rest."""
    same = ["p, alice, data, read, allow"] * 3
    both = model("r.sub == p.sub && r.obj == p.obj && r.act == p.act", "sub, obj, act, eft", effect=ALLOW)
    request = ask("alice", "read", "data")
    assert Decider(snapshot(both, same)).decide(request).rule == 0
    denying = both.replace(ALLOW, f"{ALLOW} && !some(where (p.eft == deny))")
    decision = Decider(snapshot(denying, [*same, "p, alice, data, read, deny", *same])).decide(request)
    assert (decision.allowed, decision.rule) == (False, 3)
    by_priority = denying.replace(f"{ALLOW} && !some(where (p.eft == deny))", "priority(p.eft) || deny")
    by_priority = by_priority.replace("p = sub", "p = priority, sub")
    rows = [f"p, {number}, alice, data, read, {eft}" for number, eft in ((10, "deny"), (9, "allow"), (9, "deny"))]
    decision = Decider(snapshot(by_priority, rows)).decide(request)
    assert (decision.allowed, decision.rule) == (True, 1)


def test_rules_that_look_alike_in_other_tables_are_kept() -> None:
    """The same role and key in another company, or with another field free, is another rule."""
    text = model(
        'g(r.sub, p.sub, r.dom) && r.dom == p.dom && (p.obj == "*" || r.obj == p.obj) && r.act == p.act',
        "sub, dom, obj, act",
        "g = _, _, _",
    )
    companies = ("acme", "globex", "initech")
    rows = [f"p, reader, {company}, {obj}, read" for obj in ("/data", "*") for company in companies]
    ours = Decider(snapshot(text, [*rows, *[f"g, alice, reader, {company}" for company in companies]]))
    for number, company in enumerate(companies):
        assert ours.decide(ask("alice", "read", "/data", company=company)).rule == number
        assert ours.decide(ask("alice", "read", "/other", company=company)).rule == number + 3
    wild = model('(p.obj == "*" || r.obj == p.obj) && (p.act == "*" || r.act == p.act)', "obj, act")
    ours = Decider(snapshot(wild.replace("r = obj", "r = sub, obj"), ["p, x, *", "p, *, x"]))
    assert ours.decide(ask("alice", "y", "x")).rule == 0
    assert ours.decide(ask("alice", "x", "y")).rule == 1


@pytest.mark.parametrize("roles", [3, 12])
def test_a_leaf_keeps_each_role_with_its_own_conditions(roles: int) -> None:
    """Rules of several roles and conditions under one key are each for who holds that role, in leaves of any size."""
    text = model("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act && eval(p.rule)", "sub, obj, act, rule")
    rows = [
        f"p, role{role}, data, read, r.obj.level == {level * roles + role}"
        for level in range(3)
        for role in range(roles)
    ]
    ours = Decider(snapshot(text, [*rows, *[f"g, user{role}, role{role}" for role in range(roles)]]))
    for role in range(roles):
        for level in range(3 * roles):
            request = ask(f"user{role}", "read", "data", object_attributes={"level": level})
            assert ours.decide(request).rule == (level if level % roles == role else -1)


# Plain data

POLICIES = Path(__file__).parents[2] / "policies"


def default_bundle() -> Snapshot:
    """The snapshot of the bundle that comes with the sidecar."""
    files, diagnostics = read_directory(POLICIES)
    assert files is not None, diagnostics
    bundle, diagnostics = parse_bundle(files, "policies")
    assert bundle is not None, diagnostics
    compiled, diagnostics = compile_bundle(bundle)
    assert compiled is not None, diagnostics
    return compiled


def extended() -> Snapshot:
    """A snapshot with patterns, conditions and domains."""
    family = FAMILIES["standard model with patterns and conditions"]
    return snapshot(
        family.text, [*[family.same(n) for n in range(40)], *[family.other(n) for n in range(40)], *family.links]
    )


def timed() -> Snapshot:
    """A snapshot with conditional links and resource patterns."""
    text = model("g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act", roles="g = _, _, (_, _)\ng2 = _, _")
    files = {
        "model.conf": text,
        "policy.csv": "p, reader, books, read\ng, alice, reader, _, 2030-01-01 00:00:00\ng2, /books/*, books",
        "manifest.yaml": "name: timed\nschema_version: 1\ncasbin:\n  role_matching: {g2: keyMatch}\n",
    }
    bundle, diagnostics = parse_bundle({name: content.encode() for name, content in files.items()}, "timed")
    assert bundle is not None, diagnostics
    compiled, diagnostics = compile_bundle(bundle)
    assert compiled is not None, diagnostics
    return compiled


def parts(value: Any) -> Iterator[Any]:
    """A value and everything in it."""
    yield value
    below: list[Any] = []
    if isinstance(value, dict | MappingProxyType):
        below = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | frozenset | set):
        below = list(value)
    elif isinstance(value, RuleTable):
        below = [getattr(value, name) for name in RuleTable.__slots__]
    elif isinstance(value, msgspec.Struct):
        below = [getattr(value, name) for name in value.__struct_fields__]
    for part in below:
        yield from parts(part)


PLAIN = (str, int, float, bytes, array, dict, list, tuple, frozenset, set, RuleTable, msgspec.Struct, type(None))


@pytest.mark.parametrize("compiled", [default_bundle, extended, timed])
def test_a_snapshot_is_plain_data(compiled: Callable[[], Snapshot]) -> None:
    """A snapshot holds texts, numbers, containers and structs of them, and no code."""
    everything = list(parts(compiled()))
    assert len(everything) > 200
    for part in everything:
        assert isinstance(part, PLAIN), type(part)
        assert not callable(part), part


@pytest.mark.parametrize("compiled", [default_bundle, extended, timed])
def test_a_snapshot_decides_the_same_after_a_journey(compiled: Callable[[], Snapshot]) -> None:
    """What another process is given decides and explains as the original does."""
    before = compiled()
    after: Snapshot = pickle.loads(pickle.dumps(before))  # noqa: S301 - our own bytes, made in this line
    ours, theirs = Decider(before), Decider(after)
    subjects = (
        "acme-client",
        "acme-admin",
        "root-operator",
        "root-admin",
        "acme-restricted",
        "alice",
        "root",
        "nobody",
    )
    decided: set[object] = set()
    for subject in subjects:
        for type in ("folder", "analysis", "type7", "/books/1"):
            for action in ("read", "delete", "decide", "start_biometry"):
                request = ask(subject, action, type, id="id000007-1", company="acme", owner="acme-client")
                assert ours.decide(request) == theirs.decide(request)
                assert ours.explain(request) == theirs.explain(request)
                decided.add(ours.decide(request).reason)
        request = ask(subject, "read", "/books/1", time=1.0)
        assert ours.decide(request) == theirs.decide(request)
        decided.add(ours.decide(request).allowed)
    assert len(decided) > 2
    assert before.describe() == after.describe()
