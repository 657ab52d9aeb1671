"""An access report as JSON: complete, whatever its size."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from authz_sidecar.review.access.change import SELF, Box, Cause, Change, Inexact
from authz_sidecar.review.access.change import Side as SideName
from authz_sidecar.review.report.access_report import AccessReport, Side
from authz_sidecar.review.report.access_shape import (
    AccessDocument,
    CauseLine,
    ChangeLine,
    GateLine,
    GateRequest,
    InexactPart,
    OwnerSet,
    RenamedRole,
    RuleLine,
    SideInfo,
    Summary,
    TextSet,
    Totals,
)
from authz_sidecar.review.report.sentences import headline
from authz_sidecar.review.report.summary import Reach
from authz_sidecar.review.report.wording import plain_phrase
from authz_sidecar.values.rule import Rule
from authz_sidecar.values.texts import ANY, Texts


def access_document(report: AccessReport) -> AccessDocument:
    """The report as a value that is written as JSON: complete, whatever its size."""
    diff = report.diff
    roles = report.roles
    return AccessDocument(
        schema_version=1,
        changed=not report.unchanged,
        exact=not diff.inexact,
        base=_side(report.base),
        head=_side(report.head),
        summary=Summary(
            headline=plain_phrase(headline(report)),
            gained=_totals(report.gained, report.kinds),
            lost=_totals(report.lost, report.kinds),
            roles_added=roles.added,
            roles_removed=roles.removed,
            roles_renamed=tuple(
                RenamedRole(base=old, head=new, same=old in roles.same) for old, new in sorted(roles.renamed.items())
            ),
            rules_added=diff.rules_added,
            rules_removed=diff.rules_removed,
        ),
        roles=tuple(_change(change, report) for change in diff.roles),
        identities=tuple(_change(change, report) for change in diff.identities),
        inexact=tuple(_inexact(part, report) for part in diff.inexact),
        gated=report.gated,
        gates=_gates(report),
        notes=report.notes,
    )


def access_json(report: AccessReport) -> str:
    """The text of the JSON form, indented, ending with a line end."""
    return msgspec.json.format(msgspec.json.encode(access_document(report)), indent=2).decode() + "\n"


def texts_object(of: Texts) -> TextSet:
    """A set of texts as JSON says it."""
    return TextSet(
        any=of == ANY,
        values=tuple(sorted(of.values)),
        prefixes=of.prefixes,
        except_values=tuple(sorted(of.except_values)),
        except_prefixes=of.except_prefixes,
    )


def owners_object(owner: Texts) -> OwnerSet:
    """A set of owners as JSON says it."""
    plain = texts_object(
        Texts(owner.values - {SELF}, owner.prefixes, owner.except_values - {SELF}, owner.except_prefixes)
    )
    return OwnerSet(**msgspec.structs.asdict(plain), subject=SELF in owner)


def box_object(box: Box) -> dict[str, Any]:
    """A set of requests as JSON says it, by name."""
    return {
        "company": texts_object(box.company),
        "type": texts_object(box.type),
        "id": texts_object(box.id),
        "action": texts_object(box.action),
        "owner": owners_object(box.owner),
        "scope": box.scope,
        "section": box.section,
    }


def _side(side: Side) -> SideInfo:
    return SideInfo(name=side.name, policy_version=side.policy_version)


def _totals(reach: Reach, kinds: Mapping[str, str]) -> Totals:
    known = [kinds.get(identity) for identity in reach.identities]
    return Totals(
        roles=len(reach.roles),
        identities=len(reach.identities),
        people=known.count("user"),
        service_accounts=known.count("service_account"),
        anyone=reach.anyone,
        companies=reach.companies,
        everywhere=reach.everywhere,
        object_types=reach.object_types,
        data_domains=reach.data_domains,
    )


def _rule(rule: Rule, side: SideName, report: AccessReport) -> dict[str, Any]:
    at = report.side(side)
    return {
        "ptype": rule.ptype,
        "values": rule.values,
        "via": rule.via,
        "file": at.file(rule.span),
        "line": rule.span.line,
        "column": rule.span.column,
        "url": at.link(rule.span, report.source_url),
    }


def _causes(causes: Sequence[Cause], report: AccessReport) -> tuple[CauseLine, ...]:
    return tuple(CauseLine(side=cause.side, **_rule(cause.rule, cause.side, report)) for cause in causes)


def _change(change: Change, report: AccessReport) -> ChangeLine:
    words = report.vocabularies[change.gained]
    return ChangeLine(
        effect="gained" if change.gained else "lost",
        kind=change.kind.value,
        subjects=change.subjects,
        sensitive=words.is_sensitive(change.box),
        causes=_causes(change.causes, report),
        holders=change.holders,
        roles=change.roles,
        **box_object(change.box),
    )


def _inexact(part: Inexact, report: AccessReport) -> InexactPart:
    def lines(rules: Sequence[Rule], side: SideName) -> tuple[RuleLine, ...]:
        return tuple(RuleLine(**_rule(rule, side, report)) for rule in rules)

    return InexactPart(
        why=part.why,
        subjects=part.subjects,
        responsible=lines(part.responsible, "head"),
        added=lines(part.added, "head"),
        removed=lines(part.removed, "base"),
        **box_object(part.box),
    )


def _gates(report: AccessReport) -> tuple[GateLine, ...]:
    return tuple(
        GateLine(
            gate=violation.gate,
            kind=violation.kind,
            severity=violation.severity.value,
            message=violation.message,
            detail=plain_phrase(violation.detail),
            help=violation.help,
            shown=violation.shown,
            side=violation.side,
            file=report.side(violation.side).file(violation.span),
            line=violation.span.line,
            examples=tuple(
                GateRequest(
                    side=example.side,
                    subject=example.request.subject,
                    type=example.request.type,
                    id=example.request.id,
                    company=example.request.company,
                    owner=example.request.owner,
                    action=example.request.action,
                    allowed=example.allowed,
                )
                for example in violation.examples
            ),
            lines=tuple(CauseLine(side=line.side, **_rule(line.rule, line.side, report)) for line in violation.lines),
            more=violation.more,
        )
        for violation in report.violations
    )
