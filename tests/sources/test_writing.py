"""Changed files of a bundle, written back: all of them or none, and nothing else about them changes."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz_sidecar.sources.writing import WriteError, write_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with two files."""
    (tmp_path / "a.yaml").write_bytes(b"a")
    (tmp_path / "b.yaml").write_bytes(b"b")
    return tmp_path


NOBODY = 65534
BEFORE = {"a.yaml": b"a", "b.yaml": b"b"}


def names(root: Path) -> list[str]:
    """Everything that stands in a directory."""
    return sorted(path.name for path in root.iterdir())


def test_files_are_replaced(root: Path) -> None:
    """Each file has its new content and its old permissions, and nothing is left beside them."""
    (root / "a.yaml").chmod(0o640)
    write_files(root, BEFORE, {"a.yaml": b"A", "b.yaml": b"B"})
    assert [(root / name).read_bytes() for name in BEFORE] == [b"A", b"B"]
    assert (root / "a.yaml").stat().st_mode & 0o7777 == 0o640
    assert names(root) == ["a.yaml", "b.yaml"]


def test_a_link_stays_one(root: Path) -> None:
    """What is behind a link is replaced, and the link still leads there."""
    (root / "c.yaml").symlink_to("a.yaml")
    write_files(root, BEFORE | {"c.yaml": b"a"}, {"c.yaml": b"C"})
    assert (root / "c.yaml").is_symlink()
    assert (root / "a.yaml").read_bytes() == b"C"


def test_what_has_changed_is_not_written_over(root: Path) -> None:
    """Where one file is not what was read, or is gone, no file is written."""
    (root / "b.yaml").write_bytes(b"other")
    with pytest.raises(WriteError, match="has changed meanwhile"):
        write_files(root, BEFORE, {"a.yaml": b"A", "b.yaml": b"B"})
    (root / "b.yaml").unlink()
    with pytest.raises(WriteError, match="cannot be written: no such file"):
        write_files(root, BEFORE, {"a.yaml": b"A", "b.yaml": b"B"})
    assert (root / "a.yaml").read_bytes() == b"a"
    assert names(root) == ["a.yaml"]


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """A directory with the two files; while it is there nobody in particular writes, since root may everywhere."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for file, content in BEFORE.items():
            (root / file).write_bytes(content)
        me = os.geteuid()
        if me == 0:
            for path in (root, *root.iterdir()):
                os.chown(path, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield root
        finally:
            os.seteuid(me)


@pytest.mark.parametrize("name", ["b.yaml", "."])
def test_what_is_read_only_stays(of_nobody: Path, name: str) -> None:
    """A file that is read-only, or whose directory is, is not replaced, and no other file is written."""
    place = of_nobody / name
    mode = place.stat().st_mode
    place.chmod(mode & ~0o222)
    with pytest.raises(WriteError):
        write_files(of_nobody, BEFORE, {"a.yaml": b"A", "b.yaml": b"B"})
    place.chmod(mode)
    assert [(of_nobody / file).read_bytes() for file in BEFORE] == [b"a", b"b"]
    assert names(of_nobody) == ["a.yaml", "b.yaml"]
