"""`diff --gate` and the gates of `lint`: where approvals and reasons come from, exit codes, and what is printed."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.cli.command_line import Run, WriteBundle
from tests.review.gates.scenes import ROLES, bundle, gate, with_people
from tests.sources.git_program import git, init

SCHEMA = Path(__file__).parents[2] / "schemas" / "access-diff.schema.json"
GATES = gate("must_stay_denied: {roles: [CLERK], actions: [approve]}")
WIDER = ROLES.replace("actions: [create, read]}]", "actions: [create, read, approve]}]", 1)
JUSTIFIED = gate("needs_justification: {roles: [CLERK]}")
REASON = "Justification: clerks asked the board for it, see the minutes of May"


class Repository:
    """A git repository whose folder `policies` holds the bundle of the tests."""

    def __init__(self, root: Path, write: WriteBundle) -> None:
        self.root = init(root)
        self._write = write

    def git(self, *arguments: str) -> str:
        """Run git and return what it prints."""
        return git(self.root, *arguments)

    def commit(self, files: dict[str, str], message: str = "Change the policies") -> str:
        """Commit the bundle as these files make it; the id of the commit."""
        for old in (self.root / "policies").glob("*"):
            old.unlink()
        self._write(files)
        self.git("add", "-A", "policies")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, write_bundle: WriteBundle) -> Repository:
    """A repository without commits."""
    return Repository(tmp_path, write_bundle)


def test_exit_codes(repository: Repository, call: Run) -> None:
    """With `--gate` a change passes whatever it changes, unless a gate of severity error is broken."""
    base = repository.commit(bundle(GATES))
    repository.commit(bundle(GATES, people=with_people("subject: eve, roles: [CLERK], company: acme")))
    assert call("diff", base, "HEAD").returncode == 1
    kept = call("diff", base, "HEAD", "--gate")
    assert (kept.returncode, "all 2 gates kept" in kept.stdout) == (0, True)
    repository.commit(bundle(GATES, roles=WIDER))
    broken = call("diff", base, "HEAD", "--gate")
    assert broken.returncode == 1
    assert "error[one] not so\n    - the role CLERK is allowed case: approve in every company" in broken.stdout
    assert "for example somebody with the role CLERK may approve case in acme" in broken.stdout
    assert "policies/roles.yaml:" in broken.stdout
    repository.commit(bundle(gate("must_stay_denied: {roles: [CLERK], actions: [approve]}", severity="warning")))
    warned = repository.commit(bundle(gate("max_new_grants: {grants: 0}", severity="warning")))
    repository.commit(bundle(gate("max_new_grants: {grants: 0}", severity="warning"), roles=WIDER))
    told = call("diff", warned, "HEAD", "--gate")
    assert (told.returncode, "warning[one]" in told.stdout) == (0, True)
    assert call("diff", "no-such-branch", "--gate").returncode == 2


def test_broken_gates_file(repository: Repository, call: Run) -> None:
    """Gates that cannot be read end the comparison: nothing passes by them."""
    base = repository.commit(bundle(GATES))
    repository.commit({**bundle(), "gates.yaml": "gates:\n  - {id: one}\n"})
    done = call("diff", base, "HEAD", "--gate")
    assert done.returncode == 2
    assert "gates.yaml:2:5" in done.stderr


def test_reasons_come_from_commits_of_the_change(repository: Repository, call: Run) -> None:
    """A trailer of any commit that the head has and the base has not; one of the base's own is none."""
    base = repository.commit(bundle(JUSTIFIED), f"Begin\n\n{REASON}")
    files = bundle(JUSTIFIED, roles=WIDER)
    repository.git("checkout", "-q", "-b", "without")
    repository.commit(files, f"Widen\n\nMore words, and {REASON}, which is no trailer\n\nEnd.")
    assert call("diff", "main", "HEAD", "--gate").returncode == 1
    repository.git("checkout", "-q", "-b", "with", base)
    repository.commit(files, f"Widen\n\n{REASON}")
    (repository.root / "README").write_text("more\n", encoding="utf-8")
    repository.git("add", "README")
    repository.git("commit", "-q", "-m", "Add a note")
    assert call("diff", "main", "HEAD", "--gate").returncode == 0
    assert call("diff", "main", "--gate").returncode == 0
    # What came to the base meanwhile is not the change's.
    repository.git("checkout", "-q", "main")
    repository.git("commit", "-q", "--allow-empty", "-m", f"Other\n\n{REASON}")
    assert call("diff", "main", "without", "--gate").returncode == 1


