"""Hostile bundles: nothing that files hold makes reading raise."""

from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC
from authz_sidecar.values import Severity
from tests.bundle.expectations import MANIFEST

NAMES = ["model.conf", "manifest.yaml", "a.yaml", "tests/t.yaml", "p.csv", "x.yml", "notes.md", "odd"]
SNIPPETS = [
    MANIFEST,
    BASIC,
    "roles:\n  A: {assigned: company, inherits: [A], grants: [{object: folder, actions: [read]}]}\n",
    "roles: {A: {assigned: company, kind: sole, data_domains: [X]}}\ndata_domains: {X: {objects: [folder]}}\n",
    "assignments: [{subject: a, roles: [A], company: c, flags: {f: false}}]\n",
    "assignments: [{subject: a, company: c, grants: [{object: folder, actions: [read]}]}]\n",
    "flags: {f: {roles: [A], object: folder, actions: [read]}}\n",
    "tests: [{name: n, subject: s, object: folder, action: read, expect: allow}]\n",
    "p, a, b, c, d, allow\ng, a, b, c\n",
]
CONTENT = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(SNIPPETS).map(str.encode),
    st.builds(
        lambda text, at, junk: text[: at % len(text)].encode() + junk + text[at % len(text) :].encode(),
        st.sampled_from(SNIPPETS),
        st.integers(0, 400),
        st.one_of(st.binary(max_size=4), st.sampled_from([b"*", b"&a ", b"\t", b": ", b"[", b"null", b"5", b'"'])),
    ),
)


@given(st.dictionaries(st.sampled_from(NAMES), CONTENT, max_size=6))
@settings(max_examples=400, deadline=None)
def test_any_files_are_a_bundle_or_findings(files: dict[str, bytes]) -> None:
    """There is a bundle, or an error that says why not; findings are sorted and in bounds."""
    bundle, diagnostics = parse_bundle(files, "any")
    assert (bundle is None) == any(d.severity is Severity.ERROR for d in diagnostics)
    assert diagnostics == sorted(set(diagnostics), key=lambda d: d.sort_key)
    for diagnostic in diagnostics:
        for text in (diagnostic.message, diagnostic.help):
            assert text
            assert text.isprintable()
            assert not text.endswith(".")
