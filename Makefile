# Two commands set everything up on a machine that has Python 3.10 or later:
#   make demo    train on real data, print where the pictures are
#   make test    run the tests
# `make help` lists the rest. The environment lives in .venv and is made when it is missing
# or pyproject.toml has changed.

PYTHON ?= python3
# What development and CI test against; it goes in before anything that depends on torch.
TORCH ?= torch==2.13.0
# Extra arguments for every pip install, for example an index with CPU builds of torch.
PIP_ARGS ?=
VENV ?= .venv
JOBS ?= 2
DEMO := runs/demo

# Instruction sets of `make clang` and `make sanitize`; "native" is the CPU's best one.
SETS ?= native avx2

BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# One thread per worker: two workers with two threads each would fight for two cores.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# The kernels with every access checked, in a cache of their own.
SANITIZED := CXX=g++ SPIKEGRAD_CACHE=$(CURDIR)/build/sanitized SPIKEGRAD_CXXFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
KERNELS := $(shell find spikegrad/kernels/cpu/src tests/kernels/simd -name "*.h" -o -name "*.cpp")
# A failing step says which one it was and how to run it alone.
FAILED = || { echo; echo "make $@: failed (the output above says why; run it alone with: make $@)"; exit 1; }

.DEFAULT_GOAL := help
ifndef AT_ONCE
.NOTPARALLEL:
endif
.PHONY: help demo test contract sets simd simd-neon clang sanitize wheel wheel-test check format format-check lint types layout doctest docs examples clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "expected Python 3.10 or later, got $$($(PYTHON) --version 2>&1); choose one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "could not make $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "installing into $(VENV) (the first time this takes a few minutes: torch is large)"
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) "$(TORCH)" || { echo "could not install $(TORCH); is the package index reachable?"; exit 1; }
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e ".[dev]" || { echo "could not install spikegrad and its development tools"; exit 1; }
	@touch $(STAMP)

