"""Generate `src/authz_sidecar/_proto` from `proto/`; with `--check`, only say whether it is up to date.

protoc writes imports such as `from authz.v1 import check_pb2`, which would make `authz` a top-level package of
whoever installs us. They are rewritten to lie under `authz_sidecar._proto`. Exit 1: stubs differ from the protos.
"""

import argparse
import importlib.resources
import re
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "proto"
STUBS = ROOT / "src" / "authz_sidecar" / "_proto"
PACKAGE = "authz_sidecar._proto"
PACKAGE_DOC = '"""Generated from `proto/` by `scripts/generate_stubs.py`; do not edit."""\n'


def generate() -> dict[str, str]:
    """The generated files, by path relative to the stub package."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        code = protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{importlib.resources.files('grpc_tools') / '_proto'}",
                *(f"--plugin={name}={plugin(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
                f"--python_out={folder}",
                f"--grpc_python_out={folder}",
                f"--mypy_out=quiet:{folder}",
                f"--mypy_grpc_out=quiet:{folder}",
                *sources,
            ]
        )
        if code:
            sys.exit(f"protoc failed with exit code {code}")
        files = {
            path.relative_to(folder).as_posix(): localise(path.read_text(encoding="utf-8"))
            for path in sorted(Path(folder).rglob("*.py*"))
        }
    # A file of messages alone has no service: its empty `_pb2_grpc` would only be in the way.
    files = {name: text for name, text in files.items() if "_pb2_grpc" not in name or "Stub" in text}
    for name in list(files):
        for parent in Path(name).parents:
            files.setdefault((parent / "__init__.py").as_posix(), PACKAGE_DOC)
    return files


def plugin(name: str) -> str:
    """The path of the protoc plugin `name`, which lies beside this interpreter."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        sys.exit(f"`{name}` is not installed; install the development requirements")
    return found


def localise(text: str) -> str:
    """Put the imports of our own packages under the stub package."""
    packages = "|".join(path.name for path in PROTOS.iterdir() if path.is_dir())
    text = re.sub(rf"^from ((?:{packages})\b[\w.]*) import", rf"from {PACKAGE}.\1 import", text, flags=re.MULTILINE)
    return re.sub(rf"^import ((?:{packages})\b[\w.]*)$", rf"import {PACKAGE}.\1", text, flags=re.MULTILINE)


def main() -> None:
    """Write the stubs, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the stubs are out of date")
    check = parser.parse_args().check
    wanted = generate()
    present = {
        path.relative_to(STUBS).as_posix(): path.read_text(encoding="utf-8")
        for path in STUBS.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if check:
        differing = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
        if differing:
            sys.exit("stubs differ from proto/ (run `make stubs`): " + ", ".join(differing))
        print(f"stubs match proto/: {len(wanted)} files")
        return
    shutil.rmtree(STUBS, ignore_errors=True)
    for name, text in wanted.items():
        target = STUBS / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    print(f"wrote {len(wanted)} files to {STUBS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
