"""One sidecar for all tests that only ask."""

from collections.abc import Iterator

import pytest

from tests.server.sidecar import Sidecar, running_sidecar


@pytest.fixture(scope="session")
def sidecar() -> Iterator[Sidecar]:
    """A running sidecar on the bundle of the server tests; it is stopped at the end, and must end well.

    It does not look at the bundle again: a commit of this repository meanwhile would change its version.
    """
    with running_sidecar("--watch-interval", "0") as running:
        yield running