def test_reasons_without_commits(write_bundle: WriteBundle, call: Run) -> None:
    """Directories have no commits: who runs the comparison gives the reason."""
    write_bundle(bundle(JUSTIFIED), "old")
    write_bundle(bundle(JUSTIFIED, roles=WIDER), "new")
    assert call("diff", "./old", "./new", "--gate").returncode == 1
    assert call("diff", "./old", "./new", "--gate", "--justification", "clerks asked the board for it").returncode == 0
    assert call("diff", "./old", "./new", "--gate", "--justification", "short").returncode == 1


def test_a_work_tree_has_the_reasons_of_its_commits(repository: Repository, call: Run) -> None:
    """What is not committed yet has no trailer, unless a commit before it or the command line gives one."""
    base = repository.commit(bundle(JUSTIFIED))
    (repository.root / "policies" / "roles.yaml").write_text(WIDER, encoding="utf-8")
    assert call("diff", base, "--gate").returncode == 1
    assert call("diff", base, "--gate", "--justification", REASON).returncode == 0


def test_approvals_come_from_the_command_line(repository: Repository, call: Run, run: Run) -> None:
    """Nothing in a commit or in the policies approves; `--approved-by` and its variable do."""
    gates = gate("needs_approval: {roles: [CLERK], approval: {by: [security, boss], at_least: 2}}")
    base = repository.commit(bundle(gates))
    message = "Widen\n\nApproved-by: security\nReviewed-by: boss\nJustification: approved by security and boss"
    repository.commit(bundle(gates, roles=WIDER), message)
    assert call("diff", base, "HEAD", "--gate").returncode == 1
    assert call("diff", base, "HEAD", "--gate", "--approved-by", "security").returncode == 1
    both = ("--approved-by", "security", "--approved-by", "boss")
    assert call("diff", base, "HEAD", "--gate", *both).returncode == 0
    assert run("diff", base, "HEAD", "--gate", env={"AUTHZ_APPROVED_BY": "security boss"}).returncode == 0


def test_deleting_the_gates_takes_approval(repository: Repository, call: Run) -> None:
    """A change without `gates.yaml` is judged by the base's."""
    base = repository.commit(bundle(GATES, owners="{by: [boss]}"))
    repository.commit(bundle(roles=WIDER))
    told = call("diff", base, "HEAD", "--gate")
    assert "2 of 2 gates broken" in told.stdout
    approved = call("diff", base, "HEAD", "--gate", "--approved-by", "boss")
    assert (approved.returncode, "1 of 2 gates broken" in approved.stdout) == (1, True)
    assert "error[gates.yaml]" in told.stdout


def test_options_of_gates_need_it(call: Run) -> None:
    """An approval of a comparison that asks no gates would be lost in silence."""
    for option in ("--approved-by", "--justification"):
        done = call("diff", "main", option, "x")
        assert (done.returncode, f"`{option}` is for `--gate`" in done.stderr) == (2, True)


HOSTILE = "x\\u202e</td><script>`|::error::@boss"


@pytest.mark.parametrize("form", ["text", "json", "markdown", "html"])
def test_hostile_names_in_every_format(form: str, write_bundle: WriteBundle, call: Run) -> None:
    """A name from a policy acts on nothing: no markup, no mention, no character that is not seen."""
    gates = gate("only_roles: {roles: [PAYMASTER], objects: [pay]}")
    write_bundle(bundle(gates), "old")
    hostile = f'subject: "{HOSTILE}", company: acme, grants: [{{object: pay, actions: [read]}}]'
    write_bundle(bundle(gates, people=with_people(hostile)), "new")
    shown = call("diff", "./old", "./new", "--gate", "--format", form)
    assert shown.returncode == 1
    assert ("\u202e" in shown.stdout) is (form == "json")
    if form in ("markdown", "html"):
        assert "<script>" not in shown.stdout
        assert "@boss" not in shown.stdout or form == "html"
    if form == "json":
        document = json.loads(shown.stdout)
        Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
        (one,) = document["gates"]
        assert one["examples"][0]["subject"] == HOSTILE.replace("\\u202e", "\u202e")


def test_markdown_begins_with_the_gates(write_bundle: WriteBundle, call: Run) -> None:
    """The first thing of a comment, after its title, is whether the gates are kept."""
    write_bundle(bundle(GATES), "old")
    write_bundle(bundle(GATES, roles=WIDER), "new")
    for new, line in (("./old", "✅ **all 2 gates kept**"), ("./new", "❌ **1 of 2 gates broken**")):
        assert call("diff", "./old", new, "--gate", "--format", "markdown").stdout.splitlines()[2] == line


def test_without_gates_it_says_so(write_bundle: WriteBundle, call: Run) -> None:
    """That no gate is broken is not said where there is none."""
    write_bundle(bundle(), "old")
    done = call("diff", "./old", "./old", "--gate")
    assert (done.returncode, "no gates" in done.stdout) == (0, True)


