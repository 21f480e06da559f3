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
	$(BIN)/python -m pytest --cov --cov-report=term --ignore=tests/test_leaks.py $(PYTEST_ARGS)
	$(BIN)/python -m pytest tests/test_leaks.py

bench: $(VENV)/bench.group ## Build, then measure against the peers; prints ratios
	$(BIN)/python -m pytest -p racing benchmarks/bench_*.py -q $(PYTEST_ARGS)

test-all: ## The tests on every supported Python; all of 3.11, 3.12 and 3.13 must be there
	@$(PYTHON) scripts/interpreters.py > .interpreters || { rm -f .interpreters; exit 1; }
	@set -e; for python in $$(cat .interpreters); do \
		version=$$($$python -c 'import sys; print("%d%d" % sys.version_info[:2])'); \
		echo "== $$python"; \
		$(MAKE) --no-print-directory test PYTHON=$$python VENV=$(VENV)-$$version PYTEST_ARGS="-q --no-cov"; \
	done; rm -f .interpreters

test-sanitize: ## The native tests with AddressSanitizer and UndefinedBehaviorSanitizer
	$(PYTHON) -m venv $(VENV)-sanitize
	$(VENV)-sanitize/bin/python -m pip --quiet install --upgrade pip
	$(VENV)-sanitize/bin/python -m pip --quiet install . --group test
	rm -rf build
	PLUGINAPI_SANITIZE=1 $(VENV)-sanitize/bin/python -m pip --quiet install --force-reinstall --no-deps .
	rm -rf build
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYCRYPTODOME_DISABLE_DEEPBIND=1 \
		$(VENV)-sanitize/bin/python -m pytest tests/native $(PYTEST_ARGS)

lint: $(VENV)/lint.group ## ruff, ruff format, mypy --strict, stubtest, cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pluginapi._native._abi pluginapi._native._cpu pluginapi._native._sha3
	PATH="$(abspath $(BIN)):$$PATH" cython-lint src/_native

docs: $(VENV)/docs.group ## Build the documentation into docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean: ## Remove everything that was built
	rm -rf build dist $(VENV) docs/_build
	find src -name '*.so' -delete

.PHONY: help build demo test test-all test-sanitize bench lint clean docs
