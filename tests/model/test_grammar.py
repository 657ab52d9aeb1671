"""The matcher language: what parses, to which tree, and how everything else is refused."""

import ast
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.model.expression import (
    And,
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Const,
    Eval,
    Expr,
    Field,
    In,
    Names,
    Negate,
    Not,
    Or,
    RoleCall,
    Sequence,
    Token,
)
from authz_sidecar.model.grammar import ExpressionError, parse_expression
from authz_sidecar.model.semantics import write_expression
from authz_sidecar.values import CODES

MATCHER = Names(
    suffix="",
    tokens=("sub", "dom", "obj", "act", "age", "context"),
    fields=("sub", "dom", "obj", "act", "when"),
    roles={"g": 2, "g2": 3},
    allow_eval=True,
)
CONDITION = Names("", MATCHER.tokens, (), MATCHER.roles, allow_eval=False)
SECOND = Names("2", ("sub", "obj"), ("sub", "obj"), {}, allow_eval=True)

SUB, OBJ, AGE = Token("sub"), Token("obj"), Token("age")
SAME_SUBJECT = Compare("==", SUB, Field("sub"))
PUBLIC = Attribute(OBJ, "public")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("True", Const(True)),
        ("r.sub == p.sub", SAME_SUBJECT),
        ("  r.sub==p.sub\t", SAME_SUBJECT),
        ("((r.sub == p.sub))", SAME_SUBJECT),
        ("r.obj.public", PUBLIC),
        ("r.age", AGE),
        ("r.context.mfa.fresh", Attribute(Attribute(Token("context"), "mfa"), "fresh")),
        ("!r.obj.public", Not(PUBLIC)),
        ("!!r.obj.public", Not(Not(PUBLIC))),
        ("!r.sub == p.sub", Not(SAME_SUBJECT)),
        ("not r.sub == p.sub", Not(SAME_SUBJECT)),
        ("(!r.obj.public) == True", Compare("==", Not(PUBLIC), Const(True))),
        ("r.sub == p.sub&&r.age", And((SAME_SUBJECT, AGE))),
        ("r.sub == p.sub and r.age", And((SAME_SUBJECT, AGE))),
        ("r.age || r.sub == p.sub && True", Or((AGE, And((SAME_SUBJECT, Const(True)))))),
        ("(r.age || True) && False", And((Or((AGE, Const(True))), Const(False)))),
        ("r.age && (True && (False && r.age))", And((AGE, Const(True), Const(False), AGE))),
        ("r.age or True or (False or r.age)", Or((AGE, Const(True), Const(False), AGE))),
        ("18 < r.age", Compare("<", Const(18), AGE)),
        ("18 < r.age <= 60", And((Compare("<", Const(18), AGE), Compare("<=", AGE, Const(60))))),
        ("r.age + 1 * 2 > 3", Compare(">", Arithmetic("+", AGE, Arithmetic("*", Const(1), Const(2))), Const(3))),
        ("r.age - 1 - 2 > 3", Compare(">", Arithmetic("-", Arithmetic("-", AGE, Const(1)), Const(2)), Const(3))),
        ("-r.age % 2 == 0.5", Compare("==", Arithmetic("%", Negate(AGE), Const(2)), Const(0.5))),
        ("r.age--1 > 0", Compare(">", Arithmetic("-", AGE, Negate(Const(1))), Const(0))),
        ("1e3 > r.age", Compare(">", Const(1000.0), AGE)),
        ('r.sub + "x" == "a\\\\b\\n\\t\\"\'"', Compare("==", Arithmetic("+", SUB, Const("x")), Const("a\\b\n\t\"'"))),
        ("r.sub == '&& || ! # p.sub'", Compare("==", SUB, Const("&& || ! # p.sub"))),
        ("r.act == 'Überprüfung 検査'", Compare("==", Token("act"), Const("Überprüfung 検査"))),
        ('r.act in ("read", p.act)', In(Token("act"), Sequence((Const("read"), Field("act"))))),
        ('r.act in ["read"]', In(Token("act"), Sequence((Const("read"),)))),
        ('r.act in ("read",)', In(Token("act"), Sequence((Const("read"),)))),
        ("r.act in ()", In(Token("act"), Sequence(()))),
        ("r.act not in []", Not(In(Token("act"), Sequence(())))),
        ("r.act in p.act", In(Token("act"), Field("act"))),
        ('r.act in "read"', In(Token("act"), Const("read"))),
        ("r.act in r.obj.actions", In(Token("act"), Attribute(OBJ, "actions"))),
        ('"mfa" in r.context', In(Const("mfa"), Token("context"))),
        ("keyMatch2(r.obj, p.obj)", Call("keyMatch2", (OBJ, Field("obj")))),
        ('regexMatch(r.obj, "^/a/[0-9]+$")', Call("regexMatch", (OBJ, Const("^/a/[0-9]+$")))),
        ('timeMatch(p.when, "_")', Call("timeMatch", (Field("when"), Const("_")))),
        ("keyMatch(r.obj, p.obj) == False", Compare("==", Call("keyMatch", (OBJ, Field("obj"))), Const(False))),
        ("g(r.sub, p.sub)", RoleCall("g", (SUB, Field("sub")))),
        ('g2(r.sub, p.sub, "*")', RoleCall("g2", (SUB, Field("sub"), Const("*")))),
        ("eval(p.when) && True", And((Eval("when"), Const(True)))),
    ],
)
def test_a_matcher_becomes_the_tree_that_python_would_evaluate(text: str, tree: Expr) -> None:
    """Precedence, chains, flattening and literals come out as Python reads them after Casbin's rewriting."""
    assert parse_expression(text, MATCHER) == tree


