# Every command that a developer needs; `make help` lists them.

PYTHON ?= python3
# Tests wait for half of their time, for the real servers beside them: three at once suit two cores.
PYTEST_ARGS ?= -n 3 --dist worksteal
PYTEST_SLOW_ARGS ?=
SCREENSHOTS_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?= --seconds 60

# CI also tests with the newest versions (CONSTRAINTS=/dev/null) and with the lowest, each in a VENV of its own.
VENV ?= .venv
CONSTRAINTS ?= requirements/tested.txt

BIN := $(VENV)/bin
# What the demo needs is installed in half a minute, what the tests need in some minutes.
DEMO_INSTALLED := $(VENV)/.demo
INSTALLED := $(VENV)/.installed
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable
UV_COMPILE = $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --python-version 3.11 setup.cfg
VERSION = $(shell sed -n 's/^version = //p' setup.cfg)
SOURCES = $(wildcard flask_webhooks example_app demo tests benchmarks chaos)

.DEFAULT_GOAL := help
.PHONY: help .venv demo test test-slow test-all docs bench chaos fuzz screenshots lint format lock dist sbom audit clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

.venv: $(INSTALLED) ## The virtual environment, with everything in it (PYTHON=python3.13 to choose)

$(DEMO_INSTALLED): setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), this once ..."
	$(PIP_INSTALL) '.[demo]'
	@touch $@

$(INSTALLED): $(DEMO_INSTALLED)
	@echo "Installing what the tests need, this once ..."
	$(PIP_INSTALL) '.[demo,docs,test,dev]'
	@touch $@

demo: $(DEMO_INSTALLED) ## The whole thing running (DEMO_SECONDS=20 to stop by itself)
	@$(BIN)/python -m demo

test: .venv ## The suite, without the slow tests (PYTEST_ARGS='-n 0 -k name')
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

# pytest exits with 5 when there is no such test.
test-slow: .venv ## Only the slow tests, one after the other (PYTEST_SLOW_ARGS)
	$(BIN)/python -m pytest -m slow $(PYTEST_SLOW_ARGS) || [ $$? -eq 5 ]

test-all: test test-slow ## Both

docs: .venv ## The documentation as a site, in docs/_build; warnings are errors
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --doctree-dir docs/_build/.doctrees \
		--conf-dir docs . docs/_build/$(VERSION)
	@echo "Open docs/_build/index.html"

screenshots: .venv ## Every page and state of the admin as pictures, in five minutes (SCREENSHOTS_ARGS=--docs: those of the docs)
	$(BIN)/python -m tests.screenshots $(SCREENSHOTS_ARGS)

bench: .venv ## Speed beside what it is compared with, in an hour or two (BENCH_ARGS=--quick)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

chaos: .venv ## What becomes of events while everything breaks (CHAOS_DATABASE=sqlite CHAOS_SECONDS=60 CHAOS_SEED=1)
	@$(BIN)/python -m chaos

# atheris has no wheels for every platform: without it, seeds are changed at random.
fuzz: .venv ## Any bytes for what reads some from outside, in ten minutes (FUZZ_ARGS='url --seconds 600')
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

# What is listed is installed by itself, from here, with all that a server may use.
sbom: ## What an installation consists of, as CycloneDX: dist/sbom.json
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) '.[api,prometheus,otel]'
	build/sbom/bin/python -m pip uninstall --quiet --yes pip setuptools
	$(PYTHON) -m venv build/cyclonedx
	build/cyclonedx/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom
	mkdir -p dist
	build/cyclonedx/bin/cyclonedx-py environment --output-format JSON --output-file dist/sbom.json build/sbom/bin/python

audit: ## Known vulnerabilities of the versions that are tested; skipped where the list cannot be had
	@timeout 20 $(PYTHON) -c 'import urllib.request as u; u.urlopen("https://pypi.org/pypi/pip/24.0/json", timeout=10)' 2>/dev/null || \
	  { echo "Skipped: pypi.org does not tell known vulnerabilities from here."; exit 0; }; \
	  $(PYTHON) -m venv build/audit && \
	  build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit && \
	  timeout 120 build/audit/bin/pip-audit --disable-pip --no-deps --progress-spinner off --requirement $(CONSTRAINTS)

lint: .venv ## ruff and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)

format: .venv ## Let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv ## Choose the versions that demo and tests install anew: the newest, and the lowest that setup.cfg allows
	$(UV_COMPILE) --universal --all-extras --output-file requirements/tested.txt
	$(UV_COMPILE) --resolution lowest-direct --extra api --extra prometheus --output-file requirements/runtime.in >/dev/null
	$(UV_COMPILE) --universal --all-extras --constraint requirements/runtime.in --output-file requirements/lowest.txt
	rm requirements/runtime.in

# From what is committed; the wheel is built from the sdist.
dist: .venv ## The sdist and the wheel in dist/, checked and tried in a clean environment
	rm -rf build/dist dist && mkdir -p build/dist
	git archive HEAD | tar -x -C build/dist
	$(BIN)/uv build --quiet --out-dir dist build/dist
	$(BIN)/uv tool run --quiet twine check --strict dist/*.whl dist/*.tar.gz
	DISTRIBUTIONS=$(CURDIR)/dist $(BIN)/python -m pytest --quiet -n 0 -m slow tests/test_package.py

clean: ## Remove what was built or cached, the virtual environment too
	rm -rf .venv .venv-* build dist docs/_build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
