"""Whether the audit is what was written: every record, in order, unchanged, none missing, and as checkpoints say.

The chain alone finds whatever was done to a part of the audit. Who can write the store can make up the whole of it, or
cut off its end; that is found against checkpoints, whose keys and whose file are kept elsewhere.

Records are read in pages, in one snapshot of the store, so memory does not grow with the audit; each checkpoint takes
some hundred bytes. Values are read without trusting their types: SQLite keeps text in a column of numbers.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, text

from authz_sidecar.audit.chain import GENESIS, MOST_TEXT_BYTES, ChainError, columns, hash_of, parse
from authz_sidecar.audit.checkpoint import Checkpoint, CheckpointError, LinesDigest, SignedCheckpoint, read_checkpoint
from authz_sidecar.audit.signing import PublicKey

PAGE: Final = 2000
# Each is told in full up to here, and counted after.
MOST_FINDINGS: Final = 100
# How rows are fetched that may be a mebibyte each, on a connection that holds no more of them than this.
FEW_ROWS: Final = {"stream_results": True, "max_row_buffer": 50}


class FindingKind(enum.StrEnum):
    """What is wrong."""

    # A record is not what its hash covers, or is not the text of one.
    EDITED = "edited"
    # A column is not what the record's text says.
    COLUMN = "column"
    # A record stands in another's place.
    MOVED = "moved"
    # A record does not follow the one before it.
    UNLINKED = "unlinked"
    # Records are missing, within or at the end.
    MISSING = "missing"
    # Records of which the state of the store does not know.
    UNKNOWN = "unknown"
    # The state of the store is missing, or is not that of its records.
    STATE = "state"
    # The audit is not the one that was signed for.
    CHECKPOINT = "checkpoint"
    # What should be a signed checkpoint is not.
    SIGNATURE = "signature"


class Finding(msgspec.Struct, frozen=True):
    """One fault: at which record (0 for none in particular), and a sentence."""

    kind: FindingKind
    sequence: int
    message: str


class Anchor(msgspec.Struct, frozen=True):
    """Where a walk begins: after the record `sequence`, which has `hash` (None where nobody knows)."""

    sequence: int = 0
    hash: bytes | None = GENESIS


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    The records after `start` up to `last`, `records` of them, were walked; `hash` and `epoch` are the last record's and
    the store's. Up to `covered` (0: nothing) they are vouched for by a checkpoint with a good signature, made at
    `covered_at`. `checkpoints` were compared, `passed` lie before the start, and `set_aside` were made void by a
    restore. `agreed` is the highest place at which a checkpoint is right. `signatures` says whether keys were at hand.
    There are `total` findings, of which `findings` has the first.
    """

    start: int
    last: int
    hash: bytes
    records: int
    epoch: str = ""
    covered: int = 0
    covered_at: float = 0.0
    checkpoints: int = 0
    passed: int = 0
    set_aside: int = 0
    signatures: bool = False
    findings: tuple[Finding, ...] = ()
    total: int = 0
    agreed: int = 0

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.total


class State(msgspec.Struct, frozen=True):
    """Where the store says that its audit ends."""

    epoch: str
    sequence: int
    hash: bytes


class _Findings:
    def __init__(self) -> None:
        self.first: list[Finding] = []
        self.total = 0

    def add(self, kind: FindingKind, sequence: int, message: str) -> None:
        self.total += 1
        if len(self.first) < MOST_FINDINGS:
            self.first.append(Finding(kind, sequence, message))


def read_state(connection: Connection) -> State | None:
    """Where the store says that its audit ends; None where that is not there or not readable."""
    query = _SELECTS[connection.dialect.name].state
    rows = connection.execute(text(query)).fetchmany(2)
    if len(rows) != 1 or rows[0][1] is None or rows[0][2] is None:
        return None
    epoch, sequence, hash = rows[0]
    return State(_text(epoch), sequence, bytes(hash))


