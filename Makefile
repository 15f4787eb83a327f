# make demo        a whole campaign on the embedded codebase, from plan to proposal; the last line on stdout is JSON
# make test        the tests that take seconds
# make check       lint and test
# Each sets its own virtual environment up first; a second call installs nothing. PYTHON names the Python to use.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
PIP_PIN := $(shell sed -n 's/^pip==/pip==/p' constraints.txt)
TORCH_PIN := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
# Two workers: most tests wait for processes of their own rather than compute.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-slow lint format check hooks pins clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# ── environments ─────────────────────────────────────────────────────────────────────────────────────────────────────
# pip's output goes to stderr: what a target prints on stdout is its answer.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv $(VENV) 1>&2 \
	  || { echo "$(PYTHON) has no working venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }

# What the demo needs: rea itself, and PyTorch for the codebase that it works on. Torch first and by its exact version:
# a range would take the newest build there is.
$(VENV)/.stamp-run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing rea and the embedded codebase's requirements into $(VENV)" >&2
	@$(PIP) install -qq --disable-pip-version-check '$(PIP_PIN)' 1>&2
	@$(PIP) install -qq -c constraints.txt '$(TORCH_PIN)' 1>&2
	@$(PIP) install -qq -c constraints.txt hatchling editables 1>&2
	@$(PIP) install -qq -c constraints.txt --no-build-isolation -e '.[example]' 1>&2
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-run
	@echo "installing the checks and tests into $(VENV)" >&2
	@$(PIP) install -qq -c constraints.txt --group dev 1>&2
	@touch $@

setup: $(VENV)/.stamp-run

setup-dev: $(VENV)/.stamp-dev

# ── what people run ──────────────────────────────────────────────────────────────────────────────────────────────────

demo: setup
	@$(BIN)/rea demo

test: setup-dev
	@$(BIN)/pytest -n $(WORKERS)

test-slow: setup-dev
	@$(BIN)/pytest -m slow

lint: setup-dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup-dev
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

check: lint test

hooks: setup-dev
	@$(BIN)/pre-commit install

# The exact versions of this environment, for constraints.txt.
pins: setup-dev
	@$(PIP) list --format=freeze | sed 's/^\(torch==[0-9.]*\)+.*/\1/' \
	  | grep -viE '^(rea|setuptools|triton|cuda-.*|nvidia-.*)==' | sort -f

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
