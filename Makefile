# Seqloom's commands. `make install`, `make demo` and `make test` need GNU make, python3 (3.11 or newer) and
# python3-venv; all else is installed into .venv by pip, which finds packages as its own settings say.
# Another interpreter: make PYTHON=python3.12 install

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Two workers; tests/conftest.py gives each one thread. `worksteal` keeps the tests of a file together, and so what
# they share, until a worker has nothing left to do.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: help install dev demo lint types test test-quick test-slow test-gpu check lengths bench docs clean

help:
	@echo "make install     make .venv and install Seqloom into it"
	@echo "make demo        install, then compare three models on real text (5 minutes)"
	@echo "make test        install with the development tools, then ruff, mypy and all fast tests (a quarter of an hour)"
	@echo "make test-slow   the tests that train for long"
	@echo "make test-gpu    the tests that need a GPU"
	@echo "make check       what every commit passes: ruff, mypy and the quickest tests (90 seconds)"
	@echo "make bench       install peers into .venv-bench, and time training and sampling beside them (half an hour, idle)"
	@echo "make docs        the documentation, in docs/_build/html"
	@echo "make lengths     the longest files and functions"
	@echo "make clean       remove what was built, but neither .venv nor runs"

# ---- installing ---------------------------------------------------------------------------------------------------

# A stamp is touched only after pip has succeeded, so an interrupted installation is taken up again by the next make,
# and a finished one costs nothing until the requirements change.
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
REQUIREMENTS := pyproject.toml constraints.txt

install: $(INSTALLED)

dev: $(INSTALLED_DEV)

# The Debian package of the interpreter that was asked for; its module venv is in one of its own.
PACKAGE := $(if $(filter python3.%,$(notdir $(PYTHON))),$(notdir $(PYTHON)),python3)

# A virtual environment, where there is none. The first line printed says what to do. On Debian `import venv` works
# without python3-venv; ensurepip is what lacks.
define make_venv
@if ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then \
  if ! command -v $(PYTHON) >/dev/null 2>&1; then \
    echo "error: $(PYTHON) is missing: sudo apt install $(PACKAGE) $(PACKAGE)-venv" >&2; exit 1; \
  fi; \
  if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
    echo "error: $$($(PYTHON) --version 2>&1) is too old, Seqloom needs 3.11 or newer:" \
      "sudo apt install python3.11-venv, then make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; \
  fi; \
  if ! $(PYTHON) -c 'import ensurepip, venv' >/dev/null 2>&1; then \
    echo "error: $(PACKAGE)-venv is missing: sudo apt install $(PACKAGE)-venv" >&2; exit 1; \
  fi; \
  echo "making $(1) with $$($(PYTHON) --version 2>&1)"; \
  $(PYTHON) -m venv $(1); \
fi
endef

$(INSTALLED): $(REQUIREMENTS)
	$(call make_venv,$(VENV))
	$(PIP_INSTALL) --editable .
	@touch $@

$(INSTALLED_DEV): $(REQUIREMENTS)
	$(call make_venv,$(VENV))
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(INSTALLED) $@

demo: install
	$(BIN)/seqloom demo

# ---- checking -----------------------------------------------------------------------------------------------------

lint: dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: dev
	$(BIN)/mypy

# Everything that must hold at every merge, at most 10 minutes on two slow cores.
test: lint types
	$(PYTEST)

# Left out of the quick tests: tests/truth (chi-squares over thousands of samples), tests/conformance (the product
# of all members), tests/apps and tests/test_public.py (commands, README and docs as written). `make test` runs them.
test-quick: dev
	$(PYTEST) --ignore=tests/truth --ignore=tests/conformance --ignore=tests/apps --ignore=tests/test_public.py

# What every commit passes, at most 90 seconds.
check: lint types test-quick

# Long trainings, one after another on all cores, so that what bounds them in minutes is not shared.
test-slow: dev
	$(BIN)/python -m pytest -m slow

# On a machine with a GPU: what is computed there is what the processor computes.
test-gpu: dev
	$(BIN)/python -m pytest -m gpu

# Files past 350 lines and functions past 50: places to look at, not failures.
lengths: dev
	$(BIN)/python tests/test_structure.py

# ---- benchmarks ---------------------------------------------------------------------------------------------------

# Peers have an environment of their own: what they bring along is not what Seqloom is tested with.
BENCH := .venv-bench
INSTALLED_BENCH := $(BENCH)/.installed

$(INSTALLED_BENCH): $(REQUIREMENTS)
	$(call make_venv,$(BENCH))
	$(BENCH)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

# Wants an idle machine. Finished rows are kept; ARGS='--only lstm --again' and the like go on to the script.
bench: $(INSTALLED_BENCH)
	$(BENCH)/bin/python benchmarks/speed.py $(ARGS)

# ---- the rest -----------------------------------------------------------------------------------------------------

docs: dev
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf build dist docs/_build .mypy_cache .ruff_cache .pytest_cache
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
