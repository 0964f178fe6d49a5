PYTHON ?= python3
BIN := venv/bin
INSTALLED := venv/.installed

.PHONY: demo test lint types format clean

# Trains a model through the whole stack, on an AWS emulator on this machine.
demo: $(INSTALLED)
	@$(BIN)/python -m local demo

# What CI runs: format, lint, types, tests.
# Three at a time, since the tests wait more than they work: on two cores that is about two minutes.
test: lint types
	$(BIN)/python -m pytest -n 3 --dist worksteal -q

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(INSTALLED)
	$(BIN)/ty check

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf venv build

# The same folder that Pulumi.yaml names, so that `pulumi up` finds what it needs in it too.
$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 ...")'
	@echo "setting up ./venv (once; a minute or two) ..."
	@$(PYTHON) -m venv venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt -e .
	@touch $@
