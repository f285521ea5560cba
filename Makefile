# What CI runs and what people run are the same targets. `make demo` and `make test` set up by
# themselves.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo test test-slow test-faults lint format bench scaling curve low-data agreement edits pictures studio-browser studio-bench clean

help:
	@echo "make demo       set up, run the pipeline on the embedded glyphs into runs/demo"
	@echo "make test       set up, run the tests (test-slow: the long ones)"
	@echo "make test-faults  kills, full disks, damaged files and the like, FAULTS=25 times as many"
	@echo "make lint       ruff and mypy        make format  ruff, in place"
	@echo "make bench      speed of each stage  make scaling growth of time and memory with size"
	@echo "make low-data   NP-DRAW and a VAE on few images of MNIST, in the same time"
	@echo "make agreement  what the prior draws against what the encoder draws, MODEL=NAME"
	@echo "make edits      how local an edit is: change inside and outside of its region, MODEL=NAME"
	@echo "make curve      likelihood against canvas error    make pictures  those of the README"
	@echo "make studio-browser  a browser for the tests of the studio    make studio-bench  from drop to picture"
	@echo "make clean      remove .venv"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --editable . --constraint constraints.txt
	@touch $@

.venv/developer: .venv/installed
	$(PIP) install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@

install: .venv/developer

demo: .venv/installed
	$(BIN)/npdraw run --preset glyphs --images 500 --out runs/demo

# Tests are of one thread each, so as many at a time as there are cores at least.
WORKERS ?= 2

test: .venv/developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

test-slow: .venv/developer
	$(BIN)/python -m pytest -m slow

FAULTS ?= 25

test-faults: .venv/developer
	NPDRAW_FAULTS=$(FAULTS) $(BIN)/python -m pytest -m "slow or not slow" tests/faults

lint: .venv/developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/developer
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/developer
	@$(BIN)/python -m benchmarks

scaling: .venv/developer
	@$(BIN)/python -m benchmarks.scaling

curve: .venv/developer
	@$(BIN)/python -m benchmarks.studies.canvas_curve

low-data: .venv/developer
	@$(BIN)/python -m benchmarks.studies.low_data

MODEL ?= mnist

agreement: .venv/developer
	@$(BIN)/python -m benchmarks.studies.agreement $(MODEL)

edits: .venv/developer
	@$(BIN)/python -m benchmarks.studies.edits $(MODEL)

pictures: .venv/developer
	@$(BIN)/python -m benchmarks.studies.pictures mnist omniglot cifar10

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Debian's and Ubuntu's packages; elsewhere any Chromium or Chrome on the path will do.
studio-browser: .venv/developer
	$(PIP) install --quiet --editable '.[dev,browser]' --constraint constraints.txt
	@for name in chromium chromium-browser google-chrome chrome; do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	$(SUDO) apt-get update && $(SUDO) apt-get install --yes chromium

studio-bench: .venv/developer
	@$(BIN)/python -m benchmarks.studio

clean:
	rm -rf .venv