@pytest.mark.parametrize(
    ("text", "code", "offset", "message"),
    [
        ("", "expression-syntax", 0, "the expression is empty"),
        ("r.sub ==", "expression-syntax", 8, "the expression ends too early"),
        ("(r.age", "expression-syntax", 6, "the expression ends too early"),
        ("r.age)", "expression-syntax", 5, "unexpected `)`"),
        ("r.age r.age", "expression-syntax", 6, "unexpected `r.age`"),
        ("r.sub = p.sub", "expression-syntax", 6, "unexpected `=`"),
        ("r.sub === p.sub", "expression-syntax", 6, "unexpected `===`"),
        ("r.sub =~ p.sub", "expression-syntax", 6, "unexpected `=~`"),
        ("r.age & True", "expression-syntax", 6, "unexpected `&`"),
        ("r.age ** 2 > 1", "expression-syntax", 6, "unexpected `**`"),
        ("r.age // 2 > 1", "expression-syntax", 6, "unexpected `//`"),
        ("~r.age > 1", "expression-syntax", 0, "unexpected `~`"),
        ("+r.age > 1", "expression-syntax", 0, "unexpected `+`"),
        ("r.age # why", "expression-syntax", 6, "unexpected `#`"),
        ("r.age\n&& True", "expression-syntax", 5, "unexpected line break"),
        ("r.age\u00a0&& True", "expression-syntax", 5, "unexpected character `\\u{a0}` (U+00A0)"),
        ("r.ä == 1", "expression-syntax", 1, "unexpected `.` in a name"),
        ("r . age", "expression-syntax", 2, "unexpected `.`"),
        ("r.sub == 'a", "expression-syntax", 9, "a text is not closed"),
        ("r.sub == '\\d'", "expression-syntax", 10, "unknown escape `\\d` in a text"),
        ("r.sub == 'a\x00'", "expression-syntax", 11, "a text holds the character U+0000"),
        ('r.sub == f"a"', "expression-syntax", 9, "`f` stands directly before a text"),
        ("r.age > 007", "expression-syntax", 8, "`00` is not a number"),
        ("r.age > 1_000", "expression-syntax", 8, "`1_` is not a number"),
        ("r.age > 0x1f", "expression-syntax", 8, "`0x` is not a number"),
        ("r.age > " + "1" * 19, "expression-limit", 8, "a number has more than 18 digits"),
        ("r.age > 1e999", "expression-limit", 8, "the number `1e999` is too large or too long"),
        ("r.sub == !r.age", "expression-syntax", 9, "`!` stands on one side of an operator"),
        ("r.sub.lower() == 'a'", "expression-syntax", 0, "`r.sub.lower` is called"),
        ("r.sub[0] == 'a'", "expression-syntax", 5, "unexpected `[` after `r.sub`"),
        ("('a', 'b')[0] == r.sub", "expression-syntax", 10, "unexpected `[` after `('a', 'b')`"),
        ("r.age if True else False", "expression-syntax", 6, "unexpected `if`"),
        ("[x for x in r.sub]", "expression-name", 1, "unknown name `x`"),
        ("lambda: True", "expression-syntax", 6, "unexpected `:`"),
        ("keyMatch(r.obj, pattern=p.obj)", "expression-syntax", 23, "unexpected `=`"),
        ("{r.sub} == 1", "expression-syntax", 0, "unexpected `{`"),
        ("r.obj._x", "expression-syntax", 6, "`_x` cannot be an attribute"),
        ("r.obj.class", "expression-syntax", 6, "`class` cannot be an attribute"),
        ("true", "expression-name", 0, "unknown name `true`"),
        ("r_sub == p.sub", "expression-name", 0, "unknown name `r_sub`"),
        ("r2.sub == p.sub", "expression-name", 0, "unknown name `r2.sub`"),
        ("r.subject == p.sub", "expression-name", 0, "the request has no token `subject`"),
        ("r.sub == p.owner", "expression-name", 9, "the rule has no field `owner`"),
        ("keymatch(r.obj, p.obj)", "expression-name", 0, "unknown function `keymatch`"),
        ("g3(r.sub, p.sub)", "expression-name", 0, "unknown function `g3`"),
        ("keyMatch && True", "expression-name", 0, "unknown name `keyMatch`"),
        ("g(r.sub)", "expression-type", 0, "`g` is given 1 arguments and takes 2"),
        ("g(r.sub, p.sub, r.dom)", "expression-type", 0, "`g` is given 3 arguments and takes 2"),
        ("g(r.sub, 5)", "expression-type", 9, "`5` is a number, which `g` does not take"),
        (
            "keyMatch(r.obj, r.sub)",
            "expression-type",
            16,
            "`r.sub` is text, which `keyMatch` as the pattern does not take",
        ),
        (
            "timeMatch(r.age, '_')",
            "expression-type",
            10,
            "`r.age` is an attribute, which `timeMatch` as a time does not take",
        ),
        ("timeMatch('soon', '_')", "expression-type", 10, "`soon` is not a time"),
        (
            "regexMatch(r.obj, '(?=a)')",
            "pattern-syntax",
            18,
            "`(?=` begins lookahead, which linear-time matching does not have",
        ),
        ("eval(r.sub)", "expression-type", 5, "`r.sub` is text, which `eval` does not take"),
        ("r.sub", "expression-type", 0, "`r.sub` is text, not a condition"),
        ("p.when", "expression-type", 0, "`p.when` is text, not a condition"),
        ("'a'", "expression-type", 0, "`'a'` is text, not a condition"),
        ("1", "expression-type", 0, "`1` is a number, not a condition"),
        ("r.age + r.age", "expression-type", 0, "`r.age + r.age` is a computed value, not a condition"),
        ("r.context", "expression-type", 0, "`r.context` is the whole context, not a condition"),
        ("True && ('a',)", "expression-type", 8, "`('a',)` is a list, not a condition"),
        ("r.sub == ('a',)", "expression-type", 9, "`('a',)` is a list, which `==` does not take"),
        (
            "(r.sub == p.sub) == (r.age == 1)",
            "expression-type",
            0,
            "`(r.sub == p.sub)` is a condition, which `==` does not take",
        ),
        (
            "True == (r.age == 1) == True",
            "expression-syntax",
            8,
            "a condition stands in the middle of a chain of comparisons",
        ),
        ("True < 2", "expression-type", 0, "`True` is `True` or `False`, which `<` does not take"),
        ("r.sub < 5", "expression-type", 6, "`<` stands between text and a number"),
        ("r.sub + 5 == 'a5'", "expression-type", 6, "`+` stands between text and a number"),
        ("p.sub * 2 == 'aa'", "expression-type", 0, "`p.sub` is text, which `*` does not take"),
        ("'%s' % r.age == '1'", "expression-type", 0, "`'%s'` is text, which `%` does not take"),
        ("-(r.age == 1) == 1", "expression-type", 1, "`(r.age == 1)` is a condition, which `-` does not take"),
        ("r.act in ('read')", "expression-type", 9, "`('read')` is text in brackets, not a list"),
        ("r.act in 5", "expression-type", 9, "`5` is a number, which `in` does not take"),
        ("5 in r.act", "expression-type", 0, "`5` is a number, which `in` does not take"),
        ("r.act in (('a',), 'b')", "expression-type", 10, "`('a',)` is a list, which a list does not take"),
        ("r.dom.name == 'a'", "expression-type", 6, "`r.dom` is text and has no attribute `name`"),
        ("p.sub.name == 'a'", "expression-type", 6, "`p.sub` is text and has no attribute `name`"),
        ("(" * 65 + "True" + ")" * 65, "expression-limit", 64, "the expression is nested more than 64 deep"),
        ("!" * 70 + "True", "expression-limit", 64, "the expression is nested more than 64 deep"),
        ("+".join(["r.age"] * 70) + " > 1", "expression-limit", 0, "the expression is nested more than 64 deep"),
        (
            " && ".join(["True"] * 2049),
            "expression-limit",
            8192,
            "the expression has 16,388 characters; at most 8,192 are taken",
        ),
        ("&&".join(["1<2"] * 1000), "expression-limit", 3410, "the expression has more than 2,048 parts"),
    ],
)
def test_what_is_outside_the_language_is_refused_by_name_and_place(
    text: str, code: str, offset: int, message: str
) -> None:
    """Every refusal has a code of the table, an offset, one line of message and a remedy."""
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, MATCHER)
    error = caught.value
    assert (error.code, error.offset, error.message) == (code, offset, message)
    assert error.code in CODES
    assert error.help
    assert "\n" not in error.message + error.help


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ("true", "did you mean `True`?"),
        ("keymatch(r.obj, p.obj)", "did you mean `keyMatch`?"),
        ("r.subject == p.sub", "did you mean `sub`?"),
        ("r.sub == p.objj", "did you mean `obj`?"),
        ("act == 'read'", "for the request's token, write `r.act`"),
        ("r.obj && True", "compare it with something, as in `r.x == p.x`"),
        ("p.when && True", "compare it, or write `eval(p.when)` if it holds a condition"),
    ],
)
def test_a_refusal_names_the_remedy(text: str, help: str) -> None:
    """Unknown names come with the nearest known one, misplaced ones with the way to write them."""
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, MATCHER)
    assert caught.value.help == help


