"""A bundle's files to a checked Bundle: which of the two forms it has, and every finding at once."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.csv_text import RowReader, build_layouts
from authz_sidecar.bundle.definitions import Manifest
from authz_sidecar.bundle.expansion import expand_policy
from authz_sidecar.bundle.files import GATES_FILE, MAX_BUNDLE_BYTES, MAX_FILES, is_known, is_policy, max_bytes
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.identity_checks import check_identity_rules, check_own_types
from authz_sidecar.bundle.policy_checks import check_policy
from authz_sidecar.bundle.policy_files import Policy, read_policy
from authz_sidecar.bundle.standard_model import Form, differences, form_of
from authz_sidecar.bundle.tests_files import read_tests
from authz_sidecar.bundle.text import INVISIBLE, decode, invisible_problem, size_problem
from authz_sidecar.bundle.validation import validate
from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.bundle.yaml_text import parse_yaml
from authz_sidecar.model.conf import parse_model
from authz_sidecar.model.functions import FUNCTIONS
from authz_sidecar.model.model import Model
from authz_sidecar.values.diagnostic import Diagnostic
from authz_sidecar.values.rule import RuleTable
from authz_sidecar.values.span import Span

if TYPE_CHECKING:
    from authz_sidecar.bundle.gates import GatesFile

MODEL_FILE = "model.conf"
MANIFEST_FILE = "manifest.yaml"
TESTS_FOLDER = "tests/"

_TIME_CONDITION = "timeMatch"
_PATTERN_FUNCTIONS = tuple(name for name, function in FUNCTIONS.items() if function.patterns == (1,))
# The fields of a manifest that mean something without YAML definitions.
_CASBIN_FIELDS = ("name", "schema_version", "description", "identities", "casbin", "lint")


def parse_bundle(files: Mapping[str, bytes], name: str) -> tuple[Bundle | None, list[Diagnostic]]:
    """Read a bundle: the bundle, or None if anything is an error; and all findings, sorted.

    `files` maps paths relative to the bundle to their content; `name` is used where no manifest gives one.
    Raises nothing, whatever the files hold.
    """
    findings = Findings()
    good = _check_files(files, findings)
    rows = [path for path in good if path.endswith(".csv")]
    definitions = {
        path: files[path]
        for path in good
        if path.endswith(".yaml") and path not in (MANIFEST_FILE, GATES_FILE) and not path.startswith(TESTS_FOLDER)
    }
    if rows and definitions:
        # The few among the many are what does not belong here.
        findings.error(
            Span(rows[0] if len(rows) <= len(definitions) else next(iter(definitions))),
            "bundle-mixed",
            f"the bundle has both rows ({quote(rows[0])}) and definitions ({quote(next(iter(definitions)))})",
            "keep `*.csv` for a plain Casbin bundle, or YAML definitions with the standard model; not both",
        )
        return None, findings.sorted()
    errors = findings.errors
    manifest = _read_manifest(files, good, findings)
    faulty = findings.errors > errors
    # A manifest that declares object types is the beginning of a YAML bundle, even before its first definition.
    declares = manifest is not None and not manifest.model_fields_set <= set(_CASBIN_FIELDS)
    if definitions or (declares and not rows):
        bundle = _parse_definitions(files, good, definitions, manifest, faulty, findings)
    else:
        bundle = _parse_rows(files, good, manifest, name, findings)
    return (None if findings.refused else bundle), findings.sorted()


def _check_files(files: Mapping[str, bytes], findings: Findings) -> list[str]:
    """The paths to read, sorted; what has an unknown name or is too large becomes a finding."""
    good: list[str] = []
    total = 0
    if len(files) > MAX_FILES:
        findings.error(
            Span("."),
            "bundle-size",
            f"the bundle has {len(files):,} files; at most {MAX_FILES:,} are read",
            "name the directory that holds the policies alone, or split the bundle",
        )
        return good
    for path in sorted(files):
        if not is_policy(path):
            continue
        size = len(files[path])
        total += size
        if path.endswith(".yml"):
            findings.error(
                Span(path),
                "file-name",
                f"the file {quote(path)} ends with `.yml`",
                f"rename it to {quote(path[:-3] + 'yaml')}",
            )
        elif not is_known(path):
            base = path.rsplit("/", 1)[-1]
            otherwise = "a bundle has `model.conf`, `*.csv`, `*.yaml` and notes in `*.md`; move other files out of it"
            findings.error(
                Span(path),
                "file-name",
                f"a bundle has no file {quote(path)}",
                suggest(base, (MODEL_FILE, MANIFEST_FILE), otherwise) if base != MODEL_FILE else otherwise,
            )
        elif size > max_bytes(path):
            size_problem(size, max_bytes(path), path, findings)
        else:
            good.append(path)
    if total > MAX_BUNDLE_BYTES:
        findings.error(
            Span("."),
            "bundle-size",
            f"the bundle holds {total:,} bytes; at most {MAX_BUNDLE_BYTES:,} are read",
            "split the bundle",
        )
        return []
    return good


def _read_model(files: Mapping[str, bytes], good: Iterable[str], findings: Findings) -> Model | None:
    """The model of `model.conf`, or None with findings."""
    if MODEL_FILE not in files:
        findings.error(
            Span(MODEL_FILE),
            "model-missing",
            "the bundle has no `model.conf`",
            "add the Casbin model; for YAML definitions, `authz-sidecar render --model basic > DIR/model.conf`",
        )
    if MODEL_FILE not in good:
        return None
    text = decode(files[MODEL_FILE], MODEL_FILE, findings)
    if text is None:
        return None
    found = None if text.isascii() else INVISIBLE.search(text)
    if found:
        at = found.start()
        span = Span(MODEL_FILE, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
        invisible_problem(found.group(), span, findings)
    model, problems = parse_model(text, MODEL_FILE)
    for problem in problems:
        findings.add(problem)
    return model


def _read_manifest(files: Mapping[str, bytes], good: Iterable[str], findings: Findings) -> Manifest | None:
    if MANIFEST_FILE not in good:
        return None
    root = parse_yaml(files[MANIFEST_FILE], MANIFEST_FILE, findings)
    return None if root is None else validate(Manifest, root, findings)


def _read_gates(
    files: Mapping[str, bytes],
    good: Iterable[str],
    policy: Policy | None,
    manifest: Manifest | None,
    model: Model | None,
    findings: Findings,
) -> "GatesFile | None":
    """The gates of `gates.yaml`, None without one. A faulty one is an error of the bundle: gates that are not
    understood would be gates that are not asked."""
    if GATES_FILE not in good:
        return None
    # Most bundles are loaded to be served, many without gates: their definitions are made where there are some.
    from authz_sidecar.bundle.gate_names import check_gates
    from authz_sidecar.bundle.gates import GatesFile

    root = parse_yaml(files[GATES_FILE], GATES_FILE, findings)
    gates_file = None if root is None else validate(GatesFile, root, findings)
    if gates_file is not None:
        check_gates(gates_file, policy, manifest, model, findings)
    return gates_file


def _test_files(files: Mapping[str, bytes], good: Iterable[str]) -> dict[str, bytes]:
    return {path: files[path] for path in good if path.startswith(TESTS_FOLDER) and path.endswith(".yaml")}


def _parse_rows(
    files: Mapping[str, bytes], good: list[str], manifest: Manifest | None, name: str, findings: Findings
) -> Bundle | None:
    """A plain Casbin bundle: its own model, rows, and a manifest if it needs matching functions."""
    model = _read_model(files, good, findings)
    for field in manifest.model_fields_set if manifest else ():
        if manifest and field not in _CASBIN_FIELDS:
            findings.error(
                manifest.key_span(field),
                "field-value",
                f"{quote(field)} is for bundles with YAML definitions",
                "remove it; the rows of a plain Casbin bundle name objects and actions themselves",
            )
    tests = read_tests(_test_files(files, good), None, model, findings)
    gates_file = _read_gates(files, good, None, None, model, findings)
    if model is None:
        return None
    tables = {section.ptype: RuleTable(section.ptype, len(section.fields)) for section in model.sections.values()}
    tables |= {role.name: RuleTable(role.name, role.width) for role in model.roles.values()}
    reader = RowReader(build_layouts(model, tables), findings)
    for path in good:
        if path.endswith(".csv"):
            reader.read(path, files[path])
    if manifest is not None:
        _check_casbin(manifest, model, findings)
        linked = model.roles.get("g")
        check_identity_rules(manifest, None, findings, companies=linked is not None and linked.has_domain)
    casbin = manifest.casbin if manifest else None
    return Bundle(
        name=manifest.name if manifest else name,
        form="casbin",
        model=model,
        tables=tables,
        manifest=manifest or Manifest(name=name[:128] or "bundle", schema_version=1),
        role_matching=casbin.role_matching if casbin else {},
        domain_matching=casbin.domain_matching if casbin else {},
        # A link with times holds within them, whether the manifest says so or not.
        link_conditions={role.name: _TIME_CONDITION for role in model.roles.values() if role.parameters},
        tests=tests,
        gates_file=gates_file,
    )


def _check_casbin(manifest: Manifest, model: Model, findings: Findings) -> None:
    """Matching functions and link conditions fit the model's role definitions."""
    casbin = manifest.casbin
    if casbin is None:
        return
    for field, functions, noun in (
        ("role_matching", _PATTERN_FUNCTIONS, "matching function"),
        ("domain_matching", _PATTERN_FUNCTIONS, "matching function"),
        ("link_conditions", (_TIME_CONDITION,), "link condition"),
    ):
        for name, function in getattr(casbin, field).items():
            span = casbin.value_span(field, name)
            role = model.roles.get(name)
            if function not in functions:
                findings.error(
                    span,
                    "manifest-casbin",
                    f"unknown {noun} {quote(function)}",
                    suggest(function, functions, f"it is {listed(functions)}"),
                )
            if role is None:
                otherwise = f"the model defines {listed(model.roles, 'and')}"
                findings.error(
                    span,
                    "manifest-casbin",
                    f"the model has no role definition {quote(name)}",
                    suggest(name, model.roles, otherwise),
                )
            elif field == "domain_matching" and not role.has_domain:
                findings.error(
                    span,
                    "manifest-casbin",
                    f"the role definition {quote(name)} has no domain to match",
                    "use `role_matching`, or give the definition a third `_`",
                )
            elif field == "link_conditions" and not role.parameters:
                findings.error(
                    span,
                    "manifest-casbin",
                    f"the links of {quote(name)} have no parameters for a condition",
                    f"write `{name} = _, _, (_, _)` in `model.conf`",
                )


