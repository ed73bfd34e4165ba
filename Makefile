# Two commands on a fresh machine: `make run` shows the product, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH ?=

.PHONY: run test check bench docs format lock

$(BIN)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=python3.x" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is needed: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(BIN)/.installed
	@$(BIN)/python examples/demo.py

test: $(BIN)/.installed
	@$(BIN)/python -m pytest -n 3 --dist load --maxschedchunk 2

check: $(BIN)/.installed
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	@echo "format, lint, types and layers are in order"

bench: $(BIN)/.installed
	@$(BIN)/python bench/run.py $(BENCH)

docs: $(BIN)/.installed
	@$(BIN)/python -m docs.generate

format: $(BIN)/.installed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lock: $(BIN)/.installed
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements-run.lock