def test_lint_asks_the_gates_of_a_state(write_bundle: WriteBundle, call: Run) -> None:
    """A broken gate is a finding at the line that breaks it, in every form of `lint`."""
    write_bundle(bundle(GATES + gate("needs_approval: {approval: {by: [x]}}", "two"), roles=WIDER))
    done = call("lint", "--format", "json")
    (finding,) = [one for one in json.loads(done.stdout)["findings"] if one["code"] == "gate-violation"]
    assert (finding["file"], finding["severity"]) == ("policies/roles.yaml", "error")
    assert finding["message"].startswith("the gate `one`: not so: the role `CLERK` is allowed `case`: `approve`")
    assert "title=gate-violation" in call("lint", "--format", "github").stdout


def test_nothing_silences_a_gate(write_bundle: WriteBundle, call: Run) -> None:
    """Neither a comment, a baseline, the manifest, nor a choice of rules."""
    roles = WIDER.replace("  CLERK:", "  # authz: ignore[gate-violation] we know\n  CLERK:")
    files = bundle(GATES, roles=roles)
    files["roles.yaml"] = files["roles.yaml"].replace(
        "create, read, approve]}]", "create, read, approve]}]  # authz: ignore[gate-violation] we know"
    )
    write_bundle(files)
    for arguments in ((), ("--select", "unused-role"), ("--write-baseline",), ()):
        done = call("lint", *arguments)
        assert (done.returncode, "gate-violation" in done.stdout) == (1, True)
    refused = call("lint", "--ignore", "gate-violation")
    assert (refused.returncode, "is always told" in refused.stderr) == (2, True)


def test_a_link_in_the_place_of_the_policies_hides_no_gates(repository: Repository, call: Run) -> None:
    """A base whose policies are a link that git does not follow is one that cannot be read, not one without gates."""
    repository.commit(bundle(GATES))
    folder = repository.root / "policies"
    folder.rename(repository.root / "real")
    folder.symlink_to(repository.root / "real")
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "Move the policies")
    (repository.root / "real" / "gates.yaml").unlink()
    done = call("diff", "HEAD", "--gate")
    assert (done.returncode, "has no folder" in done.stderr) == (2, True)


def test_a_change_that_began_before_the_gates_is_judged_by_them(repository: Repository, call: Run) -> None:
    """Where the base is the commit at which two branches parted, gates that came since are not passed over."""
    base = repository.commit(bundle())
    repository.commit(bundle(GATES))
    repository.git("checkout", "-q", "-b", "old", base)
    repository.commit(bundle(roles=WIDER))
    done = call("diff", "main...HEAD", "--gate")
    assert (done.returncode, "the gates of `main` have changed" in done.stderr) == (2, True)
    assert call("diff", "main...HEAD").returncode == 1
    repository.git("merge", "-q", "-m", "Merge", "main")
    assert call("diff", "main...HEAD", "--gate").returncode == 1


def test_a_base_that_went_on_is_told(repository: Repository, call: Run) -> None:
    """What others did since counts as undone by a change that lacks it, and the reader is told so."""
    base = repository.commit(bundle(JUSTIFIED))
    repository.commit(bundle(JUSTIFIED, roles=WIDER), f"Widen\n\n{REASON}")
    repository.git("checkout", "-q", "-b", "other", base)
    repository.git("commit", "-q", "--allow-empty", "-m", "Nothing")
    told = "`main` has commits that the change lacks"
    done = call("diff", "main", "HEAD", "--gate")
    assert (done.returncode, told in done.stderr) == (1, True)
    done = call("diff", "main...HEAD", "--gate")
    assert (done.returncode, told in done.stderr) == (0, False)


def test_links_whose_companies_are_patterns(write_bundle: WriteBundle, call: Run) -> None:
    """Who holds a role in companies that begin alike is compared like anybody else."""
    model = (
        "[request_definition]\nr = sub, dom, obj, act\n[policy_definition]\np = sub, dom, obj, act\n"
        "[role_definition]\ng = _, _, _\n[policy_effect]\ne = some(where (p.eft == allow))\n"
        "[matchers]\nm = g(r.sub, p.sub, r.dom) && r.obj == p.obj && r.act == p.act\n"
    )
    manifest = "name: demo\nschema_version: 1\ncasbin:\n  domain_matching: {g: keyMatch}\n"
    files = {"model.conf": model, "manifest.yaml": manifest}
    rows = "p, clerk, *, case, read\ng, ann, clerk, acme/*\n"
    write_bundle({**files, "policy.csv": rows}, "old")
    write_bundle({**files, "policy.csv": rows + "p, clerk, *, pay, read\n"}, "new")
    done = call("diff", "./old", "./new", "--gate")
    assert (done.returncode, "ann" in done.stdout) == (0, True)
