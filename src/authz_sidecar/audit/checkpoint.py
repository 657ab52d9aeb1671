"""Checkpoints: signed statements that the audit had so many records, the last with that hash, at that time.

A checkpoint's text is JSON, and what is signed is that text as it is. Its document is one line: the text as a JSON
string, the id of the key, and the signature in base64, so that `jq -j .checkpoint` gives the signed bytes to any tool.
Documents are lines of a file outside the store, the oldest first, and rows of the table `checkpoints`.

A `sealed` checkpoint stands for the records up to it, which retention removes. One with `restored_from` says that the
store was set back: what earlier checkpoints of the file say of records after that place holds no longer. It has the
digest of all lines before it in its file, and counts behind these alone: nobody can say it again later, to void what
was signed since.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_sidecar.audit.chain import HASH_LENGTH
from authz_sidecar.audit.signing import PublicKey, SigningKey

TYPE: Final = "authz-sidecar audit checkpoint"
VERSION: Final = 1
# A document is some 500 bytes.
MOST_DOCUMENT_BYTES: Final = 1 << 13
# How every document begins: a torn line that does not is none of ours.
_BEGINNING: Final = b'{"checkpoint":'


class CheckpointError(Exception):
    """A checkpoint that cannot be read, trusted or written: `message` and what to do, `help`."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The audit ended with the record `sequence` (0: none yet), which has `hash`, at `time`.

    `time` is in seconds since 1970-01-01 UTC. `epoch` is that of the store, for people: the hash alone ties the
    checkpoint to a chain. `after`, of one with `restored_from`, is the SHA-256 in hexadecimal digits of the
    lines of the file behind which it stands, each with its end.
    """

    sequence: int
    hash: bytes
    time: float
    epoch: str = ""
    sealed: bool = False
    restored_from: int | None = None
    after: str = ""


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint and who signed it. `is_signed_by` says whether that is so."""

    checkpoint: Checkpoint
    key: str
    text: bytes
    signature: bytes
    document: str

    def is_signed_by(self, keys: Sequence[PublicKey]) -> bool:
        """Whether one of `keys` is the one named and has signed the text."""
        return any(key.id == self.key and key.accepts(self.signature, self.text) for key in keys)


