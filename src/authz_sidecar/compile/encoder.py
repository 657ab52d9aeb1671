"""Writes a snapshot as pieces (`compile.piece` has the format)."""

from array import array
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from enum import Enum
from itertools import chain, islice
from typing import Any

from authz_sidecar.compile.piece import (
    BYTES,
    CHARACTERS,
    COLLECTIONS,
    CONTAINERS,
    ENTRIES,
    FORMAT,
    FORMS,
    PLAIN,
    SIGNATURE,
    Step,
    TransferError,
    Vector,
    frame,
)
from authz_sidecar.compile.snapshot import Snapshot

_NUMBER_OF = {kind: number for number, kind in enumerate(FORMS)}


def dump_snapshot(snapshot: Snapshot, write: Callable[[bytes], object]) -> None:
    """Write `snapshot` as pieces, each by one call of `write`; raises TransferError for what is no plain data."""
    encoder = _Encoder(write)
    try:
        encoder.emit(Step.HEADER, FORMAT, SIGNATURE)
        encoder.settle((snapshot,))
        encoder.emit(Step.END, encoder.vector((snapshot,)))
    except UnicodeEncodeError:
        raise TransferError("a snapshot holds text that is not Unicode, which cannot be transferred") from None


class _Texts(dict[str, int]):
    """The number of each text; a new one is given the next and waits in `new` to be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []

    def __missing__(self, text: str) -> int:
        self.new.append(text)
        number = self[text] = len(self)
        return number


class _Encoder:
    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._checksum = 0
        self._texts = _Texts()
        # By identity: the snapshot keeps all of them alive.
        self._objects: dict[int, int] = {}
        self._containers: dict[int, int] = {}

    def emit(self, step: Step, *arguments: object) -> None:
        """Write a piece, and before it the texts that it names for the first time."""
        new, self._texts.new = self._texts.new, []
        texts: list[str] = []
        size = 0
        for text in new:
            texts.append(text)
            size += len(text)
            if len(texts) == ENTRIES or size >= CHARACTERS:
                self._send(Step.TEXTS, texts)
                texts, size = [], 0
        if texts:
            self._send(Step.TEXTS, texts)
        self._send(step, *arguments)

    def _send(self, step: Step, *arguments: object) -> None:
        written, self._checksum = frame(self._checksum, step, *arguments)
        self._write(written)

    def settle(self, values: Collection[Any]) -> int:
        """Write the containers within `values` that are too large for one piece; gives how many entries are left."""
        kinds = set(map(type, values))
        if kinds <= PLAIN:
            return len(values)
        if kinds == {tuple}:
            # The leaves of a table, of which there may be a million.
            inside = list(chain.from_iterable(values))
            if len(inside) <= ENTRIES and set(map(type, inside)) <= PLAIN:
                return len(values) + len(inside)
        return len(values) + sum([self._settle_inside(value) for value in values if value.__class__ not in PLAIN])

    def _settle_inside(self, value: Any) -> int:
        kind = value.__class__
        if id(value) in self._containers or id(value) in self._objects:
            return 0
        if kind in CONTAINERS:
            size = len(value)
            if size <= ENTRIES:
                if kind is array:
                    return size
                size = self.settle(value)
                if kind is dict:
                    size += self.settle(value.values())
            if size > ENTRIES:
                self._place(value)
                return 0
            return size
        if kind in FORMS:
            return self.settle([getattr(value, field) for field in FORMS[kind].fields])
        raise TransferError(f"a snapshot holds a `{kind.__qualname__}`, which cannot be transferred")

    def _place(self, value: Any) -> None:
        """Write a container: announce it, then send its entries."""
        kind = value.__class__
        number = len(self._containers)
        self._containers[id(value)] = number
        self.emit(Step.CONTAINER, CONTAINERS.index(kind), value.typecode if kind is array else "")
        if kind is array:
            items = memoryview(value).cast("B")
            for at in range(0, len(items), BYTES):
                self.emit(Step.FILL, number, items[at : at + BYTES].tobytes())
        elif kind is dict:
            for keys, values in self._slices(value, value.values()):
                self.emit(Step.FILL, number, self.keys(keys), self.vector(values))
        elif kind is set or kind is frozenset:
            for (members,) in self._slices(value):
                self.emit(Step.FILL, number, self.keys(members))
        else:
            for (entries,) in self._slices(value):
                self.emit(Step.FILL, number, self.vector(entries))
        if kind in {tuple, frozenset}:
            self.emit(Step.SEAL, number)

    def _slices(self, *columns: Iterable[Any]) -> Iterable[list[list[Any]]]:
        """The entries of a container, by column, in slices that fit into a piece each."""
        sources = [iter(column) for column in columns]
        while any(batch := [list(islice(source, ENTRIES)) for source in sources]):
            size = start = 0
            if all(set(map(type, column)) <= PLAIN for column in batch):
                yield batch
                continue
            for end, entry in enumerate(zip(*batch, strict=True), 1):
                size += self.settle(entry)
                if size >= ENTRIES:
                    yield [column[start:end] for column in batch]
                    size, start = 0, end
            if size:
                yield [column[start:] for column in batch]

    def keys(self, values: Sequence[Any]) -> list[Any]:
        """`vector` for the keys of a dict or a set, among which tuples are objects."""
        return self.vector(values, tuples_are_objects=True)

    def vector(self, values: Sequence[Any], *, tuples_are_objects: bool = False) -> list[Any]:
        """Values by column. Containers too large for a piece have been settled before."""
        kinds = set(map(type, values))
        if kinds == {str}:
            return [Vector.TEXTS, _packed(map(self._texts.__getitem__, values))]
        if kinds == {int}:
            return _integers(values)
        if kinds <= PLAIN - {str, int}:
            return [Vector.SCALARS, list(values)]
        return self._by_group(values, tuples_are_objects)

    def _by_group(self, values: Sequence[Any], tuples_are_objects: bool) -> list[Any]:
        groups: dict[Hashable, list[Any]] = {}
        places: dict[Hashable, int] = {}
        tags: list[int] = []
        for value in values:
            kind = value.__class__
            group: Hashable = kind
            if kind in PLAIN:
                pass
            elif id(value) in self._containers:
                group = Vector.CONTAINERS
            elif kind is tuple:
                group = Vector.OBJECTS if tuples_are_objects else len(value)
            elif kind in FORMS and not issubclass(kind, Enum):
                group = Vector.OBJECTS
            elif kind is array:
                group = (array, value.typecode)
            groups.setdefault(group, []).append(value)
            tags.append(places.setdefault(group, len(places)))
        parts = [self._group(group, members) for group, members in groups.items()]
        return parts[0] if len(parts) == 1 else [Vector.MIXED, _packed(tags), parts]

    def _group(self, group: Any, values: list[Any]) -> list[Any]:
        """The vector of values of one group."""
        if group is Vector.CONTAINERS:
            return [Vector.CONTAINERS, _packed([self._containers[id(value)] for value in values])]
        if group is Vector.OBJECTS:
            self._send_objects(values)
            return [Vector.OBJECTS, _packed([self._objects[id(value)] for value in values])]
        if group in PLAIN:
            return self.vector(values)
        if group is dict:
            keys = self.keys(list(chain.from_iterable(values)))
            entries = self.vector(list(chain.from_iterable([value.values() for value in values])))
            return [Vector.DICTS, _packed(map(len, values)), keys, entries]
        if group in COLLECTIONS:
            members = list(chain.from_iterable(values))
            written = self.vector(members) if group is list else self.keys(members)
            return [Vector.COLLECTIONS, COLLECTIONS.index(group), _packed(map(len, values)), written]
        if isinstance(group, tuple):
            return [Vector.ARRAYS, group[1], [value.tobytes() for value in values]]
        if isinstance(group, int):
            return self._tuples(values)
        if group in FORMS:
            return [Vector.MEMBERS, _NUMBER_OF[group], self.vector([value.value for value in values])]
        raise TransferError(f"a snapshot holds a `{group.__qualname__}`, which cannot be transferred")

    def _tuples(self, values: Sequence[Any]) -> list[Any]:
        """Tuples of one length."""
        return [Vector.TUPLES, len(values), [self.vector(column) for column in zip(*values, strict=True)]]

    def _send_objects(self, values: list[Any]) -> None:
        """Write those of the objects that have not been written, and what they hold before them."""
        new: dict[tuple[Any, int], dict[int, Any]] = {}
        for value in values:
            if id(value) not in self._objects:
                kind = value.__class__
                new.setdefault((kind, len(value) if kind is tuple else 0), {})[id(value)] = value
        for (kind, _), members in new.items():
            found = list(members.values())
            written: list[Any] = []
            missing = -1
            # An object may hold another one of the same list, which is then numbered while the first is written.
            while missing != len(found):
                missing = len(found)
                fields = FORMS[kind].fields if kind in FORMS else ()
                rows = found if kind is tuple else [[getattr(value, field) for field in fields] for value in found]
                written = self._tuples(rows)
                found = [value for value in found if id(value) not in self._objects]
            self.emit(Step.OBJECTS, -1 if kind is tuple else _NUMBER_OF[kind], written)
            for value in found:
                self._objects[id(value)] = len(self._objects)


def _packed(numbers: Iterable[int]) -> bytes:
    return array("I", numbers).tobytes()


def _integers(values: Sequence[int]) -> list[Any]:
    try:
        return [Vector.INTEGERS, array("q", values).tobytes()]
    except OverflowError:
        return [Vector.LARGE_INTEGERS, [f"{value:x}" for value in values]]
