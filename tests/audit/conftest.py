"""Stores with an audit, on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest

from authz_sidecar.audit.signing import SigningKey, create_key
from authz_sidecar.directory.storage.store import Store
from tests.audit.chains import Chain
from tests.directory.conftest import dialect, empty_store, store, store_url

__all__ = ["dialect", "empty_store", "store", "store_url"]


@pytest.fixture
def chain(store: Store) -> Chain:
    """A store with no records."""
    return Chain(store)


@pytest.fixture(scope="session")
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> list[SigningKey]:
    """Two keys."""
    directory: Path = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        create_key(directory / name)
    return [SigningKey.load(directory / name) for name in ("ours", "theirs")]


@pytest.fixture
def signing_key(signing_keys: list[SigningKey]) -> SigningKey:
    """The key of the store's operators."""
    return signing_keys[0]
