"""`model.conf`: what it defines, and every fault of it with line and column."""

from pathlib import Path

import pytest
from casbin.model import Model as CasbinModel
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.model.conf import Effect, Model, parse_model
from authz_sidecar.model.expression import And, Compare, Field, Names, RoleCall, Token
from authz_sidecar.model.functions import FUNCTIONS
from authz_sidecar.values import CODES, Diagnostic, Span

PLAIN = """\
[request_definition]
r = sub, obj, act

[policy_definition]
p = sub, obj, act, eft

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj
"""


def read(text: str) -> Model:
    """The model of a text that must have no findings."""
    model, diagnostics = parse_model(text)
    assert diagnostics == []
    assert model is not None
    return model


def findings(text: str) -> list[tuple[int, int, str, str]]:
    """Line, column, code and message of everything found."""
    model, diagnostics = parse_model(text)
    assert (model is None) == bool(diagnostics)
    return [(found.span.line, found.span.column, found.code, found.message) for found in diagnostics]


def test_a_model_holds_its_definitions_and_their_places() -> None:
    """Sections, roles, effect and matcher are read; the matcher's span is where it begins."""
    model = read(PLAIN)
    section = model.sections[""]
    assert model.text == PLAIN
    assert (section.tokens, section.fields) == (("sub", "obj", "act"), ("sub", "obj", "act", "eft"))
    assert section.effect is Effect.ALLOW_OVERRIDE
    assert section.ptype == "p"
    assert section.matcher == And(
        (RoleCall("g", (Token("sub"), Field("sub"))), Compare("==", Token("obj"), Field("obj")))
    )
    assert section.matcher_text == "g(r.sub, p.sub) && r.obj == p.obj"
    assert section.span == Span("model.conf", 14, 5)
    assert section.names == Names("", ("sub", "obj", "act"), (), {"g": 2}, allow_eval=False)
    assert model.roles["g"].span == Span("model.conf", 8, 5)


@pytest.mark.parametrize(
    ("text", "has_domain", "parameters", "width"),
    [
        ("_, _", False, 0, 2),
        ("_,_,_", True, 0, 3),
        ("_, _, (_, _)", False, 2, 4),
        ("_ , _ , _ , ( _ , _ )", True, 2, 5),
    ],
)
def test_a_role_definition_says_how_wide_its_rows_are(text: str, has_domain: bool, parameters: int, width: int) -> None:
    """Domains and the parameters of link conditions count."""
    matcher = "g(r.sub, p.sub, r.act)" if has_domain else "g(r.sub, p.sub)"
    conf = PLAIN.replace("_, _\n", f"{text}\n").replace("g(r.sub, p.sub)", matcher)
    role = read(conf).roles["g"]
    assert (role.has_domain, role.parameters, role.width) == (has_domain, parameters, width)


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("some(where (p.eft == allow))", Effect.ALLOW_OVERRIDE),
        ("some( where(p_eft==allow) )", Effect.ALLOW_OVERRIDE),
        ("!some(where (p.eft == deny))", Effect.DENY_OVERRIDE),
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny)) # both", Effect.ALLOW_AND_DENY),
        ("priority(p.eft) || deny", Effect.PRIORITY),
        ("subjectPriority(p_eft)||deny", Effect.SUBJECT_PRIORITY),
    ],
)
def test_the_five_effects_are_known(text: str, effect: Effect) -> None:
    """White space does not matter, nor whether `p.eft` is written as Casbin's constants spell it."""
    assert read(PLAIN.replace("some(where (p.eft == allow))", text)).sections[""].effect is effect


NUMBERED = PLAIN.replace("r = sub, obj, act", "r = sub, obj, act\nr2 = sub, act").replace(
    "p = sub, obj, act, eft", "p = sub, obj, act, eft\np2 = sub, act"
)


