"""Which commit last touched a line, with `git blame` as the judge."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.sources.blame import Origin, blame_lines
from authz_sidecar.sources.line_matching import match_lines, split_lines
from authz_sidecar.sources.repository import Repository
from tests.sources.git_program import at_time, commit, git, init


def git_blame(root: Path, path: str) -> list[tuple[str, str, int]]:
    """Commit, file and line there of each line, as git says."""
    found = []
    names: dict[str, str] = {}
    id, line = "", 0
    for text in git(root, "blame", "--porcelain", "HEAD", "--", path).split("\n"):
        words = text.split(" ")
        if text.startswith("\t"):
            found.append((id, names[id], line))
        elif words[0] == "filename":
            names[id] = text.removeprefix("filename ")
        elif len(words[0]) == 40:
            id, line = words[0], int(words[1])
    return found


def our_blame(root: Path, folder: str, name: str, limit: int = 1000) -> list[Origin]:
    """The origin of each line of a file."""
    with Repository.open(root) as repository:
        found = blame_lines(repository.objects, repository.resolve("HEAD"), folder, {name: range(1, 1000)}, limit=limit)
    return [found[key] for key in sorted(found)]


def agrees(root: Path, folder: str, name: str) -> None:
    """Our answer is git's."""
    found = our_blame(root, folder, name)
    assert all(origin.older == "" for origin in found)
    told = [(origin.commit.id, origin.file, origin.line) for origin in found if origin.commit]
    assert told == git_blame(root, f"{folder}/{name}")


def edited(lines: list[str], choice: random.Random, fresh: "list[int]") -> list[str]:
    """Some lines removed, replaced and added. Every line is written once in the whole history, so that there is one
    right answer."""
    lines = list(lines)
    for _ in range(choice.randrange(1, 4)):
        at = choice.randrange(len(lines) + 1)
        fresh[0] += 1
        lines[at : at + choice.randrange(3)] = [f"line {fresh[0]}.{more}" for more in range(choice.randrange(1, 3))]
    return lines


@pytest.mark.parametrize("seed", range(5))
def test_blame_is_that_of_git(tmp_path: Path, seed: int) -> None:
    """On random histories of thirty commits with branches and merges, line by line."""
    root = init(tmp_path)
    choice = random.Random(seed)  # noqa: S311 - not for secrets
    fresh = [0]
    lines = {"main": [f"first {number}" for number in range(30)]}
    commit(root, "root", {"p/rows": "\n".join(lines["main"])}, at=1000)
    for number in range(1, 30):
        branch = choice.choice(list(lines))
        git(root, "checkout", "--quiet", branch)
        if len(lines) < 3 and choice.random() < 0.3:
            lines[f"b{number}"] = lines[branch]
            branch = f"b{number}"
            git(root, "checkout", "--quiet", "-b", branch)
        elif len(lines) > 1 and choice.random() < 0.4:
            other = choice.choice([name for name in lines if name != branch])
            when = at_time(1000 + number)
            git(root, "merge", "--quiet", "--no-ff", "-X", "ours", "-m", "merge", other, env=when)
            lines[branch] = (root / "p" / "rows").read_text().split("\n")
            continue
        lines[branch] = edited(lines[branch], choice, fresh)
        commit(root, str(number), {"p/rows": "\n".join(lines[branch])}, at=1000 + number)
    for branch in lines:
        git(root, "checkout", "--quiet", branch)
        agrees(root, "p", "rows")


@pytest.mark.parametrize("change", ["renamed", "renamed and edited", "moved with its folder", "replaced"])
def test_a_renamed_file_is_followed_as_git_does(tmp_path: Path, change: str) -> None:
    """A new name, also with some lines changed or another folder, keeps its lines; another file does not."""
    root = init(tmp_path)
    text = "".join(f"line {number} of the file\n" for number in range(20))
    commit(root, "one", {"p/a": text, "p/other": "x\n"})
    commit(root, "two", {"p/a": text.replace("line 3 ", "row 3 ")})
    folder = "p"
    match change:
        case "renamed":
            git(root, "mv", "p/a", "p/b")
        case "renamed and edited":
            git(root, "mv", "p/a", "p/b")
            (root / "p" / "b").write_text("first\n" + text.replace("line 7 ", "row 7 "))
        case "moved with its folder":
            git(root, "mv", "p", "q")
            git(root, "mv", "q/a", "q/b")
            folder = "q"
        case "replaced":
            (root / "p" / "a").unlink()
            (root / "p" / "b").write_text("".join(f"quite another {number}\n" for number in range(20)))
    commit(root, "three")
    agrees(root, folder, "b")


