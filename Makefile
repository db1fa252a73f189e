# The project's commands. Each sets up what it needs first; `make` alone lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup check fix test test-thorough test-native e2e test-crash bench demo demo-down docs lock

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CODE := src tests tools examples $(wildcard bench)

# What is compiled is kept, whatever the environment says: a short program spends most of its time compiling, and tests start many.
export PYTHONDONTWRITEBYTECODE :=

help:            ## list these commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup:           ## install what is missing, leave .venv/bin/manor
	@$(PYTHON) -B -m tools.setup

check: setup     ## format, lint, types, imports, docs and default tests; no network, no processes; under 60 s
	@$(BIN)/python -m tools.check $(CODE)

fix: setup       ## format, and mend what the linter can mend
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

test: check test-thorough test-native e2e  ## everything that must be green: check, models killed at their moments, real tools, real traffic

test-thorough: setup  ## models of operations, killed at every single moment, larger ones at many; properties with many examples
	$(BIN)/python -m tools.run_tests thorough 600

test-native: setup  ## tests that start real tools
	$(BIN)/python -m tools.run_tests native 480

e2e: setup       ## tests that send real traffic through real tiers
	$(BIN)/python -m tools.run_tests e2e 2400

test-crash: setup  ## the full matrix of kills, on real tiers and of larger models; long
	$(BIN)/python -m tools.run_tests crash 3600

bench: setup bench/run.py  ## measure, beside peers; writes docs/benchmarks.json and docs/benchmarks.md
	$(BIN)/python -m bench.run

demo: setup examples/acme-health/demo.py  ## the whole path, from push to receipt, on this machine
	$(BIN)/python examples/acme-health/demo.py up

demo-down: setup examples/acme-health/demo.py  ## stop the demo and remove what it made
	$(BIN)/python examples/acme-health/demo.py down

docs: setup tools/write_docs.py  ## write the generated pages anew
	$(BIN)/python -m tools.write_docs

lock: setup      ## resolve the lock files anew; add ARGS=--upgrade for newer versions
	$(BIN)/uv pip compile pyproject.toml --group dev --extra traefik --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q $(ARGS) -o locks/requirements.lock
	$(BIN)/uv pip compile locks/demo.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q $(ARGS) -o locks/demo.lock