def find_seal(connection: Connection, keys: Sequence[PublicKey] = ()) -> SignedCheckpoint | None:
    """The last seal in the store: records up to it may be gone. With `keys`, the last that one of them has signed."""
    found: SignedCheckpoint | None = None
    for row in _checkpoint_rows(connection):
        signed = _document(row)
        if signed is None or not signed.checkpoint.sealed or (keys and not signed.is_signed_by(keys)):
            continue
        found = signed
    return found


def verify(
    connection: Connection,
    *,
    keys: Sequence[PublicKey] = (),
    lines: Iterable[tuple[int, bytes]] = (),
    since: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Walk the audit that `connection` sees, which is one snapshot of the store.

    `keys` check the signatures of checkpoints, those of the table and `lines`, the numbered lines of the file outside
    the store; without keys they are compared, and nobody vouches for them. The walk begins at the last seal of the
    table, or at the beginning; with `since`, at that checkpoint, which the caller trusts, and what the table says is
    not looked at. `progress` is told the records walked and their number, every few thousand. Raises what the database
    raises.
    """
    findings = _Findings()
    expected = _Expected(keys, findings)
    if since is None:
        expected.add_table(connection)
        expected.add_lines(lines)
        seal = find_seal(connection, keys)
        expected.require_seal(seal)
        start = _beginning(connection, seal)
    else:
        start = expected.begin(connection, since)
    state = read_state(connection)
    walk = _Walk(connection, start, findings, expected)
    end = start.sequence if state is None else state.sequence
    for count in walk.pages():
        if progress is not None:
            progress(count, max(end - start.sequence, count))
    _compare_state(state, walk, findings)
    expected.compare_rest(start.sequence, walk.last)
    return Report(
        start=start.sequence,
        last=walk.last,
        hash=walk.hash or b"",
        records=walk.count,
        epoch="" if state is None else state.epoch,
        covered=expected.covered,
        covered_at=expected.covered_at,
        checkpoints=expected.compared,
        passed=expected.passed,
        set_aside=expected.set_aside,
        signatures=bool(keys),
        findings=tuple(findings.first),
        total=findings.total,
        agreed=expected.agreed,
    )


def _beginning(connection: Connection, seal: SignedCheckpoint | None) -> Anchor:
    """Where the records begin: at the last seal, or before what a removal has left of the records up to it."""
    if seal is None:
        return Anchor()
    made = seal.checkpoint
    left = connection.execute(text("SELECT min(sequence) FROM audit WHERE sequence <= :seal"), {"seal": made.sequence})
    first = left.scalar_one()
    if first is None:
        return Anchor(made.sequence, made.hash)
    # INVARIANT: the seal is among the checkpoints that are compared, so the records left are tied to its hash.
    return Anchor(max(first - 1, 0), GENESIS if first <= 1 else None)


def _compare_state(state: State | None, walk: "_Walk", findings: _Findings) -> None:
    if state is None:
        findings.add(FindingKind.STATE, 0, "the store does not say where its audit ends")
    elif state.sequence > walk.last:
        what = _records(walk.last + 1, state.sequence)
        findings.add(FindingKind.MISSING, walk.last + 1, f"{what} missing at the end, by the state of the store")
    elif state.sequence < walk.last:
        what = _records(state.sequence + 1, walk.last)
        findings.add(FindingKind.UNKNOWN, state.sequence + 1, f"{what} not known to the state of the store")
    elif walk.hash is not None and state.hash not in {walk.hash, walk.hash_of_text}:
        findings.add(FindingKind.STATE, walk.last, f"the state of the store has another hash than record {walk.last}")


class _Walk:
    """One way through the records: where it is, and the hash of the record there."""

    def __init__(self, connection: Connection, start: Anchor, findings: _Findings, expected: "_Expected") -> None:
        self._connection = connection
        self._findings = findings
        self._expected = expected
        self.last = start.sequence
        self.hash: bytes | None = start.hash
        self.hash_of_text: bytes | None = start.hash
        self.count = 0
        self._from = start.sequence
        if start.hash is not None:
            expected.compare(start.sequence, start.hash)

    def pages(self) -> Iterator[int]:
        """Walk a page at a time; yields the records walked so far."""
        selects = _SELECTS[self._connection.dialect.name]
        first = self._connection.execute(text(selects.before), {"after": self._from}).scalar_one()
        if first and not self._from:
            self._findings.add(FindingKind.MOVED, 0, f"{first:,} rows stand before the first record")
        query = text(selects.records)
        place = self._from
        while True:
            walked = self.count
            # A few rows at a time: whoever can write the store can make all of them large.
            values = {"after": place, "page": PAGE, "most": MOST_TEXT_BYTES + 1}
            for row in self._connection.execute(query, values, execution_options=FEW_ROWS):
                if not isinstance(row[0], int):
                    self._findings.add(FindingKind.MOVED, 0, "a row has a sequence that is no number")
                    return
                self._step(row)
                place = row[0]
            if self.count == walked:
                return
            yield self.count

    def _step(self, row: Any) -> None:
        sequence, hash, body = row[0], row[-1], row[-2]
        add = self._findings.add
        self.count += 1
        whole = sequence == self.last + 1
        if not whole:
            if sequence <= self.last:
                add(FindingKind.MOVED, sequence, f"record {sequence} stands twice")
            else:
                add(FindingKind.MISSING, self.last + 1, f"{_records(self.last + 1, sequence - 1)} missing")
        before, before_of_text, last = self.hash, self.hash_of_text, self.last
        self.last = max(sequence, self.last)
        body = b"" if body is None else bytes(body)
        self.hash_of_text = hash_of(body)
        self.hash = self.hash_of_text if hash is None else bytes(hash)
        self._expected.compare(sequence, self.hash)
        if self.hash_of_text != self.hash or hash is None:
            add(FindingKind.EDITED, sequence, f"record {sequence}: its text or its hash was changed: they do not agree")
        try:
            link = parse(body)
        except ChainError as error:
            add(FindingKind.EDITED, sequence, f"record {sequence}: {error}")
            return
        if link.record.sequence != sequence:
            message = f"record {sequence}: in its place is the text of record {link.record.sequence}"
            add(FindingKind.MOVED, sequence, message)
        # A record before that does not agree with its own hash has been told already.
        elif whole and before is not None and link.previous not in {before, before_of_text}:
            message = (
                f"record {sequence} does not follow record {last} as it stands: one of the two was replaced"
                if last
                else f"record {sequence} does not follow the beginning of the audit: it was replaced"
            )
            add(FindingKind.UNLINKED, sequence, message)
        for name, want in columns(link.record).items():
            got = row[_COLUMNS[name]]
            if name in _TEXTS:
                same = got is not None and bytes(got) == want.encode()
            else:
                same = type(got) in {int, float} and got == want
            if not same:
                add(FindingKind.COLUMN, sequence, f"record {sequence}: the column `{name}` is not what its text says")


class _Expected:
    """What checkpoints say of the audit, by the record they were made at."""

    def __init__(self, keys: Sequence[PublicKey], findings: _Findings) -> None:
        self._keys = keys
        self._findings = findings
        self._by_sequence: dict[int, list[tuple[bytes, float, str]]] = {}
        self.compared = self.passed = self.set_aside = 0
        self.covered = self.agreed = 0
        self.covered_at = 0.0
        # The seals of the file, and where the first of its checkpoints was made.
        self._seals: set[tuple[int, bytes]] = set()
        self._first_of_file: int | None = None

    def add_table(self, connection: Connection) -> None:
        """Those of the store's own table, whose columns have to repeat their documents."""
        for row in _checkpoint_rows(connection):
            sequence = row[0] if isinstance(row[0], int) else 0
            where = f"the store's checkpoint at record {sequence}"
            signed = _document(row)
            if signed is None:
                self._findings.add(FindingKind.SIGNATURE, sequence, f"{where} is not a checkpoint")
                continue
            made = signed.checkpoint
            stored = (row[0], row[1], None if row[2] is None else bytes(row[2]), row[3] == 1)
            if stored != (made.sequence, made.time, made.hash, made.sealed) or type(row[3]) not in {int, bool}:
                message = f"{where}: its columns are not what was signed"
                self._findings.add(FindingKind.COLUMN, sequence, message)
            self._add(signed, where)

    def begin(self, connection: Connection, since: Checkpoint) -> Anchor:
        """A checkpoint that is trusted: the walk begins with its record, or after it where a seal stands for it."""
        if not since.sequence:
            return Anchor()
        query = text("SELECT count(*) FROM audit WHERE sequence = :sequence")
        if since.sealed and not connection.execute(query, {"sequence": since.sequence}).scalar_one():
            return Anchor(since.sequence, since.hash)
        self._by_sequence[since.sequence] = [(since.hash, since.time, "the last checkpoint")]
        return Anchor(since.sequence - 1, None if since.sequence > 1 else GENESIS)

    def add_lines(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Those of the file outside the store, in the order in which they were made."""
        table, self._by_sequence = self._by_sequence, {}
        digest = LinesDigest()
        for number, line in lines:
            # Several files may follow each other.
            if number == 1:
                digest = LinesDigest()
            after = digest.text
            digest.add(line)
            where = f"line {number} of the checkpoints"
            try:
                signed = read_checkpoint(line)
            except CheckpointError as error:
                self._findings.add(FindingKind.SIGNATURE, 0, f"{where}: {error.message}")
                continue
            made = signed.checkpoint
            if made.restored_from is not None and made.after != after:
                message = f"{where}: it voids checkpoints after a restore, and does not stand where it was signed"
                self._findings.add(FindingKind.SIGNATURE, made.sequence, message)
                continue
            if not self._add(signed, where):
                continue
            if made.sealed:
                self._seals.add((made.sequence, made.hash))
            if made.restored_from is not None:
                self._set_aside(made)
        self._first_of_file = min(self._by_sequence, default=None)
        for sequence, found in table.items():
            there = self._by_sequence.setdefault(sequence, [])
            there += [one for one in found if all(one[0] != hash for hash, _, _ in there)]

    def _add(self, signed: SignedCheckpoint, where: str) -> bool:
        if self._keys and not signed.is_signed_by(self._keys):
            known = any(key.id == signed.key for key in self._keys)
            why = "its signature is not right" if known else f"it is signed with another key, `{signed.key}`"
            self._findings.add(FindingKind.SIGNATURE, signed.checkpoint.sequence, f"{where}: {why}")
            return False
        made = signed.checkpoint
        found = self._by_sequence.setdefault(made.sequence, [])
        if not any(hash == made.hash for hash, _, _ in found):
            found.append((made.hash, made.time, where))
        return True

    def _set_aside(self, restored: Checkpoint) -> None:
        """A restore: earlier checkpoints of records after the place that it went back to are void."""
        kept = restored.restored_from or 0
        self._seals = {seal for seal in self._seals if seal[0] <= kept}
        for sequence in [sequence for sequence in self._by_sequence if sequence > kept]:
            found = self._by_sequence.pop(sequence)
            mine = [one for one in found if sequence == restored.sequence and one[0] == restored.hash]
            self.set_aside += len(found) - len(mine)
            if mine:
                self._by_sequence[sequence] = mine

    def require_seal(self, seal: SignedCheckpoint | None) -> None:
        """What the file says of records before the store's seal is not compared: the file has to have the seal itself,
        which was signed after all of that was. Another one is of another store, or of before a restore."""
        if seal is None or not self._keys or self._first_of_file is None:
            return
        made = seal.checkpoint
        if self._first_of_file < made.sequence and (made.sequence, made.hash) not in self._seals:
            message = (
                f"the store's seal at record {made.sequence} is not in the file of checkpoints, which has earlier "
                "ones: it was put there, or `audit prune` wrote another file, which is to be given, too"
            )
            self._findings.add(FindingKind.CHECKPOINT, made.sequence, message)

    def compare(self, sequence: int, hash: bytes) -> None:
        """The record with this sequence has that hash."""
        for wanted, time, where in self._by_sequence.pop(sequence, ()):
            self.compared += 1
            if wanted != hash:
                message = f"record {sequence} is not the one that was signed for: {where} has another hash"
                self._findings.add(FindingKind.CHECKPOINT, sequence, message)
            else:
                self.agreed = max(self.agreed, sequence)
                if self._keys and sequence >= self.covered:
                    self.covered, self.covered_at = sequence, time

    def compare_rest(self, start: int, last: int) -> None:
        """What is left once all records have been compared."""
        for sequence, found in sorted(self._by_sequence.items()):
            for _, _, where in found:
                if sequence < start:
                    self.passed += 1
                    continue
                self.compared += 1
                if sequence > last:
                    message = (
                        f"{_records(last + 1, sequence)} missing at the end: {where} was made at record {sequence}"
                    )
                else:
                    message = f"record {sequence} is missing: {where} was made there"
                self._findings.add(FindingKind.CHECKPOINT, sequence, message)


class _Selects(msgspec.Struct, frozen=True):
    state: str
    before: str
    records: str
    checkpoints: str


_TEXTS: Final = ("action", "actor", "on_behalf_of", "subject", "company")
_COLUMNS: Final = {"sequence": 0, "at": 1, "revision": 2} | {name: 3 + at for at, name in enumerate(_TEXTS)}


def _sqlite() -> _Selects:
    def typed(name: str, kind: str, shown: str) -> str:
        return f"CASE typeof({name}) WHEN '{kind}' THEN {shown} END"

    def number(name: str) -> str:
        return f"CASE WHEN typeof({name}) IN ('integer', 'real') THEN {name} END"

    texts = ", ".join(typed(name, "text", f"CAST({name} AS BLOB)") for name in _TEXTS)
    body = typed("record", "text", "substr(CAST(record AS BLOB), 1, :most)")
    hash = typed("hash", "blob", "substr(hash, 1, 64)")
    whole = typed("sequence", "integer", "sequence")
    document = typed("document", "text", "substr(CAST(document AS BLOB), 1, 8192)")
    epoch, end = typed("epoch", "text", "CAST(epoch AS BLOB)"), typed("audit_sequence", "integer", "audit_sequence")
    state_hash = typed("audit_hash", "blob", "substr(audit_hash, 1, 64)")
    return _Selects(
        f"SELECT {epoch}, {end}, {state_hash} FROM state",  # noqa: S608 - names of ours
        "SELECT count(*) FROM audit WHERE sequence <= :after",
        f"SELECT {whole}, {number('at')}, {number('revision')}, {texts}, {body}, {hash} FROM audit "  # noqa: S608
        "WHERE sequence > :after ORDER BY sequence LIMIT :page",
        f"SELECT {whole}, {number('at')}, {hash}, {number('sealed')}, {document} FROM checkpoints ORDER BY sequence",  # noqa: S608
    )


def _postgresql() -> _Selects:
    texts = ", ".join(f"convert_to({name}, 'UTF8')" for name in _TEXTS)
    body = "substring(convert_to(record, 'UTF8') FROM 1 FOR :most)"
    return _Selects(
        "SELECT convert_to(epoch, 'UTF8'), audit_sequence, audit_hash FROM state",
        "SELECT count(*) FROM audit WHERE sequence <= :after",
        f"SELECT sequence, at, revision, {texts}, {body}, substring(hash FROM 1 FOR 64) FROM audit "  # noqa: S608
        "WHERE sequence > :after ORDER BY sequence LIMIT :page",
        "SELECT sequence, at, hash, sealed, substring(convert_to(document, 'UTF8') FROM 1 FOR 8192) "
        "FROM checkpoints ORDER BY sequence",
    )


_SELECTS: Final = {"sqlite": _sqlite(), "postgresql": _postgresql()}


def _checkpoint_rows(connection: Connection) -> Iterator[Any]:
    yield from connection.execute(text(_SELECTS[connection.dialect.name].checkpoints))


def _document(row: Any) -> SignedCheckpoint | None:
    try:
        return read_checkpoint(b"" if row[4] is None else bytes(row[4]))
    except (CheckpointError, ValueError):
        return None


def _text(value: Any) -> str:
    return "" if value is None else bytes(value).decode(errors="replace")


def _records(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