def test_lines_of_the_work_tree_are_not_committed(tmp_path: Path) -> None:
    """Lines that only the files now have say so; the others keep their commits, also with other line ends."""
    root = init(tmp_path)
    id = commit(root, "one", {"p/a": "1\n2\n3\n"})
    with Repository.open(root) as repository:
        now = {"a": b"1\r\nnew\r\n3\r\n", "b": b"new\n"}
        found = blame_lines(repository.objects, id, "p", {"a": [1, 2, 3, 9], "b": [1]}, now)
    assert {key: origin.commit and origin.commit.id for key, origin in found.items()} == {
        ("a", 1): id,
        ("a", 2): None,
        ("a", 3): id,
        ("b", 1): None,
    }


def test_a_shallow_clone_says_where_it_ends(tmp_path: Path) -> None:
    """A line from before the edge is older than the clone, one after it has its commit."""
    root = init(tmp_path / "repository")
    commit(root, "one", {"p/a": "1\n2\n"})
    commit(root, "two", {"p/a": "1\n2\n3\n"})
    commit(root, "three", {"p/a": "1\n2\n3\n4\n"})
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{root}", "clone")
    found = our_blame(tmp_path / "clone", "p", "a")
    assert [origin.older for origin in found] == ["clone", "clone", "clone", ""]


def test_the_search_is_bounded_and_says_so(tmp_path: Path) -> None:
    """After as many commits as it may look at, a line is older than the search."""
    root = init(tmp_path)
    commit(root, "one", {"p/a": "1\n"})
    for number in range(5):
        commit(root, "more", {"other": f"{number}\n"})
    commit(root, "last", {"p/a": "1\n2\n"})
    assert [origin.older for origin in our_blame(root, "p", "a", limit=3)] == ["search", ""]
    assert [origin.older for origin in our_blame(root, "p", "a", limit=7)] == ["", ""]


def test_a_linked_file_is_blamed_where_it_stands(tmp_path: Path) -> None:
    """The name in the bundle is a link's, the commit that of the file."""
    root = init(tmp_path)
    id = commit(root, "one", {"p/..data/rows": "1\n"})
    (root / "p" / "rows").symlink_to("..data/rows")
    commit(root, "two")
    (found,) = our_blame(root, "p", "rows")
    assert found.commit is not None
    assert (found.commit.id, found.file) == (id, "p/..data/rows")


LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"f\n", b"g\n", b"h\n"]), max_size=14)


@given(LINES, LINES)
def test_matched_lines_are_equal_and_in_order(old: list[bytes], new: list[bytes]) -> None:
    """Whatever is matched is the same line, each at most once, in growing order."""
    found = match_lines(old, new)
    pairs = [(at, number) for number, at in enumerate(found) if at >= 0]
    assert len(found) == len(new)
    assert all(old[at] == new[number] for at, number in pairs)
    assert [at for at, _ in pairs] == sorted({at for at, _ in pairs})


@given(LINES, LINES, st.data())
def test_lines_that_were_only_added_are_all_that_is_new(
    old: list[bytes], more: list[bytes], data: st.DataObject
) -> None:
    """Where nothing was removed and the added lines stand nowhere else, every old line is found."""
    new = [(line, number) for number, line in enumerate(old)]
    for line in more:
        new.insert(data.draw(st.integers(0, len(new))), (b"new " + line, -1))
    assert match_lines(old, [line for line, _ in new]) == [number for _, number in new]


def test_repeated_lines_between_added_ones_are_found() -> None:
    """The longest block of the same lines does not take the place of the one before it."""
    old, new = [b"a"] * 3, [b"n", b"a", b"n", b"a", b"a", b"n"]
    assert match_lines(old, new) == [-1, 0, -1, 1, 2, -1]


@given(st.binary(max_size=20).map(lambda content: content.replace(b"\0", b"\n")))
def test_lines_put_together_are_the_file(content: bytes) -> None:
    """Nothing is lost or invented in splitting; only a last line without an end is marked by one."""
    lines = split_lines(content)
    assert not any(b"\n" in line for line in lines[:-1])
    unended = bool(lines) and lines[-1].endswith(b"\n")
    assert b"".join(line.removesuffix(b"\n") + b"\n" for line in lines) == content + b"\n" * unended
    assert unended == bool(content and not content.endswith(b"\n"))
