"""The connection to a server, alike in every command that asks one: certificates, names and credentials."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from authz_sidecar.cli import main
from tests.cli.command_line import Run
from tests.server.sidecar import running_sidecar
from tests.server.test_tls import Authority, Files

POLICIES = Path(__file__).parents[2] / "policies"
SHORT = ("--duration", "0.1", "--connections", "1", "--concurrency", "1", "--format", "json")


class Place(NamedTuple):
    """A server with a directory that lets in certified clients alone; the options of a client that it lets in, and the
    folder with its files and those of keys: `root.csv`, and `robot.json` of a service account."""

    address: str
    options: tuple[str, ...]
    folder: Path

    def without(self, option: str, *instead: str) -> tuple[str, ...]:
        """The options with others in the place of one."""
        at = self.options.index(option)
        return (*self.options[:at], *instead, *self.options[at + 2 :])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server, and in its directory an administrator, a user, and a service account that may act for users."""
    folder = tmp_path_factory.mktemp("place")
    store = ("--directory", str(folder / "identities.db"), "--policies", str(POLICIES))
    robot = ("--kind", "service-account", "--company", "acme", "--role", "CLIENT_SERVICE")
    for command in (
        ("directory", "bootstrap", "root", "--role", "ADMIN", "--output", str(folder / "root.csv")),
        ("identities", "create", "carol", "--company", "acme", "--role", "CLIENT_ADMIN"),
        ("identities", "create", "robot", *robot),
        ("keys", "create", "robot", "run", "--output", str(folder / "robot.json")),
        ("shares", "create", "robot", "folder:7", "read", "--company", "acme", "--impersonation"),
    ):
        assert main.run((*command, *store)) == 0
    servers, clients = Authority(), Authority()
    (folder / "client").mkdir()
    own = Files(folder / "client", clients.issue())
    (folder / "servers.crt").write_bytes(servers.pem)
    (folder / "others.crt").write_bytes(Authority().pem)
    files = Files(folder, servers.issue(), clients.pem)
    with running_sidecar(*store[:2], *files.options, policies=POLICIES) as sidecar:
        authority = ("--tls-ca", str(folder / "servers.crt"))
        pair = ("--tls-client-cert", str(own.certificate), "--tls-client-key", str(own.key))
        yield Place(sidecar.grpc, ("--server", sidecar.grpc, *authority, *pair), folder)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("check", "carol", "folder:7", "read", "--company", "acme"), '"decision": "allow"'),
        (("bench", "carol", "folder:7", "read", "--company", "acme", *SHORT), '"reasons": {"allowed_by_rule":'),
        (("refresh", "--credential-file", "root.csv"), '"outcome": "current"'),
        (("identities", "show", "carol", "--credential-file", "root.csv"), '"id": "carol"'),
        (("audit", "list", "--credential-file", "root.csv", "--limit", "1"), '"action":'),
    ],
    ids=lambda found: found[0] if isinstance(found, tuple) else "",
)
def test_every_command_takes_certificates(
    call: Run, place: Place, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], told: str
) -> None:
    """A server with TLS that wants certificates of clients answers each command that asks servers."""
    # The fixture of the command line has changed the directory to the test's own.
    monkeypatch.chdir(place.folder)
    form = () if "--format" in command else ("--format", "json")
    done = call(*command, *place.options, *form)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout.replace('":"', '": "')


@pytest.mark.parametrize(
    ("option", "instead", "message", "help"),
    [
        ("--tls-client-cert", (), "`--tls-client-key` cannot be had without `--tls-client-cert`", "as well"),
        ("--tls-client-key", (), "`--tls-client-cert` cannot be had without `--tls-client-key`", "as well"),
        ("--tls-client-key", ("--tls-client-key", "tls.key"), "does not belong to the certificate", "the key that"),
        ("--tls-ca", (), "`--tls-client-cert` is for TLS", "`--tls-ca FILE`"),
        ("--tls-ca", ("--tls-ca", "root.csv"), "`root.csv` holds no certificate", "PEM"),
        ("--tls-ca", ("--tls-ca", "nowhere"), "cannot read `nowhere`", "PEM"),
        ("--tls-ca", ("--tls-ca", "others.crt"), "is of none of the authorities in `--tls-ca`", "give `--tls-ca` "),
        ("--timeout", ("--tls-server-name", "other.example"), "has another name", "`--tls-server-name`"),
    ],
)
def test_what_keeps_a_connection_from_being_made_is_named(
    call: Run,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    instead: tuple[str, ...],
    message: str,
    help: str,
) -> None:
    """Files that do not fit, a server that is not trusted and one of another name exit 2, with one line and a
    remedy."""
    monkeypatch.chdir(place.folder)
    options = place.without(option, *instead) if option in place.options else (*place.options, *instead)
    done = call("check", "carol", "folder:7", "read", *options)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("  help: ")
    assert help in second


def test_a_server_says_no_more_than_that_it_hangs_up(call: Run, place: Place) -> None:
    """Whoever speaks no TLS, or comes without a certificate or with one of another authority, is told what may be
    missing."""
    bare = ("--server", place.address)
    done = call("check", "carol", "folder:7", "read", *bare)
    assert (done.returncode, "one with TLS needs `--tls-ca FILE`" in done.stderr) == (2, True)
    trusting = (*bare, "--tls-ca", str(place.folder / "servers.crt"))
    done = call("whoami", "--credential-file", str(place.folder / "root.csv"), *trusting)
    assert (done.returncode, "needs `--tls-client-cert FILE`" in done.stderr) == (2, True)
    pair = ("--tls-client-cert", str(place.folder / "tls.crt"), "--tls-client-key", str(place.folder / "tls.key"))
    done = call("bench", *SHORT, *trusting, *pair)
    assert (done.returncode, "an authority that it knows" in done.stderr) == (2, True)


