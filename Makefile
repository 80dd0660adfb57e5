# Two commands from a fresh clone: `make demo` (set up, run the main job) and `make test` (set up with every extra, check).
# Needs Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready
	$(BIN)/unreel demo --out demo

test: $(VENV)/.ready-all lint docs
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.ready-all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(VENV)/.ready-all
	$(BIN)/mkdocs build --quiet --strict --site-dir site

clean:
	rm -rf $(VENV) demo site

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Unreel needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing Unreel into $(VENV) (the first time takes a few minutes) ..."
	$(PIP) --editable .
	@touch $@

$(VENV)/.ready-all: $(VENV)/.ready
	@echo "Installing every extra ..."
	$(PIP) --editable '.[all]'
	@touch $@
