# Two commands on a fresh machine: `make run` and `make test`. The rest is for those who work on the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two lanes, one beside the other; three made tests that kill and wait fail on two cores.
BESIDE := tests/process tests/commands tests/store tests/browser

.PHONY: setup run demo test check chaos contract samples docs screenshots debian fuzz bench generated dist dist-check \
  image-check lock lock-run clean
MINUTES ?= 5
SEED ?= $(shell date +%s)
.DELETE_ON_ERROR:

setup: $(STAMP)  ## the virtual environment .venv, from the hashed lock

$(STAMP): requirements.lock pyproject.toml
	@tools/python.sh $(PYTHON)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup  ## start the gateway on its embedded default, show one invitation from mail to call, go on serving
	@$(BIN)/pal-gateway demo --stay

demo: setup  ## the same, ending after the join
	@$(BIN)/pal-gateway demo

test: setup  ## every test; those that start processes beside the others, their outcome at the end
	@mkdir -p var
	@$(BIN)/python -m pytest $(BESIDE) --timeout 180 > var/test-beside.log 2>&1 & beside=$$!; \
	  $(BIN)/python -m pytest $(BESIDE:%=--ignore=%) --timeout 180; others=$$?; \
	  wait $$beside; besides=$$?; cat var/test-beside.log; exit $$((others | besides))

check: setup  ## what CI runs: lint, format, types, tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest

chaos: setup  ## kill, starve, stop and storm gateways, long: each kill twenty times, storms of two minutes
	@$(BIN)/python -m tests.chaos

contract: setup  ## the HTTP API against what OpenAPI tells of it, for some minutes, with other requests each time
	@CONTRACT_EXAMPLES=$${CONTRACT_EXAMPLES:-200} CONTRACT_SEED=$${CONTRACT_SEED:-$$(date +%s)} $(BIN)/python -m pytest tests/api/test_contract.py

samples: setup  ## play samples/ again and show what differs from the .expect files
	@$(BIN)/python -m tests.samples

docs: setup  ## the documentation as pages, into var/site; a warning is an error
	@mkdir -p var && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build > var/docs.log 2>&1 || { cat var/docs.log; exit 1; }
	@echo "var/site/index.html"

screenshots: setup  ## the pictures of the page in docs/screenshots, anew (needs Chromium)
	@$(BIN)/python -m tests.browser.screenshots

debian:  ## the two commands in a fresh Debian 12, as root and as an ordinary user (needs root and debootstrap; long)
	@tests/debian.sh var/debian

fuzz: setup  ## look for mails that break the desk, for MINUTES; what it finds is kept in var/fuzz
	@$(BIN)/python -m tests.fuzz --seconds $$(($(MINUTES) * 60)) --seed $(SEED)

bench: setup  ## the figures, each beside its peer from the same run, into bench/RESULTS.md; P=7: one of them
	@$(BIN)/python -m bench $(P)

generated: setup  ## what is made from the code: gateway.example.toml, docs/reference
	@$(BIN)/python -m tools.reference

dist: setup  ## source distribution and wheel into dist/, from what is locked, offline; RELEASE=yes: only if it is one
	@$(BIN)/python -m tools.dist $(if $(RELEASE),--release)

dist-check: setup  ## what make dist has built: the wheel in a new environment, its demo; the unpacked source, its checks
	@$(BIN)/python -m tools.dist --check

LOCK := uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
  --custom-compile-command 'make lock' --python-version 3.11 --quiet

image-check: setup  ## build the container image and run it hardened, some minutes (root; buildah, runc, debootstrap)
	@$(BIN)/python -m tests.image

lock:  ## resolve the dependencies anew (needs uv); the container's locks are the part of it that runs, and that builds
	$(LOCK) pyproject.toml --group dev --output-file requirements.lock
	@$(MAKE) --no-print-directory lock-run

lock-run:  ## the container's locks anew, at the versions of requirements.lock
	$(LOCK) pyproject.toml --constraint requirements.lock --output-file deploy/requirements/run.lock
	echo hatchling | $(LOCK) - --constraint requirements.lock --output-file deploy/requirements/build.lock

clean:
	rm -rf $(VENV) var dist .mypy_cache .ruff_cache .pytest_cache
