"""The matrix of a policy, cell by cell, and its forms."""

from html.parser import HTMLParser
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.review.matrix import Level, access_matrix
from authz_sidecar.review.report.matrix import matrix_html, matrix_markdown, matrix_svg, matrix_text, matrix_view
from authz_sidecar.values import Request
from tests.review.small_bundle import ROLES, material_of


def test_levels() -> None:
    """A cell says whether all objects, the subject's own, a part, or none."""
    matrix = access_matrix(material_of().bundle)
    assert matrix.level("CLERK", "case", "read") is Level.ALL
    assert matrix.level("CLERK", "report", "read") is Level.OWN
    assert matrix.level("CLERK", "case", "delete") is Level.NONE
    assert matrix.level("CHIEF", "case", "update") is Level.ALL
    assert matrix.level("CHIEF", "case", "delete") is Level.NONE
    assert matrix.level("AUDITOR", "report", "export") is Level.ALL


def test_ids_and_conditions_are_a_part() -> None:
    """A grant of single objects, or under a condition, is a part of the type."""
    roles = ROLES.replace("{object: report, actions: [read], scope: own}", "{object: report, id: a*, actions: [read]}")
    assert access_matrix(material_of(roles, extended=True).bundle).level("CLERK", "report", "read") is Level.PART
    roles = ROLES.replace("actions: [read], scope: own}", "actions: [read], when: r.obj.open}")
    assert access_matrix(material_of(roles, extended=True).bundle).level("CLERK", "report", "read") is Level.PART


GRANTS = st.lists(
    st.tuples(
        st.sampled_from(["case", "report", '"*"']),
        st.sampled_from(["read", '"*"']),
        st.sampled_from(["company", "own"]),
        st.sampled_from(["allow", "deny"]),
        st.sampled_from(["*", "7"]),
    ),
    min_size=1,
    max_size=5,
)


@given(GRANTS)
def test_levels_are_what_is_decided(grants: list[tuple[str, str, str, str, str]]) -> None:
    """For any grants of a role, a cell is what its holder is told of own and other objects, of the named id or not."""
    lines = "".join(
        f"      - {{object: {kind}, actions: [{action}], scope: {scope}, effect: {effect}, id: {id!r}}}\n"
        for kind, action, scope, effect, id in grants
    )
    material = material_of(f"roles:\n  CLERK:\n    assigned: company\n    grants:\n{lines}")
    matrix = access_matrix(material.bundle)
    for kind in ("case", "report"):
        decided = {
            (id, owner): material.decider.decide(
                Request("role:CLERK", "read", type=kind, id=id, company="acme", owner=owner, object=f"{kind}:{id}")
            ).allowed
            for id in ("7", "8")
            for owner in ("role:CLERK", "somebody")
        }
        level = matrix.level("CLERK", kind, "read")
        if level is Level.ALL:
            assert all(decided.values())
        elif level is Level.OWN:
            assert decided == {key: key[1] == "role:CLERK" for key in decided}
        elif level is Level.NONE:
            assert not any(decided.values())
        else:
            # A part may turn out to be nothing, or all, where grants add up.
            assert len({*grants}) > 1 or "7" in {grant[4] for grant in grants}


def test_text_names_what_is_granted() -> None:
    """A cell of a type names its actions, or the few that are missing, and its own objects apart."""
    lines = matrix_text(matrix_view(access_matrix(material_of().bundle), "types"))
    assert [line.split() for line in lines] == [
        ["object", "type", "CLERK", "CHIEF", "AUDITOR"],
        ["case", "read,", "update", "all", "but", "delete", "all"],
        ["report", "own:", "read", "own:", "read", "all"],
    ]


def test_data_domains_are_told_as_a_whole() -> None:
    """A role's cell of a data domain is `all` with all of it, `part` where its types differ."""
    view = matrix_view(access_matrix(material_of().bundle), "data-domains")
    cells = {role: [cell.text for cell in row] for role, row in view.rows}
    assert cells == {"CLERK": ["read, update", "part"], "CHIEF": ["all but delete", "part"], "AUDITOR": ["all", "all"]}


class Cells(HTMLParser):
    """Collects the text of a page's table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A cell begins."""
        if tag == "td":
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        """A cell ends."""
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        """Text of a cell."""
        if self.inside:
            self.cells[-1] += data


def test_every_form_has_every_cell() -> None:
    """Markdown, HTML and SVG show the cells that the text shows."""
    view = matrix_view(access_matrix(material_of().bundle), "actions")
    wanted = [cell.text for _, cells in view.rows for cell in cells]
    parser = Cells()
    parser.feed(matrix_html(view, "a <title>"))
    assert parser.cells == wanted
    picture = ET.fromstring(matrix_svg(view, "a <title>"))  # noqa: S314 - our own
    shown = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert len(shown) == (len(view.rows) + 1) * (len(view.columns) + 1)
    rows = [line for line in matrix_markdown(view) if line.startswith("| `")]
    assert [row.split(" | ")[1:] for row in rows] == [
        [*texts[:-1], f"{texts[-1]} |"] for texts in ([cell.text for cell in cells] for _, cells in view.rows)
    ]


def test_only_what_is_asked_for() -> None:
    """Roles and types can be chosen, in the order asked for."""
    view = matrix_view(access_matrix(material_of().bundle), "types", ["AUDITOR", "CLERK"], ["report"])
    assert view.columns == ("AUDITOR", "CLERK")
    assert [name for name, _ in view.rows] == ["report"]
