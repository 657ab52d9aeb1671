"""Test files to policy tests: single cases as they stand, matrices expanded cell by cell."""

from collections.abc import Iterator, Mapping

from authz_sidecar.bundle.definitions import Manifest, Matrix, MatrixSubject, PolicyTestsFile, SingleTest
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.policy_checks import Vocabulary
from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.bundle.validation import validate
from authz_sidecar.bundle.wording import counted, listed, quote, suggest
from authz_sidecar.bundle.yaml_definition import REASONS
from authz_sidecar.bundle.yaml_text import parse_yaml
from authz_sidecar.model.model import Model
from authz_sidecar.model.patterns import parse_time
from authz_sidecar.values.decision import Reason
from authz_sidecar.values.span import Span

MAX_TESTS = 200_000
HOME = "$home"
SUBJECT = "$subject"


def read_tests(
    files: Mapping[str, bytes], manifest: Manifest | None, model: Model | None, findings: Findings
) -> tuple[PolicyTest, ...]:
    """Every test of the bundle's test files, in the order of their paths. With a `manifest`, object types and
    actions are checked against it; with a `model`, its numbered sections."""
    reader = _TestReader(Vocabulary(manifest, findings), model, findings)
    for path in sorted(files):
        root = parse_yaml(files[path], path, findings)
        content = None if root is None else validate(PolicyTestsFile, root, findings)
        if content is not None:
            reader.read(content)
    return tuple(reader.tests)


class _TestReader:
    """Reads the tests of one bundle."""

    def __init__(self, vocabulary: Vocabulary, model: Model | None, findings: Findings) -> None:
        self.tests: list[PolicyTest] = []
        self._vocabulary = vocabulary
        self._model = model
        self._findings = findings
        self._names: dict[str, Span] = {}

    def read(self, content: PolicyTestsFile) -> None:
        for single in content.tests:
            self._claim_name(single.name, single.value_span("name"))
            self._add_single(single, content.tags)
        for matrix in content.matrices:
            self._claim_name(matrix.name, matrix.value_span("name"))
            if self._check_matrix(matrix):
                for test in _expand(matrix, content.tags):
                    if len(self.tests) >= MAX_TESTS:
                        self._refuse(
                            matrix.span,
                            "bundle-size",
                            f"the bundle has more than {MAX_TESTS:,} tests",
                            "give the matrix fewer situations",
                        )
                        return
                    if self._check_request(test):
                        self.tests.append(test)

    def _refuse(self, span: Span, code: str, message: str, help: str) -> None:
        self._findings.error(span, code, message, help)

    def _claim_name(self, name: str, span: Span) -> None:
        first = self._names.setdefault(name, span)
        if first is not span:
            self._refuse(
                span,
                "name-duplicate",
                f"the test name {quote(name)} is used twice",
                f"rename one of them; the other is at {first}",
            )

    def _add_single(self, single: SingleTest, tags: list[str]) -> None:
        type, _, id = single.object.partition(":")
        if single.object:
            span = single.value_span("object")
            if self._vocabulary.check_type(type, span) and single.action:
                self._vocabulary.check_action(single.action, [type], single.value_span("action"))
        time = 0.0
        if single.time:
            parsed = parse_time(single.time)
            if parsed is None:
                self._refuse(
                    single.value_span("time"),
                    "field-value",
                    f"{quote(single.time)} is no time",
                    "write `YYYY-MM-DD hh:mm:ss` in UTC",
                )
            else:
                time = parsed
        if self._model is not None and single.section not in self._model.sections:
            numbers = [number for number in self._model.sections if number]
            self._refuse(
                single.value_span("section") if single.section else single.span,
                "test-request",
                f"the model has no sections numbered {quote(single.section)}"
                if single.section
                else "the model has no sections without a number",
                f"`section` takes {listed(numbers)}" if numbers else "remove `section`; the model has no numbers",
            )
        test = PolicyTest(
            name=single.name,
            span=single.span,
            subject=single.subject,
            action=single.action,
            type=type,
            id=id,
            company=single.company,
            owner=single.owner,
            attributes=single.attributes,
            subject_attributes=single.subject_attributes,
            context=single.context,
            time=time,
            section=single.section,
            allowed=single.expect == "allow",
            reason=REASONS[single.reason] if single.reason else None,
            tags=_joined(tags, single.tags),
        )
        if self._check_request(test):
            self.tests.append(test)

    def _check_request(self, test: PolicyTest) -> bool:
        """Report a question that could never be asked, unless that is what the test expects."""
        if test.reason is Reason.INVALID_REQUEST:
            return True
        _, violations = test.request()
        for violation in violations:
            self._refuse(
                test.span,
                "test-request",
                f"the test is no valid request: {violation.description}",
                "correct it, or expect `reason: invalid_request`",
            )
        return not violations

    def _check_matrix(self, matrix: Matrix) -> bool:
        """Report names that the matrix does not define; whether it can be expanded."""
        before = self._findings.errors

        def check(name: str, known: Mapping[str, object], noun: str, span: Span) -> None:
            if name not in known:
                self._refuse(
                    span,
                    "test-matrix",
                    f"unknown {noun} {quote(name)}",
                    suggest(name, known, f"the matrix defines {listed(known, 'and')}"),
                )

        for symbol, situations in matrix.legend.items():
            for situation in situations:
                check(situation, matrix.situations, "situation", matrix.value_span("legend", symbol))
        for name, changes in matrix.legends.items():
            for symbol, situations in changes.items():
                check(symbol, matrix.legend, "symbol", matrix.value_span("legends", name))
                for situation in situations:
                    check(situation, matrix.situations, "situation", matrix.value_span("legends", name))
        for symbol in matrix.reasons:
            check(symbol, matrix.legend, "symbol", matrix.value_span("reasons", symbol))
        for subject in matrix.subjects.values():
            if subject.legend:
                check(subject.legend, matrix.legends, "legend", subject.value_span("legend"))
        for place in matrix.situations.values():
            for field in ("company", "owner", "id"):
                text = getattr(place, field)
                if text.startswith("$") and text not in (HOME, SUBJECT):
                    self._refuse(
                        place.value_span(field),
                        "test-matrix",
                        f"unknown placeholder {quote(text)}",
                        suggest(text, (HOME, SUBJECT), "the placeholders are `$home` and `$subject`"),
                    )
        self._check_rows(matrix)
        return self._findings.errors == before

    def _check_rows(self, matrix: Matrix) -> None:
        for type, row in matrix.rows.items():
            place = row.span
            actions = row.actions or matrix.actions
            if self._vocabulary.check_type(type, place):
                for index, action in enumerate(actions):
                    span = row.value_span("actions", index) if row.actions else place
                    self._vocabulary.check_action(action, [type], span)
            cells = row.__pydantic_extra__
            for missing in matrix.subjects.keys() - cells.keys():
                self._refuse(
                    place,
                    "test-matrix",
                    f"the row {quote(type)} has no cells for {quote(missing)}",
                    f"add `{missing}:` with {counted(len(actions), 'symbol')}",
                )
            for name, text in cells.items():
                span = row.value_span(name)
                if name not in matrix.subjects:
                    self._refuse(
                        row.key_span(name),
                        "test-matrix",
                        f"unknown subject {quote(name)}",
                        suggest(name, matrix.subjects, f"the matrix defines {listed(matrix.subjects, 'and')}"),
                    )
                symbols = text.split()
                if len(symbols) != len(actions):
                    self._refuse(
                        span,
                        "test-matrix",
                        f"the cells have {counted(len(symbols), 'symbol')} for {counted(len(actions), 'action')}",
                        f"write one symbol for each of {listed(actions, 'and')}, separated by spaces",
                    )
                for symbol in symbols:
                    if symbol not in matrix.legend:
                        self._refuse(
                            span,
                            "test-matrix",
                            f"unknown symbol {quote(symbol)}",
                            f"the legend defines {listed(matrix.legend, 'and')}",
                        )


