"""`authz-sidecar check`: one question, answered from a bundle or by a running sidecar."""

import json
import time as clock
from pathlib import Path
from typing import Unpack

import click
import msgspec
from click.core import ParameterSource

from authz_sidecar.cli.explanation import (
    decision_line,
    decision_object,
    explanation_lines,
    explanation_object,
    request_text,
)
from authz_sidecar.cli.instant import parse_instant
from authz_sidecar.cli.loading import end, require_bundle, require_section
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.question import QuestionOptions, question_options, read_question, violation_problem
from authz_sidecar.cli.remote import call_problems, inexact_problem, server_option, timeout_option
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.decide.decider import Decider
from authz_sidecar.transports.address import Address
from authz_sidecar.values import Explanation, Reason, Request

DENIED = 1

EXAMPLES = """\b
Examples:
  authz-sidecar check alice folder:42 read --company acme --owner alice --explain
  authz-sidecar check alice folder:42 read --company acme --server 127.0.0.1:50051
"""


class Grounds(msgspec.Struct, frozen=True):
    """An answer as it is shown: the explanation (only its decision, if none was asked for), what it came from, and
    how its files are named. `decision_id` is "" for an answer from a bundle."""

    explanation: Explanation
    policy_version: str
    places: Places
    decision_id: str = ""


@click.command(name="check", epilog=EXAMPLES)
@click.argument("subject")
@click.argument("object")
@click.argument("action")
@question_options
@click.option(
    "--time", type=parse_instant, metavar="RFC3339", help="The time of the request, for conditions on it. Default: now."
)
@click.option("--explain", is_flag=True, help="Say which rule decided, or which came nearest.")
@policies_option
@server_option("Ask the sidecar that listens there for gRPC, instead of reading a bundle: `host:port` or `unix:/path`.")
@timeout_option
@format_option("text", "json")
@color_option
def command(
    subject: str,
    object: str,
    action: str,
    time: float | None,
    explain: bool,
    policies: Path,
    server: Address | None,
    timeout: float,
    form: str,
    color: str,
    **more: Unpack[QuestionOptions],
) -> None:
    """Decide whether SUBJECT may do ACTION to OBJECT, which is `type:id` or `type`.

    Exits 0 on allow, 1 on deny, 2 when there is no answer.
    """
    terminal = Terminal(color)
    asked = _chosen_server(server)
    if asked is not None and time is not None:
        raise click.UsageError("`--time` is for a bundle: with `--server` the time is that of the server's clock")
    request = read_question(terminal, subject, object, action, more, clock.time() if time is None else time)
    if asked is None:
        grounds = _decide(terminal, policies, request, explain)
    else:
        grounds = _ask(terminal, asked, timeout, request, explain)
    explanation = grounds.explanation
    decision = explanation.decision
    if form == "json":
        answer = decision_object(decision) | {"policy_version": grounds.policy_version}
        if grounds.decision_id:
            answer["decision_id"] = grounds.decision_id
        if explain:
            answer["explanation"] = explanation_object(explanation, grounds.places)
        terminal.result((json.dumps(answer),))
    else:
        terminal.result(decision_line(decision, grounds.policy_version))
        if explain:
            terminal.result((f"  {request_text(request)}",))
            terminal.result(*explanation_lines(explanation, grounds.places))
        elif decision.detail:
            terminal.result((f"  {decision.detail}",))
    end(0 if decision.allowed else DENIED)


def _chosen_server(server: Address | None) -> Address | None:
    """The server to ask, if it is not the bundle: what was typed outranks the environment, and both typed is an
    error (raises click.UsageError)."""
    source = click.get_current_context().get_parameter_source
    if server is None:
        if source("timeout") is ParameterSource.COMMANDLINE:
            raise click.UsageError("`--timeout` is for `--server`: a bundle is read without waiting")
        return None
    if source("policies") is not ParameterSource.COMMANDLINE:
        return server
    if source("server") is ParameterSource.COMMANDLINE:
        raise click.UsageError("give `--policies` or `--server`, not both: one of them answers")
    return None


def _decide(terminal: Terminal, policies: Path, request: Request, explain: bool) -> Grounds:
    """The answer of a bundle; raises CommandError for a request that its model cannot take."""
    compiled = require_bundle(terminal, policies)
    require_section(terminal, compiled.snapshot, request.section)
    decider = Decider(compiled.snapshot)
    violations = decider.violations(request)
    if violations:
        raise CommandError(terminal, *(violation_problem(violation) for violation in violations))
    explanation = decider.explain(request) if explain else Explanation(decider.decide(request))
    if explanation.decision.reason is Reason.INVALID_REQUEST:
        raise CommandError(terminal, (explanation.decision.detail or "the request is invalid", ""))
    return Grounds(explanation, compiled.policy_version, compiled.places)


def _ask(terminal: Terminal, server: Address, timeout: float, request: Request, explain: bool) -> Grounds:
    """The answer of a running sidecar; raises CommandError where there is none."""
    from authz_sidecar.transports.grpc.client import (
        CallFailedError,
        InexactNumberError,
        SidecarClient,
        UnknownReasonError,
    )

    try:
        with SidecarClient(server, timeout) as client:
            if explain:
                answer, explanation = client.explain(request)
            else:
                answer = client.check(request)
                explanation = Explanation(answer.decision)
    except CallFailedError as error:
        raise CommandError(terminal, *call_problems(error, server, timeout)) from None
    except InexactNumberError as error:
        raise CommandError(terminal, inexact_problem(error)) from None
    except UnknownReasonError as error:
        raise CommandError(terminal, (str(error), "ask with the server's version of authz-sidecar")) from None
    # The server names files from its bundle on; where that lies is not known here.
    return Grounds(explanation, answer.policy_version, Places(Path(), {}), answer.decision_id)
