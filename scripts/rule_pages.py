"""Write the manual pages of the lint rules to `docs/rules/`, or with `--check` say whether they are as generated."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "rules"
INDEX = "README.md"

# The pages are those of this tree, whether or not a build of it is installed.
sys.path.insert(0, str(ROOT / "src"))

from authz_sidecar.review.rules import RULES  # noqa: E402  # after the path is set
from authz_sidecar.review.rules.page import rule_page  # noqa: E402
from authz_sidecar.values.codes import CODES  # noqa: E402


def index_page() -> str:
    """The list of all rules."""
    lines = [
        "# Lint rules",
        "",
        "What `authz-sidecar lint` looks for beyond what loading a bundle reports. How to select, ignore and adopt the",
        "rules is in [lint.md](../lint.md). `authz-sidecar lint --explain CODE` shows a page on the command line.",
        "",
        "| code | finds | severity | fixed by `--fix` |",
        "|---|---|---|---|",
    ]
    for rule in RULES:
        fixed = "yes" if rule.fix is not None else ""
        severity = rule.severity if rule.by_default else "off"
        lines.append(f"| [`{rule.code}`]({rule.code}.md) | {CODES[rule.code]} | {severity} | {fixed} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check; 1 if a checked page is not as generated, or belongs to no rule."""
    pages = {INDEX: index_page(), **{f"{rule.code}.md": rule_page(rule) for rule in RULES}}
    found = {path.name: path for path in FOLDER.glob("*.md")} if FOLDER.is_dir() else {}
    if "--check" in sys.argv[1:]:
        stale = [
            name for name, text in pages.items() if name not in found or found[name].read_text(encoding="utf-8") != text
        ]
        stale += sorted(found.keys() - pages.keys())
        for name in stale:
            print(f"docs/rules/{name} is not as generated: run `python scripts/rule_pages.py`", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    for name in found.keys() - pages.keys():
        found[name].unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