def test_numbered_definitions_make_sections_of_their_own() -> None:
    """`r2`, `p2` and `m2` are one section; its effect is `e2`, or `e` where there is no `e2`."""
    text = NUMBERED + "m2 = r2.sub == p2.sub\n"
    sections = read(text).sections
    assert list(sections) == ["", "2"]
    assert sections["2"].ptype == "p2"
    assert sections["2"].effect is Effect.ALLOW_OVERRIDE
    text = text.replace("[matchers]", "e2 = !some(where (p2.eft == deny))\n[matchers]")
    assert read(text).sections["2"].effect is Effect.DENY_OVERRIDE


def test_comments_continuations_and_line_ends_are_casbins() -> None:
    """Comment lines, a comment after a matcher, `#` inside quotes, continued lines and CRLF are read."""
    text = PLAIN.replace(
        "m = g(r.sub, p.sub) && r.obj == p.obj\n",
        "; another comment\nm = g(r.sub, p.sub) \\\n    && r.obj == '#1' \\\n\t|| r.act == \"#\"  # why\n",
    )
    section = read(text.replace("\n", "\r\n")).sections[""]
    assert section.matcher_text == "g(r.sub, p.sub) && r.obj == '#1' || r.act == \"#\""


def test_a_fault_in_a_continued_matcher_is_placed_in_its_own_line() -> None:
    """The column counts in the line that the reader sees."""
    text = PLAIN.replace("&& r.obj == p.obj", "\\\n   && r.obj == p.object \\\n   && r.act == p.act")
    assert findings(text) == [(15, 16, "expression-name", "the rule has no field `object`")]


