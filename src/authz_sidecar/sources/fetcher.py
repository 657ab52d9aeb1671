"""The process that looks at a remote repository, fetches what is new, and says what of it may be served.

`python -m authz_sidecar.sources.fetcher` reads a `FetchOrder` from standard input and writes a `FetchReport` to
standard output. What it parses comes from another machine: it has bounds of its own on time, memory and the size of
files, and is ended from outside where these do not hold.
"""

import contextlib
import errno
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from authz_sidecar.bundle.wording import closest, quote
from authz_sidecar.sources.ancestry import AncestryError, contains
from authz_sidecar.sources.cache import CacheError, GitCache, has_commit, open_local
from authz_sidecar.sources.credentials import CredentialsError, read_credentials
from authz_sidecar.sources.fetch import FetchOrder, FetchReport, took_too_long
from authz_sidecar.sources.objects import COMMIT, KINDS, RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.signature import SignatureError, verify_commit
from authz_sidecar.sources.transport import RemoteFailedError, Transport
from authz_sidecar.values.lineage import is_commit

# What an object of the pack may need once it is unpacked.
MEMORY_BYTES = 2 << 30
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_PEELED = "^{}"


class FetchTimeoutError(BaseException):
    """Time is over; no handler of ordinary errors takes it."""


class TooLargeError(Exception):
    """The remote sends more than is taken."""


def look(order: FetchOrder) -> FetchReport:
    """Bring the clone up to date and judge what is there."""
    report = FetchReport()
    cache = GitCache(Path(order.cache), order.remote)
    try:
        with _bounded(order.seconds), cache.locked():
            report.looked_at = cache.looked_at
            _look(order, cache, report)
    except FetchTimeoutError:
        report.problem = took_too_long(order.seconds)
        report.help = "see whether the host answers; `--git-timeout` gives a large repository more time"
    except (RemoteFailedError, CacheError, CredentialsError) as error:
        report.problem, report.help = error.message, error.help
    except TooLargeError:
        report.problem = f"the remote sends more than {order.max_bytes:,} bytes"
        report.help = "keep policies in a repository of their own, or allow more with `--git-max-bytes`"
    except MemoryError:
        report.problem = "what the remote sends needs too much memory"
        report.help = "keep policies in a repository of their own"
    except OSError as error:
        what = "there is no room" if error.errno in _FULL else (error.strerror or "unknown reason").lower()
        report.problem = f"the cache directory `{order.cache}` cannot be written: {what}"
        report.help = "make room there, or name another directory with `--git-cache`"
    # What it says may be made of anything.
    except Exception as error:  # noqa: BLE001 - what a remote can break is not known beforehand
        report.problem = f"the repository cannot be read: {type(error).__name__}"
        report.help = "see whether `git fsck` finds a fault in it"
    return report


def _look(order: FetchOrder, cache: GitCache, report: FetchReport) -> None:
    try:
        if order.fresh:
            _look_anew(order, cache, report, "a bundle could not be read from it")
        else:
            _look_or_mend(order, cache, report)
    finally:
        cache.discard_rest()


def _look_or_mend(order: FetchOrder, cache: GitCache, report: FetchReport) -> None:
    existed = cache.repository.exists()
    try:
        _look_once(order, cache, report)
    except (RemoteFailedError, CacheError, CredentialsError, TooLargeError, MemoryError):
        raise
    # Damage shows itself in any way; what is not mended by another clone is told after it.
    except Exception as error:
        if not existed or (isinstance(error, OSError) and error.errno in _FULL):
            raise _told(error) from error
        _look_anew(order, cache, report, str(error) or type(error).__name__)


def _look_anew(order: FetchOrder, cache: GitCache, report: FetchReport, why: str) -> None:
    """Look with another clone. Where that comes to nothing there is again the one before, in which what was served
    last may be whole."""
    aside = cache.set_aside()
    report.cloned = why
    try:
        _look_once(order, cache, report)
    except BaseException as error:
        cache.put_back(aside)
        if isinstance(error, Exception):
            raise _told(error) from error
        raise


