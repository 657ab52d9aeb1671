"""The pieces in which a snapshot travels from the process that compiled it to one that serves.

A reader that answers requests meanwhile can spare a millisecond at a time, so a snapshot is a sequence of pieces of a
bounded number of entries. Values are written by column: a hundred pairs of text and number are a hundred texts
and a hundred numbers, which are rebuilt by a few calls and no loop. What occurs in several places is
numbered when it is first sent, in one of three lists that both sides keep, and named by its number from then on:

- texts;
- objects: values of our own classes, and tuples that are keys (companies share their keys);
- containers of more than a piece's entries, which are announced empty and then filled piece by piece.

A piece is its length and checksum, and MessagePack: an operation of `Step` and its arguments. A vector, which is what
arguments mostly are, is a list that begins with a `Vector` code.
"""

import zlib
from array import array
from enum import Enum, IntEnum
from struct import Struct as Layout
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from authz_sidecar.compile.snapshot import Snapshot

# Entries in a piece, nested ones included: about half a millisecond of reading.
ENTRIES = 2048
# Characters of text in a piece, since a condition may be long.
CHARACTERS = 1 << 18
# Bytes of machine integers in a piece; they are copied, not looked at.
BYTES = 1 << 18
FORMAT = 1
FRAME = Layout("<II")
_PACKAGE = __name__.partition(".")[0] + "."


class TransferError(Exception):
    """The bytes are not a whole snapshot written by the same release, or a snapshot holds what cannot be written."""


class Step(IntEnum):
    """What a piece does: `HEADER` opens, `END` brings the snapshot itself, the others fill the lists."""

    HEADER, TEXTS, OBJECTS, CONTAINER, FILL, SEAL, END = range(7)


class Vector(IntEnum):
    """How a vector's values are written."""

    (
        TEXTS,
        INTEGERS,
        LARGE_INTEGERS,
        SCALARS,
        OBJECTS,
        CONTAINERS,
        TUPLES,
        DICTS,
        COLLECTIONS,
        ARRAYS,
        MEMBERS,
        MIXED,
    ) = range(12)


class Form(msgspec.Struct, frozen=True):
    """One of our own classes: its fields, in the order in which a Struct is built from them; none for an enum."""

    kind: type[Any]
    fields: tuple[str, ...]

    def build(self, values: tuple[Any, ...]) -> Any:
        """The object that has these values in its fields."""
        if issubclass(self.kind, msgspec.Struct):
            return self.kind(*values)
        made: Any = object.__new__(self.kind)
        for field, value in zip(self.fields, values, strict=True):
            setattr(made, field, value)
        return made


def _forms() -> dict[type[Any], Form]:
    """Our own classes in a snapshot: those that the types of its fields name, and of theirs, however deep."""
    found: dict[type[Any], Form] = {}
    waiting: list[Any] = [Snapshot]
    while waiting:
        hint = waiting.pop()
        waiting += get_args(hint)
        ours = isinstance(hint, type) and get_origin(hint) is None and hint.__module__.startswith(_PACKAGE)
        if not ours or hint in found:
            continue
        if issubclass(hint, msgspec.Struct):
            fields = hint.__struct_fields__
            # `array[int]` is a type to type checkers only, before Python 3.12.
            waiting += get_type_hints(hint, localns={"array": list}).values()
        else:
            fields = () if issubclass(hint, Enum) else tuple(sorted(hint.__slots__))
        found[hint] = Form(hint, fields)
    return dict(sorted(found.items(), key=lambda item: f"{item[0].__module__}.{item[0].__qualname__}"))


# Nothing else is ever written, and nothing else built from what is read.
FORMS = _forms()
# Classes are written as numbers, so both sides must know the same ones.
SIGNATURE = [[form.kind.__qualname__, *form.fields] for form in FORMS.values()]
PLAIN = frozenset({str, int, float, bool, type(None), bytes})
COLLECTIONS: tuple[type[Any], ...] = (list, set, frozenset)
CONTAINERS: tuple[type[Any], ...] = (dict, list, set, array, tuple, frozenset)


def frame(before: int, step: Step, *arguments: object) -> tuple[bytes, int]:
    """A piece as bytes, and its checksum, which goes into that of the next piece: no piece can go missing."""
    body = msgspec.msgpack.encode((step, *arguments))
    checksum = zlib.crc32(body, before)
    return FRAME.pack(len(body), checksum) + body, checksum