def _joined(of_file: list[str], own: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*of_file, *own)))


def _expand(matrix: Matrix, of_file: list[str]) -> Iterator[PolicyTest]:
    """Every cell of a checked matrix in every situation; `of_file` are the tags that all tests of the file have."""
    tags = _joined(of_file, matrix.tags)
    for type, row in matrix.rows.items():
        actions = row.actions or matrix.actions
        for column, text in row.__pydantic_extra__.items():
            subject = matrix.subjects[column]
            legend = {**matrix.legend, **matrix.legends.get(subject.legend, {})}
            offset = 0
            for action, symbol in zip(actions, text.split(), strict=True):
                offset = text.index(symbol, offset)
                span = row.text_span(column, offset)
                offset += len(symbol)
                reason = matrix.reasons.get(symbol)
                for name, situation in matrix.situations.items():
                    allowed = name in legend[symbol]
                    yield PolicyTest(
                        matrix=matrix.name,
                        name=f"{matrix.name}: {type} {action} as {column}, {name}",
                        span=span,
                        subject=subject.subject,
                        action=action,
                        type=type,
                        id=_filled(situation.id, subject),
                        company=_filled(situation.company, subject),
                        owner=_filled(situation.owner, subject),
                        subject_attributes=subject.subject_attributes,
                        allowed=allowed,
                        reason=REASONS[reason] if reason and not allowed else None,
                        tags=tags,
                    )


def _filled(text: str, subject: MatrixSubject) -> str:
    if text == HOME:
        return subject.home
    return subject.subject if text == SUBJECT else text