def test_a_numbered_matcher_uses_its_own_prefixes() -> None:
    """`m2` reads `r2.` and `p2.`, and no other."""
    assert parse_expression("r2.sub == p2.sub", SECOND) == SAME_SUBJECT
    with pytest.raises(ExpressionError) as caught:
        parse_expression("r.sub == p2.sub", SECOND)
    assert caught.value.code == "expression-name"
    assert "`r2.`" in caught.value.help


def test_a_condition_of_a_rule_speaks_of_the_request_only() -> None:
    """A condition that a rule carries has the request and the roles, but neither `p.` nor `eval`."""
    assert fault("r.age > 18 && g(r.sub, 'admin')", CONDITION) is None
    for text, message in (
        ("r.sub == p.sub", "the rule has no field `sub`"),
        ("eval(p.when)", "the rule has no field `when`"),
        ("eval()", "`eval` stands in a condition that a rule carries"),
    ):
        with pytest.raises(ExpressionError) as caught:
            parse_expression(text, CONDITION)
        assert (caught.value.code, caught.value.message) == ("expression-name", message)


def fault(text: str, names: Names) -> ExpressionError | None:
    """The refusal of a text, or None; no other exception may come."""
    try:
        parse_expression(text, names)
    except ExpressionError as error:
        return error
    return None


