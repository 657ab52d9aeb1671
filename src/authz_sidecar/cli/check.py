"""`authz-sidecar check`: one question, answered from a bundle."""

import json
import time as clock
from pathlib import Path
from typing import Any

import click

from authz_sidecar.cli.attribute import collect, parse_attribute
from authz_sidecar.cli.explanation import (
    decision_line,
    decision_object,
    explanation_lines,
    explanation_object,
    request_text,
)
from authz_sidecar.cli.instant import parse_instant
from authz_sidecar.cli.loading import end, require_bundle, require_section
from authz_sidecar.cli.option import color_option, format_option, policies_option, section_option
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.decider import Decider
from authz_sidecar.values import Explanation, Reason, Request, Violation, build_request

DENIED = 1

# What to do about an invalid part of the request, by the field that `build_request` names.
REMEDIES: dict[str, str] = {
    "subject": "SUBJECT is one identity, such as `alice`",
    "action": "ACTION is one action, such as `read`",
    "object.type": "OBJECT is `type:id` or `type`, such as `folder:42`",
    "object.id": "OBJECT is `type:id` or `type`, such as `folder:42`",
    "object.company": "give `--company` the company's id as the policy spells it",
    "object.owner": "give `--owner` the id of one identity",
    "object.attributes": "give fewer or smaller values with `--attribute`",
    "subject_attributes": "give fewer or smaller values with `--subject-attribute`",
    "context": "give fewer or smaller values with `--context`",
    "section": "give `--section` the number that the model's sections end in",
}


EXAMPLES = """\b
Example:
  authz-sidecar check alice folder:42 read --company acme --owner alice --explain
"""


@click.command(name="check", epilog=EXAMPLES)
@click.argument("subject")
@click.argument("object")
@click.argument("action")
@click.option("--company", default="", metavar="C", help="The company (Casbin's domain) the object belongs to.")
@click.option("--owner", default="", metavar="O", help="The identity that owns the object.")
@click.option(
    "--attribute", multiple=True, type=parse_attribute, metavar="K=V", help="An attribute of the object. Repeatable."
)
@click.option(
    "--subject-attribute",
    multiple=True,
    type=parse_attribute,
    metavar="K=V",
    help="An attribute of the subject. Repeatable.",
)
@click.option(
    "--context",
    multiple=True,
    type=parse_attribute,
    metavar="K=V",
    help="A value of the request's context. Repeatable.",
)
@section_option("Decide by the model's sections r<N>, p<N>, e<N> and m<N>.")
@click.option(
    "--time", type=parse_instant, metavar="RFC3339", help="The time of the request, for conditions on it. Default: now."
)
@click.option("--explain", is_flag=True, help="Say which rule decided, or which came nearest.")
@policies_option
@format_option("text", "json")
@color_option
def command(
    subject: str,
    object: str,
    action: str,
    company: str,
    owner: str,
    attribute: tuple[tuple[str, Any], ...],
    subject_attribute: tuple[tuple[str, Any], ...],
    context: tuple[tuple[str, Any], ...],
    section: str | None,
    time: float | None,
    explain: bool,
    policies: Path,
    form: str,
    color: str,
) -> None:
    """Decide whether SUBJECT may do ACTION to OBJECT, which is `type:id` or `type`.

    Exits 0 on allow, 1 on deny, 2 when there is no answer.
    """
    terminal = Terminal(color)
    type_, _, id_ = object.partition(":")
    request, violations = build_request(
        subject,
        action,
        type=type_,
        id=id_,
        company=company,
        owner=owner,
        subject_attributes=collect("--subject-attribute", subject_attribute),
        object_attributes=collect("--attribute", attribute),
        context=collect("--context", context),
        time=clock.time() if time is None else time,
        section=section or "",
    )
    if request is None:
        raise CommandError(terminal, *(_problem(violation) for violation in violations))
    compiled = require_bundle(terminal, policies)
    explanation = _answer(terminal, compiled.snapshot, request, explain)
    decision = explanation.decision
    if form == "json":
        answer = decision_object(decision) | {"policy_version": compiled.policy_version}
        if explain:
            answer["explanation"] = explanation_object(explanation, compiled.snapshot, compiled.places)
        terminal.result((json.dumps(answer),))
    else:
        terminal.result(decision_line(decision, compiled.policy_version))
        if explain:
            terminal.result((f"  {request_text(request)}",))
            terminal.result(*explanation_lines(explanation, compiled.snapshot, compiled.places))
        elif decision.detail:
            terminal.result((f"  {decision.detail}",))
    end(0 if decision.allowed else DENIED)


def _problem(violation: Violation) -> tuple[str, str]:
    return violation.description, REMEDIES.get(violation.field, "")


def _answer(terminal: Terminal, snapshot: Snapshot, request: Request, explain: bool) -> Explanation:
    """The decision, explained if asked for; raises CommandError for a request that the model cannot take."""
    require_section(terminal, snapshot, request.section)
    decider = Decider(snapshot)
    violations = decider.violations(request)
    if violations:
        raise CommandError(
            terminal,
            *(
                (violation.description, f"give it with `--context {violation.field.removeprefix('context.')}=…`")
                for violation in violations
            ),
        )
    explanation = decider.explain(request) if explain else Explanation(decider.decide(request))
    if explanation.decision.reason is Reason.INVALID_REQUEST:
        raise CommandError(terminal, (explanation.decision.detail or "the request is invalid", ""))
    return explanation
