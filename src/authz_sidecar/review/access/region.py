"""The part of the space that a question is about."""

import msgspec

from authz_sidecar.review.access.change import EVERYTHING, Box, Kind

ALL_KINDS = frozenset(Kind)


class Region(msgspec.Struct, frozen=True):
    """What to look at: requests in `box`, by `subjects` (names of roles or identities; empty: all), of these `kinds`.

    `box.section` "" stands for every section of a plain Casbin model. Named subjects leave out `Kind.ANYONE`.
    """

    box: Box = EVERYTHING
    subjects: tuple[str, ...] = ()
    kinds: frozenset[Kind] = ALL_KINDS