class _Text(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    type: str
    v: int
    sequence: int
    hash: str
    time: float
    epoch: str = ""
    sealed: bool = False
    restored_from: int | None = None
    after: str = ""


class _Document(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    checkpoint: str
    key: str
    signature: str


_READ_TEXT = msgspec.json.Decoder(_Text)
_READ_DOCUMENT = msgspec.json.Decoder(_Document)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> SignedCheckpoint:
    """The checkpoint with a signature."""
    fields = {
        "type": TYPE,
        "v": VERSION,
        "sequence": checkpoint.sequence,
        "hash": checkpoint.hash.hex(),
        "time": checkpoint.time,
        "epoch": checkpoint.epoch,
        "sealed": checkpoint.sealed,
        "restored_from": checkpoint.restored_from,
        "after": checkpoint.after,
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    signature = key.sign(text.encode())
    document = {"checkpoint": text, "key": key.public.id, "signature": base64.b64encode(signature).decode()}
    return SignedCheckpoint(
        checkpoint=checkpoint,
        key=key.public.id,
        text=text.encode(),
        signature=signature,
        document=json.dumps(document, separators=(",", ":")),
    )


def read_checkpoint(document: str | bytes) -> SignedCheckpoint:
    """The checkpoint in a document, whose signature is not checked here; raises CheckpointError."""
    try:
        found = _READ_DOCUMENT.decode(document)
        text = _READ_TEXT.decode(found.checkpoint)
        hash = bytes.fromhex(text.hash)
        signature = base64.b64decode(found.signature, validate=True)
    except (ValueError, RecursionError) as error:
        raise CheckpointError("it is not a checkpoint") from error
    if text.type != TYPE or len(hash) != HASH_LENGTH or text.sequence < 0:
        raise CheckpointError("it is not a checkpoint")
    if text.v != VERSION:
        raise CheckpointError(f"it is a checkpoint of version {text.v}, and this sidecar reads version {VERSION}")
    checkpoint = Checkpoint(
        sequence=text.sequence,
        hash=hash,
        time=text.time,
        epoch=text.epoch,
        sealed=text.sealed,
        restored_from=text.restored_from,
        after=text.after,
    )
    plain = document if isinstance(document, str) else document.decode()
    return SignedCheckpoint(
        checkpoint=checkpoint, key=found.key, text=found.checkpoint.encode(), signature=signature, document=plain
    )


class CheckpointFile:
    """The file of documents, outside the store. Several processes may append to it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that are whole, each with its number from 1; none where there is no file. Raises CheckpointError.

        A last line without its end was never acknowledged, and the next to write removes it.
        """
        try:
            with self.path.open("rb") as stream:
                number = 0
                while line := stream.readline(MOST_DOCUMENT_BYTES):
                    number += 1
                    if line.endswith(b"\n"):
                        yield number, line.strip()
                    elif len(line) == MOST_DOCUMENT_BYTES:
                        raise CheckpointError(f"line {number} of `{self.path}` is too long for a checkpoint")
        except FileNotFoundError:
            return
        except OSError as error:
            raise CheckpointError(f"`{self.path}` cannot be read: {_cause(error)}", "name a file") from error

    def last(self) -> SignedCheckpoint | None:
        """The last document; None where there is none. Raises CheckpointError."""
        try:
            with self.path.open("rb") as stream:
                end = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, end - 2 * MOST_DOCUMENT_BYTES))
                lines = stream.read().split(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"`{self.path}` cannot be read: {_cause(error)}", "name a file") from error
        whole = [line for line in lines[:-1] if line.strip()]
        if not whole:
            return None
        try:
            return read_checkpoint(whole[-1])
        except CheckpointError as error:
            raise CheckpointError(f"the last line of `{self.path}`: {error.message}", "name another file") from error

    def holds(self, signed: SignedCheckpoint) -> bool:
        """Whether the file has this document, and no restore has made it void since. Raises CheckpointError."""
        wanted, found = signed.document.encode(), False
        for _, line in self.lines():
            if line == wanted:
                found = True
            elif found:
                with contextlib.suppress(CheckpointError):
                    restored = read_checkpoint(line).checkpoint.restored_from
                    found = restored is None or restored >= signed.checkpoint.sequence
        return found

    def append(self, checkpoint: Checkpoint, key: SigningKey) -> SignedCheckpoint:
        """Sign a checkpoint, and add it durably; raises CheckpointError, and then the file is as it was."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise self._unwritten(error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            end = self._whole_lines(handle)
            if checkpoint.restored_from is not None:
                digest = LinesDigest()
                for _, whole in self.lines():
                    digest.add(whole)
                checkpoint = msgspec.structs.replace(checkpoint, after=digest.text)
            signed = sign_checkpoint(checkpoint, key)
            line = signed.document.encode() + b"\n"
            os.ftruncate(handle, end)
            try:
                if os.write(handle, line) != len(line):
                    raise OSError("it was written in part")
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end)
                raise
        except OSError as error:
            raise self._unwritten(error) from error
        finally:
            os.close(handle)
        return signed

    def _whole_lines(self, handle: int) -> int:
        """How many bytes of the file are whole lines. Raises CheckpointError for a file of something else, which stays
        as it is."""
        end = os.fstat(handle).st_size
        tail = os.pread(handle, 2 * MOST_DOCUMENT_BYTES, max(0, end - 2 * MOST_DOCUMENT_BYTES))
        torn = tail.rpartition(b"\n")[2]
        if torn[: len(_BEGINNING)] != _BEGINNING[: len(torn)]:
            help = "name another file, or one that is not there yet"
            raise CheckpointError(f"`{self.path}` is not a file of checkpoints", help)
        return end - len(torn)

    def _unwritten(self, error: OSError) -> CheckpointError:
        help = "name a file in a directory that may be written, outside the store"
        return CheckpointError(f"`{self.path}` cannot be written: {_cause(error)}", help)


class LinesDigest:
    """What `Checkpoint.after` says of the lines that have been added."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """The next line, without its end."""
        self._hash.update(line + b"\n")

    @property
    def text(self) -> str:
        """In hexadecimal digits."""
        return self._hash.hexdigest()


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