REQUEST = "[request_definition]\nr = sub, obj, act\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "r = sub, obj, act",
            "r = sub, ob j, act",
            [(2, 10, "model-definition", "`r` holds `ob j`, which is not a name")],
        ),
        ("r = sub, obj, act", "r = sub, obj, act,", [(2, 19, "model-definition", "`r` holds an empty name")]),
        ("r = sub, obj, act", "r = sub, obj, sub", [(2, 15, "model-definition", "`r` names `sub` twice")]),
        ("r = sub, obj, act", "r = sub, 1obj", [(2, 10, "model-definition", "`r` holds `1obj`, which is not a name")]),
        ("r = sub, obj, act", "r =", [(2, 1, "model-definition", "`r` is empty")]),
        (
            "r = sub, obj, act",
            "r = sub, obj, act # request",
            [(2, 19, "model-definition", "a comment stands inside the definition of `r`")],
        ),
        (
            "r = sub, obj, act",
            "r = " + ", ".join(f"t{i}" for i in range(65)),
            [(2, 5, "model-definition", "`r` has 65 names; at most 64 are taken")],
        ),
        (
            "r = sub, obj, act",
            "r = sub, obj, act\nr = sub, obj, act",
            [(3, 1, "model-definition", "`r` is defined twice")],
        ),
        (
            "r = sub, obj, act",
            "r = sub, obj, act\np = sub",
            [(3, 1, "model-definition", "`[request_definition]` takes no definition `p`")],
        ),
        (
            "r = sub, obj, act",
            "r = sub, obj, act\nr1 = sub",
            [(3, 1, "model-definition", "`[request_definition]` takes no definition `r1`")],
        ),
        (
            "r = sub, obj, act",
            "r = sub, obj, act\nsubject",
            [(3, 1, "model-syntax", "`subject` is neither a section, a definition nor a comment")],
        ),
        (
            "[request_definition]",
            "x = 1\n[request_definition]",
            [(1, 1, "model-section", "the definition `x` stands before the first section")],
        ),
        (
            "[request_definition]",
            "[request_definitions]",
            [
                (0, 0, "model-section", "the section `[request_definition]` is missing"),
                (1, 1, "model-section", "unknown section `[request_definitions]`"),
            ],
        ),
        (
            "[matchers]",
            "  [ matchers ]",
            [
                (0, 0, "model-section", "the section `[matchers]` is missing"),
                (13, 3, "model-section", "unknown section `[ matchers ]`"),
            ],
        ),
        (
            "[matchers]",
            "[policy_effect]\n[matchers]",
            [(13, 1, "model-section", "the section `[policy_effect]` is given twice")],
        ),
        (
            "m = g(r.sub, p.sub) && r.obj == p.obj\n",
            "",
            [(13, 1, "model-definition", "`[matchers]` does not define `m`")],
        ),
        (
            "g = _, _\n",
            "",
            [
                (7, 1, "model-definition", "`[role_definition]` does not define `g`"),
                (13, 5, "expression-name", "unknown function `g`"),
            ],
        ),
        ("g = _, _", "g = _", [(8, 5, "model-definition", "`g` is `_`, which is no role definition")]),
        (
            "g = _, _",
            "g = _, _, _, _",
            [(8, 5, "model-definition", "`g` is `_, _, _, _`, which is no role definition")],
        ),
        ("g = _, _", "g = _, _, (_)", [(8, 5, "model-definition", "the links of `g` have 1 parameters")]),
        (
            "g = _, _",
            "g = user, role",
            [(8, 5, "model-definition", "`g` is `user, role`, which is no role definition")],
        ),
        (
            "g = _, _",
            "g = _, _\ng3 = _, _",
            [(9, 1, "model-definition", "`g3` is defined and `g2` is not")],
        ),
        (
            "e = some(where (p.eft == allow))",
            "e = some(where (p.eft == permit))",
            [(11, 5, "model-effect", "unknown effect `some(where (p.eft == permit))`")],
        ),
        (
            "m = g(",
            "m2 = r2.sub == p2.sub\nm = g(",
            [(14, 1, "model-definition", "`m2` is defined and `r2` and `p2` is not")],
        ),
        (
            "m = g(r.sub, p.sub) &&",
            "m = g(r.sub, p.sub) && # both\\\n",
            [(14, 24, "model-definition", "a comment stands inside the definition of `m`, which goes on after it")],
        ),
        (
            "m = g(r.sub, p.sub) &&",
            "m = g(r.sub, p.sub) && \\\n# both\n",
            [
                (14, 1, "model-syntax", "a line ends in `\\` and no definition goes on after it"),
                (16, 2, "model-definition", "`[matchers]` takes no definition `r.obj`"),
            ],
        ),
        ("m = g(r.sub, p.sub)", "m = # g(r.sub", [(14, 5, "model-definition", "`m` is empty")]),
        ("r.obj == p.obj", "r.obj = p.obj", [(14, 30, "expression-syntax", "unexpected `=`")]),
        (
            "r.obj == p.obj",
            "r.obj == p.obj \\",
            [(14, 1, "model-syntax", "a line ends in `\\` and no definition goes on after it")],
        ),
        (
            "\n[matchers]",
            "# \x07\n[matchers]",
            [(12, 3, "model-syntax", "the line holds U+0007 (a control character)")],
        ),
        ("act, eft", "\u200bact, eft", [(5, 15, "model-definition", "`p` holds `\\u{200b}act`, which is not a name")]),
    ],
)
def test_each_fault_is_found_with_its_place(old: str, new: str, expected: list[tuple[int, int, str, str]]) -> None:
    """One changed line gives the findings it deserves, placed at the fault."""
    assert old in PLAIN
    text = PLAIN.replace(old, new, 1)
    assert findings(text) == expected


def test_all_faults_are_reported_at_once_in_order() -> None:
    """A model full of faults is told in one go, by line and column."""
    text = (
        "\ufeff[request_definition]\nr = sub, sub\n[policy_definition]\np = a b\n[nonsense]\nx = 1\n[matchers]\nm = (\n"
    )
    found = findings(text)
    assert found == sorted(found)
    assert [(line, code) for line, _, code, _ in found] == [
        (0, "model-section"),
        (1, "model-syntax"),
        (2, "model-definition"),
        (4, "model-definition"),
        (5, "model-section"),
    ]


def test_subject_priority_needs_roles() -> None:
    """The order of subjects comes from `g`; without it there is none."""
    text = PLAIN.replace("[role_definition]\ng = _, _\n", "").replace("g(r.sub, p.sub)", "r.sub == p.sub")
    text = text.replace("some(where (p.eft == allow))", "subjectPriority(p.eft) || deny")
    assert [(code, message) for _, _, code, message in findings(text)] == [
        ("model-effect", "the effect `subjectPriority` has no roles to order by")
    ]