demo: $(STAMP)  ## train on the digits that come with the package (about a minute)
	@rm -rf -- "$(DEMO)"
	@$(BIN)/spikegrad train digits --out "$(DEMO)" $(FAILED)
	@echo; echo "pictures:"; ls -1 "$(DEMO)"/pictures/*.png | sed 's/^/  /'

test: $(STAMP)  ## every test, on two processes (JOBS=2): rooms, layout, documentation blocks, examples
	@$(THREADS) $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(FAILED)

contract: $(STAMP)  ## the kernels against the specification, every combination (a few minutes)
	@$(THREADS) SPIKEGRAD_CONTRACT=full $(BIN)/python -m pytest -q -n $(JOBS) tests/kernels/test_layer_contract.py tests/kernels/test_layer_properties.py tests/kernels/test_step_properties.py $(FAILED)

# The sets of this CPU besides its best one, which `make test` takes: avx2 and generic where there is AVX-512.
# By default tests of values and gradients; the others are about Python or name their sets themselves. Of the
# compiler's own vectors fewer: each of their operations is in tests/kernels/test_simd.py.
SET_TESTS ?= $(addprefix tests/kernels/test_,contract.py conv.py delayed_feedback.py layer_contract.py layer_inputs.py layer_products.py linear.py pool2d.py sparse_products.py spike_pool.py)
GENERIC_TESTS ?= $(addprefix tests/kernels/test_,conv.py layer_products.py linear.py pool2d.py sparse_products.py)
SET_JOBS ?= $(JOBS)
OTHER_SETS := $(BIN)/python -c 'from spikegrad.kernels.cpu import instructions as i; print(*(n for n in i.NEEDS if n != i.best() and not i.missing(n)))'
sets: $(STAMP)  ## the kernels' values and gradients on every other instruction set of this CPU (all tests: SET_TESTS=tests/kernels)
	@for set in $$($(OTHER_SETS)); do echo "instruction set $$set:"; tests="$(SET_TESTS)"; test $$set = generic && tests="$(GENERIC_TESTS)"; \
		SPIKEGRAD_ISA=$$set $(THREADS) $(BIN)/python -m pytest -q -n $(SET_JOBS) $$tests || exit 1; done $(FAILED)

simd: $(STAMP)  ## each operation of the instruction sets of this CPU against plain code, by g++ and clang++
	@$(BIN)/python -m pytest -q -rs tests/kernels/test_simd.py $(FAILED)

# Whole kernels are compiled for NEON but not run: that needs a torch for aarch64.
simd-neon: $(STAMP)  ## the same for NEON under qemu, and whether every kernel compiles for aarch64
	@for tool in aarch64-linux-gnu-g++ qemu-aarch64; do command -v $$tool > /dev/null || { echo "expected $$tool, which is not installed; on Debian: apt install g++-aarch64-linux-gnu qemu-user"; exit 1; }; done
	@SPIKEGRAD_NEON=all $(BIN)/python -m pytest -q -n $(JOBS) tests/kernels/test_simd.py -k aarch64 $(FAILED)

clang: $(STAMP)  ## everything compiled by clang++ for the sets of this CPU, and the kernel tests on it
	@command -v clang++ > /dev/null || { echo "expected clang++, which is not installed; on Debian: apt install clang"; exit 1; }
	@for set in $(SETS); do test $$set != native || set=; echo "clang++, instruction set $${set:-native}:"; export SPIKEGRAD_ISA=$$set CXX=clang++ SPIKEGRAD_CACHE=$(CURDIR)/build/clang; \
		$(THREADS) $(BIN)/python -m pytest -q -n $(JOBS) -p no:cacheprovider tests/kernels || exit 1; done $(FAILED)

# torch itself is not instrumented, so the sanitizer's library is loaded before it; the pool gives every
# buffer its exact size. What Python still holds when it ends is no leak: tests/kernels/test_memory.py counts.
sanitize: $(STAMP)  ## the kernel tests under AddressSanitizer and UBSan (needs g++; five minutes a set, hence no part of make check)
	@for set in $(SETS); do test $$set != native || set=; echo "instruction set $${set:-native}:"; export SPIKEGRAD_ISA=$$set; \
		$(SANITIZED) $(BIN)/python -c 'from spikegrad.kernels import cpu; cpu.build()' && \
		$(THREADS) $(SANITIZED) ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
		$(BIN)/python -m pytest -q -n $(JOBS) -p no:cacheprovider tests/kernels || exit 1; done $(FAILED)

# The kernels are compiled in .venv, where torch is; the wheel is packed in an environment of pip's own.
wheel: $(STAMP)  ## a wheel with the kernels ready-made for AVX2 and AVX-512 (Linux on x86-64), in dist/
	@test "$$(uname -s) $$(uname -m)" = "Linux x86_64" || { echo "expected Linux on x86-64, got $$(uname -s) $$(uname -m); elsewhere the kernels are built on first use: pip wheel --no-deps ."; exit 1; }
	@$(BIN)/python -c 'from pathlib import Path; from spikegrad.kernels.cpu.wheel import make; make(Path("build/kernels"))' $(FAILED)
	@SPIKEGRAD_WHEEL_KERNELS="$(CURDIR)/build/kernels" $(BIN)/python -m pip wheel --quiet $(PIP_ARGS) --no-deps --wheel-dir dist . $(FAILED)
	@ls -1t dist/spikegrad-*.whl | head -1

wheel-test: wheel  ## install that wheel into a new environment, and train there with no compiler on the PATH
	@rm -rf -- build/wheel-test
	@$(PYTHON) -m venv build/wheel-test
	@build/wheel-test/bin/python -m pip install --quiet $(PIP_ARGS) "$(TORCH)" "$$(ls -1t dist/spikegrad-*.whl | head -1)" $(FAILED)
	@build/wheel-test/bin/python tests/check_wheel.py $(FAILED)

# What keeps one core busy goes side by side; `test` has the layout and the examples too. Some tests
# wait, for processes that end for example: meanwhile `sets` has their core.
check: $(STAMP)  ## everything CI does
	@$(MAKE) --no-print-directory -j $(JOBS) --output-sync=target AT_ONCE=yes docs format-check lint types doctest
	@$(MAKE) --no-print-directory -j $(JOBS) --output-sync=target AT_ONCE=yes SET_JOBS=1 test sets
	@echo "make check: all passed"

format: $(STAMP)  ## rewrite the sources in the one format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/clang-format -i $(KERNELS)

format-check: $(STAMP)  ## is everything in the one format?
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; echo "make $@: failed; repair with: make format"; exit 1; }
	@$(BIN)/clang-format --dry-run --Werror $(KERNELS) || { echo "make $@: failed; repair with: make format"; exit 1; }

lint: $(STAMP)  ## ruff
	@$(BIN)/ruff check --quiet . $(FAILED)

types: $(STAMP)  ## mypy on the package
	@$(BIN)/mypy $(FAILED)

layout: $(STAMP)  ## do imports point one way, are files and functions short?
	@$(BIN)/python -m pytest -q tests/test_layout.py $(FAILED)

doctest: $(STAMP)  ## the examples in docstrings
	@$(THREADS) $(BIN)/python -m pytest -q -n $(JOBS) --doctest-modules spikegrad $(FAILED)

docs: $(STAMP)  ## the site with its tutorials executed, in build/site; a warning is an error, and nothing is fetched
	@$(THREADS) $(BIN)/python -m docs.sitemaker build/site $(FAILED)
	@SPIKEGRAD_SITE=build/site $(BIN)/python -m pytest -q tests/sitemaker/test_built.py $(FAILED)

examples: $(STAMP)  ## every script in examples/, in its short version (also part of make test)
	@$(THREADS) $(BIN)/python -m pytest -q tests/test_examples.py $(FAILED)

clean:  ## remove the environment, caches and build leftovers; runs/ stays
	@rm -rf -- "$(VENV)" .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf -- {} +
