"""What a server asks of the process that knows the versions of its policies, and what it is told: plain data.

`python -m MODULE` reads an order from standard input and writes an answer to standard output. It is a process of its
own, so that the server answers checks meanwhile, and can end what takes too long; the URL of the directory comes on
standard input, since arguments are for everybody to see.
"""

from typing import TypeAlias

import msgspec

MODULE = "authz_sidecar.directory.review.policy_reviewer"


class PolicyPlace(msgspec.Struct, frozen=True):
    """Where the policies are: the directory `path`, or with `folder` ("" for the root) that folder of the commits of
    the repository at exactly this path."""

    path: str
    folder: str | None = None


class VersionsOrder(msgspec.Struct, frozen=True, tag="versions"):
    """List `limit` versions at most, the newest first, from the one before `after` ("" for the newest) on. Where the
    place is no work tree the newest is the first of the commits `tips` that is there. `served` is what is served."""

    place: PolicyPlace
    served: str
    tips: tuple[str, ...]
    after: str
    limit: int


class DiffOrder(msgspec.Struct, frozen=True, tag="diff"):
    """Compare two revisions; "" is what is served, which is the version `served`. `store` is the URL of the directory
    whose identities count. The report may have `most_bytes` as JSON, and as text."""

    place: PolicyPlace
    served: str
    base: str
    head: str
    store: str
    most_bytes: int

    def __repr__(self) -> str:
        return f"DiffOrder(base={self.base!r}, head={self.head!r})"


class Version(msgspec.Struct, frozen=True):
    """One version: a commit, who wrote it, when (seconds since 1970-01-01 UTC), its first line, and why."""

    policy_version: str
    time: int
    author: str
    subject: str
    justification: str
    active: bool


class Versions(msgspec.Struct, frozen=True, tag="versions"):
    """Versions, newest first; `after` is where the next page begins ("" at the end)."""

    versions: tuple[Version, ...]
    after: str


class Difference(msgspec.Struct, frozen=True, tag="diff"):
    """What differs between the versions `base` and `head`; `json` is None where the report is too
    long, and `text` empty."""

    base: str
    head: str
    changed: bool
    json: str | None
    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why there is no answer. `field` is the part of the question that is to blame ("" for none)."""

    message: str
    help: str
    field: str = ""


Order: TypeAlias = VersionsOrder | DiffOrder
Answer: TypeAlias = Versions | Difference | Refused
