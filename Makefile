# Three commands matter: `make up`, `make demo` and `make test`. Each sets up what it needs in .venv.

# The first that runs, is new enough, and can make a virtual environment.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$python; break; }; done)
BIN := .venv/bin
# More than the 2 cores that are counted on: many tests wait, for a server or for a lease.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

.PHONY: up demo test soak bench lint format clean help

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/.runtime  ## back up, show, restore and compare a made-up school, on an embedded Postgres
	$(BIN)/convault demo $(DEMO)

up: .venv/.runtime  ## Prefect server, worker and API, until Ctrl-C; UP=--demo on an embedded Postgres
	$(BIN)/convault up $(UP)

test: .venv/.dev  ## the tests, with small counts, on Postgres 16 and 18
	$(PYTEST) -m "not matrix and not long"

soak: .venv/.dev  ## what has counts (kills, faults, random histories), with large ones; more versions; what is long
	CONVAULT_SOAK=1 $(PYTEST) -o timeout=1500 -m "soak or matrix or long"

bench: .venv/.dev  ## measure it beside others: BENCH="--messages 3000000"; see benchmarks/README.md
	$(BIN)/python -m benchmarks.run --json benchmarks/results.json --svg benchmarks/results.svg $(BENCH)

lint: .venv/.dev  ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev  ## let ruff put things straight
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## forget the virtual environment
	rm -rf .venv

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer that can make a virtual environment was found." \
		"Debian, Ubuntu: apt-get install python3 python3-venv. macOS: brew install python@3.12." \
		"One that lies elsewhere: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.runtime: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/.runtime
