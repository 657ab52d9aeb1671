"""`authz-sidecar check`: one question, answered from a bundle or by a running sidecar."""

import json
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click
import msgspec
from click.core import ParameterSource

from authz_sidecar.cli.directory import directory_option, open_store
from authz_sidecar.cli.explanation import (
    decision_line,
    decision_object,
    explanation_lines,
    explanation_object,
    request_text,
)
from authz_sidecar.cli.instant import parse_instant
from authz_sidecar.cli.loading import CompiledBundle, require_bundle, require_section
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.question import QuestionOptions, question_options, read_question, violation_problem
from authz_sidecar.cli.remote import call_problems, inexact_problem, server_option, timeout_option
from authz_sidecar.cli.terminal import CommandError, Terminal, end
from authz_sidecar.decide.decider import Decider
from authz_sidecar.transports.address import Address
from authz_sidecar.values import Explanation, Reason, Request, Rule

if TYPE_CHECKING:
    from authz_sidecar.sources.blame import Origin

DENIED = 1

EXAMPLES = """\b
Examples:
  authz-sidecar check alice folder:42 read --company acme --owner alice --explain
  authz-sidecar check alice folder:42 read --company acme --server 127.0.0.1:50051
"""


class Grounds(msgspec.Struct, frozen=True):
    """An answer as it is shown: the explanation (only its decision, if none was asked for), what it came from, and
    how its files are named. `decision_id` is "" for an answer from a bundle. `origin` is the commit behind the deciding
    rule, if one was asked for and the bundle is in git."""

    explanation: Explanation
    policy_version: str
    places: Places
    decision_id: str = ""
    origin: "Origin | None" = None


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
@click.option(
    "--minimum-policy-version",
    metavar="COMMIT",
    help="With `--server`: an answer only from a policy that contains this commit.",
)
@click.option(
    "--on-behalf-of",
    default="",
    metavar="USER",
    help="With `--server`: the user whom the service account SUBJECT acts for.",
)
@directory_option("With a bundle: a directory that knows the subject too.")
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
    minimum_policy_version: str | None,
    on_behalf_of: str,
    directory: str | None,
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
    if asked is None and minimum_policy_version:
        raise click.UsageError("`--minimum-policy-version` is for `--server`: a bundle is read as it is")
    if asked is None and on_behalf_of:
        raise click.UsageError("`--on-behalf-of` is for `--server`, which writes it to its audit")
    request = read_question(terminal, subject, object, action, more, clock.time() if time is None else time)
    if asked is None:
        request = request if directory is None else _known(terminal, request, directory)
        grounds = _decide(terminal, policies, request, explain)
    else:
        grounds = _ask(terminal, asked, timeout, request, minimum_policy_version or "", on_behalf_of, explain)
    explanation = grounds.explanation
    decision = explanation.decision
    if form == "json":
        answer = decision_object(decision) | {"policy_version": grounds.policy_version}
        if grounds.decision_id:
            answer["decision_id"] = grounds.decision_id
        if explain:
            answer["explanation"] = explanation_object(explanation, grounds.places, grounds.origin)
        terminal.result((json.dumps(answer),))
    else:
        terminal.result(decision_line(decision, grounds.policy_version))
        if explain:
            terminal.result((f"  {request_text(request)}",))
            terminal.result(*explanation_lines(explanation, grounds.places, grounds.origin))
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


def _known(terminal: Terminal, request: Request, directory: str) -> Request:
    """The request with what the directory knows of its subject; raises CommandError where it cannot be read."""
    from authz_sidecar.cli.administration import directory_problems
    from authz_sidecar.directory.errors import DirectoryError
    from authz_sidecar.directory.loading import read_identity

    with open_store(terminal, directory) as store:
        try:
            return msgspec.structs.replace(request, identity=read_identity(store, request.subject))
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None


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
    origin = _origin(compiled, policies, explanation.rule) if explanation.rule is not None else None
    return Grounds(explanation, compiled.policy_version, compiled.places, origin=origin)


def _origin(compiled: CompiledBundle, policies: Path, rule: Rule) -> "Origin | None":
    """The commit behind a rule; None outside of git, and where its history cannot be read, since the decision stands
    whatever its history is."""
    # Only an explanation looks at history.
    from authz_sidecar.review.written_grants import grant_extents
    from authz_sidecar.sources.blame import newest
    from authz_sidecar.sources.objects import RepositoryError
    from authz_sidecar.sources.side import DirectorySide, blame_side

    if not rule.span.line:
        return None
    last = grant_extents(compiled.bundle).get(rule.span, rule.span.line)
    try:
        found = blame_side(DirectorySide(policies), {rule.span.file: range(rule.span.line, last + 1)})
    except RepositoryError:
        return None
    return newest(found.values()) if found else None


def _ask(
    terminal: Terminal,
    server: Address,
    timeout: float,
    request: Request,
    minimum: str,
    on_behalf_of: str,
    explain: bool,
) -> Grounds:
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
                answer, explanation = client.explain(request, minimum, on_behalf_of)
            else:
                answer = client.check(request, minimum, on_behalf_of)
                explanation = Explanation(answer.decision)
    except CallFailedError as error:
        raise CommandError(terminal, *call_problems(error, server, timeout)) from None
    except InexactNumberError as error:
        raise CommandError(terminal, inexact_problem(error)) from None
    except UnknownReasonError as error:
        raise CommandError(terminal, (str(error), "ask with the server's version of authz-sidecar")) from None
    # The server names files from its bundle on; where that lies is not known here.
    return Grounds(explanation, answer.policy_version, Places(Path(), {}), answer.decision_id)
