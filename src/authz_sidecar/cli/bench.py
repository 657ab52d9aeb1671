"""`authz-sidecar bench`: a short load on a running sidecar, for whoever operates it."""

import asyncio
import json
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import click

from authz_sidecar.cli.connecting import asking_credential, read_tls
from authz_sidecar.cli.connection import Connection, ServerCommand, connection_options, is_typed
from authz_sidecar.cli.explanation import request_text
from authz_sidecar.cli.option import NumberRange, color_option, format_option
from authz_sidecar.cli.question import QuestionOptions, question_options, read_question, split_question
from authz_sidecar.cli.remote import call_problems, inexact_problem
from authz_sidecar.cli.terminal import ERROR, FAINT, CommandError, Line, Terminal, end, visible
from authz_sidecar.values import Request

if TYPE_CHECKING:
    from authz_sidecar.transports.grpc.load import Load, LoadPlan

CALLS_FAILED = 1
INTERRUPTED = 130
MAX_DURATION = 60
# A question that any policy answers, most of them by a deny.
ANY_QUESTION = ("bench", "bench:1", "read")
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
# From this share of a processor on, the sender may be what limits the figures.
BUSY = 0.9

EXAMPLES = """\b
Examples:
  authz-sidecar bench --server 127.0.0.1:50051 --duration 10
  authz-sidecar bench alice folder:42 read --company acme --batch 50
  authz-sidecar bench folder:42 read --company acme --credential-file key.csv
"""


@click.command(name="bench", cls=ServerCommand, epilog=EXAMPLES)
@click.argument("question", nargs=-1, metavar="[[SUBJECT] OBJECT ACTION]")
@question_options
@connection_options(
    "The sidecar to load, which listens there for gRPC",
    default="127.0.0.1:50051",
    show_default=True,
)
@click.option(
    "--duration",
    type=NumberRange(min=0, min_open=True, max=MAX_DURATION),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to send calls.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    metavar="N",
    help="How many connections.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    metavar="N",
    help="How many calls are under way at once on each connection.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    metavar="N",
    help="How many checks a call holds.",
)
@click.option("--allow-remote", is_flag=True, help="Allow a server that is not on this machine.")
@format_option("text", "json")
@color_option
def command(
    question: tuple[str, ...],
    connection: Connection,
    duration: float,
    connections: int,
    concurrency: int,
    batch: int,
    allow_remote: bool,
    form: str,
    color: str,
    **more: Unpack[QuestionOptions],
) -> None:
    """Send one question again and again to a running sidecar, and show its rate and latencies.

    Without a question it asks one that any policy can answer, most of them with a deny; without SUBJECT it asks by a
    typed `--credential-file`. Exits 0 when every call was answered, 1 when calls failed, 2 when the server does not
    answer at all. Ctrl-C ends it early, with the figures so far.
    """
    terminal = Terminal(color)
    if not question:
        question = ANY_QUESTION[1:] if is_typed("credential_file") else ANY_QUESTION
    subject, object, action = split_question(question)
    server = connection.address
    if not (allow_remote or server.is_local):
        raise CommandError(
            terminal,
            (
                f"`{server}` may be another machine, and this is a load test",
                "run it beside the server, or give `--allow-remote` if that server may be loaded",
            ),
        )
    from authz_sidecar.transports.grpc.load import LoadPlan

    request = read_question(terminal, subject, object, action, more, 0.0)
    credential = asking_credential(terminal, connection, subject)
    tls = read_tls(terminal, connection, credential)
    plan = LoadPlan(server, duration, connections, concurrency, batch, connection.timeout, tls)
    load, interrupted = _send(terminal, connection, plan, request, credential)
    if form == "json":
        terminal.result((json.dumps(_object(plan, load, interrupted)),))
    else:
        terminal.result(*_lines(plan, load, request, interrupted))
    end(INTERRUPTED if interrupted else CALLS_FAILED if load.errors else 0)


def _send(
    terminal: Terminal, connection: Connection, plan: "LoadPlan", request: Request, credential: str
) -> tuple["Load", bool]:
    """Send the load; also whether it was interrupted. Raises CommandError if the server does not answer."""
    import uvloop

    from authz_sidecar.transports.grpc.client import CallFailedError, InexactNumberError
    from authz_sidecar.transports.grpc.load import run_load

    async def send() -> tuple["Load", bool]:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            stop.set()
            # The next one does not wait for calls that are under way.
            loop.remove_signal_handler(signal.SIGINT)

        loop.add_signal_handler(signal.SIGINT, interrupt)
        load = await run_load(plan, request, credential, stop, lambda: terminal.note((sending,)))
        return load, stop.is_set()

    sending = f"sending calls to {plan.server} for {plan.duration:g} s; Ctrl-C ends it early"

    try:
        return uvloop.run(send())
    except CallFailedError as error:
        raise CommandError(terminal, *call_problems(error, connection)) from None
    except InexactNumberError as error:
        raise CommandError(terminal, inexact_problem(error)) from None


def _latencies(load: "Load") -> dict[str, float]:
    """Milliseconds by name; nothing if no call was answered."""
    ordered = sorted(load.latencies)
    if not ordered:
        return {}
    return {
        name: 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in PERCENTILES.items()
    }


def _object(plan: "LoadPlan", load: "Load", interrupted: bool) -> dict[str, Any]:
    """The JSON form."""
    calls = len(load.latencies)
    return {
        "server": str(plan.server),
        "connections": plan.connections,
        "concurrency": plan.concurrency,
        "batch": plan.batch,
        "seconds": round(load.seconds, 3),
        "interrupted": interrupted,
        "calls": calls,
        "calls_per_second": round(calls / load.seconds, 1),
        "decisions": load.decisions,
        "decisions_per_second": round(load.decisions / load.seconds, 1),
        "latency_ms": {name: round(value, 3) for name, value in _latencies(load).items()},
        "reasons": dict(load.reasons),
        "errors": dict(load.errors),
        "policy_versions": dict(load.policy_versions),
        "sender_processor_share": round(load.processor, 3),
    }


def _lines(plan: "LoadPlan", load: "Load", request: Request, interrupted: bool) -> list[Line]:
    calls = len(load.latencies)
    times = "" if plan.batch == 1 else f", {plan.batch:,} times a call"
    lines = [
        _entry("server", f"{plan.server}, {plan.connections} x {plan.concurrency} calls at once"),
        _entry("asked", request_text(request) + times),
        _entry("for", f"{load.seconds:.1f} s{', then interrupted' if interrupted else ''}"),
        _entry("calls", f"{calls:,}, {calls / load.seconds:,.0f}/s"),
        _entry("decisions", f"{load.decisions:,}, {load.decisions / load.seconds:,.0f}/s"),
        _entry("latency", ", ".join(f"{name} {value:.2f} ms" for name, value in _latencies(load).items()) or "none"),
        _entry("reasons", _counts(load.reasons)),
        _entry("policy", _counts(load.policy_versions)),
        _entry("errors", _counts(load.errors), ERROR if load.errors else ""),
    ]
    if load.processor > BUSY:
        share = f"{load.processor:.0%} of a processor went into sending"
        lines.append(_entry("sender", f"{share}: the server may be able to do more than this"))
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    """`allowed_by_rule 12, no_matching_rule 3`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return visible(", ".join(f"{name} {count:,}" for name, count in ordered)) or "none"


def _entry(name: str, text: str, style: str = "") -> Line:
    return ((f"{name:<10}", FAINT), (text, style) if style else text)