def _told(error: Exception) -> Exception:
    return RemoteFailedError(error.message, error.help) if isinstance(error, RepositoryError) else error


def _look_once(order: FetchOrder, cache: GitCache, report: FetchReport) -> None:
    with cache.open() as repository:
        report.kept = _kept(order, cache, repository)
        tip = _bring(order, cache, repository)
        cache.keep_tip(repository, tip)
        cache.keep_looked()
        report.looked_at = cache.looked_at
        report.commit = order.at or tip
        report.refused = _refusal(order, repository, tip, order.served or cache.served)


def _kept(order: FetchOrder, cache: GitCache, repository: Repository) -> str:
    """The commit that was served last, if it may be served again without the remote."""
    kept = cache.served
    if not kept or (order.at and kept != order.at) or not has_commit(repository, kept):
        return ""
    return "" if _unsigned(order, repository, kept) else kept


def _refusal(order: FetchOrder, repository: Repository, tip: str, served: str) -> str:
    """Why what is there must not be served; "" if it may."""
    try:
        if order.at:
            # Whoever pins says what is served, also before what was served last.
            if not (has_commit(repository, order.at) and contains(repository.objects, tip, order.at)):
                return f"`--at` names {order.at[:12]}, which is not in the history of {_name(order)} (now {tip[:12]})"
        elif served and not order.allow_rewind and not contains(repository.objects, tip, served):
            if repository.shallow:
                return (
                    f"the repository is shallow, and does not show that {_name(order)} contains {served[:12]}, which "
                    "was served last; serve from a whole one, or start with `--allow-rewind`"
                )
            return (
                f"the history of {_name(order)} was rewritten: it does not contain {served[:12]}, which was served "
                "last; if that is meant, start with `--allow-rewind`"
            )
    except AncestryError as error:
        return str(error)
    return _unsigned(order, repository, order.at or tip)


def _unsigned(order: FetchOrder, repository: Repository, commit: str) -> str:
    """Why the commit does not count as signed; "" if it does, or need not be."""
    if not order.allowed_signers:
        return ""
    raw = repository.objects.content(commit, COMMIT)
    try:
        verify_commit(raw, Path(order.allowed_signers))
    except SignatureError as error:
        return f"it {error}"
    return ""


def _bring(order: FetchOrder, cache: GitCache, repository: Repository) -> str:
    """Fetch the ref; the id of its newest commit."""
    remote = order.remote
    if remote.scheme == "file":
        refs, symbolic = _local_refs(order)
        ids = [_choose(order, refs, symbolic)]
    else:
        credentials = order.credentials
        if order.credentials_file and remote.scheme != "ssh":
            credentials = read_credentials(Path(order.credentials_file), remote) or credentials
        transport = Transport(remote, credentials, order.ssh)
        refs, symbolic = transport.refs(_prefixes(remote.ref))
        chosen = _choose(order, refs, symbolic, transport)
        if is_commit(remote.ref) and chosen not in refs.values():
            # The remote has to show it as part of something; which of its branches that is nobody knows here.
            ids = [chosen, *sorted({id for name, id in refs.items() if not name.endswith(_PEELED)})]
        else:
            ids = [chosen]
        if not _has(repository, ids[0]):
            _fetch(order, cache, repository, transport, ids[1:] or ids)
    return _commit(order, repository, ids[0])


def _fetch(order: FetchOrder, cache: GitCache, repository: Repository, transport: Transport, wanted: list[str]) -> None:
    size = 0
    with tempfile.TemporaryFile(dir=cache.repository) as pack:

        def take(data: bytes) -> int:
            nonlocal size
            size += len(data)
            if size > order.max_bytes:
                raise TooLargeError
            return pack.write(data)

        walker = repository.repo.get_graph_walker(cache.known(repository))  # type: ignore[arg-type]  # ids are bytes
        edge = transport.fetch(wanted, walker, take)
        if size:
            try:
                cache.add(repository, pack)
            except (OSError, MemoryError):
                raise
            # A pack that breaks off or does not hold what it says can fail in any way while it is read.
            except Exception as error:
                raise RemoteFailedError(f"what the remote sent cannot be read: {type(error).__name__}") from error
        cache.keep_edge(repository, edge)


