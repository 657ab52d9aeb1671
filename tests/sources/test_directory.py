"""Directories: what is read, what is not, and what cannot be."""

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz_sidecar.bundle.files import MAX_FILES
from authz_sidecar.sources.directory import read_directory


def read(path: Path) -> dict[str, bytes]:
    """The files of a directory that has no faults."""
    files, findings = read_directory(path)
    assert findings == []
    assert files is not None
    return dict(files)


def faults(path: Path) -> list[tuple[str, str, str, str]]:
    """What is wrong with a directory: place, code, message and help."""
    files, findings = read_directory(path)
    assert files is None
    return [(str(d.span), d.code, d.message, d.help) for d in findings]


def write(root: Path, **files: str) -> Path:
    """Write files; `__` in a name is a folder, `_DOT_` a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_files_are_read_at_any_depth_in_order(tmp_path: Path) -> None:
    """Paths are relative, with slashes, sorted; notes for people and names with a dot in front are left out."""
    write(tmp_path, b_DOT_csv="p", a__c_DOT_csv="q", model_DOT_conf="m", README_DOT_md="x", _DOT_git__config="x")
    write(tmp_path, a___DOT_hidden_DOT_csv="x", LICENSE="x")
    files, _ = read_directory(tmp_path)
    assert files is not None
    assert list(files.items()) == [("a/c.csv", b"q"), ("b.csv", b"p"), ("model.conf", b"m")]
    assert files.name == tmp_path.name


def test_a_missing_directory_is_a_finding(tmp_path: Path) -> None:
    """It says which path, and which option names another."""
    assert faults(tmp_path / "none") == [
        (
            "none",
            "bundle-missing",
            f"the bundle `{tmp_path / 'none'}` cannot be read: no such file or directory",
            "name an existing directory with `--policies`",
        )
    ]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """A bundle is named by its directory."""
    write(tmp_path, model_DOT_conf="")
    [(_, code, message, _)] = faults(tmp_path / "model.conf")
    assert code == "bundle-missing"
    assert message.endswith("cannot be read: it is not a directory")


def test_a_config_map_is_read(tmp_path: Path) -> None:
    """Kubernetes mounts files as links through a hidden link to a hidden directory; an update swaps that link."""
    write(tmp_path, _DOT_2026_01__model_DOT_conf="one", _DOT_2026_02__model_DOT_conf="two")
    (tmp_path / "..data").symlink_to(".2026_01")
    (tmp_path / "model.conf").symlink_to("..data/model.conf")
    assert read(tmp_path) == {"model.conf": b"one"}
    (tmp_path / "..next").symlink_to(".2026_02")
    (tmp_path / "..next").replace(tmp_path / "..data")
    assert read(tmp_path) == {"model.conf": b"two"}


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    """A release directory is often reached by a link; what counts is where it leads."""
    write(tmp_path, real__model_DOT_conf="m")
    (tmp_path / "current").symlink_to("real")
    assert read(tmp_path / "current") == {"model.conf": b"m"}


def test_links_inside_the_directory_are_followed(tmp_path: Path) -> None:
    """A file or folder may stand for another of the same bundle."""
    write(tmp_path, a__x_DOT_csv="x")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "y.csv").symlink_to("a/x.csv")
    assert read(tmp_path) == {"a/x.csv": b"x", "b/x.csv": b"x", "y.csv": b"x"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../secret.csv", "the symbolic link `x.csv` leads out of the bundle directory"),
        ("/etc/hostname", "the symbolic link `x.csv` leads out of the bundle directory"),
        ("gone.csv", "the symbolic link `x.csv` leads nowhere: no such file or directory"),
        ("x.csv", "the symbolic link `x.csv` leads nowhere: the path is a circle"),
    ],
)
def test_other_links_are_refused(tmp_path: Path, target: str, message: str) -> None:
    """Out of the directory, nowhere, or in a circle."""
    root = tmp_path / "bundle"
    root.mkdir()
    (tmp_path / "secret.csv").write_text("p, eve, everything")
    (root / "x.csv").symlink_to(target)
    assert faults(root) == [("x.csv", "file-link", message, "replace the link by the file itself")]


def test_a_folder_that_holds_itself_is_refused(tmp_path: Path) -> None:
    """A link to a folder above would never end."""
    write(tmp_path, a__x_DOT_csv="x")
    (tmp_path / "a" / "up").symlink_to("..")
    assert faults(tmp_path) == [
        (
            "a/up",
            "file-link",
            "the symbolic link `a/up` leads back to a folder that holds it",
            "replace the link by the file itself",
        )
    ]


KIND_HELP = "remove it; a bundle holds regular files only"


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would stop the sidecar."""
    os.mkfifo(tmp_path / "x.csv")
    assert faults(tmp_path) == [("x.csv", "file-kind", "`x.csv` is neither a file nor a directory", KIND_HELP)]


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a socket, which cannot be opened at all."""
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("x.csv")
        assert faults(tmp_path) == [("x.csv", "file-kind", "`x.csv` is neither a file nor a directory", KIND_HELP)]


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Places are shown to people, so names are printable UTF-8."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).touch()
    (tmp_path / "a\nb.csv").touch()
    assert [finding[:3] for finding in faults(tmp_path)] == [
        ("\\udcff.csv", "file-name", "the name `\\udcff.csv` is not plain UTF-8 text"),
        ("a\\nb.csv", "file-name", "the name `a\\nb.csv` is not plain UTF-8 text"),
    ]


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    """The size is asked first: a sparse terabyte costs nothing."""
    with (tmp_path / "x.csv").open("wb") as file:
        file.truncate(1 << 40)
    assert faults(tmp_path) == [
        (
            "x.csv",
            "file-size",
            "the file `x.csv` holds 1,099,511,627,776 bytes; at most 268,435,456 are read",
            "split the file",
        )
    ]


def test_files_are_counted(tmp_path: Path) -> None:
    """The ten-thousand-and-first entry ends the reading."""
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.csv").touch()
    assert faults(tmp_path) == [
        (
            ".",
            "bundle-size",
            "the bundle has more than 10,000 files and folders",
            "name the directory that holds the policies alone, or split the bundle",
        )
    ]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run without root's right to read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_may_not_be_read_is_named(open_folder: Path) -> None:
    """A file or folder without permission is an error of the bundle, not of the process."""
    write(open_folder, x_DOT_csv="x", closed__y_DOT_csv="y")
    (open_folder / "x.csv").chmod(0)
    (open_folder / "closed").chmod(0)
    help = "let the user that runs the sidecar read it, or remove it from the bundle"
    with as_nobody():
        found = faults(open_folder)
    assert found == [
        ("closed", "file-unreadable", "`closed` cannot be read: permission denied", help),
        ("x.csv", "file-unreadable", "`x.csv` cannot be read: permission denied", help),
    ]


def test_a_file_of_an_unknown_name_is_kept_for_the_reader_to_refuse(tmp_path: Path) -> None:
    """Its content is not read; its name is what is wrong."""
    write(tmp_path, roles_DOT_yml="x", notes_DOT_txt="x")
    assert read(tmp_path) == {"notes.txt": b"", "roles.yml": b""}


@contextmanager
def during(event: str, name: str, act: Callable[[], None]) -> Iterator[None]:
    """Run `act` each time that this process is about to `open` or list (`os.scandir`) a path that ends in `name`."""
    watch = (event, name, act)
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)


_watches: list[tuple[str, str, Callable[[], None]]] = []


def _on_audit(event: str, arguments: tuple[object, ...]) -> None:
    for wanted, name, act in tuple(_watches):
        if event == wanted and str(arguments[0]).endswith(name):
            act()


# Python keeps an audit hook for ever; this one does nothing outside of `during`.
sys.addaudithook(_on_audit)


def swap(link: Path, target: str) -> None:
    """Point a link elsewhere at once, as Kubernetes does."""
    new = link.with_name("..new")
    new.symlink_to(target)
    new.replace(link)


def test_a_swap_while_reading_gives_one_revision(tmp_path: Path) -> None:
    """A ConfigMap that is updated between two of its files is read again: never one file of each revision."""
    write(tmp_path, _DOT_one__a_DOT_csv="1", _DOT_one__z_DOT_csv="1", _DOT_two__a_DOT_csv="2", _DOT_two__z_DOT_csv="2")
    (tmp_path / "..data").symlink_to(".one")
    for name in ("a.csv", "z.csv"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    with during("open", ".one/z.csv", lambda: swap(tmp_path / "..data", ".two")):
        assert read(tmp_path) == {"a.csv": b"2", "z.csv": b"2"}


def test_a_swap_of_the_directory_gives_one_revision(tmp_path: Path) -> None:
    """So is a bundle that is itself reached by a link."""
    write(tmp_path, one__a_DOT_csv="1", one__z_DOT_csv="1", two__a_DOT_csv="2", two__z_DOT_csv="2")
    current = tmp_path / "current"
    current.symlink_to("one")
    with during("open", "one/z.csv", lambda: swap(current, "two")):
        assert read(current) == {"a.csv": b"2", "z.csv": b"2"}


def test_a_rewrite_while_reading_gives_one_revision(tmp_path: Path) -> None:
    """A file that is written over in place after it was read is read again with the others, equally long or not."""
    write(tmp_path, a_DOT_csv="1", z_DOT_csv="1")
    os.utime(tmp_path / "a.csv", ns=(0, 0))

    def rewrite() -> None:
        (tmp_path / "a.csv").write_text("2")
        (tmp_path / "z.csv").write_text("2")

    with during("open", "/z.csv", only_once(rewrite)):
        assert read(tmp_path) == {"a.csv": b"2", "z.csv": b"2"}


def only_once(act: Callable[[], None]) -> Callable[[], None]:
    """`act` the first time, nothing later."""
    left = [act]

    def once() -> None:
        if left:
            left.pop()()

    return once


def test_a_file_that_goes_or_comes_while_reading_is_seen(tmp_path: Path) -> None:
    """A file that vanishes after it was listed, or appears after the listing, is no error and is not missed."""
    write(tmp_path, a_DOT_csv="a", b_DOT_csv="b")
    with during("open", "/a.csv", only_once((tmp_path / "a.csv").unlink)):
        assert read(tmp_path) == {"b.csv": b"b"}

    def appear() -> None:
        (tmp_path / "0.csv").write_text("new")

    with during("open", "/b.csv", only_once(appear)):
        assert read(tmp_path) == {"0.csv": b"new", "b.csv": b"b"}


def test_a_directory_that_never_rests_is_refused(tmp_path: Path) -> None:
    """After five attempts reading gives up and says so."""
    write(tmp_path, a_DOT_csv="")

    listings: list[int] = []

    def grow() -> None:
        listings.append(len(listings))
        (tmp_path / "a.csv").write_text("x" * len(listings))

    with during("os.scandir", str(tmp_path), grow):
        found = faults(tmp_path)
    assert found == [
        (
            ".",
            "bundle-changing",
            f"the bundle `{tmp_path}` changed each of the 5 times that it was read",
            "try again when the writer is done; to replace a bundle at once, swap a link to its directory",
        )
    ]
    assert len(listings) == 10


def test_a_folder_that_may_be_listed_and_not_entered_is_named(open_folder: Path) -> None:
    """Its files are seen and cannot be opened: each is an error of the bundle, links and folders too."""
    write(open_folder, closed__a_DOT_csv="x", closed__b__c_DOT_csv="x")
    (open_folder / "link.csv").symlink_to("closed/a.csv")
    (open_folder / "closed").chmod(0o444)
    with as_nobody():
        found = faults(open_folder)
    (open_folder / "closed").chmod(0o755)
    assert [(place, code, message) for place, code, message, _ in found] == [
        ("closed/a.csv", "file-unreadable", "`closed/a.csv` cannot be read: permission denied"),
        ("closed/b", "file-unreadable", "`closed/b` cannot be read: permission denied"),
        ("link.csv", "file-link", "the symbolic link `link.csv` leads nowhere: permission denied"),
    ]
