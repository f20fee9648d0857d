# Needs Python 3.11 or newer, make and a package index; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint format soak bench mutation docs clean compat fuzz fullsize oracle cluster

demo: .venv/local
	@$(BIN)/mistral-client chat --endpoint local "What is the best French cheese?"

test: lint
	$(BIN)/pytest --cov --cov-report=term:skip-covered
	$(BIN)/coverage report --fail-under=100 --include='*/_calls.py,*/_chunks.py,*/_content_coding.py,*/_embedding_batches.py,*/_exchange.py,*/_http_chunks.py,*/_limiter.py,*/_retry.py,*/_sse.py'

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The long loops whole, and times held to what is promised. About half an hour, on a machine with nothing else to do.
soak: .venv/dev
	MISTRAL_SOAK=1 $(BIN)/pytest tests/server/faults tests/server/test_grammar.py
	MISTRAL_SOAK=1 $(BIN)/pytest tests/faults tests/test_clients.py tests/test_cuts.py tests/test_deadlines.py \
		tests/test_life_cycle.py tests/test_memory.py tests/test_secrets.py tests/test_sse.py

# Clients of other people against the server, each in an environment of its own below .compat.
compat: .venv/dev
	$(BIN)/python -m tests.compat

# 10,000 calls that schemathesis makes up from /openapi.json: no 5xx, and no reply that is not described there.
fuzz: .venv/dev
	$(BIN)/python -m tests.openapi_fuzz

# The engines against each other and against the packages that set the standards, in an environment below .oracle.
oracle: .venv/dev
	$(BIN)/python -m tests.oracle

# Two nodes of Ray on this machine, with what is deployed on them, in an environment below .cluster.
cluster: .venv/dev
	$(BIN)/python -m tests.cluster

# A file of the exact shape of Mixtral 8x7B, served with 32k context: 16 GB of disk for some minutes, 20 GB of memory.
fullsize: .venv/dev
	$(BIN)/python -m tests.fullsize

# What calls cost, beside other clients in environments below .bench; how fast events are read; how a full server refuses.
bench: .venv/dev
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.sse
	$(BIN)/python -m tests.bench.load
	$(BIN)/python -m tests.bench.load --real

# Every change of one word in four of the stages: do the tests notice? Some minutes.
mutation: .venv/dev
	$(BIN)/python -m tests.mutation

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/dev
	$(BIN)/sphinx-build -W --keep-going -q -b html docs site

clean:
	rm -rf .venv .bench .cluster .compat .oracle .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist site

# One environment; the stamps say what was installed into it last.
.venv/local: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[local]'
	@touch $@

.venv/dev: .venv/local
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
