"""Snapshots on their way from one process to another: what arrives decides as what was sent, or is refused."""

import gc
import random
import weakref
import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.directory_rules import directory_rules
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.names import LARGEST_PART, name_set
from authz_sidecar.compile.piece import BYTES, CHARACTERS, ENTRIES, FORMS, FRAME, Step, Vector
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.compile.transfer import TransferError, dismantle, dump_snapshot, read_snapshot
from authz_sidecar.decide import Decider
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import RuleTable, build_request
from authz_sidecar.values.directory_rules import DirectoryRules
from tests.decide.casbin_judge import decider
from tests.decide.test_against_pycasbin import requests, systems

DOMAINS = """\
[request_definition]
r = sub, dom, obj, act
[policy_definition]
p = sub, dom, obj, act
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act
"""
# Its rules differ in priority, effect and condition, so that it has every kind of container at its largest.
MIXED = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = priority, sub, obj, act, rule, eft
[role_definition]
g = _, _
[policy_effect]
e = priority(p.eft) || deny
[matchers]
m = g(r.sub, p.sub) && (p.obj == "*" || r.obj == p.obj) && r.act == p.act && eval(p.rule)
"""


def compiled(model: str, rows: list[str]) -> Snapshot:
    """The snapshot of a model with these rows."""
    bundle, diagnostics = parse_bundle({"model.conf": model.encode(), "policy.csv": "\n".join(rows).encode()}, "rows")
    assert bundle is not None, diagnostics
    snapshot, diagnostics = compile_bundle(bundle)
    assert snapshot is not None, diagnostics
    return snapshot


def companies(count: int) -> Snapshot:
    """Plain RBAC with domains: 10 rules and 50 users in each company, and one company of 3,000 users."""
    rows = [f"p, role{at % 3}, company{n}, type{at}, read" for n in range(count) for at in range(10)]
    rows += [f"g, user{n}-{at}, role{at % 3}, company{n}" for n in range(count) for at in range(50)]
    rows += [f"g, guest{at}, role0, company0" for at in range(3_000)]
    return compiled(DOMAINS, rows)


def mixed(rules: int) -> Snapshot:
    """Rules with priorities, effects, wildcards, and a condition of its own for each third; one subject in four is
    linked to several roles, one rule in five is about a subject of its own."""
    rows = []
    for n in range(rules):
        subject = f"user{n}" if n % 5 == 0 else f"role{n % 50}"
        rule = f"r.sub.age > {n}" if n % 3 == 0 else "True"
        rows.append(
            f"p, {n % 7}, {subject}, {'*' if n % 11 == 0 else f'data{n}'}, read, {rule}, {'deny' if n % 4 else 'allow'}"
        )
        rows += [f"g, user{n}, role{at}" for at in range(1 if n % 4 else 3)]
    return compiled(MIXED, rows)


def dumped(snapshot: Snapshot) -> list[bytes]:
    """Its pieces."""
    pieces: list[bytes] = []
    dump_snapshot(snapshot, pieces.append)
    return pieces


def finished(reading: Generator[None, None, Snapshot]) -> Snapshot:
    """What a reading ends with."""
    while True:
        try:
            next(reading)
        except StopIteration as end:
            snapshot: Snapshot = end.value
            return snapshot


def read(pieces: list[bytes]) -> Snapshot:
    """The snapshot that was written as these pieces."""
    return finished(read_snapshot(b"".join(pieces)))


def framed(*bodies: tuple[object, ...]) -> list[bytes]:
    """Pieces with these contents, checksums included."""
    checksum, pieces = 0, []
    for body in bodies:
        encoded = msgspec.msgpack.encode(body)
        checksum = zlib.crc32(encoded, checksum)
        pieces.append(FRAME.pack(len(encoded), checksum) + encoded)
    return pieces


def content(piece: bytes) -> list[Any]:
    """What a piece holds."""
    body: list[Any] = msgspec.msgpack.decode(piece[FRAME.size :])
    return body


def inside(value: Any) -> list[Any]:
    """The values right inside a value."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if value.__class__ in FORMS:
        return [getattr(value, field) for field in FORMS[value.__class__].fields]
    return []


