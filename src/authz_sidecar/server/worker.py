"""A worker: one of several processes that answer checks on one port.

`python -m authz_sidecar.server.worker FD` is started by the supervisor, speaks with it over the socket FD, and ends
when that is gone.
"""

import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop

from authz_sidecar.compile.transfer import TransferError
from authz_sidecar.server.answering import Answering
from authz_sidecar.server.control import Channel, Counted, Listening, Load, Loaded, Rename, Report, Start
from authz_sidecar.server.lifetime import Lifetime
from authz_sidecar.server.log import configure_log
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
    answering = Answering(first.settings, first.address, shared=True)
    try:
        await answering.start()
    except (AddressError, TlsError) as error:
        channel.send(Listening(error.message, error.help))
        return
    channel.send(Listening())
    listening = asyncio.ensure_future(_obey(channel, answering))
    try:
        await lifetime.until_stop(listening)
    finally:
        listening.cancel()
        await answering.stop(lifetime.stop_now)
        channel.close()


async def _obey(channel: Channel, answering: Answering) -> None:
    """Do what the supervisor says, until it is gone."""
    loading: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    loading.set_result(None)
    while True:
        try:
            message, file = await channel.receive()
        except EOFError:
            logger.error("the supervisor is gone: finishing accepted calls")
            return
        match message:
            case Load():
                # Beside the next messages: reading a large policy takes seconds, and counts are wanted meanwhile.
                loading = asyncio.ensure_future(_load(channel, answering, message, file, loading))
            case Rename():
                await loading
                answering.rename(message.policy_version)
                channel.send(Loaded(message.policy_version))
            case Report():
                channel.send(Counted(answering.counts()))
            case _:
                raise TypeError(f"a worker is not told {type(message).__name__}")


async def _load(
    channel: Channel, answering: Answering, message: Load, file: int, before: "asyncio.Future[None]"
) -> None:
    await before
    try:
        await answering.load(file, message.policy_version)
    except TransferError as error:
        channel.send(Loaded(message.policy_version, str(error)))
    # The supervisor waits for an answer, whatever happens.
    except Exception as error:
        logger.exception("a policy could not be taken")
        channel.send(Loaded(message.policy_version, str(error) or type(error).__name__))
    else:
        channel.send(Loaded(message.policy_version))
    finally:
        os.close(file)


def main() -> None:
    """The process."""
    uvloop.run(work(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
