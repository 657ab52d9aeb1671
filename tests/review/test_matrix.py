"""The matrix of a policy, cell by cell, and its forms."""

from functools import cache
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.review.access.change import Box, Kind
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.material import Material
from authz_sidecar.review.matrix import Level, access_matrix
from authz_sidecar.review.report.matrix import matrix_html, matrix_markdown, matrix_svg, matrix_text, matrix_view
from authz_sidecar.values.texts import values_of
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
    st.builds(
        "{{object: {}, actions: [{}], scope: {}, effect: {}{}}}".format,
        st.sampled_from(["case", "report", '"*"']),
        st.sampled_from(["read", '"*"']),
        st.sampled_from(["company", "own"]),
        st.sampled_from(["allow", "allow", "deny"]),
        st.sampled_from(["", ", id: a", ", id: ab", ', id: "a*"', ', id: "ab*"', ", when: r.obj.open == True"]),
    ),
    min_size=1,
    max_size=5,
)


@cache
def clerk(grants: str) -> Material:
    """A bundle with one role that has these grants."""
    return material_of(f"roles:\n  CLERK: {{assigned: company, grants: [{grants}]}}\n", extended=True)


@settings(max_examples=60)
@given(GRANTS)
def test_levels_are_what_the_policy_says(grants: list[str]) -> None:
    """For any grants of a role, a cell is `all`, `own` or `-` where just that access is what the rules come to, and
    else `part`."""
    material = clerk(", ".join(grants))
    matrix = access_matrix(material.bundle)
    for kind in ("case", "report"):
        box = Box(type=values_of([kind]), action=values_of(["read"]))
        within = Region(box, ("role:CLERK",), frozenset((Kind.ROLE,)))
        said = {
            Level.NONE: None,
            Level.OWN: clerk(f"{{object: {kind}, actions: [read], scope: own}}"),
            Level.ALL: clerk(f"{{object: {kind}, actions: [read]}}"),
        }
        same = [level for level, other in said.items() if diff_access(other, material, within=within).unchanged]
        assert [matrix.level("CLERK", kind, "read")] == (same or [Level.PART])


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


def test_a_wide_table_is_cut_by_columns() -> None:
    """A table of many roles fits the width: further columns stand below, beside the names of the rows again."""
    roles = "".join(f"  ROLE_{number}: {{assigned: company, data_domains: [CASES]}}\n" for number in range(60))
    material = material_of(f"data_domains:\n  CASES: {{objects: [case]}}\nroles:\n{roles}")
    view = matrix_view(access_matrix(material.bundle), "types")
    lines = matrix_text(view, 80)
    assert max(map(len, lines)) <= 80
    tables = "\n".join(lines).split("\n\n")
    rows = ["object", "case", "report"]
    assert [line.split()[0] for table in tables for line in table.split("\n")] == rows * len(tables)
    assert [name for table in tables for name in table.split("\n")[0].split()[2:]] == list(view.columns)
    assert len(matrix_text(view)) == 3


def test_only_what_is_asked_for() -> None:
    """Roles and types can be chosen, in the order asked for."""
    view = matrix_view(access_matrix(material_of().bundle), "types", ["AUDITOR", "CLERK"], ["report"])
    assert view.columns == ("AUDITOR", "CLERK")
    assert [name for name, _ in view.rows] == ["report"]
