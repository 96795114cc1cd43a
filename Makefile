# Every target does its own set-up. `make` alone prints what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
SOURCES := schemas agents streams connectors tests bench
ARGS ?=

.PHONY: help setup demo test test-fast promtool bench bench-memory bench-growth lint types contracts format docs clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with the pinned dependencies

# The first interpreter that really runs: a version manager's shim may be on the path and still refuse.
$(STAMP): pyproject.toml constraints.txt
	@python=""; \
	for name in $${PYTHON:-} python3.11 python3.12 python3.13 python3; do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$name"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "tally: needs Python 3.11 or newer, and this machine has $$(python3 --version 2>&1 || echo none): install it, or name it with make PYTHON=..." >&2; \
	  exit 3; \
	fi; \
	echo "set-up: $(VENV) with $$("$$python" --version)" >&2; \
	"$$python" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## run the main job on real Kafka, kill a worker, judge every row (ARGS="--orders N --seed S --workers W --no-kill")
	@$(BIN)/tally demo $(ARGS)

test: setup promtool lint types contracts ## lint, types, import contracts and every test; four at a time, most of them wait for sessions to end, each on a broker of its own
	$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

test-fast: setup lint types contracts ## the same without the tests that need a broker
	$(BIN)/python -m pytest -m "not kafka" $(ARGS)

promtool: setup ## Prometheus' own checker of alert rules, built from its Go module, once; make test needs it
	@$(BIN)/python -m tests.support.promtool

bench: setup ## events/s and CPU of one worker beside the limit, and of the main job alone (ARGS="--report FILE")
	$(BIN)/python bench/main_job.py $(ARGS)

bench-memory: setup ## memory and events/s with a small budget beside the default (ARGS="--orders N --repeats N")
	$(BIN)/python bench/memory.py $(ARGS)

bench-growth: setup ## 3 million events through one worker with little memory: does it grow? (ARGS="--events N --plot FILE")
	$(BIN)/python bench/growth.py $(ARGS)

lint: setup ## ruff, rules and format; the files in docker/ by their own tools
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/yamllint docker
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/docker-compose --file docker/compose.yaml --profile '*' config --quiet

types: setup ## mypy --strict, tests included
	$(BIN)/mypy

contracts: setup ## imports point one way
	$(BIN)/lint-imports

format: setup ## let ruff format and mend what it can
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: setup ## make docs/metrics.md from the list of metrics, docs/topics.md from the catalogue of topics
	$(BIN)/python -m streams.metrics > docs/metrics.md
	$(BIN)/python -m streams.topics_page > docs/topics.md

clean: ## remove .venv and the caches (.tally, the local broker's data, stays: `tally broker down` first)
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
