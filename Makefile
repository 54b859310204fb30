# make demo    simulate (or SCAN=path), train, reconstruct, compare; leaves demo/report.html
# make study   the dose and overlap study; PROFILE=smoke or full for less or more, STUDY="--repeats 3" for options; goes on where it stopped
# make benchmark  quality and speed against their targets; SIZE=full for more; leaves benchmarks/results/
# make test    lint, types, layers, tests
# make docs    the pages of guide, gallery and reference in build/docs, every example run: some minutes
# make interop  other programs open what is written here, and the other way round; in an environment of its own, .venv-interop
# make faults  kills a small study KILLS=100 times and lets disks fill up; takes an hour or more
# make install the environment alone, in .venv
# TORCH=... chooses another torch build; see "Installing" in README.md

PYTHON  ?= python3
VENV    ?= .venv
SCAN    ?=
OUTPUT  ?= demo
DEMO    ?=
PROFILE ?= quick
STUDY   ?=
SIZE    ?= small
KILLS   ?= 100
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
INTEROP ?= .venv-interop

.PHONY: install demo study benchmark docs test interop faults lint clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: expected Python 3.11 or newer as $(PYTHON); set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "make: expected Python's venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ptychi,study,test]'
	@touch $@

demo: $(READY)
	$(BIN)/foldlight demo --output '$(OUTPUT)' $(if $(SCAN),--scan '$(SCAN)') $(DEMO)

study: $(READY)
	$(BIN)/foldlight study run studies/fly64_dose_overlap --profile $(PROFILE) $(STUDY)

# Quality first: it may use both cores, and timings want them idle.
benchmark: $(READY)
	$(BIN)/python -m benchmarks.quality --size $(SIZE)
	$(BIN)/python -m benchmarks.speed --size $(SIZE)

# Warnings are errors. An extra of its own, installed when it is first needed; examples that have not changed are not run
# again (make clean).
docs: $(READY)
	@$(BIN)/python -c 'import furo, myst_parser, sphinx_gallery' 2>/dev/null \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q -c docs -b html . build/docs
	@echo 'pages -> build/docs/index.html'

lint: $(READY)
	$(BIN)/ruff check src tests studies scripts benchmarks docs
	$(BIN)/ruff format --check src tests studies scripts benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Two workers on one thread each: results repeat to the bit on one thread, and two cores are busy.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# An environment of its own: ptychodus asks for another pty-chi than this package.
interop: $(INTEROP)/.ready
	OMP_NUM_THREADS=1 $(INTEROP)/bin/pytest tests/interop

$(INTEROP)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(INTEROP)
	@grep -v '^ptychi==' constraints.txt > $(INTEROP)/constraints.txt
	$(INTEROP)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(INTEROP)/constraints.txt --editable '.[interop]'
	@touch $@

# Moments are drawn by FAULT_SEED; each kill and each study that ended is told as it happens.
faults: $(READY)
	OMP_NUM_THREADS=1 FAULT_KILLS=$(KILLS) $(BIN)/pytest -s tests/faults

clean:
	rm -rf $(VENV) $(INTEROP) demo outputs build docs/auto_* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