def is_well_told(error: ExpressionError | None, text: str) -> bool:
    """A refusal has a known code, a place in the text and one line of message and help."""
    return error is None or (
        error.code in CODES
        and 0 <= error.offset <= len(text)
        and error.message.isprintable()
        and bool(error.help)
        and error.help.isprintable()
    )


WORDS = st.sampled_from(
    [
        *(
            "r.sub",
            "p.sub",
            "r.age",
            "r.obj.x",
            "r.context",
            "True",
            "False",
            "'a'",
            '"',
            "'",
            "1",
            "2.5",
            "eval(p.when)",
        ),
        *("keyMatch(", "g(", "(", ")", "[", "]", ",", "&&", "||", "!", "not", "in", "and", "==", "<", "+", "-", "*"),
        *("%", ".", "\\", "#", "=", "if", "lambda", "é", "\x00", "\ud800", "\n"),
    ]
)


@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text makes the parser fail with anything but its own error."""
    assert is_well_told(fault(text, MATCHER), text)


@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_any_row_of_words_parses_or_is_refused(text: str) -> None:
    """The same for texts made of the language's own words, which get further."""
    assert is_well_told(fault(text, MATCHER), text)


@pytest.mark.parametrize(
    "piece", ["(", "[", "!", "-", "not ", "g(", "keyMatch(", "r.sub.", "1+", "r.age<", "True&&", "'"]
)
def test_long_repetitions_stop_at_a_limit(piece: str) -> None:
    """Thousands of nested brackets or operators end in a diagnostic, not in a stack overflow."""
    for text in (piece * 5000, piece * (8192 // len(piece))):
        error = fault(text, MATCHER)
        assert error is not None
        assert is_well_told(error, text)


# Well-typed expressions as text, with more brackets and blanks than needed.


def _bracketed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(inner, inner.map(lambda text: f"( {text} )"))


VALUES = _bracketed(
    st.recursive(
        st.sampled_from(["r.age", "r.obj.size", "1", "2.5", "r.context.x.y"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("+-*/%"), inner).map(" ".join),
            inner.map(lambda text: f"-({text})"),
            inner.map(lambda text: f"({text})"),
        ),
        max_leaves=4,
    )
)
TEXTS = st.sampled_from(["r.sub", "p.sub", "r.act", '"a b"', "'&& !x'", "r.obj.owner"])
COMPARISONS = st.one_of(
    st.lists(st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), VALUES), min_size=1, max_size=3).flatmap(
        lambda links: VALUES.map(lambda first: first + "".join(f" {op} {value}" for op, value in links))
    ),
    st.tuples(TEXTS, st.sampled_from([" == ", "!=", " in ", " not in "]), TEXTS).map("".join),
    st.tuples(TEXTS, st.sampled_from([" in ", " not in "]), st.lists(TEXTS, min_size=2, max_size=3)).map(
        lambda parts: f"{parts[0]}{parts[1]}({', '.join(parts[2])})"
    ),
    st.sampled_from(["keyMatch(r.obj, p.obj)", "g(r.sub, p.sub)", "g2(r.sub, p.sub, r.dom)", "True", "r.obj.public"]),
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" && ".join),
        st.lists(inner, min_size=2, max_size=3).map(" || ".join),
        inner.map(lambda text: f"!{text}"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=8,
)

