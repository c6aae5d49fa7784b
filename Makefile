# Every target stands on `setup`, which is quick when nothing changed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo up check test corpus soak mutants monitoring stack bench docs format constraints fuzz

PYTHON ?= python3
PY := .venv/bin/python
CORPUS ?= ../shared/corpus

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: .venv/.ready ## Make .venv with everything in it, from pinned hashes

.venv/.ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "backupflow needs Python 3.11 or newer, and $(PYTHON) is older or not there: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "making .venv (a minute the first time) …"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "done: in a terminal of its own, source .venv/bin/activate makes the command backupflow known"
	@touch $@

demo: setup ## Show it all with simulated routers, in two minutes (KEEP=1: stay up)
	@.venv/bin/backupflow demo $(if $(KEEP),--keep)

up: setup ## Run everything in the foreground on this machine; Ctrl-C stops it
	@.venv/bin/backupflow up

check: setup ## Lint, types, contracts, schema, generated docs and fast tests, in under a minute
	@$(PY) tools/run.py check

test: setup ## Every kind of test once, at small sizes (some ten minutes)
	@$(PY) tools/run.py $(if $(filter check,$(MAKECMDGOALS)),test-after-check,test)

corpus: setup ## Real exports, and an independent judge over the normal forms (CORPUS=folder)
	@test -d "$(CORPUS)/seq" || { echo "no corpus of real exports in $(CORPUS): make corpus CORPUS=folder" >&2; exit 1; }
	@BACKUPFLOW_CORPUS="$(abspath $(CORPUS))" $(PY) -m pytest -q tests/corpus

soak: setup ## Every kind of test at full size (hours)
	@BACKUPFLOW_TEST_SIZE=soak PYTEST_TIMEOUT=7200 $(PY) tools/run.py test
	@$(PY) -m tests.stack --backup || [ $$? -eq 77 ]
	@$(PY) tools/mutants.py

mutants: setup ## Break each promise in the code and see its test fail (ONLY="I4 I6")
	@$(PY) tools/mutants.py $(ONLY)

stack: setup ## The composed install under podman, from nothing, with 50 simulated routers (77: it cannot be tried here)
	@$(PY) -m tests.stack

monitoring: setup ## Have promtool judge rules, their tests and a real scrape of every process
	@$(PY) -m tools.monitoring

bench: setup ## Measure, and print the figures
	@$(PY) -m bench

docs: setup ## Write what is generated from the code anew (docs/)
	@$(PY) tools/generate_docs.py

format: setup ## Format the code and mend what ruff can mend by itself
	@.venv/bin/ruff check --quiet --fix . || true
	@.venv/bin/ruff format --quiet .

constraints: setup ## Resolve constraints.txt anew (UPGRADE=1: to the newest versions)
	@PYTHON=$(PYTHON) tools/constraints.sh $(if $(UPGRADE),--upgrade)

fuzz: setup ## Throw hostile input at every parser (EACH=seconds TARGETS="ssh read" SEEDS=folder)
	@test -e .venv/fuzz/atheris || $(PY) -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --target .venv/fuzz -r tools/fuzz/requirements.txt || true
	@PYTHONPATH=.venv/fuzz nice -n 15 $(PY) -m tools.fuzz $(TARGETS) --seconds $(or $(EACH),60) $(if $(SEEDS),--extra "$(SEEDS)")
