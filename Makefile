# The environment is .venv; `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := proto graph_rewrites explainers server clients

.DEFAULT_GOAL := help
.PHONY: help dev test lint format proto docs demo benchmark clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("onnxplain needs Python >= 3.11: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[demo,dev]'
	@mkdir -p .ns/onnxplain && for f in $(FOLDERS); do ln -sfn ../../$$f .ns/onnxplain/$$f; done
	@touch $@ $(VENV)/.demo

dev: $(VENV)/.dev ## create .venv with everything a developer needs

test: $(VENV)/.dev ## run the tests
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev ## format check, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(FOLDERS:%=-p onnxplain.%)

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.dev ## regenerate the stubs from proto/*.proto
	$(BIN)/python proto/generate.py

docs: $(VENV)/.dev ## regenerate the tables of methods and operators
	$(BIN)/python docs/generate.py

demo: $(VENV)/.demo ## explain a photo over gRPC; pictures in demo/
	$(BIN)/onnxplain demo --output demo

benchmark: $(VENV)/.dev ## time the methods as ratios to a plain onnxruntime forward
	$(BIN)/python -m benchmarks

clean: ## remove the environment and everything generated
	rm -rf $(VENV) .ns demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache
