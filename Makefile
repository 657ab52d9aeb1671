# Two commands do all the set-up that they need: `make serve` and `make test`. Both need only Python 3.11 or later.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
POLICIES ?= policies
# Further options of `serve`, for example: make serve ARGS='--grpc 127.0.0.1:0'
ARGS ?=
# Further options of pytest, for example: make test PYTEST='-k health'
PYTEST ?=

BIN := .venv/bin
TEST := .venv-test/bin
PIP := -m pip --disable-pip-version-check --quiet
LOCK := uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links

.NOTPARALLEL:
.PHONY: help serve test test-long bench bench-wire static wheel format stubs lock clean

help:
	@echo 'make serve   set up once, then serve $(POLICIES)/ on 127.0.0.1:50051 (gRPC) and 127.0.0.1:8080 (HTTP)'
	@echo 'make test    set up once, then run every check and every test, on the built wheel'
	@echo 'make test-long   the random tests against pycasbin, a hundred times further'
	@echo 'make bench   measure decisions, loading, diffs, replay and lint against their targets (about six minutes)'
	@echo 'make bench-wire   measure the server over gRPC (about six minutes; needs h2load, see docs/benchmarks.md)'
	@echo 'make format  reformat the code and apply the fixes that are safe'
	@echo 'make stubs   regenerate src/authz_sidecar/_proto from proto/'
	@echo 'make lock    resolve the dependencies of pyproject.toml anew (needs uv)'
	@echo 'make clean   remove what the others made'

serve: .venv/.ready
	@exec $(BIN)/authz-sidecar serve --policies $(POLICIES) $(ARGS)

# As modest as the processes that compile and fetch policies are: those would starve beside tests that are not.
test: static wheel
	@nice -n 10 $(TEST)/python -m pytest -n 2 $(PYTEST)

# The random tests against pycasbin, a hundred times further than in `make test` (hours).
test-long: wheel
	@$(TEST)/python -m pytest -n 2 --hypothesis-profile long --timeout 0 tests/decide $(PYTEST)

# The figures of docs/benchmarks.md; never part of the tests, since machines are noisy.
bench: .venv-test/.ready
	@PYTHONPATH=src $(TEST)/python -m bench.run

# Beside echo, Cerbos and h2load; what is not installed is left out, and the table says so.
bench-wire: .venv-test/.ready
	@PYTHONPATH=src $(TEST)/python -m bench.run_wire

static: .venv-test/.ready
	$(TEST)/ruff check .
	$(TEST)/ruff format --check .
	$(TEST)/mypy
	PYTHONPATH=src $(TEST)/lint-imports --no-cache --no-logo
	$(TEST)/buf lint
	$(TEST)/hadolint Dockerfile
	$(TEST)/python scripts/generate_stubs.py --check
	$(TEST)/python scripts/schemas.py --check
	$(TEST)/python scripts/rule_pages.py --check

# The tests run on what a user would install, so that a file missing from the wheel is found here.
wheel: .venv-test/.ready
	@rm -rf dist
	$(TEST)/python -m build --wheel --no-isolation --outdir dist . >dist.log 2>&1 || { cat dist.log; rm -f dist.log; exit 1; }
	@rm -f dist.log
	$(TEST)/python $(PIP) install --no-deps --force-reinstall dist/*.whl
	@$(TEST)/python -m pip --disable-pip-version-check check

.venv/.ready: requirements.lock pyproject.toml
	@echo 'setting up .venv (once)' >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "authz-sidecar needs Python 3.11 or later")'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python $(PIP) install --require-hashes -r requirements.lock
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv-test/.ready: requirements-dev.lock
	@echo 'setting up .venv-test (once)' >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "authz-sidecar needs Python 3.11 or later")'
	@$(PYTHON) -m venv --clear .venv-test
	@$(TEST)/python $(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

format: .venv-test/.ready
	$(TEST)/ruff check --fix .
	$(TEST)/ruff format .

stubs: .venv-test/.ready
	$(TEST)/python scripts/generate_stubs.py

lock:
	$(LOCK) --extra postgresql --group build -o requirements.lock
	$(LOCK) --extra postgresql --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf .venv .venv-test dist dist.log .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
