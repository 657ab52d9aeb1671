"""What rows of a backup have to be, so that every store may take them and every sidecar may read them.

A backup may come from anywhere, and SQLite keeps whatever it is given: so what is restored is looked at value by value,
before it is written. Whether the roles and rules in it are those that somebody once gave is not to be seen here.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Double, Integer, LargeBinary, SmallInteger, Table, Text

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.administration.field_checks import check_attributes, check_id
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.values.identity import IdentityKind

Row = dict[str, Any]

# What values of a column are, by its type.
_TYPES: tuple[tuple[type[Any], tuple[type, ...]], ...] = (
    (Boolean, (bool,)),
    (Integer, (int,)),
    (Double, (float, int)),
    (LargeBinary, (bytes,)),
    (Text, (str,)),
    (JSON, (dict, list)),
)


def broken(path: Path, why: str) -> DirectoryError:
    """The refusal of a backup that is not what was written."""
    return DirectoryError(Fault.CORRUPT, f"the backup {quote(path)} is refused: {why}", "use another backup")


class RowCheck:
    """Looks at the rows of one table."""

    def __init__(self, table: Table, path: Path) -> None:
        self._table = table
        self._path = path
        self._types: dict[str, frozenset[type]] = {}
        self._checks: dict[str, Callable[[Any], bool]] = {}
        for column in table.columns:
            taken = next((taken for kind, taken in _TYPES if isinstance(column.type, kind)), None)
            if taken is None:
                continue
            name = str(column.name)
            self._types[name] = frozenset((*taken, *((type(None),) if column.nullable else ())))
            check = _CHECKS.get((table.name, name)) or _check_of(column.type)
            if check is not None:
                self._checks[name] = check

    def check(self, row: Row) -> Row:
        """The row, as it is. Raises DirectoryError(CORRUPT) for a value that none of this column is."""
        for name, types in self._types.items():
            if name not in row:
                continue
            value = row[name]
            # Exact types: a truth value is no number here.
            if type(value) not in types:
                raise self.another_type()
            check = self._checks.get(name)
            if check is not None and value is not None and not check(value):
                raise broken(
                    self._path, f"a row of the table {quote(self._table.name)} has a {quote(name)} that none can have"
                )
        return row

    def another_type(self) -> DirectoryError:
        """The refusal of a value that cannot be read as one of its column."""
        return broken(self._path, f"a row of the table {quote(self._table.name)} holds a value of another type")


def _check_of(type: Any) -> Callable[[Any], bool] | None:
    if isinstance(type, SmallInteger):
        return lambda value: value.bit_length() <= 15
    if isinstance(type, BigInteger):
        # One less than there are: revisions go on.
        return lambda value: value.bit_length() <= 62
    if isinstance(type, Integer) and not isinstance(type, Boolean):
        return lambda value: value.bit_length() <= 31
    if isinstance(type, Double):
        return math.isfinite
    # PostgreSQL takes no NUL in a text.
    return (lambda value: "\0" not in value) if isinstance(type, Text) else None


def _is_id(value: str) -> bool:
    try:
        check_id(value, "id")
    except DirectoryError:
        return False
    return True


def _are_attributes(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    try:
        check_attributes(value, "attributes")
    except DirectoryError:
        return False
    return True


def _are_flags(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(on, bool) for on in value.values())


def _are_actions(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(action, str) for action in value)


_CHECKS: Mapping[tuple[str, str], Callable[[Any], bool]] = {
    ("state", "id"): lambda value: value == 1,
    ("identities", "id"): _is_id,
    ("identities", "kind"): lambda value: value in tuple(IdentityKind),
    ("identities", "flags"): _are_flags,
    ("identities", "attributes"): _are_attributes,
    ("grants", "actions"): _are_actions,
    ("shares", "actions"): _are_actions,
}
