"""Revisions and the bundles in them, in real repositories of every shape."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from authz_sidecar.bundle.files import MAX_FILES, MAX_MODEL_BYTES
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.repository import Repository, RepositoryError
from tests.sources.git_program import at_time, commit, git, init

FILES = {"policies/model.conf": "m\n", "policies/sub/rows.csv": "p, a\n", "policies/README.md": "x\n", "other": "y\n"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with five commits on `main`, a merged branch and tags."""
    root = init(tmp_path / "repository")
    commit(root, "one", FILES, at=1000)
    commit(root, "two", {"policies/model.conf": "m2\n"}, at=2000)
    git(root, "tag", "light")
    git(root, "tag", "--annotate", "--message=x", "annotated")
    git(root, "tag", "--annotate", "--message=x", "twice", "annotated")
    git(root, "checkout", "--quiet", "-b", "feature/side", "HEAD~1")
    commit(root, "side", {"policies/side.csv": "p, b\n"}, at=2500)
    git(root, "checkout", "--quiet", "main")
    commit(root, "three", {"other": "z\n"}, at=3000)
    git(root, "merge", "--quiet", "--no-ff", "--message=merged", "feature/side")
    return root


def problem(path: Path, revision: str) -> RepositoryError:
    """The error that resolving this revision gives."""
    with Repository.open(path) as repository, pytest.raises(RepositoryError) as caught:
        repository.resolve(revision)
    return caught.value


def shallow(root: Path, to: Path, depth: int = 1) -> Path:
    """A clone with the last commits only."""
    git(root, "clone", "--quiet", f"--depth={depth}", f"file://{root}", str(to))
    return to


REVISIONS = (
    "HEAD",
    "@",
    "main",
    "heads/main",
    "refs/heads/main",
    "feature/side",
    "light",
    "tags/light",
    "annotated",
    "annotated^{}",
    "annotated^{commit}",
    "twice",
    "twice~1",
    "HEAD^",
    "HEAD^0",
    "HEAD^1",
    "HEAD^2",
    "HEAD~",
    "HEAD~2",
    "HEAD~1^1",
    "HEAD^^",
    "HEAD^2~1",
    "main~0",
)


@pytest.mark.parametrize("packed", [False, True])
def test_revisions_are_those_of_git(root: Path, packed: bool) -> None:
    """Names, tags of tags, full and short ids and steps back come to git's own answer, packed or not."""
    if packed:
        git(root, "gc", "--quiet", "--prune=now")
    full = git(root, "rev-parse", "HEAD~1")
    with Repository.open(root / "policies") as repository:
        for revision in (*REVISIONS, full, full[:7], full[:12].upper()):
            assert repository.resolve(revision) == git(root, "rev-parse", f"{revision}^{{commit}}"), revision


def test_remote_branches_and_upstreams(root: Path, tmp_path: Path) -> None:
    """A clone knows `origin/main`, `origin` alone, and the upstream of a branch by each of its names."""
    git(tmp_path, "clone", "--quiet", str(root), "clone")
    clone = tmp_path / "clone"
    commit(clone, "mine")
    with Repository.open(clone) as repository:
        for revision in ("origin/main", "origin", "@{upstream}", "@{u}", "main@{u}", "HEAD@{upstream}~1"):
            assert repository.resolve(revision) == git(clone, "rev-parse", revision), revision
    assert "has no upstream" in problem(root, "main@{upstream}").message


def test_where_two_revisions_parted(root: Path) -> None:
    """`A...B` is their merge base, as in `git diff A...B`; an end left out is HEAD."""
    git(root, "checkout", "--quiet", "-b", "topic", "HEAD~1")
    commit(root, "topic", {"other": "t\n"})
    with Repository.open(root) as repository:
        for revision in ("main...topic", "topic...main", "main..."):
            assert repository.resolve(revision) == git(root, "merge-base", "main", "topic")


