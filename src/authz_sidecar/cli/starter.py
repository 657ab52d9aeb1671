"""Starter bundles: the files of a template, and a new directory that has them all or is not there.

The templates are data of the package, `templates/<name>/`. What would go stale in a copy is made: the standard model
and the schemas.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from authz_sidecar.bundle.schemas import SCHEMAS, build_schema
from authz_sidecar.bundle.standard_model import BASIC

TEMPLATES: dict[str, str] = {
    "company-roles": "roles that are held in one company, or on the platform",
    "data-domains": "roles that are put together from categories of data",
    "casbin": "a Casbin model of your own, and rules in CSV",
}
"""Every template and what it is for; the first is the default."""

MODEL_FILE = "model.conf"
# A bundle does not read names that begin with a dot.
SCHEMA_FOLDER = ".schemas"
NAME_MARK = "BUNDLE_NAME"
UNFINISHED = ".authz-sidecar-init-"
# A repository whose only content is its history is empty to us.
_NOT_IN_THE_WAY = (".git",)


def starter_files(template: str, name: str) -> dict[str, str]:
    """The files of a template, a key of `TEMPLATES`, for a bundle called `name`: relative path to text."""
    found = dict(_texts(files(__package__) / "templates" / template))
    found.setdefault(MODEL_FILE, BASIC)
    for path, text in found.items():
        # JSON's strings are YAML's, whatever the name is.
        written = json.dumps(name, ensure_ascii=False) if path.endswith(".yaml") else name
        found[path] = text.replace(NAME_MARK, written)
    found |= {f"{SCHEMA_FOLDER}/{schema}": build_schema(schema) for schema in SCHEMAS}
    return dict(sorted(found.items()))


def _texts(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _texts(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_text(encoding="utf-8")


def in_the_way(folder: Path) -> list[str]:
    """The names in `folder` that keep a bundle from being written there, sorted; none if there is no such folder.
    Raises OSError if it cannot be listed, or is something else."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.name not in _NOT_IN_THE_WAY)
    except FileNotFoundError:
        return []


def write_new(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into `folder`, which `in_the_way` found empty or absent: all of them or none, and over nothing.
    Raises OSError where it cannot."""
    folder = folder.resolve()
    if folder.is_dir():
        _fill(folder, texts)
        return
    # The whole new branch of directories is made beside its place and appears at once.
    base = next(parent for parent in folder.parents if parent.is_dir())
    new = folder.relative_to(base)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=base) as unfinished:
        whole = Path(unfinished) / new
        whole.mkdir(parents=True)
        _fill(whole, texts)
        (Path(unfinished) / new.parts[0]).rename(base / new.parts[0])


def _fill(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into an existing folder; what was written is removed again if anything fails."""
    made: list[Path] = []
    try:
        # Without a model nothing is served: what an interruption might leave is no bundle.
        for path in sorted(texts, key=lambda path: path == MODEL_FILE):
            target = folder / path
            if target.parent != folder and not target.parent.exists():
                target.parent.mkdir()
                made.append(target.parent)
            with target.open("x", encoding="utf-8", newline="\n") as file:
                made.append(target)
                file.write(texts[path])
    except BaseException:
        for new in reversed(made):
            if new.is_dir():
                new.rmdir()
            else:
                new.unlink(missing_ok=True)
        raise
