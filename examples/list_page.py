"""A list page: ask a running sidecar for a filter, and turn it into SQL: `python examples/list_page.py [HOST:PORT]`."""

import sys
from collections.abc import Iterable, Mapping
from itertools import groupby

import grpc

from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar._proto.authz.v1.filter_pb2 import (
    CLAUSE_EFFECT_ALLOW,
    FilterClause,
    FilterObjectsRequest,
    FilterObjectsResponse,
    TextSet,
)

# The columns of the caller's table, by part of the object; names are the caller's own text, never a request's.
COLUMNS = {"company": "company", "id": "id", "owner": "owner"}
NOTHING, ANYTHING = "(1 = 0)", "(1 = 1)"


def where(response: FilterObjectsResponse, columns: Mapping[str, str] = COLUMNS) -> tuple[str, list[str | int]]:
    """The condition of a WHERE clause, and the values of its `?` in order; no value stands in the text itself.

    The columns hold text and no NULL ("" where there is no company or owner), and compare byte for byte.
    """
    text, values = NOTHING, list[str | int]()
    # From the last clause to the first: each decides what it matches, and leaves the rest to those after it.
    for effect, clauses in groupby(reversed(response.clauses), key=lambda clause: clause.effect):
        tests: list[str] = []
        bound: list[str | int] = []
        for clause in reversed(list(clauses)):
            test, more = _match(clause, columns)
            tests.append(test)
            bound += more
        if effect == CLAUSE_EFFECT_ALLOW:
            text = " OR ".join(tests if text == NOTHING else [*tests, text])
            text = text if len(tests) == 1 and text == tests[0] else f"({text})"
        else:
            text = f"(NOT ({' OR '.join(tests)}) AND {text})"
        values = bound + values
    return text, values


def _match(clause: FilterClause, columns: Mapping[str, str]) -> tuple[str, list[str | int]]:
    tests: list[str] = []
    values: list[str | int] = []
    for part in ("company", "id", "owner"):
        if clause.HasField(part):
            test, bound = _member(getattr(clause, part), columns[part])
            tests.append(test)
            values += bound
    if len(tests) == 1:
        return tests[0], values
    return f"({' AND '.join(tests)})" if tests else ANYTHING, values


def _member(wanted: TextSet, column: str) -> tuple[str, list[str | int]]:
    test, values = _one_of(wanted.values, wanted.prefixes, column)
    if wanted.except_values or wanted.except_prefixes:
        less, bound = _one_of(wanted.except_values, wanted.except_prefixes, column)
        return f"({test} AND NOT {less})", values + bound
    return test, values


def _one_of(values: Iterable[str], prefixes: Iterable[str], column: str) -> tuple[str, list[str | int]]:
    listed: list[str | int] = list(values)
    tests = [f"{column} IN ({', '.join('?' * len(listed))})"] if listed else []
    for prefix in prefixes:
        if not prefix:
            return ANYTHING, []
        # LIKE would need its signs escaped, and in some databases does not tell capitals.
        tests.append(f"substr({column}, 1, ?) = ?")
        listed += [len(prefix), prefix]
    if len(tests) == 1:
        return tests[0], listed
    return f"({' OR '.join(tests)})" if tests else NOTHING, listed


def main() -> None:
    """Print the filter of one question."""
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    question = FilterObjectsRequest(subject="acme-client", action="update", object_type="folder")
    with grpc.insecure_channel(address) as channel:
        response = AuthorizationServiceStub(channel).FilterObjects(question, timeout=5)
    text, values = where(response)
    print("SELECT id FROM folder WHERE", text, "ORDER BY id LIMIT 50")
    print(values)
    if not response.exact:
        print("ask BatchCheck about each page before it is shown")


if __name__ == "__main__":
    main()
