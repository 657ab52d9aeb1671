"""The example bundles as their tests use them: read, changed in memory, and asked."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide.decider import Decider
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.values import Diagnostic, build_request

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Files = dict[str, bytes]
Ask = Callable[..., bool]


def files_of(name: str) -> Files:
    """The files of an example, to be changed."""
    files, problems = read_directory(EXAMPLES / name)
    assert files is not None, problems
    return dict(files)


def changed(files: Mapping[str, bytes], path: str, old: str, new: str) -> Files:
    """The files with one piece of text replaced, which stands there once."""
    text = files[path].decode()
    assert text.count(old) == 1, (path, old)
    return {**files, path: text.replace(old, new).encode()}


def with_file(files: Mapping[str, bytes], path: str, text: str) -> Files:
    """The files with one more, or another in its place; without policy tests, which are about the old ones."""
    kept = {name: content for name, content in files.items() if not name.startswith("tests/")}
    return {**kept, path: text.encode()}


def read(files: Mapping[str, bytes]) -> tuple[Bundle | None, list[Diagnostic]]:
    """What reading the files gives."""
    return parse_bundle(files, "example")


def findings_of(files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Severity and code of all that reading the files reports, once each."""
    return sorted({(str(found.severity), found.code) for found in read(files)[1]})


def bundle_of(files: Mapping[str, bytes]) -> Bundle:
    """The bundle that the files make."""
    bundle, problems = read(files)
    assert bundle is not None, problems
    return bundle


def asker(files: Mapping[str, bytes]) -> Ask:
    """Asks the bundle that the files make: `ask(subject, action, type, id="", owner="")`."""
    snapshot, problems = compile_bundle(bundle_of(files))
    assert snapshot is not None, problems
    decider = Decider(snapshot)

    def ask(subject: str, action: str, type: str, id: str = "", owner: str = "") -> bool:
        request, violations = build_request(subject, action, type=type, id=id, owner=owner)
        assert request is not None, violations
        return decider.decide(request).allowed

    return ask


class Question(NamedTuple):
    """What `asker` asks."""

    subject: str
    action: str
    type: str
    id: str = ""
    owner: str = ""


def answers(ask: Ask, questions: Iterable[Question]) -> dict[Question, bool]:
    """Every question with its answer."""
    return {question: ask(*question) for question in questions}


def questions(
    subjects: Iterable[str], actions: Mapping[str, Iterable[str]], ids: Iterable[str] = ("",)
) -> list[Question]:
    """Every subject, type with each of its actions, and id; each for nobody's object, the subject's and another's."""
    return [
        Question(subject, action, type, id, owner)
        for subject, type, id in product(subjects, actions, ids)
        for action in actions[type]
        for owner in ("", subject, "somebody-else")
    ]