def _parse_definitions(
    files: Mapping[str, bytes],
    good: list[str],
    definitions: Mapping[str, bytes],
    manifest: Manifest | None,
    faulty: bool,
    findings: Findings,
) -> Bundle | None:
    """A bundle of YAML definitions on the standard model; `faulty` says that the manifest has errors."""
    model = _read_model(files, good, findings)
    # What a faulty manifest meant to declare is not also unknown wherever it is named.
    declared = None if faulty else manifest
    if MANIFEST_FILE not in files:
        findings.error(
            Span(MANIFEST_FILE),
            "manifest-missing",
            "the bundle has no `manifest.yaml`",
            "add one with `name`, `schema_version: 1` and `object_types`",
        )
    elif manifest is not None and manifest.casbin is not None:
        findings.error(
            manifest.key_span("casbin"),
            "field-value",
            "`casbin` is for plain Casbin bundles",
            "remove it; the standard model needs no matching functions",
        )
    # Without a readable model the definitions are checked as for the form that takes more.
    form: Form = "extended"
    if model is not None:
        form = form_of(model) or _report_model(model, findings)
    policy = read_policy(definitions, findings)
    check_policy(policy, declared, form, findings)
    if declared is not None:
        check_own_types(declared, findings)
        check_identity_rules(declared, policy, findings)
    tests = read_tests(_test_files(files, good), declared, model, findings)
    gates_file = _read_gates(files, good, policy, declared, model, findings)
    if findings.refused or model is None or manifest is None:
        return None
    return Bundle(
        name=manifest.name,
        form="yaml",
        model=model,
        tables=expand_policy(policy, manifest, form, findings),
        manifest=manifest,
        tests=tests,
        roles=policy.roles,
        data_domains=policy.data_domains,
        flags=policy.flags,
        assignments=tuple(policy.assignments),
        group_mappings=tuple(policy.group_mappings),
        gates_file=gates_file,
    )


def _report_model(model: Model, findings: Findings) -> Form:
    """Report a model that is neither published form; the form that it is closer to."""
    forms: tuple[Form, Form] = ("basic", "extended")
    form = min(forms, key=lambda each: len(differences(model, each)))
    section = next(iter(model.sections.values()))
    findings.error(
        section.span,
        "model-standard",
        f"`model.conf` is not the standard model: it differs in {listed(differences(model, form), 'and')}",
        f"restore it with `authz-sidecar render --model {form} > DIR/model.conf`; for a model of your own, then go "
        "plain with `authz-sidecar render --output NEW` and edit what it writes",
    )
    return form
