"""For whom a request is decided: askers of a directory in memory, and filters for one who acts for another."""

from typing import Any

import msgspec
import pytest

from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.directory.memory.copy import Contents, DirectoryCopy
from authz_sidecar.engine import Answer, Asker, Engine, Identities, UnwitnessedError
from authz_sidecar.engine.asking import Audited, decide_as
from authz_sidecar.values import Reason, Request, build_request
from authz_sidecar.values.directory_rules import KindRules
from authz_sidecar.values.filter import FilterKind, build_filter_request
from authz_sidecar.values.identity import Authenticated, Identity, IdentityKind, OwnRule, RoleSet
from tests.server.directory_scene import MANIFEST, ROLES

NOW = 1_800_000_000.0
ACTIONS = ("read", "update")
OBJECTS = [
    (company, id, owner)
    for company in ("acme", "globex", "initech", "")
    for id in ("shared-1", "shared-2", "other", "")
    for owner in ("ann", "robot", "")
]


def impersonation(id: str, company: str = "acme", allow: bool = True, action: str = "impersonate") -> OwnRule:
    """A rule that lets a service account act for users on folders."""
    return OwnRule(company, "folder", id, action, "company", allow)


IDENTITIES = {
    identity.id: identity
    for identity in (
        Identity("ann", IdentityKind.USER, "acme", roles=RoleSet({"acme": ("CLERK",), "globex": ("CHIEF",)})),
        Identity("root", IdentityKind.USER, roles=RoleSet({"": ("ADMIN",)})),
        Identity("off", IdentityKind.USER, "acme", active=False, roles=RoleSet({"acme": ("CLERK",)})),
        Identity("robot", IdentityKind.SERVICE_ACCOUNT, rules=(impersonation("shared-*"),)),
        Identity(
            "broad",
            IdentityKind.SERVICE_ACCOUNT,
            rules=(impersonation("*", "*"), impersonation("shared-2", "*", allow=False)),
        ),
        Identity("wild", IdentityKind.SERVICE_ACCOUNT, rules=(impersonation("*", "*", action="*"),)),
        Identity("idle", IdentityKind.SERVICE_ACCOUNT, active=False, rules=(impersonation("*", "*"),)),
    )
}


class OneCredential:
    """Knows the credential of `robot`, and no other."""

    def authenticate(self, credential: str, now: float) -> Authenticated | Reason:
        """Whom it stands for."""
        return Authenticated(IDENTITIES["robot"], "key:1") if credential == "right" else Reason.INVALID_CREDENTIAL


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """The bundle of the tests of servers with a directory."""
    files = {"model.conf": EXTENDED.encode(), "manifest.yaml": MANIFEST.encode(), "roles.yaml": ROLES.encode()}
    bundle, findings = parse_bundle(BundleFiles(files, "asked"), "asked")
    assert bundle is not None, findings
    compiled, problems = compile_bundle(bundle)
    assert compiled is not None, problems
    return compiled


@pytest.fixture
def engine(snapshot: Snapshot) -> Engine:
    """An engine on it, whose witness sees everything."""
    engine = Engine(witness=lambda *_: True)
    engine.load(snapshot, "version")
    return engine


def identities(engine: Engine, companies: frozenset[str] | None = None) -> Identities:
    """A directory of all of them."""
    copy = DirectoryCopy(companies)
    copy.replace(Contents("epoch", 7, dict(IDENTITIES)))
    return Identities(copy, OneCredential(), engine.counts)


@pytest.mark.parametrize("caller", ["robot", "broad", "wild", "idle", "ann", "nobody"])
@pytest.mark.parametrize("user", ["ann", "root", "off", "robot", "nobody"])
@pytest.mark.parametrize("companies", [None, frozenset({"acme", "initech"})])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_filter_for_another_passes_what_checks_allow(
    engine: Engine, caller: str, user: str, companies: frozenset[str] | None, action: str
) -> None:
    """Whoever acts for whom: a filter passes just the objects that a check allows, and says that it does."""
    known = identities(engine, companies)
    asked, _ = build_filter_request(user, action, "folder", time=NOW, identity=IDENTITIES.get(user))
    assert asked is not None
    found = engine.filter(asked, asker=known.asker(caller, "", user, None, NOW), companies=companies).filter
    allowed = []
    for company, id, owner in OBJECTS:
        request, _ = build_request(
            user, action, type="folder", id=id, company=company, owner=owner, time=NOW, identity=IDENTITIES.get(user)
        )
        assert request is not None
        passes = engine.check(request, asker=known.asker(caller, "", user, company, NOW)).decision.allowed
        assert found.passes(company, id, owner) == passes, (company, id, owner)
        if passes:
            allowed.append((company, id, owner))
    assert found.exact
    if (caller, user) in {("robot", "ann"), ("broad", "ann")} and action == "read":
        assert allowed
    if caller in {"idle", "ann", "nobody"} or user in {"root", "robot", "nobody"}:
        assert not allowed
        assert found.kind is FilterKind.NONE


