"""Addresses to listen on."""

import os
import tempfile
from pathlib import Path

import pytest

from authz_sidecar.transports.address import (
    Address,
    AddressError,
    SocketAccess,
    SocketFile,
    open_listener,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051), True),
        ("127.8.9.10:0", Address("127.8.9.10", 0), True),
        ("localhost:80", Address("localhost", 80), True),
        ("[::1]:65535", Address("::1", 65535), True),
        ("unix:/run/authz.sock", Address(path="/run/authz.sock"), True),
        ("0.0.0.0:1", Address("0.0.0.0", 1), False),  # noqa: S104 - read, not listened on
        ("[::]:1", Address("::", 1), False),
        ("192.0.2.1:1", Address("192.0.2.1", 1), False),
        ("localhost.example.com:1", Address("localhost.example.com", 1), False),
    ],
)
def test_an_address_is_read_and_written_back(text: str, address: Address, local: bool) -> None:
    """An address is read, written as it was given, and known to be local or not; a name counts as not."""
    assert (parse_address(text), str(address), address.is_local) == (address, text, local)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "`` is not an address"),
        ("localhost", "`localhost` is not an address"),
        (":50051", "`:50051` is not an address"),
        ("127.0.0.1:", "`` in `127.0.0.1:` is not a port"),
        ("127.0.0.1:http", "`http` in `127.0.0.1:http` is not a port"),
        ("127.0.0.1:65536", "`65536` in `127.0.0.1:65536` is not a port"),
        ("127.0.0.1:-1", "`-1` in `127.0.0.1:-1` is not a port"),
        ("127.0.0.1:" + "9" * 5000, "is not a port"),
        ("::1:50051", "`::1:50051` is not an address"),
        ("[::1:50051", "`[::1:50051` is not an address"),
        ("[::x]:50051", "`::x` in `[::x]:50051` is not an IPv6 address"),
        ("http://127.0.0.1:80", "`http://127.0.0.1:80` is not an address"),
        ("unix:socket", "`unix:socket` does not name an absolute path"),
        ("unix:/" + "a" * 107, "is longer than 107 bytes"),
    ],
)
def test_what_is_no_address_is_refused(address: str, message: str) -> None:
    """What cannot be read as an address is refused with what is wrong."""
    with pytest.raises(AddressError) as caught:
        parse_address(address)
    assert message in caught.value.message
    assert caught.value.help


def test_only_the_socket_that_was_bound_is_removed() -> None:
    """A server that ends leaves the socket alone which a successor has bound in the same place."""
    with tempfile.TemporaryDirectory() as folder:
        address = Address(path=f"{folder}/one.sock")
        with open_listener(address, SocketAccess())[0]:
            os.utime(address.path, ns=(0, 0))  # long ago
            mine = SocketFile.of(address)
            assert mine is not None
        with open_listener(address, SocketAccess())[0]:
            theirs = SocketFile.of(address)
            assert theirs is not None
            mine.remove()
            assert Path(address.path).exists()
            theirs.remove()
            assert not Path(address.path).exists()
            theirs.remove()
    assert SocketFile.of(Address("127.0.0.1", 1)) is None
