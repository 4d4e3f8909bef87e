# The commands of a working day. On a fresh machine start with `make demo`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRITON_HOME ?= .triton
TRITON_WHEEL := nvidia-pytriton==0.7.0
# Targets use python, dvc and bentoml of the virtual environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export BENTOML_DO_NOT_TRACK := True
export HF_HUB_DISABLE_TELEMETRY := 1
# Test workers and the servers they start import the same modules: keep the compiled files.
unexport PYTHONDONTWRITEBYTECODE
# Modules are compiled at their first import: most of what is installed is never imported.
PIP := $(BIN)/pip install -qq --disable-pip-version-check --no-compile
# Three workers keep two cores busy, because tests often wait for a server.
WORKERS ?= 3
PYTEST := pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo model test tests test-fast lint proto proto-baseline up down monitor repro study bench setup dev clean

demo: $(VENV)/.ready ## set up, train and export, serve, search three times, keep serving (ONCE=1: stop then)
	@$(MAKE) --no-print-directory -j 2 model $(TRITON_HOME)/.ready # training needs no Triton
	@python -m service.stack.demo $(if $(ONCE),--once)

model: $(VENV)/.ready ## train and export the model, without the evaluation that `make repro` adds
	@python -m training.reproduce

test: dev ## run the linters, the type checker and every test, WORKERS=3 at a time
	@$(MAKE) --no-print-directory -j 2 lint tests # the type checker keeps one core busy

tests: dev
	@$(PYTEST)

test-fast: dev ## run the quick tests that start no server
	@$(PYTEST) -m "not stack and not slow"

lint: dev ## check the code, its types, the .proto and the OpenAPI document
	@ruff check . && ruff format --check . && lint-imports && mypy
	@linters/run

proto: dev ## generate the gRPC code again after a change of the .proto
	@python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src --grpc_python_out=src src/qasir/v1/retrieval.proto

proto-baseline: ## accept the .proto; `make lint` then refuses changes that break it
	@linters/run accept

repro: setup ## the whole pipeline: corpus, features, fine-tuning, every figure of results/, export
	@if [ -e build/dvc.lock ]; then mv build/dvc.lock dvc.lock; fi # what `make demo` has done already
	@dvc repro

up: setup ## start triton, worker and service in the background; return when they are ready
	@python -m service.stack up

down: ## stop them
	@python -m service.stack down

monitor: dev ## Prometheus with our rules beside the running stack, until Ctrl-C
	@python -m monitoring.serve

study: repro ## the trade-off study, resumable, outside dvc: results/, plots and docs/results.md
	@python -m training.study

bench: dev repro ## measure speed as ratios, into results/benchmarks.json
	@python -m benchmarks

setup: $(VENV)/.ready $(TRITON_HOME)/.ready

dev: setup $(VENV)/.dev

$(VENV)/.ready: pyproject.toml constraints.txt packages.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
		{ echo "qasir needs Python 3.11 or 3.12, $(PYTHON) is $$($(PYTHON) -V); set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 has no venv module; install python3-venv"; exit 1; }
	@echo "installing packages into $(VENV) (about two minutes)"
	@$(PIP) -c constraints.txt torch -e '.[service,training]'
	@$(PIP) --no-deps -r packages.txt
	@touch $@

# What tests, linters and code generation need besides; a demo does without.
$(VENV)/.dev: $(VENV)/.ready
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

# Triton comes as a wheel whose own requirements must not reach the environment.
$(TRITON_HOME)/.ready: $(VENV)/.ready
	@$(PIP) --no-deps --upgrade --target $(TRITON_HOME) $(TRITON_WHEEL)
	@touch $@

clean: ## remove caches and build output; data, results and state stay
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
