"""The systems of the repository, each in service once for all tests of a module, and once more on PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from tests.postgres import shared_postgres
from tests.systems.system import System, copy_of, running_system

# Starts a system: the bundle's folder, the first administrator's role, and what `Systems` says.
Start = Callable[..., System]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start systems, which run until the end of the module.

    `start("examples/viewer", "ADMIN")` serves a copy of that bundle without its example identities, which are in the
    files `without`, beside a new store of SQLite; with `postgresql=True` one of PostgreSQL. `options` are those of
    `serve`; `company` and `days` are the first administrator's; `manifest=[(old, new)]` replaces texts in a file.
    """
    with ExitStack() as stack:

        def start_one(
            bundle: str,
            role: str,
            *,
            postgresql: bool = False,
            options: tuple[str, ...] = (),
            company: str = "",
            days: int | None = None,
            without: tuple[str, ...] = ("assignments.yaml",),
            **replaced: list[tuple[str, str]],
        ) -> System:
            folder = tmp_path_factory.mktemp("system")
            policies = copy_of(bundle, folder, without=without, **replaced)
            url = shared_postgres().create_database() if postgresql else str(folder / "directory.db")
            if postgresql:
                stack.callback(shared_postgres().drop_database, url)
            running: AbstractContextManager[System] = running_system(
                policies, url, folder, role, *options, company=company, days=days
            )
            return stack.enter_context(running)

        yield start_one
