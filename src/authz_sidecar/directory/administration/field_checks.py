"""Checks of single values that operations are given, each refused with its field as in the proto."""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from authz_sidecar.audit.record import OPERATOR_PREFIX, SIDECAR
from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.directory.administration.look_alikes import look_alike_problem
from authz_sidecar.directory.administration.operation import invalid
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.secrets import find_id
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import ANY
from authz_sidecar.values.request import ROLE_PREFIX, attribute_problem, value_problem

DESCRIPTION_BYTES = 4_096
JUSTIFICATION_BYTES = 1_024
NAME_BYTES = 1_024
CONDITION_LENGTH = 4_096
ACTIONS = 100
# 9999-12-31, as far as other formats of time go.
LAST_TIME = 253_402_300_799.0
_INTEGER_BITS = 63


def check_id(id: str, field: str) -> None:
    """An identity's id: as in a bundle, and none that the audit gives to those who are no identities."""
    if not id:
        raise invalid(field, "an identity has an id", "give the id by which requests name it")
    if id.startswith(ROLE_PREFIX):
        raise invalid(
            field, f"an identity cannot begin with `{ROLE_PREFIX}`", "that prefix is kept for roles; leave it out"
        )
    if id.startswith(OPERATOR_PREFIX) or id == SIDECAR:
        raise invalid(
            field,
            f"an identity cannot be called {quote(id)}",
            f"the audit keeps `{SIDECAR}` and what begins with `{OPERATOR_PREFIX}` for those who work at the store",
        )
    if id == ANY:
        raise invalid(field, "`*` is no identity", "name one identity")
    check_value(id, field, "the id")
    # Requests with such a subject have no identity.
    _check_look(id, field, "the id")


def check_company(company: str, field: str) -> None:
    """A company, or "" for none. `*` is none: it means the whole platform in the standard model."""
    if ANY in company:
        raise invalid(field, "a company cannot hold `*`", "name one company; leave it empty for the platform")
    check_value(company, field, "the company")
    _check_look(company, field, "the company")


def check_value(value: str, field: str, what: str) -> None:
    """A value as requests have them."""
    problem = value_problem(value)
    if problem:
        raise invalid(field, f"{what} {problem}", "give a short text on one line, without spaces around it")
    _check_secret(value, field, what)


def _check_look(name: str, field: str, what: str) -> None:
    """Two that look alike are not to be taken for each other."""
    problem = look_alike_problem(name)
    if problem:
        raise invalid(field, f"{what} {problem}", "write it as one would type it")


def _check_secret(text: str, field: str, what: str) -> None:
    """What is stored in clear, and shown to others, has no credential."""
    if find_id(text):
        raise invalid(field, f"{what} holds a credential", "leave it out, and revoke it where others may have seen it")


def check_text(text: str, field: str, what: str, most: int) -> None:
    """A text for people: lines are allowed, other control characters are not."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise invalid(field, f"{what} is not valid Unicode", "write it anew") from None
    if size > most:
        raise invalid(field, f"{what} has {size:,} bytes; at most {most:,} are taken", "shorten it", limit=str(most))
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise invalid(field, f"{what} holds the control character U+{ord(character):04X}", "remove it")
    _check_secret(text, field, what)


def check_justification(text: str, field: str = "justification") -> None:
    """Why something is done."""
    check_text(text, field, "the justification", JUSTIFICATION_BYTES)


def need_justification(text: str, why: str, field: str) -> None:
    """Refuse what is done without saying why."""
    if not text.strip():
        raise DirectoryError(
            Fault.JUSTIFICATION,
            f"{why} needs a justification",
            "say in `justification` why it is done; the audit keeps it",
            violations=[Violation(field, "is missing")],
        )


def check_expiry(expires_at: float | None, now: float, field: str) -> None:
    """A time in the future, or none."""
    if expires_at is None:
        return
    _check_time(expires_at, field)
    if expires_at <= now:
        raise invalid(field, "it would expire in the past", "give a later time, or none")


def check_period(begins_at: float | None, expires_at: float | None, now: float, prefix: str) -> None:
    """A period that is not over, and ends after it begins."""
    check_expiry(expires_at, now, f"{prefix}expire_time")
    if begins_at is None:
        return
    _check_time(begins_at, f"{prefix}begin_time")
    if expires_at is not None and expires_at <= begins_at:
        raise invalid(f"{prefix}expire_time", "it would expire before it begins", "give a later time")


def _check_time(time: float, field: str) -> None:
    if not math.isfinite(time) or not 0 <= time <= LAST_TIME:
        raise invalid(field, "the time is beyond what a calendar has", "give a time between 1970 and 9999")


def check_attributes(attributes: Mapping[str, Any], field: str) -> None:
    """Attributes as requests have them: JSON values, bounded in depth, count and size."""
    problem = attribute_problem(attributes) or _json_problem(attributes)
    if problem:
        raise invalid(field, f"the map of attributes {problem}", "keep plain JSON there, and not much of it")


def _json_problem(value: Any) -> str:
    """Why a value is none of JSON that both databases and every reader take; its depth is bounded before."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds a text that is not valid Unicode"
        if find_id(value):
            return "holds a credential"
        return "holds the control character U+0000" if "\0" in value else ""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "holds a number of more than 63 bits" if value.bit_length() > _INTEGER_BITS else ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "holds a number that is not finite"
    if isinstance(value, Mapping):
        below: Iterable[Any] = (part for pair in value.items() for part in pair)
        if not all(isinstance(key, str) for key in value):
            return "holds a name that is no text"
    elif isinstance(value, list | tuple):
        below = value
    else:
        return "holds a value that is none of JSON"
    return next((problem for part in below if (problem := _json_problem(part))), "")


