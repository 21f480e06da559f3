# `make` alone lists the targets. VENV and PYTHON can be set: make test PYTHON=python3.12 VENV=.venv312
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := pyproject.toml setup.py $(shell find src \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.c' -o -name '*.h' \) -not -path '*/build/*' 2>/dev/null)

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
	$(BIN)/python benchmarks/bench_process.py
	$(BIN)/python benchmarks/bench_sandbox.py
	$(BIN)/python benchmarks/bench_monitor.py
	$(BIN)/python benchmarks/bench_heap.py

# What is written in C alone is the same for every Python: `make test` runs it. Builds come one after
# the other, since they share what they make; the tests of all versions run at the same time.
OTHERS := -q --no-cov -m 'not c_only'
EXCEPT ?=
test-all: ## The tests on every supported Python: 3.11, 3.12 and 3.13 must be there; EXCEPT=3.11 leaves one out
	@$(PYTHON) scripts/interpreters.py $(EXCEPT) > .interpreters || { rm -f .interpreters; exit 1; }
	@set -e; runs=; for python in $$(cat .interpreters); do \
		version=$$($$python -c 'import sys; print("%d%d" % sys.version_info[:2])'); \
		$(MAKE) --no-print-directory $(VENV)-$$version/test.group PYTHON=$$python VENV=$(VENV)-$$version; \
	done; \
	for python in $$(cat .interpreters); do \
		version=$$($$python -c 'import sys; print("%d%d" % sys.version_info[:2])'); \
		$(MAKE) --no-print-directory test PYTHON=$$python VENV=$(VENV)-$$version \
			PYTEST_ARGS="$(OTHERS) $(PYTEST_ARGS)" > .test-$$version.log 2>&1 & \
		runs="$$runs $$!:$$python:$$version"; \
	done; \
	failed=0; for run in $$runs; do \
		result=0; wait $${run%%:*} || result=$$?; \
		echo "== $${run#*:}: exit $$result"; cat .test-$${run##*:}.log; rm .test-$${run##*:}.log; \
		[ $$result = 0 ] || failed=1; \
	done; rm -f .interpreters; exit $$failed

test-sanitize: ## The native tests with AddressSanitizer and UndefinedBehaviorSanitizer
	$(PYTHON) -m venv $(VENV)-sanitize
	$(VENV)-sanitize/bin/python -m pip --quiet install --upgrade pip
	$(VENV)-sanitize/bin/python -m pip --quiet install . --group test
	rm -rf build
	PLUGINAPI_SANITIZE=1 $(VENV)-sanitize/bin/python -m pip --quiet install --force-reinstall --no-deps .
	rm -rf build
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYCRYPTODOME_DISABLE_DEEPBIND=1 \
		$(VENV)-sanitize/bin/python -m pytest tests/native -m 'not c_only' $(PYTEST_ARGS)

test-emulated: ## The native and security tests on every path, wide instructions emulated
	$(PYTHON) -m venv $(VENV)-emulated
	$(VENV)-emulated/bin/python -m pip --quiet install --upgrade pip
	rm -rf build
	PLUGINAPI_EMULATE=1 $(VENV)-emulated/bin/python -m pip --quiet install --force-reinstall . --group test
	rm -rf build
	@# The programs in C bring their own emulation and sanitizers and are run by `make test`.
	PLUGINAPI_EMULATE=1 $(VENV)-emulated/bin/python -m pytest tests/native tests/security \
		-m 'not c_only' $(PYTEST_ARGS)

test-avx512: ## The kernels on real AVX-512 instructions, in Bochs (Debian: bochs bochs-term vgabios)
	$(PYTHON) tests/machine/run.py

# One kernel with each layout of control groups that machines have, in turn: two machines at once
# are slower than two after one another.
VM_KERNEL ?= 6.1
VM_PYTEST := $(BIN)/python -m pytest -p no:cacheprovider -p no:cov
test-vm: $(VENV)/test.group ## What takes control groups v2 or a whole machine, in a virtual one (qemu); VM_KERNEL=6.12
	PLUGINAPI_MUST_SANDBOX=1 PYTHONPATH=tests $(PYTHON) -m vm --kernel $(VM_KERNEL) -- \
		$(VM_PYTEST) -m 'vm or vm_only' tests/sandbox tests/process tests/escape $(PYTEST_ARGS)
	PLUGINAPI_MUST_SANDBOX=1 PYTHONPATH=tests $(PYTHON) -m vm --kernel $(VM_KERNEL) --cgroups v1 -- \
		$(VM_PYTEST) tests/sandbox/test_cgroups.py $(PYTEST_ARGS)

vm-tools: ## Install what `make test-vm` takes besides (Debian, as root)
	@command -v qemu-system-x86_64 depmod > /dev/null && test -x /bin/busybox || { \
		apt-get update && \
		apt-get install -y --no-install-recommends qemu-system-x86 busybox-static kmod; }

FUZZ_SECONDS ?= 60
fuzz: ## Fuzz the kernels (clang); FUZZ_SECONDS=60 for each program, FUZZ_TARGET=keccak for one
	$(PYTHON) scripts/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_TARGET)

lint: $(VENV)/lint.group ## ruff, ruff format, mypy --strict, stubtest, cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest $(foreach module,_abi _broker _budget _channel _confine _context _cpu _ed25519 _heap _hooks _procfs _profile _pushed _reading _seccomp _sha3 _spawn,pluginapi._native.$(module))
	PATH="$(abspath $(BIN)):$$PATH" cython-lint src/_native

docs: $(VENV)/docs.group ## Build the documentation into docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean: ## Remove everything that was built
	rm -rf build dist .fuzz .vm $(VENV) docs/_build
	find src \( -name '*.so' -o -name plugin-worker \) -delete

.PHONY: help build demo test test-all test-sanitize test-emulated test-avx512 test-vm vm-tools fuzz bench lint clean docs
