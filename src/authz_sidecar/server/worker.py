"""A worker: one of several processes that answer checks on one port.

`python -m authz_sidecar.server.worker FD` is started by the supervisor, speaks with it over the socket FD, and ends
when that is gone.
"""

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from typing import Any

import uvloop

from authz_sidecar.compile.transfer import TransferError
from authz_sidecar.engine import PolicyStatus
from authz_sidecar.engine.refresh import Refreshed
from authz_sidecar.server.answering import Answering
from authz_sidecar.server.control import (
    Answered,
    Ask,
    Channel,
    Counted,
    Listening,
    Load,
    Loaded,
    LoadShadow,
    Refresh,
    Rename,
    RenameShadow,
    Report,
    Start,
    Told,
)
from authz_sidecar.server.lifetime import Lifetime
from authz_sidecar.server.log import configure_log
from authz_sidecar.server.settings import StartError
from authz_sidecar.transports.address import AddressError
from authz_sidecar.transports.certificates import TlsError

logger = logging.getLogger(__name__)


async def work(end: socket.socket) -> None:
    """Answer until a signal says stop or the supervisor is gone."""
    channel = Channel(end)
    try:
        first, _ = await channel.receive()
    except EOFError:
        return
    if not isinstance(first, Start):
        raise TypeError(f"a worker begins with Start, not {type(first).__name__}")
    configure_log(first.settings.log)
    lifetime = Lifetime()
    # The supervisor's to handle.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    questions = _Questions(channel)
    answering = Answering(
        first.settings, first.address, questions.refresh, questions.status, worker=first.number, shared=True
    )
    try:
        if await lifetime.unless_stopped(answering.start()) is None:
            await answering.stop(lifetime.stop_now)
            return
    except (AddressError, TlsError, StartError) as error:
        channel.send(Listening(error.message, error.help))
        await answering.stop(lifetime.stop_now)
        return
    channel.send(Listening())
    listening = asyncio.ensure_future(_obey(channel, answering, questions))
    try:
        await lifetime.until_stop(listening)
    finally:
        listening.cancel()
        await answering.stop(lifetime.stop_now)
        channel.close()


class _Questions:
    """What clients of this worker have asked about the policies, which the supervisor follows."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def refresh(self) -> Refreshed:
        """Have them looked at, and wait for what comes of it."""
        refreshed: Refreshed = await self._ask(Refresh)
        return refreshed

    async def status(self) -> PolicyStatus:
        """What is known of them."""
        status: PolicyStatus = await self._ask(Ask)
        return status

    async def _ask(self, question: type[Refresh] | type[Ask]) -> Any:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(question(number))
            return await answer
        finally:
            del self._waiting[number]

    def answer(self, message: Answered | Told) -> None:
        """The supervisor has answered."""
        answer = self._waiting.get(message.number)
        if answer is not None and not answer.done():
            answer.set_result(message.refreshed if isinstance(message, Answered) else message.status)


async def _obey(channel: Channel, answering: Answering, questions: _Questions) -> None:
    """Do what the supervisor says, until it is gone."""
    loading: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    loading.set_result(None)
    while True:
        try:
            message, files = await channel.receive()
        except EOFError:
            logger.error("the supervisor is gone: finishing accepted calls")
            return
        match message:
            case Load() | LoadShadow():
                # Beside the next messages: reading a large policy takes seconds, and counts are wanted meanwhile.
                loading = asyncio.ensure_future(_load(channel, answering, message, files, loading))
            case Rename():
                await loading
                answering.rename(files[0], message.policy_version)
                os.close(files[0])
                channel.send(Loaded(message.policy_version))
            case RenameShadow():
                await loading
                answering.rename_shadow(message.policy_version)
                channel.send(Loaded(message.policy_version))
            case Answered() | Told():
                questions.answer(message)
            case Report():
                channel.send(Counted(answering.counts(), answering.directory()))
            case _:
                raise TypeError(f"a worker is not told {type(message).__name__}")


async def _load(
    channel: Channel,
    answering: Answering,
    message: Load | LoadShadow,
    files: tuple[int, ...],
    before: "asyncio.Future[None]",
) -> None:
    await before
    try:
        if isinstance(message, Load):
            snapshot, lineage = files
            await answering.load(snapshot, lineage, message.policy_version)
        else:
            await answering.load_shadow(files[0], message.policy_version)
    except TransferError as error:
        channel.send(Loaded(message.policy_version, str(error)))
    # The supervisor waits for an answer, whatever happens.
    except Exception as error:
        logger.exception("a policy could not be taken")
        channel.send(Loaded(message.policy_version, str(error) or type(error).__name__))
    else:
        channel.send(Loaded(message.policy_version))
    finally:
        for file in files:
            os.close(file)


def main() -> None:
    """The process."""
    uvloop.run(work(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