def test_where_two_revisions_parted_is_gits_answer_whatever_the_times(tmp_path: Path) -> None:
    """On random histories with merges and commits of any time: one of the best common ancestors, where there is one."""
    numbers = random.Random(5)  # noqa: S311  # the same histories each time
    root = init(tmp_path / "repository")
    tree = git(root, "mktree", input="")
    commits: list[str] = []
    for number in range(60):
        parents = numbers.sample(commits[-8:], min(len(commits[-8:]), numbers.choice((0, 1, 1, 1, 2, 2))))
        arguments = [part for parent in parents for part in ("-p", parent)]
        when = at_time(numbers.randrange(1000, 9000))
        commits.append(git(root, "commit-tree", tree, *arguments, "-m", str(number), env=when))
    best = {}
    for _ in range(60):
        one, other = numbers.sample(commits, 2)
        known = subprocess.run(
            ["git", "merge-base", "--all", one, other], cwd=root, capture_output=True, text=True, check=False
        )
        best[one, other] = known.stdout.split()
    assert any(best.values())
    with Repository.open(root) as repository:
        for (one, other), known_ids in best.items():
            if known_ids:
                assert repository.resolve(f"{one}...{other}") in known_ids
            else:
                with pytest.raises(RepositoryError, match="share no commit"):
                    repository.resolve(f"{one}...{other}")


@pytest.mark.parametrize(
    ("revision", "message", "help"),
    [
        ("mian", "there is no revision `mian`", "did you mean `main`?"),
        ("HEAD~99", "there is no `HEAD~99`: the commit", "name a later commit"),
        ("main^7", "there is no `main^7`: the commit", "name a later commit"),
        ("a..b", "`a..b` is a range of commits", "give one revision, or `A...B` for the commit where A and B parted"),
        ("HEAD:policies", "`HEAD:policies` names no commit", "name a branch, a tag or a commit"),
        ("HEAD@{1}", "`HEAD@{1}` names no commit", "name a branch, a tag or a commit"),
        ("", "`` names no commit", "name a branch, a tag or a commit"),
        ("main\x1b[2J", "`main\\u001b[2J` names no commit", "name a branch, a tag or a commit"),
        ("../../etc/passwd", "`../../etc/passwd` is a range of commits", "give one revision"),
        ("f" * 40, f"there is no commit `{'f' * 40}` in this repository", "if the remote has it"),
        ("HEAD^{tree}", "`HEAD^{tree}` names no commit", "name a branch, a tag or a commit"),
    ],
)
def test_a_revision_that_is_none_says_so_with_a_remedy(root: Path, revision: str, message: str, help: str) -> None:
    """Misspelt, too far back, a range, a path, the reflog, hostile text: each has its sentence."""
    found = problem(root, revision)
    assert found.message.startswith(message)
    assert found.help.startswith(help)


def test_a_tag_that_is_called_like_a_branch_is_refused(root: Path) -> None:
    """What a review is measured against cannot be replaced by a tag of the same name; the full names are clear."""
    git(root, "tag", "feature/side", "HEAD~1")
    found = problem(root, "feature/side")
    assert (found.message, found.help) == (
        "`feature/side` is ambiguous",
        "write `refs/tags/feature/side` or `refs/heads/feature/side`",
    )
    with Repository.open(root) as repository:
        assert repository.resolve("refs/heads/feature/side") == git(root, "rev-parse", "refs/heads/feature/side")


def test_a_branch_that_is_called_like_an_id_is_refused(root: Path) -> None:
    """Git would take the branch and warn; that of the commit itself is clear."""
    id = git(root, "rev-parse", "main")
    git(root, "branch", id[:7], "main~1")
    found = problem(root, id[:7])
    assert (found.message, found.help) == (f"`{id[:7]}` is ambiguous", f"write `refs/heads/{id[:7]}` or `{id}`")
    git(root, "branch", "--force", id[:7], "main")
    with Repository.open(root) as repository:
        assert repository.resolve(id[:7]) == id


