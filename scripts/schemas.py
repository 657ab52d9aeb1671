"""Write the JSON Schemas of bundles, issuers and reports to `schemas/`, or with `--check` say whether they are so."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "schemas"

# The schemas are those of this tree, whether or not a build of it is installed.
sys.path.insert(0, str(ROOT / "src"))

from authz_sidecar.bundle.schemas import SCHEMAS, build_schema, schema_text  # noqa: E402  # after the path is set
from authz_sidecar.cli.report_schemas import REPORT_SCHEMAS, build_report_schema  # noqa: E402
from authz_sidecar.directory.jwt.issuers import ISSUERS_SCHEMAS  # noqa: E402


def main() -> int:
    """Write or check; 1 if a checked file is not as generated."""
    stale = []
    texts = {name: build_schema(name) for name in SCHEMAS}
    texts |= {name: build_report_schema(name) for name in REPORT_SCHEMAS}
    texts |= {name: schema_text(*described) for name, described in ISSUERS_SCHEMAS.items()}
    for name, text in texts.items():
        path = FOLDER / name
        if "--check" not in sys.argv[1:]:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        print(f"schemas/{name} is not as generated: run `python scripts/schemas.py`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
