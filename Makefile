# Three commands do everything: `make demo`, `make test` and `make test-services`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow test-services clean

demo: $(VENV)/.installed
	$(BIN)/boundprobe demo

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.compile_kernels & $(BIN)/mypy; status=$$?; wait; exit $$status
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow and not services"

# Real Slurm (Debian's packages, where this user may install them) and Ray; what is missing is skipped with its reason.
test-services: $(VENV)/.installed-test
	./tests/install_services.sh $(BIN)/python
	$(BIN)/python -m pytest -m services tests

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"boundprobe needs Python 3.11 or newer; {sys.executable} is {v.major}.{v.minor}: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# Stamps, so that the second `make demo` starts at once, and a changed pin installs again.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV)
