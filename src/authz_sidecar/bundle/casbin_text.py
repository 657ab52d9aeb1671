"""What pycasbin makes of an expression, so that none is written out that it would read as another.

pycasbin rewrites matchers and conditions as text before it parses them as Python, inside quotes and attributes
too (casbin/util/util.py, casbin/core_enforcer.py, casbin/model/model.py of 2.8). Here the same rewriting is done
and its tree compared with that of a rewriting sign by sign: where they differ, so would the decisions.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from authz_sidecar.bundle.wording import quote
from authz_sidecar.model.lexer import ExpressionError, Lexeme, read_lexemes

_EVAL = re.compile(r"\beval\((?P<rule>[^)]*)\)")
_OPERATORS = {"&&": "and", "||": "or", "!": "not"}
# What Python knows of a value before any attribute of that name: pycasbin finds it there.
_METHODS = frozenset(name for kind in (str, int, float, bool, dict, list, tuple) for name in dir(kind))
# simpleeval refuses these whatever they belong to.
_REFUSED_PREFIXES = ("_", "func_")
_REFUSED_NAMES = frozenset(("format", "format_map", "mro", "tb_frame", "gi_frame", "ag_frame", "cr_frame", "exec"))


def spaced(text: str) -> str:
    """The same expression with one blank between any two signs; raises ExpressionError."""
    return " ".join(text[lexeme.offset : lexeme.end] for lexeme in read_lexemes(text)[:-1])


def expression_problem(text: str, is_matcher: bool) -> tuple[str, str] | None:
    """Why pycasbin does not read `text` as it is meant, and the remedy; None if it does.

    `is_matcher` says that it stands in a model, where `#` begins a comment and `eval` is replaced.
    """
    try:
        lexemes = read_lexemes(text)[:-1]
    except ExpressionError as error:
        return error.message, error.help
    for lexeme in lexemes:
        if lexeme.kind == "path":
            for name in str(lexeme.value).split(".")[2:]:
                if name in _METHODS or name in _REFUSED_NAMES or name.startswith(_REFUSED_PREFIXES):
                    return (
                        f"Casbin does not find the attribute {quote(name)}, a name of Python's own",
                        "give the attribute another name",
                    )
    try:
        wanted = ast.dump(ast.parse(" ".join(_words(lexemes)), mode="eval"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "the expression is nested too deeply for Casbin", "split it"
    if wanted == _tree(_rewritten(text, is_matcher)):
        return None
    return _culprit(text, lexemes, is_matcher)


def _words(lexemes: Sequence[Lexeme]) -> Iterator[str]:
    """The expression as Python, each sign translated by itself."""
    rest = iter(lexemes)
    for kind, value, _, _ in rest:
        if kind == "text":
            yield repr(value)
        elif kind == "path" and value == "eval":
            yield "(_eval_" + "".join(_flat(following.value) for following in islice(rest, 1, 2))
        elif kind == "path":
            yield _flat(value)
        else:
            yield _OPERATORS.get(kind, str(value) if kind == "number" else kind)


def _flat(path: str | int | float) -> str:
    """`r.obj.owner` as pycasbin names it: `r_obj.owner`."""
    return str(path).replace(".", "_", 1)


def _rewritten(text: str, is_matcher: bool) -> str:
    """`text` as pycasbin hands it to Python; the condition of a rule is a name of its own."""
    for letter in "pr":
        # Only the number that is found first is rewritten.
        found = re.search(rf"\b{letter}(\d*)\.", text)
        if found is not None:
            prefix = letter + found[1]
            text = re.sub(rf"\b{prefix}\.", f"{prefix}_", text)
    if is_matcher:
        text = text.partition("#")[0].strip()
        text = _EVAL.sub(lambda found: f"(_eval_{found['rule']})", text)
    text = text.replace("&&", "and").replace("||", "or")
    return re.sub(r"!(?!=)", "not ", text)


def _tree(text: str) -> str | None:
    try:
        return ast.dump(ast.parse(text.strip(), mode="eval"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _culprit(text: str, lexemes: Sequence[Lexeme], is_matcher: bool) -> tuple[str, str]:
    """Which part of an expression pycasbin changes, and what to write instead."""
    for kind, value, start, end in lexemes:
        part = text[start:end]
        if kind == "text" and _rewritten(part, is_matcher) != part:
            return (
                f"Casbin rewrites the text {quote(part)} in spite of its quotes",
                "choose a value without `!`, `&&`, `||`, `#`, `eval(` and a `r.` or `p.` at the beginning of a word",
            )
        if kind == "path" and re.search(r"\.[pr]\d*\.", part):
            return (
                f"Casbin rewrites {quote(str(value))}, an attribute of which is called like a request or a rule",
                "give the attribute another name than `r` or `p`",
            )
    return (
        f"Casbin reads {quote(text)} as something else",
        "put one blank around each operator, and none inside the parentheses of `eval`",
    )
