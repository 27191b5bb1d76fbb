# Needs make and Python 3.11 or newer with venv (Debian: apt install make python3-venv).
# Everything is installed into .venv, once for each content of pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin

# The networks of the demo and of the tests are so small that a second thread waits more than it works.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

.PHONY: demo test docs format clean

demo: .venv/installed
	$(BIN)/fairsparse demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal

docs: .venv/installed-dev
	$(BIN)/python docs/generate.py

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fairsparse needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | $(BIN)/pip
	@echo "Installing into .venv; the first time torch is fetched, which takes some minutes."
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/installed-dev: pyproject.toml | $(BIN)/pip
	@echo "Installing into .venv; the first time torch is fetched, which takes some minutes."
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/installed
