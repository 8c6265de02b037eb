# Everything here works on a machine that has Python 3.11 or newer, make and a package index.
#
#   make demo ARGS="--no-serve"     see a few billing nights on an embedded database
#   make test ARGS="-k dunning"     the tests; ARGS go to pytest
#   make crash                      kill processes hundreds of times at every hop, and audit the gateways' ledgers
#   make hosts                      four hosts share a night; one loses power, one its database (Linux, root)
#   make check                      format, lint, types, import contracts, audit, coverage of decisions, tests
#   make audit                      is anything in requirements.lock known to be vulnerable (asks osv.dev; says so if it cannot)
#   make bench                      figures of speed and memory, each beside a baseline
#   make bench-million              the same at a million subscriptions; hours on a small machine
#   make pictures                   make the README's pictures anew, from the demo, with a browser
#   make docs                       redraw docs/lifecycles.md, and the examples in docs/webhooks.md from a story that is played
#   make wheel                      build the wheel into dist/
#   make lock                       choose the newest allowed versions anew (needs uv)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed-from-the-lock
PYTHON ?= python3
UV ?= uv
ARGS ?=
WORKERS ?= 2
DECISIONS := brakes clock dunning events invoices ledger lifecycle money payments periods pricing subscriptions tax

SIZE ?= 100000

# Whatever the environment says: a process that starts here does not compile again what the one before it has compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test crash hosts bench bench-million check lint types imports audit coverage docs pictures wheel lock

demo: $(READY)
	@$(BIN)/turnus demo $(ARGS)

test: $(READY)
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

crash: $(READY)
	@$(BIN)/python -m tests.crash.command $(ARGS)

hosts: $(READY)
	@$(BIN)/python -m tests.crash.hosts $(ARGS)

# Beside SQLite on a PostgreSQL of its own; a TURNUS_DATABASE_URL in the environment is left alone.
bench: $(READY)
	@$(BIN)/python -m tests.benchmark --subscriptions $(SIZE) $(ARGS)

bench-million:
	@$(MAKE) --no-print-directory bench SIZE=1000000

check: lint types imports audit coverage test

lint: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports --no-logo

audit: $(READY)
	@$(BIN)/python -m tests.audit

coverage: $(READY)
	@$(BIN)/coverage run -m pytest $(DECISIONS:%=tests/billing/test_%.py)
	@$(BIN)/coverage report

docs: $(READY)
	@$(BIN)/python -m tests.billing.lifecycles >docs/lifecycles.md
	@$(BIN)/python -m tests.billing.webhook_examples

pictures: $(READY)
	@$(BIN)/python -m tests.browser.pictures docs/pictures

wheel: $(READY)
	@$(BIN)/hatchling build -t wheel

lock:
	@command -v $(UV) >/dev/null || { echo "make lock needs uv; name it with UV=" >&2; exit 1; }
	@$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --quiet \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--output-file requirements.lock
	@! grep -n '://' requirements.lock

# The environment is made once, and brought up to date when the lock or the project's own description changes.
$(READY): requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 && exit; \
	for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Turnus needs Python 3.11 or newer; say where it is with PYTHON=" >&2; exit 1; \
	elif ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	$$python -m venv --clear $(VENV)
	@echo "Installing what requirements.lock names into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@touch $@
