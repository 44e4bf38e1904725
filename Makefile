# The machine's own Python makes .venv; everything after that runs in .venv.
PYTHON ?= python3
BIN := .venv/bin

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench schemas lock clean

help: ## Show what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## Put drtool, its pinned libraries and restic into .venv (again: repairs, or does nothing)
	@$(PYTHON) tools/setup.py

demo: setup ## Lose a server's data and bring it back, on this machine, in a few minutes
	@$(BIN)/python tools/demo.py

test: setup ## Run the tests
	@$(PYTHON) tools/setup.py test-packages
	@$(BIN)/pytest

lint: setup ## Check style, types and the directions between the layers
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports

bench: setup ## Measure against plain restic
	@$(BIN)/python benchmarks/run.py

schemas: setup ## Write the JSON Schemas of the documents, and the digests of scripts into the runbooks
	@$(BIN)/python tools/schemas.py
	@$(BIN)/python tools/digests.py

# uv resolves for every Python from 3.11 on at once, which pip cannot. The lock names no index: each machine asks its own.
lock: ## Write requirements.lock anew, with the newest versions that pyproject.toml admits
	@test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv; }
	@build/lock/bin/uv pip compile pyproject.toml --group dev --extra report --upgrade --quiet \
	  --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --output-file requirements.lock
	@echo "requirements.lock is new: run make test, then commit it"

clean: ## Remove everything that make has made
	@rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
