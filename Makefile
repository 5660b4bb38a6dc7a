# Every command a user or CI needs. A fresh machine needs Python 3.11 or newer, make, and pip.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ARGS   ?=
PEERS  ?=
OUT    ?= .bench/results.json

.PHONY: setup serve test lint bench bench-platform soak demo-model clean

setup: $(VENV)/.ready ## install everything into .venv, and compile the kernels once

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	$(BIN)/python -m spillway_engine.warm
	touch $@

serve: setup ## the platform with the demo model on two engines; make serve ARGS="--model PATH --engines 1"
	$(BIN)/spillway serve $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## all that CI runs; pytest's line comes last
	$(BIN)/pytest -n 2 --dist loadgroup

bench: setup ## make bench PEERS=vllm,openvino measures those beside transformers, in the same run
	$(BIN)/python -m spillway_engine.bench --peers "$(PEERS)" --out "$(OUT)"

soak: setup ## a million requests through one process
	$(BIN)/python -m spillway_engine.bench --parts soak --out .bench/soak.json

demo-model: setup ## train the demo model again (about half an hour on two cores)
	$(BIN)/python -m spillway_engine.demo.train --out engine/spillway_engine/demo/model

clean:
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
