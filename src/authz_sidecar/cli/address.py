"""Addresses on the command line."""

import click

from authz_sidecar.transports.address import Address, AddressError, parse_address


class AddressType(click.ParamType[Address]):
    """An address: `host:port` or `unix:/path`."""

    name = "ADDR"

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Read `value`; fails as click does, with the remedy in the message."""
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value)
        except AddressError as error:
            self.fail(f"{error.message}: {error.help}", param, ctx)
