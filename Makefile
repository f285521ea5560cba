# CI and people run the same targets. `make demo` and `make test` set up what they need.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo test test-slow test-faults lint format bench scaling curve rivals low-data agreement edits pictures notebook studio-browser studio-bench studio-picture clean

help:
	@echo "make demo            set up, run the pipeline on the embedded glyphs into runs/demo"
	@echo "make test            set up, run the tests"
	@echo "make test-slow       the long tests"
	@echo "make test-faults     kills, full disks, damaged files; FAULTS=25 times as many cases"
	@echo "make install         set up for development"
	@echo "make lint            ruff and mypy"
	@echo "make format          ruff, in place"
	@echo "make bench           speed of each stage"
	@echo "make scaling         growth of time and memory with every size"
	@echo "make rivals          NP-DRAW, DRAW, AIR, VAE, VQ-VAE, PixelCNN: the same data, the same time"
	@echo "make low-data        the same on few images of MNIST"
	@echo "make agreement       drawings of the prior compared with those of the encoder, MODEL=NAME"
	@echo "make edits           how local an edit is: change inside and outside its region, MODEL=NAME"
	@echo "make curve           likelihood against canvas error"
	@echo "make pictures        redraw the pictures of models in README.md and docs/"
	@echo "make notebook        run docs/first-model.ipynb, and store its outputs in it"
	@echo "make studio-browser  install a browser for the tests of the studio"
	@echo "make studio-bench    time from dropping a part to seeing the image"
	@echo "make studio-picture  docs/studio.png and docs/studio-colour.png"
	@echo "make clean           remove .venv"

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

# Each test runs in one thread, so use at least as many workers as there are cores.
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
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

format: .venv/developer
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/developer
	@$(BIN)/python -m benchmarks

scaling: .venv/developer
	@$(BIN)/python -m benchmarks.scaling

curve: .venv/developer
	@$(BIN)/python -m benchmarks.studies.canvas_curve

RIVALS := $(BIN)/python -m benchmarks.rivals

rivals: .venv/developer
	@$(RIVALS) --data mnist mnist-static omniglot cifar10

low-data: .venv/developer
	@$(RIVALS) --data mnist --limit 0.001 0.01 0.1

MODEL ?= mnist

agreement: .venv/developer
	@$(BIN)/python -m benchmarks.studies.agreement $(MODEL)

edits: .venv/developer
	@$(BIN)/python -m benchmarks.studies.edits $(MODEL)

pictures: .venv/developer
	@$(BIN)/python -m benchmarks.studies.pictures mnist omniglot cifar10

# In one thread, so that its figures are those of any machine, but for rounding.
notebook: .venv/developer
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.studies.notebook

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Packages of Debian and Ubuntu; elsewhere any Chromium or Chrome on the path is used.
studio-browser: .venv/developer
	$(PIP) install --quiet --editable '.[dev,browser]' --constraint constraints.txt
	@for name in chromium chromium-browser google-chrome chrome; do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	$(SUDO) apt-get update && $(SUDO) apt-get install --yes chromium

studio-bench: .venv/developer
	@$(BIN)/python -m benchmarks.studio

studio-picture: .venv/developer
	@$(BIN)/python -m benchmarks.studies.studio_picture

clean:
	rm -rf .venv
