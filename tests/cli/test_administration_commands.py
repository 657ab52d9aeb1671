"""Facts about the commands that administer a directory: of a store, and through a running sidecar."""

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import Run
from tests.server.sidecar import running_sidecar

POLICIES = Path(__file__).parents[2] / "policies"
FLAG_OFF = "can_start_analysis_biometry=off"
STORE = ("--directory", "identities.db", "--policies", str(POLICIES))


@pytest.fixture
def store(call: Run) -> str:
    """A store with its first administrator, in the test's own directory; gives the administrator's key."""
    done = call("directory", "bootstrap", "root", "--role", "ADMIN", *STORE, "--format", "json")
    assert done.returncode == 0, done.stderr
    secret: str = json.loads(done.stdout)["secret"]
    return secret


def records(stdout: str) -> list[dict[str, Any]]:
    """JSON lines as records."""
    return [json.loads(line) for line in stdout.splitlines()]


def made(call: Run, *arguments: str) -> dict[str, Any]:
    """What a command says that it made."""
    done = call(*arguments, *STORE, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("store")
def test_a_store_is_set_up_once(call: Run) -> None:
    """The first administrator can be made once; a second time exits 2 and says whom to ask."""
    done = call("directory", "bootstrap", "other", "--role", "ADMIN", *STORE)
    assert done.returncode == 2
    assert "only once" in done.stderr
    assert "help:" in done.stderr
    assert records(call("directory", "status", *STORE[:2], "--format", "json").stdout)[0]["identities"] == 1


def test_a_role_that_cannot_administer_is_no_first_administrator(call: Run) -> None:
    """Bootstrapping with a role that may not make identities is refused, and leaves no administrator behind."""
    done = call("directory", "bootstrap", "root", "--role", "OPERATOR", *STORE, "--output", "key.csv")
    assert done.returncode == 2
    assert "does not permit" in done.stderr
    assert not Path("key.csv").exists()
    assert call("directory", "bootstrap", "root", "--role", "ADMIN", *STORE).returncode == 0


def test_an_identity_lives_through_all_commands(call: Run, store: str) -> None:
    """Created, listed, changed under its etag, switched off and on, and removed, an identity is what was asked."""
    told = ("--company", "acme", "--role", "CLIENT", "--name", "Carol", "--flag", FLAG_OFF)
    carol = made(call, "identities", "create", "carol", *told)
    assert (carol["kind"], carol["company"], carol["active"]) == ("user", "acme", True)
    assert carol["flags"] == {"can_start_analysis_biometry": False}
    listed = records(call("identities", "list", "--company", "acme", *STORE, "--format", "json").stdout)
    assert [found["id"] for found in listed] == ["carol"]
    changed = made(call, "identities", "update", "carol", "--name", "Carol C", "--etag", carol["etag"])
    assert changed["name"] == "Carol C"
    stale = call("identities", "update", "carol", "--name", "No", "--etag", carol["etag"], *STORE)
    assert stale.returncode == 2
    assert "has changed since" in stale.stderr
    flagged = made(call, "identities", "update", "carol", "--flag", "can_start_analysis_biometry=on")
    assert flagged["flags"] == {"can_start_analysis_biometry": True}
    assert made(call, "identities", "deactivate", "carol")["active"] is False
    assert made(call, "identities", "activate", "carol")["active"] is True
    assert call("identities", "delete", "carol", *STORE).returncode == 0
    assert call("identities", "show", "carol", *STORE).returncode == 2
    assert store not in call("audit", "list", *STORE[:2]).stdout


@pytest.mark.usefixtures("store")
def test_what_an_identity_holds_is_one_record_of_json(call: Run) -> None:
    """`show` gives one JSON object, with assignments, grants and shares under their names; removals tell their id."""
    made(call, "identities", "create", "carol", "--company", "acme", "--role", "CLIENT")
    share = made(call, "shares", "create", "carol", "folder:42", "read", "--company", "acme")
    shown = made(call, "identities", "show", "carol")
    assert shown["id"] == "carol"
    assert [found["role"] for found in shown["assignments"]] == ["CLIENT"]
    assert (shown["grants"], [found["id"] for found in shown["shares"]]) == ([], [share["id"]])
    assert made(call, "shares", "delete", share["id"], "--dry-run") == {"id": share["id"], "removed": False}
    assert made(call, "shares", "delete", share["id"]) == {"id": share["id"], "removed": True}


@pytest.mark.usefixtures("store")
def test_a_group_guesses_which_command_was_meant(call: Run) -> None:
    """A command that a group does not have is refused with the one that was likely meant; help cuts no sentence."""
    done = call("keys", "revok", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean `revoke`?" in done.stderr
    for group in ("identities", "assignments", "grants", "shares", "keys", "tokens", "directory", "audit"):
        assert call(group, "--help").stdout.replace("[ARGS]...", "").count("...") == 0


@pytest.mark.usefixtures("store")
def test_a_dry_run_changes_nothing(call: Run) -> None:
    """With `--dry-run` the store stays at its revision."""
    before = call("directory", "status", *STORE[:2]).stdout
    for command in (
        ("identities", "create", "carol", "--company", "acme", "--role", "CLIENT"),
        ("identities", "update", "root", "--name", "Root"),
        ("identities", "delete", "root"),
        ("keys", "create", "root", "another"),
    ):
        done = call(*command, "--dry-run", *STORE)
        assert (done.returncode, done.stderr) == (0, "")
    assert call("directory", "status", *STORE[:2]).stdout == before


@pytest.mark.usefixtures("store")
def test_what_the_bundle_forbids_is_refused_with_its_remedy(call: Run) -> None:
    """A platform role inside a company, and a second role where one is the limit, are refused and say why."""
    made(call, "identities", "create", "carol", "--company", "acme", "--role", "CLIENT")
    done = call("assignments", "create", "carol", "ADMIN", "--company", "acme", *STORE)
    assert done.returncode == 2
    assert "ADMIN" in done.stderr
    assert "help:" in done.stderr
    done = call("assignments", "create", "carol", "CLIENT_ADMIN", "--company", "acme", *STORE)
    assert done.returncode == 2
    assert "1" in done.stderr
    replaced = made(call, "assignments", "create", "carol", "CLIENT_ADMIN", "--company", "acme", "--replace")
    held = records(call("assignments", "list", "--identity", "carol", *STORE, "--format", "json").stdout)
    assert [found["id"] for found in held] == [replaced["id"]]


@pytest.mark.usefixtures("store")
def test_break_glass_is_timed_justified_and_listed(call: Run) -> None:
    """An assignment for an emergency needs an end and a reason, and is listed as one."""
    made(call, "identities", "create", "dana", "--inactive", "--role", "OPERATOR")
    bare = call("assignments", "create", "dana", "ADMIN", "--break-glass", *STORE)
    assert bare.returncode == 2
    unexplained = call("assignments", "create", "dana", "ADMIN", "--break-glass", "--expires", "2h", *STORE)
    assert unexplained.returncode == 2
    assert unexplained.stderr.count("error:") == 1
    assert "`--justification TEXT`" in unexplained.stderr
    given = made(
        call,
        *("assignments", "create", "dana", "ADMIN", "--break-glass", "--expires", "2h"),
        *("--justification", "incident 42"),
    )
    listed = records(call("assignments", "list", "--break-glass", *STORE, "--format", "json").stdout)
    assert [(found["id"], found["justification"]) for found in listed] == [(given["id"], "incident 42")]


@pytest.mark.usefixtures("store")
def test_grants_and_shares_are_made_and_ended(call: Run) -> None:
    """A grant and a share of one identity are listed with what they say, changed and ended."""
    made(
        call, "identities", "create", "sa", "--kind", "service-account", "--company", "acme", "--role", "CLIENT_SERVICE"
    )
    grant = made(call, "grants", "create", "sa", "read", "update", "folder", "--id", "x1", "--company", "acme")
    assert (grant["actions"], grant["object_type"], grant["object_id"]) == (["read", "update"], "folder", "x1")
    share = made(call, "shares", "create", "sa", "folder:42", "read", "--company", "acme", "--impersonation")
    assert share["impersonation"] is True
    assert made(call, "shares", "update", share["id"], "--no-impersonation")["impersonation"] is False
    assert call("shares", "delete", share["id"], *STORE).returncode == 0
    assert call("grants", "delete", grant["id"], *STORE).returncode == 0
    for group in ("grants", "shares"):
        assert call(group, "list", *STORE, "--format", "json").stdout == ""


@pytest.mark.usefixtures("store")
def test_a_key_goes_into_a_file_of_its_owner_alone(call: Run) -> None:
    """`--output` writes the secret as CSV or JSON into a new file of mode 0600, and never over another, with the names
    that the commands print."""
    made(call, "identities", "create", "carol", "--company", "acme", "--role", "CLIENT")
    done = call("keys", "create", "carol", "first", "--output", "key.csv", *STORE)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(io.StringIO(Path("key.csv").read_text()))
    assert stat.S_IMODE(Path("key.csv").stat().st_mode) == 0o600
    assert row["secret"].startswith("azk_")
    assert row["secret"] not in done.stdout + done.stderr
    again = call("keys", "create", "carol", "second", "--output", "key.csv", *STORE)
    assert again.returncode == 2
    assert "exists" in again.stderr
    listed = records(call("keys", "list", "--identity", "carol", *STORE, "--format", "json").stdout)
    assert [found["name"] for found in listed] == ["first"]
    assert call("keys", "create", "carol", "second", "--output", "key.json", *STORE).returncode == 0
    held = json.loads(Path("key.json").read_text())
    shown = made(call, "keys", "show", held["id"])
    assert {name: shown[name] for name in held if name != "secret"} | {"secret": held["secret"]} == held
    assert row.keys() == held.keys()


@pytest.mark.usefixtures("store")
def test_keys_are_rotated_switched_and_revoked(call: Run) -> None:
    """A rotated key names the one that it replaces; a revoked one is listed only with `--all`."""
    made(call, "identities", "create", "carol", "--company", "acme", "--role", "CLIENT")
    old = made(call, "keys", "create", "carol", "run", "--expires", "90d")
    new = made(call, "keys", "rotate", old["id"], "--overlap", "24h")
    assert new["rotated_from"] == old["id"]
    assert new["secret"] != old["secret"]
    assert made(call, "keys", "update", new["id"], "--off")["active"] is False
    assert made(call, "keys", "revoke", old["id"])["revoked_at"]
    listed = records(call("keys", "list", "--identity", "carol", *STORE, "--format", "json").stdout)
    assert [found["id"] for found in listed] == [new["id"]]
    everything = records(call("keys", "list", "--identity", "carol", "--all", *STORE, "--format", "json").stdout)
    assert {found["id"] for found in everything} == {old["id"], new["id"]}


@pytest.mark.usefixtures("store")
def test_an_export_is_imported_again(call: Run) -> None:
    """What `export` writes, as JSON lines or CSV by the file's name, `import` makes anew in another store, formulas of
    spreadsheets escaped on the way, but for roles that are held for a time; `diff` takes the lines, too."""
    made(call, "identities", "create", "carol", "--company", "acme", "--role", "CLIENT", "--name", "=1+1")
    emergency = ("--break-glass", "--expires", "1h", "--justification", "fire")
    made(call, "assignments", "create", "carol", "CLIENT_ADMIN", "--company", "acme", *emergency)
    program = ("sa", "--kind", "service-account", "--company", "acme", "--role", "CLIENT_SERVICE", "--inactive")
    made(call, "identities", "create", *program)
    for shape in ("jsonl", "csv"):
        written = call("identities", "export", "--output", f"all.{shape}", *STORE)
        assert (written.returncode, "roles left out: 1" in written.stderr) == (0, True), written.stderr
        assert "CLIENT_ADMIN" not in Path(f"all.{shape}").read_text()
        assert Path(f"all.{shape}").stat().st_mode & 0o777 == 0o600
        other = ("--directory", f"{shape}.db", "--policies", str(POLICIES))
        assert call("directory", "migrate", *other[:2]).returncode == 0
        done = call("identities", "import", f"all.{shape}", *other)
        assert (done.returncode, done.stdout) == (0, "made 3, changed 0, unchanged 0, refused 0\n"), done.stderr
        left = call("identities", "export", *other).stdout
        assert left == call("identities", "export", *STORE).stdout
    assert "'=1+1" in Path("all.csv").read_text()
    assert call("identities", "export", "--format", "jsonl", "--output", "all.csv", *STORE).returncode == 2
    policies = f"{POLICIES}/"
    assert call("diff", policies, policies, "--identities", "all.jsonl").returncode == 0


@pytest.mark.usefixtures("store")
def test_an_import_tells_what_it_refuses_and_makes_the_rest(call: Run, tmp_path: Path) -> None:
    """A line that is wrong is named with its number and reason; the others are made, and the exit code is 1. The mark
    that spreadsheets put at the beginning is no part of it."""
    (tmp_path / "people.csv").write_text(
        "\ufeffid,company,roles\ngood,acme,CLIENT@acme\nbad,acme,NOBODY@acme\nrole:x,acme,\nalso-good,acme,CLIENT\n"
    )
    done = call("identities", "import", "people.csv", *STORE)
    assert (done.returncode, done.stdout) == (1, "made 2, changed 0, unchanged 0, refused 2\n")
    assert "people.csv:3: bad" in done.stderr
    assert "people.csv:4" in done.stderr
    again = call("identities", "import", "people.csv", "--update", *STORE)
    assert again.stdout == "made 0, changed 0, unchanged 2, refused 2\n"
    known = call("identities", "import", "people.csv", *STORE, "--format", "json")
    assert known.returncode == 1
    told = json.loads(known.stdout)
    assert (told["made"], told["refused"]) == (0, 4)
    assert [refusal["line"] for refusal in told["refusals"]] == [2, 3, 4, 5]
    assert "`--update`" in told["refusals"][0]["why"]


def test_an_import_leaves_what_its_file_does_not_say(call: Run, store: str, tmp_path: Path) -> None:
    """With `--update` who is switched off stays so, and keeps its name, unless the file says otherwise."""
    assert store
    made(call, "identities", "create", "carol", "--company", "acme", "--name", "Carol", "--role", "CLIENT")
    made(call, "identities", "deactivate", "carol")
    for file in ("id,company\ncarol,acme\n", "id,company,active\ncarol,acme,\n"):
        (tmp_path / "some.csv").write_text(file)
        done = call("identities", "import", "some.csv", "--update", *STORE)
        assert done.stdout == "made 0, changed 0, unchanged 1, refused 0\n", done.stderr
    (tmp_path / "on.jsonl").write_text('{"id": "carol", "company": "acme", "active": true}\n')
    assert call("identities", "import", "on.jsonl", "--update", *STORE).stdout.startswith("made 0, changed 1")
    (shown,) = records(call("identities", "show", "carol", *STORE, "--format", "json").stdout)
    assert (shown["active"], shown["name"]) == (True, "Carol")


def test_a_file_that_is_no_export_is_refused(call: Run, store: str, tmp_path: Path) -> None:
    """A file without a column `id`, with one that is unknown or there twice, or that is not there exits 2 and says what
    is wanted."""
    assert store
    (tmp_path / "a.csv").write_text("name\nx\n")
    (tmp_path / "b.csv").write_text("id,shoe_size\nx,42\n")
    (tmp_path / "d.csv").write_text("id,company,id\nx,acme,y\n")
    faults = {"a.csv": "no column `id`", "b.csv": "`shoe_size`", "c.csv": "cannot be read", "d.csv": "there twice"}
    for file, told in faults.items():
        done = call("identities", "import", file, *STORE)
        assert done.returncode == 2
        assert told in done.stderr


@pytest.mark.usefixtures("store")
def test_a_backup_is_restored(call: Run) -> None:
    """What a backup holds is in the store that is filled from it; one that holds something is not overwritten."""
    made(call, "identities", "create", "carol", "--company", "acme", "--role", "CLIENT")
    assert call("directory", "backup", "--output", "saved", *STORE[:2]).returncode == 0
    assert call("directory", "verify-backup", "saved").returncode == 0
    refused = call("directory", "restore", "saved", *STORE[:2])
    assert refused.returncode == 2
    done = call("directory", "restore", "saved", "--directory", "restored.db")
    assert done.returncode == 0, done.stderr
    assert "audit checkpoint --after-restore" in done.stderr
    left = call("identities", "export", "--directory", "restored.db").stdout
    assert left == call("identities", "export", *STORE).stdout
    assert call("audit", "verify", "--directory", "restored.db").returncode == 0


def test_neither_a_store_nor_a_server_is_guessed(call: Run) -> None:
    """Without `--server` and `--directory` the command exits 2 and names both."""
    done = call("identities", "list")
    assert done.returncode == 2
    assert "--server" in done.stderr
    assert "--directory" in done.stderr


def test_a_password_in_an_argument_is_refused(call: Run) -> None:
    """A URL with a password is not taken from the command line, which everybody can read, and is not repeated."""
    done = call("identities", "list", "--directory", "postgresql://u:hidden@127.0.0.1/x")
    assert done.returncode == 2
    assert "hidden" not in done.stdout + done.stderr
    assert "AUTHZ_DIRECTORY" in done.stderr


def test_the_same_commands_administer_a_running_sidecar(call: Run, store: str, tmp_path: Path) -> None:
    """With `--server` and a credential in a file, alone or as it was written there, every group does through the
    sidecar what it does on a store."""
    (tmp_path / "mine").write_text(store + "\n")
    directory = str(tmp_path / "identities.db")
    with running_sidecar("--directory", directory, policies=POLICIES) as sidecar:
        there = ("--server", sidecar.grpc, "--credential-file", "mine", "--format", "json")

        def asked(*arguments: str) -> list[dict[str, Any]]:
            done = call(*arguments, *there)
            assert done.returncode == 0, done.stderr
            return records(done.stdout)

        asked("identities", "create", "carol", "--company", "acme", "--role", "CLIENT", "--name", "Carol")
        asked("identities", "update", "carol", "--name", "C", "--flag", "can_start_analysis_quality=off")
        (carol,) = asked("identities", "list", "--prefix", "car")
        assert (carol["name"], carol["flags"]) == ("C", {"can_start_analysis_quality": False})
        asked("assignments", "create", "carol", "CLIENT_ADMIN", "--company", "acme", "--replace")
        assert [found["role"] for found in asked("assignments", "list", "--identity", "carol")] == ["CLIENT_ADMIN"]
        (share,) = asked("shares", "create", "carol", "folder:7", "read", "--company", "acme")
        asked("shares", "update", share["id"], "--expires", "1d")
        (grant,) = asked("grants", "create", "carol", "read", "report", "--company", "acme")
        assert call("grants", "delete", grant["id"], *there).returncode == 0
        (key,) = asked("keys", "create", "carol", "laptop")
        (rotated,) = asked("keys", "rotate", key["id"])
        asked("keys", "revoke", key["id"])
        assert [found["id"] for found in asked("keys", "list", "--identity", "carol")] == [rotated["id"]]
        (token,) = asked("tokens", "create", "carol")
        assert [found["id"] for found in asked("tokens", "list", "carol")] == [token["id"]]
        at_store = records(call("tokens", "list", "carol", *STORE, "--format", "json").stdout)
        assert at_store == asked("tokens", "list", "carol")
        assert call("tokens", "revoke", "--identity", "carol", *there[:4]).stdout == "revoked 1\n"
        assert call("identities", "export", *there[:4]).returncode == 0
        (tmp_path / "people.csv").write_text("id,company,roles\nerin,acme,CLIENT@acme\ncarol,acme,CLIENT_ADMIN\n")
        done = call("identities", "import", "people.csv", "--update", *there[:4])
        assert (done.returncode, done.stdout) == (0, "made 1, changed 0, unchanged 1, refused 0\n"), done.stderr
        (tmp_path / "more.csv").write_text("id,company,roles\ncarol,acme,CLIENT\n")
        done = call("identities", "import", "more.csv", "--update", *there[:4])
        assert done.returncode == 1
        assert "at most 1 role" in done.stderr
        for unknown in (("identities", "show", "nobody"), ("keys", "create", "nobody", "k")):
            done = call(*unknown, *there)
            assert (done.returncode, "there is no such" in done.stderr, "sidecar." in done.stderr) == (2, True, False)
        (tmp_path / "wrong").write_text(store[:-1] + ("a" if store[-1] != "a" else "b"))
        refused = call("identities", "list", "--server", sidecar.grpc, "--credential-file", "wrong")
        assert refused.returncode == 2
        assert "AUTHZ_CREDENTIAL" in refused.stderr
        written = call("keys", "create", "carol", "café", "--output", "carol.csv", *there[:4])
        assert written.returncode == 0, written.stderr
        listing = call("identities", "list", "--server", sidecar.grpc, "--credential-file", "carol.csv")
        assert (listing.returncode, "carol" in listing.stdout) == (0, True), listing.stderr
        assert call("identities", "delete", "carol", *there).returncode == 0
        assert store not in sidecar.log


@pytest.mark.usefixtures("store")
def test_a_check_knows_whom_the_directory_knows(call: Run) -> None:
    """With `--directory` a bundle's answer counts what the subject holds there, and names the record that decided."""
    made(call, "identities", "create", "carol", "--company", "acme", "--role", "CLIENT")
    question = ("check", "carol", "folder:1", "read", "--company", "acme", "--policies", str(POLICIES))
    assert call(*question).returncode == 1
    assert call(*question, *STORE[:2], "--owner", "carol").returncode == 0
    assert call(*question, *STORE[:2]).returncode == 1
    share = made(call, "shares", "create", "carol", "folder:1", "read", "--company", "acme")
    done = call(*question, *STORE[:2], "--explain")
    assert done.returncode == 0
    assert f"share:{share['id']}" in done.stdout
    made(call, "identities", "deactivate", "carol")
    done = call(*question, *STORE[:2])
    assert (done.returncode, "inactive_subject" in done.stdout) == (1, True)