def test_the_name_of_a_server_may_be_another_than_its_address(call: Run, place: Place) -> None:
    """With `--tls-server-name` the certificate has to have that name, whatever the address is."""
    options = (*place.options, "--tls-server-name", "localhost")
    assert call("check", "carol", "folder:7", "read", "--company", "acme", *options).returncode == 0


def test_a_credential_stands_for_the_subject(call: Run, place: Place) -> None:
    """Without SUBJECT the credential's identity is decided for, and named, also where it acts for another one."""
    robot = (*place.options, "--credential-file", str(place.folder / "robot.json"))
    question = ("folder:7", "read", "--company", "acme")
    done = call("check", *question, *robot, "--explain")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("allow reason=allowed_by_rule ")
    assert first.endswith(" subject=robot")
    assert second == "  robot read folder:7 in company acme"
    acting = json.loads(call("check", *question, *robot, "--on-behalf-of", "carol", "--format", "json").stdout)
    assert (acting["allowed"], acting["subject"], acting["actor"]) == (True, "carol", "robot")
    loaded = json.loads(call("bench", *question, *robot, *SHORT).stdout)
    assert loaded["reasons"] == {"allowed_by_rule": loaded["calls"]}


def test_whoami_tells_whom_a_credential_stands_for(call: Run, place: Place, tmp_path: Path) -> None:
    """A credential is told with its identity and roles; one that is no good exits 1, and none at all 2."""
    robot = (*place.options, "--credential-file", str(place.folder / "robot.json"))
    known = json.loads(call("whoami", *robot, "--format", "json").stdout)
    assert (known["subject"], known["kind"], known["roles"]) == ("robot", "service_account", ["CLIENT_SERVICE@acme"])
    assert "CLIENT_SERVICE@acme" in call("whoami", *robot).stdout
    secret = json.loads((place.folder / "robot.json").read_text())["secret"]
    (tmp_path / "wrong").write_text(secret[:-1] + ("a" if secret[-1] != "a" else "b"))
    refused = call("whoami", *place.options, "--credential-file", "wrong")
    assert (refused.returncode, refused.stdout.splitlines()[0]) == (1, "nobody reason=invalid_credential")
    assert call("whoami", *place.options).returncode == 2


def test_a_credential_that_stands_for_nobody_is_a_deny(call: Run, place: Place, tmp_path: Path) -> None:
    """A wrong credential exits 1 with its reason, names nobody, and is nowhere in what is said."""
    (tmp_path / "wrong").write_text("azk_wrong")
    done = call("check", "folder:7", "read", *place.options, "--credential-file", "wrong", "--explain")
    assert done.returncode == 1
    assert done.stdout.startswith("deny reason=invalid_credential ")
    assert "subject=" not in done.stdout
    assert "azk_wrong" not in done.stdout + done.stderr


def test_one_of_subject_and_credential_says_who_asks(call: Run, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is refused, and both where both are typed; a credential that only lies in the environment is not sent,
    and does not stand for a forgotten word."""
    question = ("carol", "folder:7", "read", "--company", "acme")
    neither = call("check", *question[1:], *place.options)
    assert (neither.returncode, "neither SUBJECT nor a credential" in neither.stderr) == (2, True)
    both = call("check", *question, *place.options, "--credential-file", "root.csv")
    assert (both.returncode, "not both" in both.stderr) == (2, True)
    monkeypatch.setenv("AUTHZ_CREDENTIAL", "azk_wrong")
    assert call("check", *question, *place.options).returncode == 0
    # In clear to another machine it would be refused, were it sent.
    far = call("check", *question, "--server", "192.0.2.1:50051", "--timeout", "0.1")
    assert "no answer from `192.0.2.1:50051`" in far.stderr
    monkeypatch.setenv("AUTHZ_CREDENTIAL_FILE", str(place.folder / "root.csv"))
    for command in ("check", "bench"):
        forgotten = call(command, *question[:2], *place.options)
        assert (forgotten.returncode, "neither SUBJECT nor a credential" in forgotten.stderr) == (2, True)
    typed = ("--credential-file", str(place.folder / "root.csv"))
    sent = call("check", *question[1:], "--server", "192.0.2.1:50051", "--timeout", "0.1", *typed)
    assert (sent.returncode, "in clear" in sent.stderr, "--tls-ca" in sent.stderr) == (2, True, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "folder:7", "read", "--policies", str(POLICIES)), "no SUBJECT is named"),
        (("check", "a", "b", "c", "--policies", str(POLICIES), "--tls-ca", "x"), "`--tls-ca` is for `--server`"),
        (("check", "a", "b", "c", "--credential-file", "x"), "`--credential-file` is for `--server`"),
        (("identities", "list", "--directory", "x.db", "--tls-ca", "x"), "`--tls-ca` is for `--server`"),
        (("audit", "list", "--directory", "x.db", "--timeout", "1"), "`--timeout` is for `--server`"),
        (("check", "folder:7"), "a question is SUBJECT, OBJECT and ACTION"),
        (("whoami", "--server", "127.0.0.1:1", "--credential-file", "control"), "`control` does not hold a credential"),
    ],
)
def test_what_needs_a_server_is_refused_without_one(
    call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    """What would be ignored, and what cannot be sent, is refused, with exit code 2."""
    (tmp_path / "control").write_text("azk_\x01")
    monkeypatch.setenv("AUTHZ_CREDENTIAL", "two words")
    if "--server" in arguments:
        assert "`AUTHZ_CREDENTIAL` does not hold a credential" in call(*arguments[:3]).stderr
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
