# Targets for users and developers. A fresh machine needs make, python3 (3.11 or newer) and python3-venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: up install dev check test test-unprivileged bench templates format clean help

up: install  ## run stack.example.yaml in the foreground (Ctrl-C stops it)
	@$(BIN)/stackup -f stack.example.yaml up

install: $(VENV)/.installed  ## install stackup into .venv

$(VENV)/.installed: pyproject.toml
	@sh tests/setup/python.sh $(PYTHON) $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/python -m compileall -q stackup
	@touch $@

dev: $(VENV)/.dev  ## install what the tests and checks need as well

$(VENV)/.dev: $(VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

check: dev  ## format, lint, types and the architecture's own tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/house

test: dev  ## every test, as this user; as root also as an unprivileged user
	@sh tests/setup/servers.sh
	@$(BIN)/python -m pytest -q
	@sh tests/setup/unprivileged.sh

bench: dev  ## measure, and write docs/benchmarks.md
	@$(BIN)/python -m bench

templates: dev  ## compose stackup/host/templates.py again
	@$(BIN)/python tests/setup/templates.py

format: dev  ## rewrite the sources in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## remove what the targets above made
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)