_OPERATORS: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def _as_python_reads(text: str) -> Expr:
    """The tree that Python builds from the text that pycasbin makes of a matcher (quoted parts kept)."""

    def rewrite(match: re.Match[str]) -> str:
        part = match[0]
        if part[0] in "'\"":
            return part
        part = part.replace("&&", "and").replace("||", "or")
        return re.sub(r"!(?!=)", "not ", re.sub(r"\b([rp])\.", r"\1_", part))

    return _from_python(ast.parse(re.sub(r"'[^']*'|\"[^\"]*\"|[^'\"]+", rewrite, text).strip(), mode="eval").body)


def _from_python(node: ast.expr) -> Expr:
    match node:
        case ast.Constant(value):
            assert isinstance(value, str | int | float)
            return Const(value)
        case ast.Name(name):
            return Token(name[2:]) if name.startswith("r_") else Field(name[2:])
        case ast.Attribute(base, name):
            below = _from_python(base)
            assert isinstance(below, Token | Attribute)
            return Attribute(below, name)
        case ast.Tuple(items):
            return Sequence(tuple(_from_python(item) for item in items))
        case ast.UnaryOp(ast.USub(), operand):
            return Negate(_from_python(operand))
        case ast.UnaryOp(ast.Not(), operand):
            return Not(_from_python(operand))
        case ast.BinOp(left, operator, right):
            return Arithmetic(_OPERATORS[type(operator)], _from_python(left), _from_python(right))
        case ast.Call(ast.Name(name), arguments):
            parts = tuple(_from_python(argument) for argument in arguments)
            return RoleCall(name, parts) if name in MATCHER.roles else Call(name, parts)
        case ast.BoolOp(operator, values):
            kind: type[And] | type[Or] = And if isinstance(operator, ast.And) else Or
            flat: list[Expr] = []
            for operand in values:
                part = _from_python(operand)
                flat.extend(part.operands if isinstance(part, kind) else [part])
            return kind(tuple(flat))
        case ast.Compare(first, operators, values):
            links = [
                _link(operator, _from_python(left), _from_python(right))
                for operator, left, right in zip(operators, [first, *values[:-1]], values, strict=True)
            ]
            return links[0] if len(links) == 1 else And(tuple(links))
    raise AssertionError(ast.dump(node))


