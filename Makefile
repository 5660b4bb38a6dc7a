# Every command a user or CI needs. A fresh machine needs Python 3.11 or newer, make, and pip.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ARGS   ?=
PEERS  ?=
OUT    ?= .bench/results.json
CAMPAIGN ?= steady

.PHONY: setup serve test test-gpu lint bench bench-gpu bench-platform overload load drill drills pipeline drill-kills drill-mixed soak demo-model docs clean

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

test-gpu: setup ## the tests that need a GPU
	TRITON_INTERPRET=0 $(BIN)/pytest tests/gpu -m gpu $(ARGS)

bench-gpu: setup ## on a GPU: decode, prefill and peers; then the demo model served, and engines killed on it
	$(BIN)/python -m spillway_engine.bench.gpu --out .bench/gpu.json $(ARGS)
	SPILLWAY_DEVICE=cuda $(BIN)/spillway bench generate --out .bench/gpu_generate.json
	SPILLWAY_DEVICE=cuda $(BIN)/spillway bench kills --kills 20 --out .bench/gpu_kills.json

bench-platform: setup ## what a gateway can do on one core, and /generate end to end
	$(BIN)/spillway bench gateway --out .bench/gateway.json
	$(BIN)/spillway bench generate --out .bench/generate.json

overload: setup ## goodput at 1, 2, 4 and 10 times the capacity; make overload PEERS=vllm ARGS="--all"
	$(BIN)/spillway bench overload --peers "$(PEERS)" --json .bench/overload.json $(ARGS)

load: setup ## a load campaign against a running Spillway; make load CAMPAIGN=spike ARGS="--url http://…"
	$(BIN)/spillway load $(CAMPAIGN) $(ARGS)

drill: setup ## eight drills that judge the promises, each with its negative control; exit 0 only if all was shown
	$(BIN)/spillway chaos run quick --scorecard

drills: setup ## every drill there is, and the resilience scorecard
	$(BIN)/spillway chaos run all

pipeline: setup ## build, tests, load and drills, and one report; make pipeline ARGS="--url http://… --every 1d"
	$(BIN)/spillway chaos pipeline $(ARGS)

drill-kills: setup ## 200 SIGKILLs under 32 streams; make drill-kills ARGS="--how stop --kills 20"
	$(BIN)/spillway bench kills --out .bench/kills.json $(ARGS)

drill-mixed: setup ## 24,000 requests of all kinds, a tenth of them leaving; then nothing may be left over
	$(BIN)/spillway bench mixed --requests 24000 --out .bench/mixed.json $(ARGS)

soak: setup ## a million requests through one process
	$(BIN)/python -m spillway_engine.bench --parts soak --out .bench/soak.json

demo-model: setup ## train the demo model again (about half an hour on two cores)
	$(BIN)/python -m spillway_engine.demo.train --out engine/spillway_engine/demo/model

docs: setup ## draw the state diagrams again
	$(BIN)/python docs/draw_states.py

clean:
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