def test_findings_carry_a_remedy_on_one_line() -> None:
    """Unknown sections come with the nearest known one; every help is one line."""
    _, diagnostics = parse_model(PLAIN.replace("[matchers]", "[matcher]"))
    assert "did you mean `matchers`?" in [found.help for found in diagnostics]
    for found in diagnostics:
        check(found)


def check(found: Diagnostic) -> None:
    """The form that every diagnostic keeps."""
    assert found.code in CODES
    assert found.span.file == "model.conf"
    assert found.help
    assert "\n" not in found.message + found.help
    assert not found.message.endswith(".")


LINES = st.sampled_from(
    [
        *PLAIN.splitlines(),
        *("r2 = sub", "p2 = sub", "m2 = r2.sub == p2.sub", "e2 = priority(p2.eft) || deny", "g2 = _, _, (_, _)"),
        *(
            "[",
            "]",
            "[]",
            "=",
            "m =",
            "= m",
            "\\",
            "m = \\",
            "#",
            ";",
            "g = (",
            "p = ,,",
            "\ufeff",
            "\x00",
            "m10 = True",
        ),
        *("m = 'a # b' # c", "r999999999999 = x", "e = ", 'm = r.sub == "', "\ud800"),
    ]
)


@given(st.text())
def test_no_text_makes_the_reader_fail(text: str) -> None:
    """Any text gives a model or findings."""
    _, diagnostics = parse_model(text)
    for found in diagnostics:
        check(found)


@given(st.lists(LINES, max_size=30), st.sampled_from(["\n", "\r\n", "\r"]))
def test_no_rows_of_lines_make_the_reader_fail(lines: list[str], end: str) -> None:
    """The same for texts made of likely lines, which get further."""
    model, diagnostics = parse_model(end.join(lines))
    assert (model is None) == bool(diagnostics)
    for found in diagnostics:
        check(found)


@given(
    st.lists(st.sampled_from(["sub", "obj", "act", "dom", "x1", "_y"]), min_size=1, max_size=5, unique=True), st.data()
)
def test_casbin_reads_the_same_definitions(names: list[str], data: st.DataObject) -> None:
    """Of a model without findings, Casbin's own reader sees the same tokens, fields and matcher."""
    blanks = st.sampled_from(["", " ", "\t"])
    separator = data.draw(blanks) + "," + data.draw(blanks)
    text = PLAIN.replace(
        "r = sub, obj, act", "r = sub, obj" + "".join(separator + n for n in names if n not in {"sub", "obj"})
    )
    text = text.replace("&& r.obj", data.draw(st.sampled_from(["&& r.obj", "\\\n&& r.obj", " \\\n\t  && r.obj"])))
    model = read(text)
    casbin = CasbinModel()
    casbin.load_model_from_text(text)
    assert casbin["r"]["r"].tokens == [f"r_{name}" for name in model.sections[""].tokens]
    assert casbin["p"]["p"].tokens == [f"p_{name}" for name in model.sections[""].fields]
    ours = model.sections[""].matcher_text.replace("r.", "r_").replace("p.", "p_")
    assert casbin["m"]["m"].value.split() == ours.split()


def test_the_default_bundle_has_a_model_without_findings() -> None:
    """The model that ships with the project is in the language."""
    path = Path(__file__).parents[2] / "policies" / "model.conf"
    assert read(path.read_text("utf-8")).sections


MODELS_PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")


def test_the_model_in_the_documentation_has_no_findings() -> None:
    """The page's own example is in the language that it describes."""
    example = MODELS_PAGE.partition("```ini\n")[2].partition("```")[0]
    assert read(example).sections[""].effect is Effect.ALLOW_AND_DENY


def test_the_documentation_names_every_effect_and_function() -> None:
    """What the language has, the page lists."""
    for name in (*(effect.value.replace("||", r"\|\|") for effect in Effect), *FUNCTIONS):
        assert f"`{name}`" in MODELS_PAGE