def test_replaced_and_grafted_commits_are_those_that_were_committed(root: Path, tmp_path: Path) -> None:
    """A ref below `refs/replace`, which a mirror brings along, and a graft change what git shows, and nothing here."""
    with Repository.open(root) as repository:
        before = [one.id for one in repository.history(repository.resolve("main"), "")]
        files = repository.read_bundle(before[0], "policies")[0]
    second, first = git(root, "rev-parse", "light"), git(root, "rev-parse", "light~1")
    git(root, "replace", before[0], first)
    git(root, "replace", git(root, "rev-parse", f"{second}:policies"), git(root, "rev-parse", f"{first}:policies"))
    git(root, "clone", "--quiet", "--mirror", str(root), str(tmp_path / "mirror.git"))
    (root / ".git" / "info" / "grafts").write_text(f"{before[0]}\n")
    for path in (root, tmp_path / "mirror.git"):
        assert git(path, "for-each-ref", "refs/replace")
        with Repository.open(path) as repository:
            assert [one.id for one in repository.history(repository.resolve("main"), "")] == before
            assert repository.read_bundle(before[0], "policies")[0] == files
            assert repository.resolve("feature/side...main") == git(root, "rev-parse", "feature/side")


def test_what_was_fetched_last_has_a_name(root: Path, tmp_path: Path) -> None:
    """`FETCH_HEAD` is the first thing of the last fetch, also in a clone that keeps no branch for it."""
    clone = shallow(root, tmp_path / "clone")
    assert problem(clone, "FETCH_HEAD").message.startswith("there is no revision `FETCH_HEAD`")
    git(clone, "fetch", "--quiet", "--depth=1", "origin", "feature/side", "light")
    with Repository.open(clone) as repository:
        assert repository.resolve("FETCH_HEAD") == git(root, "rev-parse", "feature/side")


def test_a_reference_that_leads_nowhere_says_so(root: Path) -> None:
    """It is not taken for a misspelt one."""
    (root / ".git" / "refs" / "heads" / "nowhere").write_text("ref: refs/heads/gone\n")
    assert problem(root, "nowhere").message == "the reference `nowhere` leads to no commit"


def test_a_branch_of_the_remote_only_is_suggested(root: Path, tmp_path: Path) -> None:
    """Where continuous integration checked out a branch, `main` is only `origin/main`."""
    git(tmp_path, "clone", "--quiet", "--branch=feature/side", str(root), "clone")
    assert problem(tmp_path / "clone", "main").help == "did you mean `origin/main`?"


def test_a_shallow_clone_says_what_it_does_not_hold(root: Path, tmp_path: Path) -> None:
    """Beyond the edge, an unknown name and an unknown id all name the remedy; what is there is read."""
    clone = shallow(root, tmp_path / "clone")
    with Repository.open(clone) as repository:
        assert repository.shallow
        head = repository.commit(repository.resolve("HEAD"))
        assert head.edge
        assert head.parents == ()
        assert repository.read_bundle(head.id, "policies")[0] is not None
    for revision, message in (
        ("HEAD~1", "`HEAD~1` lies beyond the edge of this shallow clone"),
        ("HEAD^2", "`HEAD^2` lies beyond the edge of this shallow clone"),
        ("v9", "there is no revision `v9`; this clone is shallow, and it may lie beyond its edge"),
        ("light...", "there is no revision `light`; this clone is shallow, and it may lie beyond its edge"),
        (
            git(root, "rev-parse", "HEAD~1"),
            f"the commit `{git(root, 'rev-parse', 'HEAD~1')}` is not in this shallow clone: it may lie beyond its edge",
        ),
    ):
        found = problem(clone, revision)
        assert found.message == message
        assert "git fetch --unshallow" in found.help
    # Which the clone's own settings would not fetch.
    assert "'+refs/heads/*:refs/remotes/origin/*'" in problem(clone, "origin/feature/side").help


def test_a_repository_cannot_make_its_reader_do_anything(root: Path, tmp_path: Path) -> None:
    """Programs that its configuration names are not run, and files that it includes are not opened."""
    program = f"touch {tmp_path / 'ran'}"
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "filter.x.smudge", "uploadpack.packObjectsHook"):
        git(root, "config", name, program)
    os.mkfifo(tmp_path / "pipe")
    with (root / ".git" / "config").open("a") as config:
        config.write(f"[include]\n\tpath = {tmp_path / 'pipe'}\n")
    with Repository.open(root / "policies") as repository:
        files, _ = repository.read_bundle(repository.resolve("HEAD~1"), "policies")
    assert files is not None
    assert not (tmp_path / "ran").exists()


