# Everything a developer does here. `make` alone explains itself.

# The interpreter of a new environment; unset: the first one on PATH of at least 3.11.
PYTHON ?=
# Where the environment is. A checkout that is not ours to write to gets one in the cache of the user.
VENV ?= $(shell [ -w . ] && echo .venv || echo "$${XDG_CACHE_HOME:-$$HOME/.cache}/slurp-leader/venv")
# Which exact versions are in it, and which [dependency-groups] of pyproject.toml.
CONSTRAINTS ?= constraints.txt
TOOLS ?= dev
# Test processes side by side. They mostly wait, for leases and for programs that start.
WORKERS ?= 4
# More words for the command: make test ARGS='tests/etcd -x', make demo ARGS='--nodes 5'.
ARGS ?=

BIN := $(VENV)/bin

# Tools keep what they remember inside the environment: the checkout stays clean, and may belong to somebody else.
export PYTHON
export RUFF_CACHE_DIR := $(VENV)/cache/ruff
export MYPY_CACHE_DIR := $(VENV)/cache/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(VENV)/cache/hypothesis

.DEFAULT_GOAL := help
.PHONY: help environment demo test lint images bench clean

help: ## Show this list.
	@echo 'make TARGET [ARGS="more words for the command"]'
	@echo
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

environment: ## Make .venv with everything in it, or bring it up to date. The others do this first.
	@.ci/environment $(VENV) $(CONSTRAINTS) $(TOOLS)

demo: environment ## Watch three nodes work through a queue and lose their leader.
	@$(BIN)/slurp demo $(ARGS)

# The programs that tests start would else be compiled by each of them, where bytecode is not written.
test: environment ## Run the tests.
	@env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(abspath $(VENV))/cache/python \
		$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -o cache_dir=$(abspath $(VENV))/cache/pytest $(ARGS)

lint: environment ## Check form, types, and which part imports which.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@PYTHONPATH=src $(BIN)/lint-imports --no-cache

images: environment ## Build the images of docker-compose.yml. No registry: ARGS="--base host".
	@$(BIN)/python containers/build.py $(ARGS)

bench: environment ## Measure jobs per second and latency on a real etcd.
	@$(BIN)/python benchmarks/jobs.py $(ARGS)

clean: ## Delete what was built or installed here.
	@rm -rf .venv .venv-floors build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
