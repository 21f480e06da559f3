# `make` alone lists the targets. VENV and PYTHON can be set: make test PYTHON=python3.12 VENV=.venv312
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := pyproject.toml setup.py $(shell find src \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -not -path '*/build/*' 2>/dev/null)

.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/pip.stamp:
	@$(PYTHON) scripts/preflight.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	@touch $@

$(VENV)/build.stamp: $(VENV)/pip.stamp $(SOURCES)
	$(PIP) install -e .
	@touch $@

$(VENV)/%.group: $(VENV)/build.stamp pyproject.toml
	$(PIP) install --group $*
	@touch $@

build: $(VENV)/build.stamp ## Create the virtual environment and build the library into it

demo: build ## Build, then show the main job: sign, trust, load, call, refuse, unload
	$(BIN)/pluginapi demo

test: $(VENV)/test.group ## Build, then run the tests
	$(BIN)/python -m pytest --cov --cov-report=term $(PYTEST_ARGS)

lint: $(VENV)/lint.group ## ruff, ruff format, mypy --strict, stubtest, cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cython-lint src/_native

clean: ## Remove everything that was built
	rm -rf build dist $(VENV) docs/_build
	find src -name '*.so' -delete

.PHONY: help build demo test lint clean