def test_a_filter_keeps_to_the_companies_that_are_held(engine: Engine) -> None:
    """Where only some companies are held, a filter passes just what checks allow, and none of the others."""
    companies = frozenset({"acme", "initech"})
    known = identities(engine, companies)
    for subject in ("ann", "root"):
        asked, _ = build_filter_request(subject, "read", "folder", time=NOW, identity=IDENTITIES[subject])
        assert asked is not None
        asker = known.asker(subject, "", "", None, NOW)
        found = engine.filter(asked, asker=asker, companies=companies).filter
        assert found.exact
        for company, id, owner in OBJECTS:
            request, _ = build_request(
                subject, "read", type="folder", id=id, company=company, time=NOW, identity=IDENTITIES[subject]
            )
            assert request is not None
            answer = engine.check(request, asker=known.asker(subject, "", "", company, NOW))
            assert answer.decision.allowed == found.passes(company, id, owner), (company, id)
            if company == "globex":
                assert answer.decision.reason is Reason.COMPANY_NOT_HELD


def test_what_nobody_witnesses_is_not_answered(snapshot: Snapshot) -> None:
    """Where the audit has no room, neither check, explanation nor filter for another is answered, counted or observed;
    what one asks for oneself is."""
    observed: list[object] = []
    engine = Engine(lambda *told: observed.append(told), lambda *_: False)
    engine.load(snapshot, "version")
    known = identities(engine)
    request, _ = build_request(
        "ann", "read", type="folder", id="shared-1", company="acme", time=NOW, identity=IDENTITIES["ann"]
    )
    asked, _ = build_filter_request("ann", "read", "folder", time=NOW, identity=IDENTITIES["ann"])
    assert request is not None
    assert asked is not None
    asker = known.asker("robot", "", "ann", "acme", NOW)
    policy = engine.snapshot_state
    for answer in (
        lambda: engine.check(request, asker=asker),
        lambda: engine.explained(request, engine.explain(request, policy, asker).decision, policy, asker=asker),
        lambda: engine.filter(asked, asker=asker),
    ):
        with pytest.raises(UnwitnessedError):
            answer()
    assert observed == []
    assert sum(engine.counts.decisions) == 0
    assert engine.check(request, asker=known.asker("ann", "", "", "acme", NOW)).decision.allowed
    assert len(observed) == 1


def test_the_audit_has_each_decision_for_a_kind_that_is_audited(snapshot: Snapshot) -> None:
    """With service accounts audited the witness sees what is decided for one, by name or by credential, allowed or not;
    an act for a user once; and nothing for users, for somebody unknown or for a wrong credential. Of a call of
    administration it sees what is to be audited of it."""
    seen: list[tuple[str, str, str]] = []

    def see(_kind: str, _request: Request, answer: Answer, _call: str) -> bool:
        assert answer.asker is not None
        seen.append((answer.asker.subject, answer.asker.actor, answer.asker.credential))
        return True

    rules = msgspec.structs.replace(snapshot.directory_rules, service_accounts=KindRules(audited=True))
    engine = Engine(witness=see)
    engine.load(msgspec.structs.replace(snapshot, directory_rules=rules), "version")
    known = identities(engine)

    def ask(subject: str, credential: str, user: str, audited: Audited = Audited.ALL, action: str = "read") -> None:
        asker = known.asker(subject, credential, user, "acme", NOW)
        found = msgspec.structs.replace(asker, audited=audited)
        named = found.subject or "--"
        more: Any = {"time": NOW, "identity": found.identity}
        request, _ = build_request(named, action, type="folder", id="shared-1", company="acme", **more)
        asked, _ = build_filter_request(named, action, "folder", **more)
        assert request is not None
        assert asked is not None
        engine.check(request, asker=found)
        engine.filter(asked, asker=found)

    for asker in (("ann", "", ""), ("nobody", "", ""), ("", "wrong", "")):
        ask(*asker)
    ask("robot", "", "", Audited.NOTHING)
    assert seen == []
    ask("robot", "", "", Audited.REFUSALS)
    ask("robot", "", "", Audited.REFUSALS, action="impersonate")
    assert [seen.pop(), seen.pop(), *seen] == 2 * [("robot", "", "")]
    for asker in (("robot", "", ""), ("", "right", ""), ("idle", "", ""), ("", "right", "ann"), ("ann", "", "robot")):
        ask(*asker)
    assert seen[::2] == seen[1::2]
    assert seen[::2] == [
        ("robot", "", ""),
        ("robot", "", "key:1"),
        ("idle", "", ""),
        ("ann", "robot", "key:1"),
        ("robot", "ann", ""),
    ]


def test_a_credential_that_is_wrong_decides_before_everything(engine: Engine) -> None:
    """Whoever has no right credential learns nothing of policies, companies or users."""
    known = identities(engine, frozenset({"acme"}))
    for company in ("acme", "globex", None):
        asker = known.asker("", "wrong", "ann", company, NOW)
        assert asker == Asker("", None, 7, Reason.INVALID_CREDENTIAL, named=True)
    request, _ = build_request("-", "read", time=NOW)
    assert request is not None
    decision = decide_as(known.asker("", "wrong", "", "", NOW), request, None)
    assert decision.reason is Reason.INVALID_CREDENTIAL
    assert engine.counts.authentications["invalid_credential"] == 4
    right = known.asker("", "right", "ann", "acme", NOW)
    assert (right.subject, right.actor, right.credential, right.denied) == ("ann", "robot", "key:1", None)
    assert engine.counts.authentications["authenticated"] == 1
