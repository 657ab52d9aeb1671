"""A change of the policies that drops a role which identities of the directory hold."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.storage.store import Store
from tests.directory.people import OPERATOR, ROLES, WITHOUT_CHIEF, add, people, write_policies
from tests.server.sidecar import (
    COMMAND,
    FREE_PORTS,
    PATIENCE_SECONDS,
    Sidecar,
    check_of,
    environment,
    running_sidecar,
    until,
)
from tests.server.test_reload import QUICK, git, version

WHY = "it drops a role in use, `CHIEF`: 2 identities hold it in companies: `ann`, `bob`"
REMEDY = "take the role away from them or keep it in the bundle, or serve with `--allow-orphans`"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A repository with a bundle in `policies/`, which has the role CHIEF."""
    folder = write_policies(tmp_path / "repository" / "policies")
    root = folder.parent
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=one")
    return folder


@pytest.fixture
def directory(tmp_path: Path) -> str:
    """The path of a directory to be made."""
    return str(tmp_path / "directory.db")


@pytest.fixture
def administration(directory: str, policies: Path) -> Iterator[IdentityAdministration]:
    """A directory in which Ann and Bob hold CHIEF."""
    store = Store.open(directory)
    made = people(store, policies)
    add(made, "ann", "CHIEF")
    add(made, "bob", "CHIEF")
    add(made, "cleo", "CLERK")
    yield made
    store.close()


@contextmanager
def serving(*options: str, policies: Path | str, directory: str) -> Iterator[Sidecar]:
    """A sidecar with the directory; what it follows it looks at quickly."""
    with running_sidecar(*QUICK, *options, "--directory", directory, policies=policies) as sidecar:  # type: ignore[arg-type]
        yield sidecar


def updates(sidecar: Sidecar, subject: str = "ann") -> bool:
    """Whether the directory's CHIEF may do what only CHIEF may."""
    return sidecar.stub.Check(check_of(subject, "update")).allowed


def dropped(policies: Path) -> None:
    """Commit a bundle without CHIEF."""
    write_policies(policies, WITHOUT_CHIEF)
    git(policies.parent, "commit", "--quiet", "--all", "--message=no chiefs")


def hang_up(sidecar: Sidecar) -> None:
    """Have the policies looked at."""
    sidecar.process.send_signal(signal.SIGHUP)


def refused_for(sidecar: Sidecar) -> str:
    """Why the newest policies are refused; "" where they are not."""
    return str(sidecar.ready()[1].get("refused", {}).get("why", ""))


@pytest.mark.parametrize(
    ("options", "remote"),
    [
        pytest.param((), False, id="alone"),
        pytest.param(("--workers", "2", "--git-interval", "0"), True, id="workers, git"),
    ],
)
def test_a_role_in_use_is_not_dropped(
    policies: Path,
    directory: str,
    administration: IdentityAdministration,
    options: Sequence[str],
    remote: bool,
) -> None:
    """What is served goes on, and the refusal names the role, its holders and both remedies; once nobody holds the
    role, the same policies are taken."""
    place = f"git+file://{policies.parent}?ref=main&path=policies" if remote else policies
    with serving(*options, policies=place, directory=directory) as sidecar:
        assert updates(sidecar)
        before = version(sidecar)
        dropped(policies)
        hang_up(sidecar)
        until(lambda: refused_for(sidecar))
        assert refused_for(sidecar) == WHY
        assert (version(sidecar), updates(sidecar), updates(sidecar, "bob")) == (before, True, True)
        until(lambda: REMEDY in sidecar.log)
        assert sidecar.metric("authz_policy_refused") == 1

        for name in ("ann", "bob"):
            (held,) = administration.list_assignments(identity=name).records
            administration.delete_assignment(OPERATOR, held.id)
        hang_up(sidecar)
        until(lambda: version(sidecar) != before)
        assert (refused_for(sidecar), updates(sidecar)) == ("", False)


@pytest.mark.usefixtures("administration")
def test_orphans_may_be_allowed(policies: Path, directory: str) -> None:
    """With `--allow-orphans` the policies are taken, and what the role gave is gone."""
    with serving("--allow-orphans", policies=policies, directory=directory) as sidecar:
        assert updates(sidecar)
        dropped(policies)
        until(lambda: not updates(sidecar))
        assert refused_for(sidecar) == ""


@pytest.mark.usefixtures("administration")
def test_no_server_starts_without_a_role_in_use(policies: Path, directory: str) -> None:
    """A start is refused in the same words; with `--wait-for-policies` it waits, and takes what keeps the role."""
    dropped(policies)
    command = [*COMMAND, "--policies", str(policies), *FREE_PORTS, "--directory", directory]
    ended = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"are refused: {WHY}\n" in ended.stderr
    assert f"help: {REMEDY}\n" in ended.stderr
    with serving("--wait-for-policies", policies=policies, directory=directory) as sidecar:
        assert (sidecar.policy_version, updates(sidecar)) == ("none", False)
        write_policies(policies, ROLES)
        until(lambda: updates(sidecar))


@pytest.mark.usefixtures("administration")
def test_policies_are_not_taken_while_nobody_can_say_which_roles_are_in_use(policies: Path, directory: str) -> None:
    """Without its store a sidecar goes on with what it has, says why, and takes the change once the store is back."""
    with serving(policies=policies, directory=directory) as sidecar:
        before = version(sidecar)
        store, away = Path(directory), Path(directory + ".away")
        store.rename(away)
        write_policies(policies, ROLES.replace("[read]", "[read, update]"))
        until(lambda: "it is not known which roles are in use" in refused_for(sidecar))
        assert (version(sidecar), updates(sidecar)) == (before, True)
        away.rename(store)
        hang_up(sidecar)
        until(lambda: version(sidecar) != before)
        assert updates(sidecar, "cleo")
