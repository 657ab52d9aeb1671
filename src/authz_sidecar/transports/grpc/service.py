"""`authz.v1.AuthorizationService`: each method reads its message, asks the engine and writes the answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from authz_sidecar._proto.authz.v1 import authenticate_pb2, check_pb2, explain_pb2, filter_pb2
from authz_sidecar.engine import Asker, Engine, Identities, ServedPolicy, UnwitnessedError
from authz_sidecar.engine.engine import NO_DIRECTORY
from authz_sidecar.transports.grpc.authentication import authenticate
from authz_sidecar.transports.grpc.conversion import explanation_message, read_check
from authz_sidecar.transports.grpc.encoding import AnswerEncoder
from authz_sidecar.transports.grpc.errors import (
    ErrorReason,
    InvalidCheckError,
    draining,
    revision_not_reached,
    too_long,
    unwitnessed,
    version_not_contained,
)
from authz_sidecar.transports.grpc.filter_conversion import filter_message, read_filter
from authz_sidecar.transports.grpc.identification import credentials_not_known, read_asker
from authz_sidecar.transports.grpc.methods import Call
from authz_sidecar.values import Decision, Explanation, Reason, Request, Violation
from authz_sidecar.values.limits import Limits
from authz_sidecar.values.lineage import is_commit

# Items of a batch that are decided before other calls get their turn.
BATCH_TURN = 64
# Tokens of identity providers that are verified before other calls get their turn: one takes up to a millisecond.
TOKEN_TURN = 4
NOTHING_REFUSED: Mapping[str, Reason] = {}


class AuthorizationService:
    """The service on one engine, with a directory if there are `identities`. `clock` gives seconds since 1970-01-01
    UTC."""

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        identities: Identities | None = None,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._identities = identities
        self._encoder = AnswerEncoder()
        self._draining = asyncio.Event()
        # Streams that wait for their next check: a drain ends them.
        self._idle: set[asyncio.Task[object]] = set()
        # An explanation may look at every rule of the policy. In a thread it shares the processor with checks, one
        # explanation at a time, and does not hold them up until it is done.
        self._explaining = ThreadPoolExecutor(1, "explain")
        self._explanation = asyncio.Lock()

    def Check(self, message: check_pb2.CheckRequest, call: Call) -> bytes:
        """Decide one request."""
        policy = self._engine.snapshot_state
        now = self._clock()
        asker = None if self._identities is None else read_asker(message, self._identities, message.object.company, now)
        request = read_check(message, now, asker)
        if message.minimum_policy_version or message.minimum_directory_revision:
            require_state(message, policy, asker)
        try:
            answer = self._engine.check(request, policy, call.id, asker)
        except UnwitnessedError:
            raise unwitnessed() from None
        if answer.decision.reason is _INVALID:
            raise InvalidCheckError(_violations(request, answer.decision, policy))
        return self._encoder.check(answer)

    async def BatchCheck(self, message: check_pb2.BatchCheckRequest, call: Call) -> bytes:
        """Decide many requests on one snapshot, at one time; an invalid one is denied in its place."""
        checks = message.checks
        if len(checks) > self._limits.batch:
            raise too_long("checks", self._limits.batch, ErrorReason.BATCH_TOO_LARGE, "send several batches")
        self._engine.counts.batches.observe(len(checks))
        policy = self._engine.snapshot_state
        now = self._clock()
        refused = await self._refused_tokens(checks, now)
        askers, revision = self._askers(checks, now, refused), self._revision
        results: list[bytes] = []
        for number, (check, asker) in enumerate(zip(checks, askers, strict=True), 1):
            results.append(self._check_item(check, asker, policy, revision, now, call))
            if number % BATCH_TURN == 0:
                # Also where a call ends that its caller has given up.
                await asyncio.sleep(0)
        return self._encoder.batch(results)

    async def CheckStream(
        self, messages: AsyncIterator[check_pb2.CheckStreamRequest], call: Call
    ) -> AsyncIterator[bytes]:
        """Decide requests as they come, each on the policy that is current then; an invalid one is denied."""
        limit = self._limits.stream_checks
        for _ in range(limit):
            message = await self._next(messages)
            if message is None:
                return
            now = self._clock()
            (asker,) = self._askers((message.check,), now)
            raw = self._check_item(message.check, asker, self._engine.snapshot_state, self._revision, now, call)
            yield self._encoder.stream(raw)
        if await self._next(messages) is not None:
            raise too_long("stream", limit, ErrorReason.STREAM_TOO_LONG, "open another stream")

    async def Explain(self, message: explain_pb2.ExplainRequest, call: Call) -> explain_pb2.ExplainResponse:
        """Decide one request and say why."""
        policy = self._engine.snapshot_state
        try:
            check, now = message.check, self._clock()
            asker = None if self._identities is None else read_asker(check, self._identities, check.object.company, now)
            request = read_check(check, now, asker)
            require_state(check, policy, asker)
            explanation = await self._explain(request, policy, asker)
            answer = self._engine.explained(request, explanation.decision, policy, call.id, asker)
            if answer.decision.reason is _INVALID:
                raise InvalidCheckError(_violations(request, answer.decision, policy))
        except InvalidCheckError as error:
            raise error.inside("check") from None
        except UnwitnessedError:
            raise unwitnessed() from None
        return explanation_message(answer, explanation)

    async def FilterObjects(
        self, message: filter_pb2.FilterObjectsRequest, call: Call
    ) -> filter_pb2.FilterObjectsResponse:
        """Say which objects of a type the subject may act on."""
        policy = self._engine.snapshot_state
        now = self._clock()
        asker, companies = None, None
        if self._identities is not None:
            company = message.company if message.HasField("company") else None
            asker = read_asker(message, self._identities, company, now)
            companies = self._identities.directory.companies
        asked = read_filter(message, now, asker)
        require_state(message, policy, asker)
        try:
            answer = self._engine.filter(asked, policy, call.id, asker, companies)
        except UnwitnessedError:
            raise unwitnessed() from None
        if answer.filter.reason is _INVALID and policy.decider is not None:
            raise InvalidCheckError(policy.decider.violations(asked.request))
        return filter_message(answer)

    async def Authenticate(
        self, message: authenticate_pb2.AuthenticateRequest, call: Call
    ) -> authenticate_pb2.AuthenticateResponse:
        """Say whom a credential stands for."""
        if not message.credential:
            raise InvalidCheckError([Violation("credential", "credential is empty")])
        if self._identities is None:
            raise credentials_not_known()
        return authenticate(message.credential, self._identities, self._engine.snapshot_state, self._clock())

    async def _explain(self, request: Request, policy: ServedPolicy, asker: Asker | None) -> Explanation:
        # Calls wait here and not in the thread's queue, which one that is given up would not leave.
        await self._explanation.acquire()
        working = asyncio.get_running_loop().run_in_executor(
            self._explaining, self._engine.explain, request, policy, asker
        )
        working.add_done_callback(lambda _: self._explanation.release())
        return await asyncio.shield(working)

    def drain(self) -> None:
        """End the streams that wait for their next check, and the others after the answer they are at."""
        self._draining.set()
        for task in self._idle:
            task.cancel()

    def close(self) -> None:
        """Give the thread back, once all calls have ended."""
        self._explaining.shutdown(wait=False, cancel_futures=True)

    async def _next(self, messages: AsyncIterator[check_pb2.CheckStreamRequest]) -> check_pb2.CheckStreamRequest | None:
        """The next message of a stream, None at its end; raises CallError when the server drains."""
        if self._draining.is_set():
            raise draining()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("streams run in tasks")
        self._idle.add(task)
        try:
            return await anext(messages, None)
        except asyncio.CancelledError:
            if not self._draining.is_set():
                raise
            # Cancelled by `drain`: the call goes on, to its proper end.
            task.uncancel()
            raise draining() from None
        finally:
            self._idle.discard(task)

    @property
    def _revision(self) -> int:
        return NO_DIRECTORY if self._identities is None else self._identities.directory.revision

    async def _refused_tokens(self, checks: Sequence[check_pb2.CheckRequest], now: float) -> dict[str, Reason]:
        """The tokens of identity providers among the credentials of a batch that stand for nobody.

        A signature takes long to verify: other calls get their turn between. One that is good is remembered, so that
        `_askers` has all of them at once.
        """
        refused: dict[str, Reason] = {}
        identities = self._identities
        if identities is not None:
            # Keys and tokens of our own have no full stop.
            tokens = dict.fromkeys([check.credential for check in checks if "." in check.credential])
            for number, token in enumerate(tokens, 1):
                found = identities.authenticate(token, now)
                if isinstance(found, Reason):
                    refused[token] = found
                if number % TOKEN_TURN == 0:
                    await asyncio.sleep(0)
        return refused

    def _askers(
        self, checks: Sequence[check_pb2.CheckRequest], now: float, refused: Mapping[str, Reason] = NOTHING_REFUSED
    ) -> Sequence[Asker | InvalidCheckError | None]:
        """For whom to decide each of many, all as they are known at one revision; None without a directory. `refused`
        are credentials that are known to stand for nobody."""
        identities = self._identities
        if identities is None:
            return (None,) * len(checks)
        # Most batches ask for one or a few.
        known: dict[tuple[str, str, str, str], Asker | InvalidCheckError] = {}
        askers: list[Asker | InvalidCheckError] = []
        for check in checks:
            key = (check.subject, check.credential, check.on_behalf_of, check.object.company)
            asker = known.get(key)
            if asker is None:
                try:
                    asker = read_asker(check, identities, check.object.company, now, refused)
                except InvalidCheckError as error:
                    asker = error
                known[key] = asker
            askers.append(asker)
        return askers

    def _check_item(
        self,
        message: check_pb2.CheckRequest,
        asker: Asker | InvalidCheckError | None,
        policy: ServedPolicy,
        revision: int,
        now: float,
        call: Call,
    ) -> bytes:
        """One of many, at a revision of the directory: what is invalid in it is said in its place."""
        try:
            if isinstance(asker, InvalidCheckError):
                raise asker
            request = read_check(message, now, asker)
            if message.minimum_policy_version or message.minimum_directory_revision:
                require_state(message, policy, asker)
        except InvalidCheckError as error:
            return self._encoder.check(self._engine.refuse(error.message, policy, revision), error.violations)
        try:
            answer = self._engine.check(request, policy, call.id, asker)
        except UnwitnessedError:
            raise unwitnessed() from None
        return self._encoder.check(answer, _violations(request, answer.decision, policy))


_INVALID = Reason.INVALID_REQUEST


def require_state(
    message: check_pb2.CheckRequest | filter_pb2.FilterObjectsRequest, policy: ServedPolicy, asker: Asker | None
) -> None:
    """Raises CallError unless policy and directory are as new as the message wants them, and InvalidCheckError if it
    names no commit."""
    if minimum := message.minimum_policy_version:
        require_version(minimum, policy)
    if revision := message.minimum_directory_revision:
        reached = NO_DIRECTORY if asker is None else asker.revision
        if reached < revision:
            raise revision_not_reached(revision, reached)


def require_version(minimum: str, policy: ServedPolicy) -> None:
    """Raises CallError unless the policy contains the commit `minimum`, and InvalidCheckError if that is no commit."""
    if not is_commit(minimum):
        description = "minimum_policy_version is not a commit in full: 40 hexadecimal digits in lower case"
        raise InvalidCheckError([Violation("minimum_policy_version", description)])
    if not policy.lineage.holds(minimum):
        raise version_not_contained(minimum, policy.policy_version, policy.lineage.complete)


def _violations(request: Request, decision: Decision, policy: ServedPolicy) -> tuple[Violation, ...]:
    """Why the policy cannot read the request: it lacks a token or names no section. Nothing if it can."""
    if decision.reason is not _INVALID or policy.decider is None:
        return ()
    return policy.decider.violations(request)
