# Every target does its own set-up. `make` alone prints what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
CRATE := schemas/columns_rs
# Another stamp with cargo than without, so that it is built once cargo comes.
COLUMNS := $(VENV)/.columns-by-$(if $(shell command -v cargo),extension,fastavro)
SOURCES := schemas agents streams connectors tests bench
ARGS ?=

.PHONY: help setup demo test test-fast promtool bench bench-peers bench-memory bench-growth bench-scale bench-codec lint types contracts format docs clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) $(COLUMNS) ## make .venv with the pinned dependencies, and the extension for columns where cargo exists

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

$(COLUMNS): $(STAMP) $(CRATE)/Cargo.toml $(CRATE)/build.rs $(wildcard $(CRATE)/src/*.rs)
	@if ! command -v cargo >/dev/null; then \
	  echo "set-up: no cargo on this machine, so workers decide records one by one: the same results, for more processor time" >&2; touch $@; \
	elif cargo build --quiet --release --manifest-path $(CRATE)/Cargo.toml; then \
	  for built in $(CRATE)/target/release/libtally_columns.{so,dylib}; do \
	    if [ -e "$$built" ]; then \
	      install "$$built" "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/tally_columns.abi3.so"; \
	    fi; \
	  done; touch $@; \
	else \
	  echo "set-up: cargo could not build $(CRATE) (see above), so workers decide records one by one; make setup tries again" >&2; \
	fi

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

bench-peers: setup ## the main job on this product, the client alone, Kafka Streams, Flink, Quix Streams and stock Faust, side by side (ARGS="--report FILE --plot FILE --peers a,b"); needs Maven
	$(BIN)/python bench/peers/main.py $(ARGS)

bench-memory: setup ## memory and events/s with a small budget beside the default (ARGS="--orders N --repeats N")
	$(BIN)/python bench/memory.py $(ARGS)

bench-growth: setup ## 3 million events through one worker with little memory: does it grow? (ARGS="--events N --plot FILE")
	$(BIN)/python bench/growth.py $(ARGS)

bench-scale: setup ## cost per event and bytes per live key by keys, partitions, workers, repeats, hot keys, memory (ARGS="--rows a,b --report FILE")
	$(BIN)/python bench/scale/main.py $(ARGS)

bench-codec: setup ## Avro to columns and back, by the extension and by fastavro, beside the row codec (ARGS="--records N --report FILE")
	$(BIN)/python bench/codec.py $(ARGS)

lint: setup ## ruff, rules and format; rustfmt and clippy where the extension was built; the files in docker/ by their own tools
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@if [ -e $(VENV)/.columns-by-extension ] && command -v rustfmt cargo-clippy >/dev/null; then \
	  (set -x; cargo fmt --check --manifest-path $(CRATE)/Cargo.toml; cargo clippy --quiet --release --manifest-path $(CRATE)/Cargo.toml); \
	fi
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
	rm -rf $(VENV) build *.egg-info $(CRATE)/target bench/peers/*/target .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