def test_a_linked_work_tree_and_a_bare_repository(root: Path, tmp_path: Path) -> None:
    """Both are found from a folder inside of them; what follows a bare repository's name is the folder."""
    git(root, "worktree", "add", "--quiet", str(tmp_path / "linked"), "feature/side")
    with Repository.open(tmp_path / "linked" / "policies") as repository:
        assert repository.root == tmp_path / "linked"
        assert repository.folder(tmp_path / "linked" / "policies") == "policies"
        assert repository.resolve("HEAD") == git(root, "rev-parse", "feature/side")
        assert repository.resolve("main") == git(root, "rev-parse", "main")
    git(tmp_path, "clone", "--quiet", "--bare", str(root), "bare.git")
    inside = tmp_path / "bare.git" / "policies" / "sub"
    with Repository.open(inside) as repository:
        assert repository.root is None
        assert repository.folder(inside) == "policies/sub"
        files, _ = repository.read_bundle(repository.resolve("main"), repository.folder(inside))
        assert files is not None
        assert list(files) == ["rows.csv"]


def test_the_edge_of_a_shallow_clone_is_known_in_its_work_trees(root: Path, tmp_path: Path) -> None:
    """The list of shallow commits belongs to the repository, not to one work tree."""
    clone = shallow(root, tmp_path / "clone")
    git(clone, "worktree", "add", "--quiet", "-b", "w", str(tmp_path / "linked"))
    assert "beyond the edge" in problem(tmp_path / "linked", "HEAD~1").message


def test_a_partial_clone_names_what_it_left_out(root: Path, tmp_path: Path) -> None:
    """Commits are there and files are not: the error says how to get them."""
    git(root, "config", "uploadpack.allowFilter", "true")
    git(root, "clone", "--quiet", "--bare", "--filter=blob:none", f"file://{root}", str(tmp_path / "partial.git"))
    with Repository.open(tmp_path / "partial.git") as repository:
        id = repository.resolve("main~1")
        with pytest.raises(RepositoryError, match="the clone is partial") as caught:
            repository.read_bundle(id, "policies")
    assert "--refetch" in caught.value.help


def test_a_repository_inside_of_a_work_tree_does_not_stand_in_for_it(root: Path) -> None:
    """Files that look like a bare repository are content, which a proposed change may bring along."""
    (root / "policies" / "objects").mkdir()
    (root / "policies" / "refs").mkdir()
    (root / "policies" / "HEAD").write_text("ref: refs/heads/main\n")
    with Repository.open(root / "policies") as repository:
        assert repository.root == root


def test_no_repository_and_no_commit(tmp_path: Path) -> None:
    """A plain directory is not in git, and a new repository has no HEAD to name."""
    with pytest.raises(RepositoryError, match="is not in a git repository"):
        Repository.open(tmp_path / "missing")
    init(tmp_path / "new")
    with Repository.open(tmp_path / "new") as repository:
        assert repository.head is None
    assert problem(tmp_path / "new", "HEAD").message == "the repository has no commit yet"