def everything(root: object) -> Iterator[Any]:
    """The value and all the values in it, each object once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if id(value) not in seen:
            seen.add(id(value))
            yield value
            waiting += inside(value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in every part, types and order included (`==` knows neither)."""
    if one.__class__ is not other.__class__:
        return False
    if isinstance(one, (set, frozenset, str, int, float, bytes)) or one is None:
        return bool(one == other)
    if isinstance(one, array):
        return bool(one.typecode == other.typecode and one == other)
    parts, others = inside(one), inside(other)
    return len(parts) == len(others) and all(map(same, parts, others))


@settings(max_examples=settings().max_examples // 4)
@given(st.data(), systems())
def test_what_arrives_decides_as_what_was_sent(data: st.DataObject, system: tuple[str, str, dict[str, str]]) -> None:
    """A random bundle's snapshot arrives equal in every part, and decides and explains random requests alike."""
    model, policy, matching = system
    sent = decider(model, policy, matching)
    arrived = Decider(read(dumped(sent.snapshot)))
    assert same(arrived.snapshot, sent.snapshot)
    for request in data.draw(st.lists(requests(model, policy), min_size=3, max_size=6)):
        assert arrived.explain(request) == sent.explain(request)


@pytest.mark.parametrize(
    "made",
    [
        lambda: companies(100),
        lambda: mixed(5_000),
        lambda: compiled(MIXED, []),
        lambda: (
            decider(
                DOMAINS.replace("g = _, _, _", "g = _, _, _, (_, _)"),
                "p, admin, acme, data, read\ng, alice, admin, acme, 2001-01-01 00:00:00, 2002-01-01 00:00:00",
                None,
                None,
                {"g": "timeMatch"},
            ).snapshot
        ),
    ],
    ids=["many companies", "every kind of container", "no rules", "link conditions"],
)
def test_a_snapshot_arrives_whole(made: Callable[[], Snapshot]) -> None:
    """Whatever the policy, and however large, what arrives equals what was sent in every part and its types."""
    sent = made()
    assert same(read(dumped(sent)), sent)


def test_the_default_bundle_arrives_whole() -> None:
    """So does the snapshot of the repository's own bundle."""
    loaded = load_bundle(Path(__file__).parents[2] / "policies")
    assert loaded.bundle is not None
    sent, _ = compile_bundle(loaded.bundle)
    assert sent is not None
    assert same(read(dumped(sent)), sent)


def test_values_of_every_kind_arrive() -> None:
    """Numbers beyond 64 bits, fractions, truth values, nothing, bytes, empty containers and nested ones arrive as what
    they are, also mixed in one list."""
    values: list[Any] = [1, True, 1.0, 1 << 80, -(1 << 63), None, b"1", "1", (), (1,), ("1", (2, [3])), {}, [], set()]
    values += [frozenset({"a"}), {("a", 1): {"b": [None, {"c"}]}}, array("H", [1, 2]), array("I"), [[], [[]]], {1: {}}]
    table = RuleTable("p", 2)
    table.append(("a", "b"), table.file_number("f"), 3, via=("c",))
    large = [tuple(range(ENTRIES + 1)), frozenset(map(str, range(5_000))), array("I", range(BYTES)), bytes(BYTES)]
    sent = msgspec.structs.replace(compiled(MIXED, []), tables={"p": table, "x": [*values, *large]})
    assert same(read(dumped(sent)), sent)


def test_what_was_shared_is_shared() -> None:
    """No text arrives twice, whichever tables it occurs in; companies share the keys of their tables, and an expression
    stands once."""
    sent = companies(100)
    arrived = read(dumped(sent))
    texts = [value for value in everything(arrived) if isinstance(value, str) and len(value) > 1]
    assert len(texts) == len(set(texts))
    tables = arrived.sections[""].branches[0].shapes[0].table
    assert len({id(key) for table in tables.values() for key in table}) == len(tables["company1"]) == 10
    assert arrived.model.sections[""] is arrived.sections[""].section
    assert len(list(everything(arrived))) <= len(list(everything(sent)))


def entries(value: Any) -> int:
    """The values in a decoded piece, numbers that are packed into bytes included."""
    match value:
        case [Vector.INTEGERS, bytes(packed)]:
            return len(packed) // 8
        case bytes(packed):
            return len(packed) // 4
        case list():
            return sum(map(entries, value))
    return 1


@pytest.mark.parametrize("made", [lambda: companies(400), lambda: mixed(9_000)], ids=["companies", "mixed"])
def test_a_piece_is_bounded(made: Callable[[], Snapshot]) -> None:
    """However large the policy, no piece holds more than a few thousand entries, and there are the more pieces."""
    pieces = dumped(made())
    assert len(pieces) > 50
    for piece in pieces:
        step, *arguments = content(piece)
        packed = step == Step.FILL and isinstance(arguments[1], bytes)
        assert len(arguments[1]) <= BYTES if packed else entries(arguments) <= 4 * ENTRIES, piece[:100]


def test_long_texts_make_more_pieces() -> None:
    """A thousand conditions of a kilobyte each do not make one piece of a megabyte."""
    rows = [f"p, 1, alice, data{n}, read, r.sub.team == '{n:01000}', allow" for n in range(1_000)]
    assert max(map(len, dumped(compiled(MIXED, rows)))) < CHARACTERS + 10_000


def test_reading_takes_a_step_for_each_piece() -> None:
    """Reading does the work of one piece between two steps, and never more."""
    pieces = dumped(companies(50))
    reading = read_snapshot(b"".join(pieces))
    for _ in pieces:
        next(reading)
    assert isinstance(finished(reading), Snapshot)


def test_reading_leaves_nothing_to_collect() -> None:
    """Whoever reads with the collector off and freezes afterwards freezes no garbage."""
    data = b"".join(dumped(companies(20)))
    gc.collect()
    gc.disable()
    try:
        arrived = finished(read_snapshot(data))
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert arrived.sections


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_snapshot_is_read_from_any_buffer(wrap: Callable[[bytes], Any]) -> None:
    """It may lie in bytes, in a bytearray or in a memoryview, such as one of a mapped file."""
    sent = companies(2)
    assert same(finished(read_snapshot(wrap(b"".join(dumped(sent))))), sent)


SMALL = dumped(mixed(40))
JOINED = b"".join(SMALL)


def test_truncated_bytes_are_refused() -> None:
    """A snapshot that is cut off anywhere, between two pieces or within one, is refused."""
    ends = {0, 1, len(JOINED) - 1}
    at = 0
    for piece in SMALL[:-1]:
        at += len(piece)
        ends |= {at - 1, at, at + 4, at + FRAME.size}
    for end in ends:
        with pytest.raises(TransferError):
            finished(read_snapshot(JOINED[:end]))


@given(st.integers(0, len(JOINED) - 1), st.integers(1, 255))
def test_damaged_bytes_are_refused(at: int, change: int) -> None:
    """A snapshot with any byte changed is refused."""
    damaged = bytearray(JOINED)
    damaged[at] ^= change
    with pytest.raises(TransferError):
        finished(read_snapshot(damaged))


def test_a_missing_repeated_or_moved_piece_is_refused() -> None:
    """Pieces that are whole by themselves make no snapshot when one is missing, comes twice or elsewhere, or follows
    the last."""
    for at in range(len(SMALL)):
        for pieces in (
            SMALL[:at] + SMALL[at + 1 :],
            SMALL[:at] + SMALL[at : at + 1] + SMALL[at:],
            [*SMALL[:at], *SMALL[at + 1 : at + 2], SMALL[at], *SMALL[at + 2 :]],
        ):
            if pieces != SMALL:
                with pytest.raises(TransferError):
                    read(pieces)
    with pytest.raises(TransferError):
        read([*SMALL, SMALL[0]])


@pytest.mark.parametrize(
    "bodies",
    [
        [(Step.END, [Vector.SCALARS, [None]])],
        [(Step.END, [Vector.SCALARS, []])],
        [(Step.END, [Vector.SCALARS, [1, 2]])],
        [(Step.END, [Vector.DICTS, array("I", [0]).tobytes(), [Vector.SCALARS, []], [Vector.SCALARS, []]])],
        [(Step.END, [Vector.OBJECTS, array("I", [0]).tobytes()])],
        [(Step.END, [Vector.TEXTS, b"123"])],
        [(Step.END, [Vector.MIXED, array("I", [0, 0]).tobytes(), [[Vector.SCALARS, [None]]]])],
        [(Step.END, [99])],
        [(Step.END,)],
        [(99,)],
        [("HEADER",)],
        [(Step.OBJECTS, len(FORMS), [Vector.TUPLES, 1, []])],
        [(Step.OBJECTS, 0, [Vector.TUPLES, 1, []])],
        [(Step.CONTAINER, 99, "")],
        [(Step.CONTAINER, 3, "no typecode")],
        [(Step.FILL, 0, [Vector.SCALARS, []])],
        [(Step.CONTAINER, 1, ""), (Step.FILL, 0, b"1")],
        [(Step.CONTAINER, 0, ""), (Step.FILL, 0, [Vector.SCALARS, [None]], [Vector.SCALARS, []])],
        [(Step.CONTAINER, 0, ""), (Step.FILL, 0, [Vector.COLLECTIONS, 0, bytes(4), []], [Vector.SCALARS, [1]])],
    ],
)
def test_pieces_that_do_not_fit_are_refused(bodies: list[tuple[object, ...]]) -> None:
    """Pieces with good checksums that name what there is not, or end with no snapshot, are refused."""
    header = tuple(content(SMALL[0]))
    with pytest.raises(TransferError):
        read(framed(header, *bodies))


def test_the_pieces_of_another_release_are_refused() -> None:
    """A header that names another format or other classes is refused, and so is one that is missing."""
    step, format, signature = content(SMALL[0])
    rest = [tuple(content(piece)) for piece in SMALL[1:]]
    assert same(read(framed((step, format, signature), *rest)), read(SMALL))
    for header in ((step, format + 1, signature), (step, format, signature[1:]), (step, format, None)):
        with pytest.raises(TransferError, match="another release"):
            read(framed(header, *rest))
    with pytest.raises(TransferError, match="header"):
        read(framed(*rest))


@pytest.mark.parametrize("foreign", [object(), len, ValueError(), Path("x"), random.Random(0), Step.END])  # noqa: S311
def test_foreign_objects_are_not_written(foreign: object) -> None:
    """What is neither plain data nor one of a snapshot's own classes is refused, wherever in the snapshot it is."""
    for place in (foreign, [foreign], {"x": ("y", foreign)}, ["x"] * ENTRIES + [foreign]):
        snapshot = msgspec.structs.replace(compiled(MIXED, []), tables={"p": place})
        with pytest.raises(TransferError, match="cannot be transferred"):
            dumped(snapshot)


def test_text_that_is_not_unicode_is_not_written() -> None:
    """Text with half a surrogate pair, as in an undecodable file name, is refused with a TransferError."""
    with pytest.raises(TransferError, match="not Unicode"):
        dumped(msgspec.structs.replace(compiled(MIXED, []), name="\udcff"))


def test_all_classes_of_a_snapshot_are_known() -> None:
    """The classes that may be written are found through the fields' types: those of rules, plans and every expression
    are among them, and none that is no data."""
    names = {kind.__qualname__ for kind in FORMS}
    assert {"Snapshot", "RuleTable", "Span", "Effect", "BranchPlan", "RoleAccess", "Shape", "Eval", "NameSet"} <= names
    assert all(kind.__module__.startswith("authz_sidecar.") for kind in FORMS)
    assert names.isdisjoint({"Decider", "Bundle", "Request"})


@pytest.mark.parametrize("made", [lambda: companies(100), lambda: mixed(5_000)], ids=["companies", "mixed"])
def test_a_dismantled_snapshot_is_empty(made: Callable[[], Snapshot]) -> None:
    """Dismantling ends with every dict, list, set and array empty, but for the rules for directories."""
    snapshot = read(dumped(made()))
    apart = msgspec.structs.replace(snapshot, directory_rules=DirectoryRules())
    held = [value for value in everything(apart) if isinstance(value, (dict, list, set, array))]
    for _ in dismantle(snapshot):
        pass
    assert held
    assert not any(held)


def test_the_rules_for_directories_travel_and_are_kept() -> None:
    """They arrive as they were, and stay whole when the snapshot is taken apart: a change may still go by them."""
    bundle = load_bundle(Path(__file__).resolve().parents[2] / "policies").bundle
    assert bundle is not None
    made, _ = compile_bundle(bundle)
    assert made is not None
    snapshot = read(dumped(made))
    kept = snapshot.directory_rules
    for _ in dismantle(snapshot):
        pass
    assert kept == directory_rules(bundle)
    assert kept.roles["CLIENT"].assigned == "company"


def test_dismantling_goes_step_by_step() -> None:
    """Between two steps a container loses a bounded number of entries."""
    snapshot = read(dumped(mixed(5_000)))
    apart = msgspec.structs.replace(snapshot, directory_rules=DirectoryRules())
    held = [value for value in everything(apart) if isinstance(value, (dict, list, set))]
    before = sum(map(len, held))
    assert before > 25 * ENTRIES
    for _ in dismantle(snapshot):
        left = sum(map(len, held))
        assert before - left <= 3 * ENTRIES
        before = left
    assert sum(map(len, held)) == 0


def test_a_closed_decider_goes_without_a_collection() -> None:
    """Once closed, a decider with used caches and all that its snapshot holds go with their last references."""
    gc.collect()
    gc.disable()
    try:
        ours = Decider(read(dumped(mixed(500))))
        for number in range(100):
            request, _ = build_request(f"user{number}", "read", type=f"data{number}", subject_attributes={"age": 20})
            assert request is not None
            ours.decide(request)
        snapshot = ours.snapshot
        section = snapshot.sections[""]
        probe = ours._sections[""]._branches[0].probes[0]  # noqa: SLF001 - what goes with the decider
        watched: list[weakref.ref[Any]] = [
            weakref.ref(ours),
            weakref.ref(ours._sections[""]),  # noqa: SLF001 - the same
            weakref.ref(section.names["sub"].parts[0]),
            weakref.ref(snapshot.graphs["g"].subjects.parts[0]),
        ]
        assert probe is not None
        assert probe._cache  # noqa: SLF001 - or nothing would be proved of caches
        del section, probe
        for _ in dismantle(snapshot, *ours.close()):
            pass
        del snapshot, ours
        assert [one() for one in watched] == [None] * len(watched)
    finally:
        gc.enable()


@pytest.mark.parametrize("domains", [True, False], ids=["one table", "any tables"])
def test_a_closed_decider_answers_nothing(domains: bool) -> None:
    """Deciding and explaining raise after `close`: what is left of the policy must not answer."""
    ours = Decider(companies(1) if domains else mixed(10))
    request, _ = build_request("user0-0", "read", type="type0", company="company0")
    assert request is not None
    ours.decide(request)
    ours.close()
    with pytest.raises(RuntimeError, match="closed"):
        ours.decide(request)
    with pytest.raises(RuntimeError, match="closed"):
        ours.explain(request)


def test_large_sets_of_names_are_spread() -> None:
    """A set of names holds what was put in, in parts that are bounded however many names there are."""
    for count in (0, 1, LARGEST_PART, LARGEST_PART + 1, 5 * LARGEST_PART):
        names = name_set([f"user{number}" for number in range(count)] * 2)
        assert len(names) == count
        assert set(names) == {f"user{number}" for number in range(count)}
        assert all(f"user{number}" in names for number in range(0, count, 97))
        assert f"user{count}" not in names
        assert max(map(len, names.parts)) <= LARGEST_PART
        assert (names.quickest is names.parts[0]) == (count <= LARGEST_PART)
