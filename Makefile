IS_311 := import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))
# The first of these that runs and is 3.11.
PYTHON ?= $(or $(shell for python in python3.11 python3; do \
	$$python -c '$(IS_311)' 2>/dev/null && echo $$python && break; done),python3.11)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint benchmark clean

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c '$(IS_311)' 2>/dev/null || \
	{ echo "error: $(PYTHON) is not a Python 3.11 with venv; name one with 'make PYTHON=...'" \
	"(Debian 12: apt-get install python3.11-venv)" >&2; exit 1; }
	@echo "installing into $(VENV), which takes a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/demo_mnist.py --output demo_output

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -m "not slow and not cuda" -n 2

test-slow: $(VENV)/.installed
	$(BIN)/pytest -m "slow and not cuda" -n 2

benchmark: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[benchmark]'
	$(BIN)/python -m benchmarks prepare
	$(BIN)/python -m benchmarks time

clean:
	rm -rf $(VENV) demo_output build dist *.egg-info
