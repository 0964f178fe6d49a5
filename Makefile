PYTHON ?= python3
BIN := venv/bin
INSTALLED := venv/.installed
# Celery, Dramatiq and the AWS CLI want a newer boto3 than the emulator does.
PEERS := benchmarks/venv/.installed
# What is downloaded has the hash that is committed, and is not built here: a build downloads more, without hashes.
INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all:
# For each system and every Python from 3.11 on; with the hashes of all files of a release.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command "make lock"

.PHONY: demo test chaos bench docs snapshot lock lint types format clean

# Trains a model through the whole stack, on an AWS emulator on this machine.
demo: $(INSTALLED)
	@$(BIN)/python -m local demo

# What CI runs: format, lint, types, tests; the costliest first (tests/conftest.py), and those together that share what
# takes long to make. Four at a time, since they also wait.
test: lint types
	$(BIN)/python -m pytest -n 4 --dist loadgroup --no-loadscope-reorder -q --durations=10

# The long form of the chaos tests: three seeds of 500 tasks and over 100 faults each, and a task across the 12-hour wall
# with 60 s for its length and 15 s for the wall. Some ten minutes.
chaos: $(INSTALLED)
	TRAINQ_LONG=1 $(BIN)/python -m pytest -q tests/emulator -k longer_than_sqs_hides
	$(BIN)/python -m tests.chaos.run

# What the program would create in each stack, to be read in a diff.
snapshot: $(INSTALLED)
	@$(BIN)/python -m local.snapshot

# Speed and cost, measured beside Celery, Dramatiq, bare boto3 and the AWS CLI; writes docs/performance.md. Under ten
# minutes. `venv/bin/python -m benchmarks --help` says how to run single ones.
bench: $(INSTALLED) $(PEERS)
	$(BIN)/python -m benchmarks run

# The reference: settings, outputs, messages, variables, commands and events, from the program.
docs: $(INSTALLED)
	@$(BIN)/cog -r -I . docs/reference.md

# The lists that pip installs, from those that people write. requirements.txt has a part of what requirements-dev.txt has.
lock: $(INSTALLED)
	$(LOCK) requirements.in requirements-dev.in -o requirements-dev.txt
	$(LOCK) requirements.in -c requirements-dev.txt -o requirements.txt
	$(LOCK) requirements-bench.in -o requirements-bench.txt

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/cog --check --diff -I . docs/reference.md
	$(BIN)/zizmor --offline --quiet .github

types: $(INSTALLED)
	$(BIN)/ty check

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf venv benchmarks/venv build

# The same folder that Pulumi.yaml names, so that `pulumi up` finds what it needs in it too.
$(INSTALLED): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 ...")'
	@echo "setting up ./venv (once; a minute or two) ..."
	@$(PYTHON) -m venv venv
	@$(BIN)/python $(INSTALL) -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@touch $@

$(PEERS): requirements-bench.txt $(INSTALLED)
	@echo "setting up ./benchmarks/venv (once) ..."
	@$(PYTHON) -m venv benchmarks/venv
	@benchmarks/venv/bin/python $(INSTALL) -r requirements-bench.txt
	@touch $@