def check_object(
    rules: DirectoryRules, type: str, id: str, actions: Sequence[str], prefix: str, *, any_type: bool
) -> None:
    """An object type, its id or beginning, and actions that the policy declares."""
    if rules.form == "casbin":
        _refuse_plain()
    types = rules.object_types
    if type not in types and not (any_type and type == ANY):
        known = sorted(types)
        raise invalid(
            f"{prefix}object_type",
            f"unknown object type {quote(type)}",
            suggest(type, known, f"the policy declares {listed(known, 'and')}"),
        )
    check_value(id, f"{prefix}object_id", "the object's id")
    if not id or ANY in id[:-1]:
        raise invalid(f"{prefix}object_id", f"{quote(id)} is no id or pattern of ids", "`*` stands alone or at the end")
    if id.endswith(ANY) and id != ANY and rules.form == "basic":
        _need_extended(f"the id pattern {quote(id)}", f"{prefix}object_id")
    if len(actions) > ACTIONS:
        raise invalid(f"{prefix}actions", f"at most {ACTIONS} actions are taken at once", "grant `*`, or fewer")
    known_actions = sorted({name for kind in ([type] if type != ANY else types) for name in types[kind]})
    seen = set()
    for index, action in enumerate(actions):
        field = f"{prefix}actions[{index}]"
        if action != ANY and action not in known_actions:
            where = "any object type" if type == ANY else quote(type)
            otherwise = f"its actions are {listed(known_actions, 'and')}"
            raise invalid(
                field, f"unknown action {quote(action)} of {where}", suggest(action, known_actions, otherwise)
            )
        if action in seen:
            raise invalid(field, f"the action {quote(action)} is named twice", "name it once")
        seen.add(action)


def check_condition(rules: DirectoryRules, condition: str, field: str) -> None:
    """A condition in the grammar of the extended form."""
    if not condition:
        return
    from authz_sidecar.bundle.standard_model import standard_model
    from authz_sidecar.model.grammar import parse_expression
    from authz_sidecar.model.lexer import ExpressionError

    if rules.form == "basic":
        _need_extended("a condition", field)
    if len(condition) > CONDITION_LENGTH:
        raise invalid(
            field,
            f"the condition has {len(condition):,} characters; at most {CONDITION_LENGTH:,} are taken",
            "shorten it",
            limit=str(CONDITION_LENGTH),
        )
    if "\n" in condition:
        raise invalid(field, "the condition has several lines", "write it on one line")
    check_text(condition, field, "the condition", 4 * CONDITION_LENGTH)
    try:
        parse_expression(condition.strip(), standard_model("extended").sections[""].names)
    except ExpressionError as error:
        raise invalid(field, error.message, error.help, offset=str(error.offset)) from error


def _need_extended(what: str, field: str) -> NoReturn:
    raise invalid(
        field,
        f"{what} needs the extended form of the standard model",
        "write it with `authz-sidecar render --model extended > DIR/model.conf`",
    )


def _refuse_plain() -> NoReturn:
    raise DirectoryError(
        Fault.PRECONDITION,
        "identities have no grants, shares or flags of their own beside a plain Casbin bundle",
        "write policies in YAML, or give roles",
    )
