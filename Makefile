# Every verb of the repository; CI uses the same ones. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Passed through to the command behind a verb: make test ARGS='-k sprint -x'
ARGS ?=
# Of the fault tests and the soak.
SEED ?=
MINUTES ?= 10
SOURCES = $(wildcard services migrations tests scripts)

.PHONY: help setup lock gen gen-check gen-clients check-clients docs chart check-deploy fmt lint test test-faults soak up down demo check bench clean

help: ## Show this table
	@awk 'BEGIN {FS = ":.*## "; print "make <verb> [ARGS=…]\n"} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environment ------------------------------------------------------------------------------

$(VENV)/.runtime: requirements.lock pyproject.toml gen/python/pyproject.toml
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'DSM needs Python 3.11 or newer: name one with make PYTHON=….' >&2; exit 1; }
	@echo 'Installing the runtime into $(VENV): about a minute'
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@$(PIP) install --no-compile --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e . -e gen/python
	@# Compiles what services import, once: where Python may write no bytecode, each start would take three times as long.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import alembic.command; from services.cli import names, registry; registry.entries(names.SERVICES)'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo 'Installing the development tools into $(VENV)'
	@$(PIP) install --no-compile --require-hashes -r requirements-dev.lock
	@$(BIN)/python scripts/generate.py --vendor
	@touch $@

setup: $(VENV)/.dev ## Make .venv with everything needed to run, test and change DSM

lock: ## Resolve the dependencies anew into requirements.lock and requirements-dev.lock
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@[ -x $(BIN)/uv ] || $(PIP) install uv
	@$(BIN)/python scripts/lock.py $(ARGS)

# --- contract ---------------------------------------------------------------------------------

gen: $(VENV)/.dev ## Generate gen/ from proto/: Python client, descriptor set, OpenAPI
	@$(BIN)/python scripts/generate.py

gen-check: $(VENV)/.dev ## Fail if gen/ is not what `make gen` makes of proto/
	@$(BIN)/python scripts/generate.py --check

gen-clients: $(VENV)/.dev ## Generate gen/typescript from proto/ (needs Node 20 and npm)
	@$(BIN)/python -m scripts.clients

check-clients: $(VENV)/.dev ## Check gen/typescript: up to date, type-checks, calls DSM (needs Node 20 and npm)
	@$(BIN)/python -m scripts.clients --check
	$(BIN)/pytest tests/clients/typescript.py $(ARGS)

docs: $(VENV)/.dev ## Write the tables of settings and metrics in docs/, and the Grafana dashboards
	@$(BIN)/python -m scripts.configuration
	@$(BIN)/python -m scripts.metrics
	@$(BIN)/python -m scripts.dashboards

# --- image and chart --------------------------------------------------------------------------

chart: $(VENV)/.dev ## Write the chart's schema and its table of values from helm/dsm/values.yaml
	@$(BIN)/python -m scripts.chart

check-deploy: $(VENV)/.dev ## Check the image and the chart (ARGS=--update approves what the chart renders now)
	@$(BIN)/python -m scripts.tools
	$(BIN)/pytest -n 2 --dist loadfile -o python_files='check_*.py' tests/deploy $(ARGS)

# --- style ------------------------------------------------------------------------------------

fmt: $(VENV)/.dev ## Format Python and proto files, and fix what ruff can fix
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format
	@$(BIN)/python scripts/generate.py --vendor
	@$(BIN)/buf format -w proto

lint: $(VENV)/.dev ## Check style, types, imports, the contract and the generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	@$(BIN)/python scripts/generate.py --vendor
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code proto
	$(BIN)/python scripts/breaking.py
	$(BIN)/python scripts/generate.py --check

# --- tests ------------------------------------------------------------------------------------

# Three files at a time where that does no harm, since many wait; what breaks DSM and times its healing comes last, alone.
test: $(VENV)/.dev ## Run the tests (with ARGS, those of one pytest)
ifeq ($(ARGS),)
	$(BIN)/pytest -n 3 --dist loadfile tests/unit tests/contract tests/service tests/system
	$(BIN)/pytest tests/faults
else
	$(BIN)/pytest $(ARGS)
endif

test-faults: $(VENV)/.dev ## Break DSM in every way of tests/faults, at length (SEED=… makes a run again)
	DSM_FAULTS=full DSM_FAULTS_SEED=$(SEED) $(BIN)/pytest -s tests/faults $(ARGS)

soak: $(VENV)/.dev ## Random faults under load for MINUTES (10), by SEED
	$(BIN)/python -u -m tests.faults.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

check: lint test ## Lint and test: what CI runs

bench: $(VENV)/.dev ## Run the benchmarks of tests/bench (ARGS name some of them)
	$(BIN)/python -m tests.bench $(ARGS)

# --- running ----------------------------------------------------------------------------------

up: $(VENV)/.runtime ## Start PostgreSQL, NATS and every service on this machine
	@$(BIN)/dsm up $(ARGS)

down: $(VENV)/.runtime ## Stop what `make up` started
	@$(BIN)/dsm down $(ARGS)

demo: $(VENV)/.runtime ## Plan, run and close a sprint before your eyes
	@$(BIN)/dsm demo $(ARGS)

clean: ## Remove caches and build output (the environment and gen/ stay)
	@rm -rf build dist gen/typescript/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
	@find services migrations tests scripts gen -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