def _local_refs(order: FetchOrder) -> tuple[dict[str, str], dict[str, str]]:
    """The refs of a repository on this machine."""
    with contextlib.closing(open_local(order.remote)) as source:
        refs = {name.decode("utf-8", "surrogateescape"): id.decode("ascii") for name, id in source.get_refs().items()}
    if is_commit(order.remote.ref):
        refs[order.remote.ref] = order.remote.ref
    return refs, {}


def _prefixes(ref: str) -> list[str]:
    """What to ask the remote for."""
    if not ref:
        return ["HEAD"]
    if is_commit(ref):
        return [_HEADS, _TAGS]
    return [ref] if ref.startswith("refs/") else [f"{_HEADS}{ref}", f"{_TAGS}{ref}"]


def _choose(
    order: FetchOrder, refs: dict[str, str], symbolic: dict[str, str], transport: Transport | None = None
) -> str:
    """The id that the wanted ref has; a branch comes before a tag of its name. Raises RemoteFailedError."""
    ref = order.remote.ref
    if is_commit(ref):
        return ref
    names = ["HEAD", symbolic.get("HEAD", "HEAD")] if not ref else [ref, f"{_HEADS}{ref}", f"{_TAGS}{ref}"]
    for name in names if not ref or ref.startswith("refs/") else names[1:]:
        if name in refs:
            return refs[name]
    if not ref:
        raise RemoteFailedError("the repository has no commit yet", "push the policies, or name a branch with `?ref=`")
    with contextlib.suppress(RemoteFailedError):
        if transport is not None:
            refs, _ = transport.refs([_HEADS, _TAGS])
    known = [name.removeprefix(_HEADS).removeprefix(_TAGS) for name in refs if name.startswith((_HEADS, _TAGS))]
    guess = closest(ref, known)
    raise RemoteFailedError(
        f"the repository has no branch and no tag {quote(ref)}",
        f"did you mean {quote(guess)}?" if guess else "name one that it has with `?ref=`",
    )


def _commit(order: FetchOrder, repository: Repository, id: str) -> str:
    """The commit that an id names, through annotated tags; raises RemoteFailedError and RepositoryError."""
    if is_commit(order.remote.ref) and not _has(repository, id):
        raise RemoteFailedError(
            f"no branch and no tag of the repository holds the commit {quote(id)}",
            "name a commit that was pushed, or a branch",
        )
    kind, commit = repository.objects.peel(id)
    if kind != COMMIT:
        raise RemoteFailedError(f"{_name(order)} is a {KINDS.get(kind, 'delta')}, not a commit", "name a branch")
    # The tree as well: a clone that broke off is not taken for a whole one.
    repository.objects.entries(repository.objects.links(commit).tree)
    return commit


def _has(repository: Repository, id: str) -> bool:
    return id.encode() in repository.repo.object_store  # type: ignore[operator]  # ids are bytes


def _name(order: FetchOrder) -> str:
    return quote(order.remote.ref) if order.remote.ref else "the default branch"


@contextlib.contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Raise FetchTimeoutError once time is over, whatever is waited for."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise FetchTimeoutError

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(name: int, value: int) -> None:
    _, hard = resource.getrlimit(name)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(name, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main() -> None:
    """The process."""
    order: Any = msgspec.json.decode(sys.stdin.buffer.read(), type=FetchOrder)
    os.umask(0o077)
    _limit(resource.RLIMIT_DATA, MEMORY_BYTES)
    # The file of a pack is completed with what it builds on.
    _limit(resource.RLIMIT_FSIZE, 2 * order.max_bytes + (1 << 20))
    report = look(order)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.flush()
    # Nothing is left to be done at leisure.
    os._exit(0)


if __name__ == "__main__":
    main()