def test_missing_and_damaged_objects_are_named(root: Path) -> None:
    """An object that is gone, a pack that is torn and a loose object of noise end in an error with a remedy."""
    blob = git(root, "rev-parse", "HEAD:policies/model.conf")
    path = root / ".git" / "objects" / blob[:2] / blob[2:]
    kept = path.read_bytes()
    path.unlink()
    with Repository.open(root) as repository:
        id = repository.resolve("HEAD")
        with pytest.raises(RepositoryError, match=f"the object `{blob}` is missing"):
            repository.read_bundle(id, "policies")
    path.write_bytes(b"noise")
    with Repository.open(root) as repository, pytest.raises(RepositoryError, match="is damaged") as caught:
        repository.read_bundle(id, "policies")
    assert "git fsck" in caught.value.help
    path.write_bytes(kept)
    git(root, "gc", "--quiet", "--prune=now")
    (pack,) = (root / ".git" / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    os.truncate(pack, 60)
    with Repository.open(root) as repository, pytest.raises(RepositoryError, match="damaged"):
        repository.read_bundle(repository.resolve(id), "policies")


def checkout_agrees(root: Path) -> None:
    """What the commit gives is what its checkout gives: the same files, or findings of the same codes and places."""
    read, found = read_directory(root / "policies")
    with Repository.open(root) as repository:
        at, told = repository.read_bundle(repository.resolve("HEAD"), "policies")
    assert (None if at is None else dict(at)) == (None if read is None else dict(read))
    assert [(d.code, d.span) for d in told] == [(d.code, d.span) for d in found]
    assert at is None or read is None or at.name == read.name


def test_a_commit_is_read_like_its_checkout(root: Path) -> None:
    """Nested folders, notes, hidden files, links to files and folders, also through hidden ones."""
    policies = root / "policies"
    (policies / "..data").mkdir()
    (policies / "..data" / "linked.csv").write_text("p, l\n")
    (policies / "linked.csv").symlink_to("..data/linked.csv")
    (policies / "folder").symlink_to("../policies/sub")
    (policies / ".hidden").write_text("x")
    commit(root, "links")
    checkout_agrees(root)


@pytest.mark.parametrize(
    "target", ["nowhere.csv", "../other", "/etc/passwd", "loop.csv", "..", "../../..", ".", "sub/../../policies"]
)
def test_links_that_lead_astray_are_the_same_findings(root: Path, target: str) -> None:
    """Nowhere, out of the bundle or the repository, in a circle, back up: as in a checkout."""
    (root / "policies" / "loop.csv").symlink_to(target)
    commit(root, "link")
    checkout_agrees(root)


def test_a_name_that_is_no_text_is_refused_as_in_a_checkout(root: Path) -> None:
    """Bytes that are not UTF-8, a control character and a backslash are findings."""
    for name in (b"\xff.csv", b"a\x1b.csv", b"b\\.csv"):
        Path(os.fsdecode(os.fsencode(root / "policies") + b"/" + name)).write_text("p, a\n")
    commit(root, "names")
    checkout_agrees(root)


@pytest.mark.parametrize(
    ("name", "problem"),
    [(b"rows.csv", "the name `rows.csv` stands in it twice"), (b"sub/rows.csv", "the name `sub/rows.csv` is none")],
)
def test_a_tree_that_no_checkout_has_is_refused(root: Path, name: bytes, problem: str) -> None:
    """A name that stands twice and one with a slash: what is reviewed would depend on who reads it."""
    blob = bytes.fromhex(git(root, "rev-parse", "HEAD:other"))
    data = b"".join(b"100644 %s\0%s" % (each, blob) for each in (b"model.conf", b"rows.csv", name))
    write = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    tree = subprocess.run(write, cwd=root, input=data, capture_output=True, check=True).stdout.decode().strip()
    id = git(root, "commit-tree", tree, "-m", "odd")
    with Repository.open(root) as repository, pytest.raises(RepositoryError, match=problem):
        repository.read_bundle(id, "")


def test_a_file_over_the_limit_is_refused_as_in_a_checkout(root: Path) -> None:
    """The model may have a mebibyte, in git as on disk."""
    commit(root, "large", {"policies/model.conf": "#" * (MAX_MODEL_BYTES + 1)})
    checkout_agrees(root)


def test_what_git_only_points_to_is_an_error(root: Path, tmp_path: Path) -> None:
    """A submodule and a file of Git LFS are named: half a bundle is never read."""
    inner = init(tmp_path / "inner")
    commit(inner, "inner", {"rows.csv": "p, x\n"})
    git(root, "submodule", "--quiet", "add", str(inner), "policies/module")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    commit(root, "elsewhere", {"policies/large.csv": pointer})
    with Repository.open(root) as repository:
        files, found = repository.read_bundle(repository.resolve("HEAD"), "policies")
    assert files is None
    assert [(d.code, d.span.file) for d in found] == [("file-kind", "large.csv"), ("file-kind", "module")]


def test_a_tree_that_unfolds_without_end_is_bounded(root: Path) -> None:
    """Twenty folders of twenty folders of …, a few objects in git, end at the limit of entries."""
    blob = git(root, "hash-object", "-w", "--stdin", input="p, a\n")
    tree = git(root, "mktree", input=f"100644 blob {blob}\tx.csv\n")
    for _ in range(12):
        tree = git(root, "mktree", input="".join(f"040000 tree {tree}\td{number}\n" for number in range(20)))
    top = git(root, "mktree", input=f"040000 tree {tree}\tpolicies\n")
    bomb = git(root, "commit-tree", top, "-m", "bomb")
    with Repository.open(root) as repository:
        files, found = repository.read_bundle(bomb, "policies")
    assert files is None
    assert [d.code for d in found] == ["bundle-size"]
    assert f"{MAX_FILES:,}" in found[0].message


def test_a_tree_that_is_too_deep_to_check_out_is_refused(root: Path) -> None:
    """A path longer than a system takes is unreadable, as a checkout of it would be."""
    blob = git(root, "hash-object", "-w", "--stdin", input="p, a\n")
    tree = git(root, "mktree", input=f"100644 blob {blob}\tx.csv\n")
    with Repository.open(root) as repository:
        from dulwich.objects import Tree

        id = tree.encode()
        for _ in range(50):
            above = Tree()
            above.add(b"d" * 100, 0o40000, id)  # type: ignore[arg-type]  # an id is bytes
            repository.repo.object_store.add_object(above)
            id = above.id
        commit_id = git(root, "commit-tree", id.decode(), "-m", "deep")
        files, found = repository.read_bundle(commit_id, "")
    assert files is None
    assert [d.code for d in found] == ["file-unreadable"]


def test_a_folder_that_a_commit_lacks_is_a_finding(root: Path) -> None:
    """The commit and the folder are named."""
    with Repository.open(root) as repository:
        files, found = repository.read_bundle(repository.resolve("HEAD"), "config/policies")
    assert files is None
    assert [(d.code, d.message[-31:]) for d in found] == [("bundle-missing", "has no folder `config/policies`")]


def random_history(root: Path, seed: int) -> None:
    """A repository of forty commits over four branches with merges, in which times grow."""
    choice = random.Random(seed)  # noqa: S311 - not for secrets
    init(root)
    commit(root, "root", {"policies/a": "0\n", "b": "0\n"}, at=1000)
    branches = ["main"]
    for number in range(1, 40):
        branch = choice.choice(branches)
        git(root, "checkout", "--quiet", branch)
        if len(branches) < 4 and choice.random() < 0.2:
            branches.append(f"b{number}")
            git(root, "checkout", "--quiet", "-b", branches[-1])
        elif len(branches) > 1 and choice.random() < 0.35:
            other = choice.choice([name for name in branches if name != branch])
            strategy = choice.choice(["ours", "theirs"])
            when = at_time(1000 + number)
            git(root, "merge", "--quiet", "--no-ff", "-X", strategy, "-m", "merge", other, env=when)
            continue
        name = choice.choice(["policies/a", "policies/b", "policies/sub/c", "b"])
        commit(root, str(number), {name: f"{choice.randrange(4)}\n"}, at=1000 + number)
    git(root, "checkout", "--quiet", "main")


@pytest.mark.parametrize("seed", range(6))
def test_history_is_that_of_git_log(tmp_path: Path, seed: int) -> None:
    """On random histories with merges: the same commits in the same order, all of them or along first parents."""
    root = tmp_path / "repository"
    random_history(root, seed)
    with Repository.open(root) as repository:
        head = repository.resolve("HEAD")
        for folder in ("policies", "policies/sub", ""):
            paths = ["--", folder] if folder else []
            log = git(root, "log", "--format=%H", *paths).split()
            found = [entry.id for entry in repository.history(head, folder)]
            # Of the whole repository, `git log` also shows commits that change nothing.
            assert found == [id for id in log if folder or id in found]
            if folder:
                log = git(root, "log", "--first-parent", "--no-patch", "--format=%H", *paths).split()
                assert [entry.id for entry in repository.history(head, folder, first_parent=True)] == log
                assert [entry.id for entry in repository.history(head, folder, 2)] == found[:2]


def test_the_history_of_a_shallow_clone_ends_at_its_edge(root: Path, tmp_path: Path) -> None:
    """The edge is listed last and says that it is one."""
    clone = shallow(root, tmp_path / "clone", 2)
    with Repository.open(clone) as repository:
        found = list(repository.history(repository.resolve("HEAD"), "policies"))
    assert found[-1].edge
    assert not found[0].edge
