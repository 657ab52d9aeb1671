"""Names inside markdown and HTML: whatever they hold, the reader sees them and the page does not obey them."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from authz_sidecar.review.report.markup import html_attribute, html_text, markdown_code, markdown_text
from authz_sidecar.review.report.page import html_page, html_table, markdown_table
from authz_sidecar.values.visible import visible
from tests.review.report.access_changes import HOSTILE

NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(alphabet=st.sampled_from("ab |`\\*_~[]()<>&@#!$:/.-+=\u202e\u200b\"'"), min_size=1),
)


class Seen(HTMLParser):
    """The tags, attributes and text of a piece of HTML."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.comments: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it, and begin a cell."""
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_comment(self, data: str) -> None:
        """Remember it."""
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        """Add it to the text and to the cell."""
        self.text += data
        if self.cells:
            self.cells[-1] += data


def shown(markdown: str) -> Seen:
    """What a reader of GitHub's kind of markdown sees."""
    return Seen(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


@given(NAMES)
def test_code_in_a_table_shows_the_name_and_nothing_else(name: str) -> None:
    """A name in a cell is one piece of code with its visible letters: no column, tag or link comes from it."""
    seen = shown("\n".join(markdown_table(["name", "next"], [[markdown_code(name), "end"]])))
    assert [tag for tag in seen.tags if tag not in ("table", "thead", "tbody", "tr", "th", "td")] == ["code"]
    assert [cell.strip("\n") for cell in seen.cells] == ["name", "next", visible(name), "end"]
    assert not seen.comments


@given(NAMES)
def test_code_in_a_line_shows_the_name(name: str) -> None:
    """The same outside of tables."""
    seen = shown(f"- {markdown_code(name)} gains")
    assert seen.tags == ["ul", "li", "code"]
    assert seen.text.strip("\n") == f"{visible(name)} gains"


@given(NAMES)
def test_prose_is_shown_as_written(text: str) -> None:
    """A message keeps its letters, but for nothings that keep references apart, and formats nothing."""
    seen = shown("\n".join(markdown_table(["message", "next"], [["x" + markdown_text(text), "end"]])))
    assert "code" not in seen.tags
    assert not {"a", "em", "strong", "img", "script", "s"} & set(seen.tags)
    assert seen.cells[2].replace("\u200b", "").rstrip() == "x" + visible(text).rstrip()
    assert len(seen.cells) == 4


@pytest.mark.parametrize("text", ["@team", "see #12", "a/b#12", "https://a.example", "www.a.example", "!7", "~label"])
def test_prose_makes_no_reference(text: str) -> None:
    """What GitHub or GitLab would look for in rendered text does not stand there in one piece."""
    assert text not in shown(markdown_text(text)).text


@pytest.mark.parametrize("name", HOSTILE)
def test_html_shows_the_name(name: str) -> None:
    """As text and as an attribute a name stays text."""
    seen = Seen(f'<p title="{html_attribute(name)}">{html_text(name)}</p>')
    assert seen.tags == ["p"]
    assert seen.attributes == [("title", visible(name))]
    assert seen.text == visible(name)


@pytest.mark.parametrize("name", [name for name in HOSTILE if not name.isprintable() or "\u3164" in name])
def test_nothing_unseen_is_left(name: str) -> None:
    """Controls, direction marks and characters that are drawn as nothing are written out, in every format."""
    for markup in (visible(name), html_text(name), html_attribute(name), markdown_text(name), markdown_code(name)):
        assert markup.isprintable()
        assert "\u3164" not in markup


def test_a_page_needs_nothing_else() -> None:
    """A page is one file: no script, nothing to fetch, a title that is text, and both colour schemes."""
    page = html_page("a <b> & c", [html_table(["x"], [["1"]], caption="numbers", numbers=(0,))])
    seen = Seen(page)
    assert not {"script", "link", "img", "iframe"} & set(seen.tags)
    assert not any(name in ("src", "href") or name.startswith("on") for name, _ in seen.attributes)
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert "prefers-color-scheme: dark" in page
    assert ("lang", "en") in seen.attributes
    assert ("scope", "col") in seen.attributes
    assert ("scope", "row") in seen.attributes
    assert "url(" not in page
    assert "@import" not in page
