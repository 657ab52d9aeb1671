"""`authz-sidecar check`: one question, answered from a bundle or by a running sidecar."""

import json
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click
import msgspec

from authz_sidecar.cli.connecting import asking_credential, connect
from authz_sidecar.cli.connection import Connection, ServerCommand, connection_options, is_typed, refuse_connection
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
from authz_sidecar.cli.question import (
    QuestionOptions,
    question_options,
    read_question,
    split_question,
    violation_problem,
)
from authz_sidecar.cli.remote import inexact_problem
from authz_sidecar.cli.terminal import CommandError, Terminal, end, visible
from authz_sidecar.decide.decider import Decider
from authz_sidecar.values import Explanation, Reason, Request, Rule

if TYPE_CHECKING:
    from authz_sidecar.sources.blame import Origin

DENIED = 1

EXAMPLES = """\b
Examples:
  authz-sidecar check alice folder:42 read --company acme --owner alice --explain
  authz-sidecar check alice folder:42 read --company acme --server 127.0.0.1:50051
  authz-sidecar check folder:42 read --company acme --server 127.0.0.1:50051 --credential-file key.csv
"""


class Grounds(msgspec.Struct, frozen=True):
    """An answer as it is shown: the explanation (only its decision, if none was asked for), what it came from, and
    how its files are named. `decision_id` is "" for an answer from a bundle. `origin` is the commit behind the deciding
    rule, if one was asked for and the bundle is in git. `subject` is whom a server decided for, `actor` who acts for
    that one, where the server had to find out."""

    explanation: Explanation
    policy_version: str
    places: Places
    decision_id: str = ""
    origin: "Origin | None" = None
    subject: str = ""
    actor: str = ""


@click.command(name="check", cls=ServerCommand, epilog=EXAMPLES)
@click.argument("question", nargs=-1, required=True, metavar="[SUBJECT] OBJECT ACTION")
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
    help="With `--server`: the user for whom the service account acts that asks.",
)
@directory_option("With a bundle: a directory that knows the subject too.")
@connection_options("Ask the sidecar that listens there for gRPC, instead of reading a bundle")
@format_option("text", "json")
@color_option
def command(
    question: tuple[str, ...],
    time: float | None,
    explain: bool,
    policies: Path,
    minimum_policy_version: str | None,
    on_behalf_of: str,
    directory: str | None,
    connection: Connection,
    form: str,
    color: str,
    **more: Unpack[QuestionOptions],
) -> None:
    """Decide whether SUBJECT may do ACTION to OBJECT, which is `type:id` or `type`.

    The answer comes from a bundle, or with `--server` from a running sidecar. That can be asked without SUBJECT, by a
    typed `--credential-file`. Exits 0 on allow, 1 on deny, 2 when there is no answer.
    """
    terminal = Terminal(color)
    subject, object, action = split_question(question)
    asks = _asks_server(connection)
    if asks and time is not None:
        raise click.UsageError("`--time` is for a bundle: with `--server` the time is that of the server's clock")
    if not asks and minimum_policy_version:
        raise click.UsageError("`--minimum-policy-version` is for `--server`: a bundle is read as it is")
    if not asks and on_behalf_of:
        raise click.UsageError("`--on-behalf-of` is for `--server`, which writes it to its audit")
    if not asks and subject is None:
        help = "write SUBJECT OBJECT ACTION; only a server, `--server`, is asked by a credential instead"
        raise CommandError(terminal, ("no SUBJECT is named", help))
    request = read_question(terminal, subject, object, action, more, clock.time() if time is None else time)
    if asks:
        credential = asking_credential(terminal, connection, subject)
        minimum = minimum_policy_version or ""
        grounds = _ask(terminal, connection, credential, request, minimum, on_behalf_of, explain)
        request = msgspec.structs.replace(request, subject=grounds.subject or request.subject)
    else:
        request = request if directory is None else _known(terminal, request, directory)
        grounds = _decide(terminal, policies, request, explain)
    explanation = grounds.explanation
    decision = explanation.decision
    who = {"subject": grounds.subject, "actor": grounds.actor}
    if form == "json":
        answer = decision_object(decision) | {"policy_version": grounds.policy_version}
        if grounds.decision_id:
            answer["decision_id"] = grounds.decision_id
        answer |= {name: identity for name, identity in who.items() if identity}
        if explain:
            answer["explanation"] = explanation_object(explanation, grounds.places, grounds.origin)
        terminal.result((json.dumps(answer),))
    else:
        terminal.result(decision_line(decision, grounds.policy_version, **who))
        if explain:
            terminal.result((f"  {request_text(request)}",))
            terminal.result(*explanation_lines(explanation, grounds.places, grounds.origin))
        elif decision.detail:
            terminal.result((f"  {visible(decision.detail)}",))
    end(0 if decision.allowed else DENIED)


def _asks_server(connection: Connection) -> bool:
    """Whether a server is asked and not the bundle: what was typed outranks the environment, and both typed is an
    error (raises click.UsageError)."""
    if connection.server is not None and not is_typed("policies"):
        return True
    if connection.server is not None and is_typed("server"):
        raise click.UsageError("give `--policies` or `--server`, not both: one of them answers")
    refuse_connection("a bundle is read without one")
    return False


def _known(terminal: Terminal, request: Request, directory: str) -> Request:
    """The request with what the directory knows of its subject; raises CommandError where it cannot be read."""
    from authz_sidecar.cli.administration import directory_problems
    from authz_sidecar.directory.memory.loading import read_identity
    from authz_sidecar.directory.storage.errors import DirectoryError

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
    connection: Connection,
    credential: str,
    request: Request,
    minimum: str,
    on_behalf_of: str,
    explain: bool,
) -> Grounds:
    """The answer of a running sidecar; raises CommandError where there is none."""
    from authz_sidecar.transports.grpc.client import InexactNumberError, SidecarClient

    try:
        with connect(terminal, SidecarClient, connection, credential) as client:
            if explain:
                answer, explanation = client.explain(request, minimum, on_behalf_of)
            else:
                answer = client.check(request, minimum, on_behalf_of)
                explanation = Explanation(answer.decision)
    except InexactNumberError as error:
        raise CommandError(terminal, inexact_problem(error)) from None
    # The server names files from its bundle on; where that lies is not known here.
    return Grounds(
        explanation,
        answer.policy_version,
        Places(Path(), {}),
        answer.decision_id,
        subject=answer.subject,
        actor=answer.actor,
    )
