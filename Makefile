# The one door for people and CI. Every target may be repeated, and interrupted with Ctrl-C.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

STACK := python3 docker/local/stack.py
PYTEST := .venv/bin/python -m pytest
ROOTS := expectations spark_jobs plugins dags docker tests

##@ The stack on this machine (no Docker, no cloud account)

.PHONY: demo
demo:  ## everything: set up, start, load 7,043 customers through Airflow to gold, print a report
	@$(STACK) demo

.PHONY: up
up:  ## start broker, Postgres, mail sink, Spark and Airflow, whatever of it does not run
	@$(STACK) up

.PHONY: plan
plan:  ## what the contracts here would change, and whom they break (old=FOLDER new=FOLDER dataset=NAME accept="NAME")
	@$(STACK) plan $(if $(dataset)$(old)$(new)$(accept),--dataset=$(or $(dataset),customers)) \
		$(if $(old),--old="$(old)") $(if $(new),--new="$(new)") $(if $(accept),--accept="$(accept)")

.PHONY: roll-out
roll-out:  ## bring new contracts and code to the running stack: jobs, Airflow, gold's tables, the stream
	@$(STACK) roll-out

.PHONY: status
status:  ## which services run, where, with how much memory
	@$(STACK) status

.PHONY: logs
logs:  ## follow the services' logs (s="broker airflow-scheduler" for some of them)
	@$(STACK) logs $(s)

.PHONY: down
down:  ## stop everything; data stays in .state
	@$(STACK) down

.PHONY: clean
clean:  ## stop everything and remove the state folder
	@$(STACK) clean

##@ Checks

.PHONY: test
test: setup static  ## everything: format, lint, types, import rules, all tests (with servers and stacks of their own)
	@# The longest folders first, so that two processes end at about the same time.
	@$(PYTEST) tests/e2e tests/spark tests/fault tests/integration tests/dags tests/unit -m "not bench and not full" \
		--numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: test-fast
test-fast: setup static  ## what needs neither JVM nor servers, in seconds
	@$(PYTEST) tests/unit

.PHONY: static
static: setup  ## format, lint, types, import rules
	@.venv/bin/ruff format --check $(ROOTS)
	@.venv/bin/ruff check $(ROOTS)
	@.venv/bin/mypy
	@PYTHONPATH=expectations:spark_jobs:plugins .venv/bin/lint-imports

.PHONY: fault
fault: setup  ## kill things in full rounds and read everything back; prints a table
	@$(PYTEST) tests/fault -m "not bench" -s --timeout 3600

.PHONY: drill
drill: setup  ## the full rounds of the other tests
	@$(PYTEST) tests -m full --ignore tests/fault --ignore tests/bench -s --timeout 3600

.PHONY: bench
bench: bench-stream bench-gold bench-user  ## all measurements, as ratios of one run

.PHONY: bench-stream
bench-stream: setup  ## the streaming job against the plain medallion and the bare limit
	@$(PYTEST) tests/bench -k stream -m bench -s --timeout 7200

.PHONY: bench-gold
bench-gold: setup  ## load, gate and publish against the usual ways
	@$(PYTEST) tests/bench -k gold -m bench -s --timeout 7200

.PHONY: bench-user
bench-user: setup  ## what a user waits for, in a stack of its own: demo, hour, replay, a killed driver
	@$(PYTEST) tests/bench/test_user_waits.py -m bench -s --timeout 7200

.PHONY: format
format: setup  ## let ruff repair format and lint
	@.venv/bin/ruff format $(ROOTS)
	@.venv/bin/ruff check --fix $(ROOTS)

.PHONY: docs
docs: setup  ## write the data dictionary and the README's table of settings anew
	@PYTHONPATH=expectations:plugins .venv/bin/python docker/local/write_docs.py

.PHONY: setup
setup:  ## .venv and jars; names what the machine lacks
	@$(STACK) setup

.PHONY: help
help:  ## this list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  %-14s %s\n", $$1, $$2}' Makefile