def _link(operator: ast.cmpop, left: Expr, right: Expr) -> Expr:
    if isinstance(operator, ast.In):
        return In(left, right)
    if isinstance(operator, ast.NotIn):
        return Not(In(left, right))
    return Compare(_OPERATORS[type(operator)], left, right)


@given(CONDITIONS)
def test_operators_bind_as_in_python(text: str) -> None:
    """For every well-typed text the tree is the one that Python's own parser builds."""
    assert parse_expression(text, MATCHER) == _as_python_reads(text)


@given(CONDITIONS)
def test_a_tree_written_as_text_parses_to_itself(text: str) -> None:
    """What `write_expression` prints is the language that the parser reads."""
    tree = parse_expression(text, MATCHER)
    assert parse_expression(write_expression(tree), MATCHER) == tree


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), max_size=30))
def test_any_text_can_be_quoted(text: str) -> None:
    """A text literal holds every character that can be written down, and means itself."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_expression(f"r.sub == {quoted}", MATCHER) == Compare("==", SUB, Const(text))


def test_control_characters_need_an_escape() -> None:
    """Of the control characters only a line break and a tab can stand in a text, escaped."""
    for code in (*range(32), *range(127, 160)):
        assert fault(f"r.sub == '{chr(code)}'", MATCHER) is not None
    for letter in string.ascii_letters:
        assert (fault(f"r.sub == '\\{letter}'", MATCHER) is None) == (letter in "nt")
