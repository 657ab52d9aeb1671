"""Rebuilds a snapshot from its pieces (`compile.piece` has the format), a piece at a time."""

import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any

import msgspec

from authz_sidecar.compile.piece import (
    COLLECTIONS,
    CONTAINERS,
    ENTRIES,
    FORMAT,
    FORMS,
    FRAME,
    SIGNATURE,
    Step,
    TransferError,
    Vector,
)
from authz_sidecar.compile.snapshot import Snapshot

_FORM_OF = list(FORMS.values())
# What a piece that passed its checksum can still raise when it was written by something else.
_MISFITS = (IndexError, ValueError, TypeError, KeyError, AttributeError, OverflowError, StopIteration, RuntimeError)


def read_snapshot(data: bytes | bytearray | memoryview) -> Generator[None, None, Snapshot]:
    """Rebuild the snapshot that `dump_snapshot` wrote: each step does one piece's work, the last gives the snapshot.

    Raises TransferError unless `data` is all of it, as this release writes it. `data` must not change meanwhile.
    """
    decoder = _Decoder()
    for step, arguments in _pieces(memoryview(data)):
        try:
            decoder.take(step, arguments)
        except _MISFITS as error:
            raise TransferError("the snapshot holds a piece that does not fit") from error
        yield
    snapshot = decoder.result
    # Each of the lists is the last to let go of nothing, but freeing millions of references takes time too.
    for numbered in (decoder.texts, decoder.objects, decoder.containers):
        while numbered:
            del numbered[-8 * ENTRIES :]
            yield
    if not isinstance(snapshot, Snapshot):
        raise TransferError("the snapshot ends too early")
    return snapshot


def _pieces(data: memoryview) -> Iterator[tuple[int, list[Any]]]:
    at = before = 0
    first, last = True, False
    while at < len(data):
        if last or len(data) - at < FRAME.size:
            raise TransferError("the snapshot ends with bytes that are no piece of it")
        size, checksum = FRAME.unpack_from(data, at)
        body = data[at + FRAME.size : at + FRAME.size + size]
        at += FRAME.size + size
        before = zlib.crc32(body, before)
        if len(body) != size or before != checksum:
            raise TransferError("the snapshot is cut off or damaged")
        try:
            step, *arguments = msgspec.msgpack.decode(body, type=list[Any])
        except (msgspec.DecodeError, ValueError) as error:
            raise TransferError("the snapshot holds a piece that cannot be read") from error
        if first != (step == Step.HEADER):
            raise TransferError("the snapshot does not begin with a header")
        first, last = False, step == Step.END
        yield step, arguments
    if not last:
        raise TransferError("the snapshot ends too early")


class _Decoder:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.objects: list[Any] = []
        self.containers: list[Any] = []
        self.result: Any = None

    def take(self, step: int, arguments: list[Any]) -> None:
        """Do what one piece says."""
        _STEPS[step](self, *arguments)

    def header(self, format: int, signature: object) -> None:
        if format != FORMAT or signature != SIGNATURE:
            raise TransferError("the snapshot was written by another release")

    def add_texts(self, texts: list[str]) -> None:
        self.texts += texts

    def add_objects(self, number: int, written: list[Any]) -> None:
        rows = self.vector(written)
        if number >= 0:
            rows = list(map(_FORM_OF[number].build, rows))
        self.objects += rows

    def add_container(self, number: int, typecode: str) -> None:
        kind = CONTAINERS[number]
        if kind is array:
            self.containers.append(array(typecode))
        else:
            # What cannot be filled is filled as what can, and sealed.
            self.containers.append([] if kind is tuple else set() if kind is frozenset else kind())

    def fill(self, number: int, first: Any, second: list[Any] | None = None) -> None:
        container = self.containers[number]
        match container:
            case dict():
                if second is not None:
                    container.update(zip(self.vector(first), self.vector(second), strict=True))
            case list():
                container += self.vector(first)
            case set():
                container.update(self.vector(first))
            case _:
                container.frombytes(first)

    def seal(self, number: int) -> None:
        container = self.containers[number]
        self.containers[number] = tuple(container) if isinstance(container, list) else frozenset(container)

    def end(self, written: list[Any]) -> None:
        (self.result,) = self.vector(written)

    def vector(self, written: list[Any]) -> list[Any]:
        return _VECTORS[written[0]](self, *written[1:])

    def members(self, number: int, values: list[Any]) -> list[Any]:
        return list(map(_FORM_OF[number].kind, self.vector(values)))

    def tuples(self, count: int, columns: list[list[Any]]) -> list[Any]:
        if not columns:
            return [()] * count
        return list(zip(*[self.vector(column) for column in columns], strict=True))

    def dicts(self, lengths: bytes, keys: list[Any], values: list[Any]) -> list[Any]:
        each_key, each_value = iter(self.vector(keys)), iter(self.vector(values))
        return [dict(zip(islice(each_key, length), each_value, strict=False)) for length in _numbers(lengths)]

    def collections(self, kind: int, lengths: bytes, members: list[Any]) -> list[Any]:
        each = iter(self.vector(members))
        return [COLLECTIONS[kind](islice(each, length)) for length in _numbers(lengths)]

    def mixed(self, tags: bytes, parts: list[list[Any]]) -> list[Any]:
        following = [iter(self.vector(part)).__next__ for part in parts]
        return [following[tag]() for tag in _numbers(tags)]


def _numbers(packed: bytes) -> memoryview:
    return memoryview(packed).cast("I")


def _chosen(numbered: list[Any], numbers: bytes) -> list[Any]:
    return list(map(numbered.__getitem__, _numbers(numbers)))


_STEPS: dict[int, Callable[..., None]] = {
    Step.HEADER: _Decoder.header,
    Step.TEXTS: _Decoder.add_texts,
    Step.OBJECTS: _Decoder.add_objects,
    Step.CONTAINER: _Decoder.add_container,
    Step.FILL: _Decoder.fill,
    Step.SEAL: _Decoder.seal,
    Step.END: _Decoder.end,
}
_VECTORS: dict[int, Callable[..., list[Any]]] = {
    Vector.TEXTS: lambda decoder, numbers: _chosen(decoder.texts, numbers),
    Vector.INTEGERS: lambda _, packed: memoryview(packed).cast("q").tolist(),
    Vector.LARGE_INTEGERS: lambda _, written: [int(text, 16) for text in written],
    Vector.SCALARS: lambda _, values: values,
    Vector.OBJECTS: lambda decoder, numbers: _chosen(decoder.objects, numbers),
    Vector.CONTAINERS: lambda decoder, numbers: _chosen(decoder.containers, numbers),
    Vector.TUPLES: _Decoder.tuples,
    Vector.DICTS: _Decoder.dicts,
    Vector.COLLECTIONS: _Decoder.collections,
    Vector.ARRAYS: lambda _, typecode, packed: [array(typecode, items) for items in packed],
    Vector.MEMBERS: _Decoder.members,
    Vector.MIXED: _Decoder.mixed,
}
