# Two commands set everything up on a fresh machine: `make demo` and `make test`.
# Setting up makes .venv/ here, from requirements.lock (versions and hashes).

VENV := .venv
BIN := $(VENV)/bin
# Where it is set, every import compiles again: three times slower.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check soak lock clean system
.DEFAULT_GOAL := demo

demo: $(VENV)/ready  ## the ten steps on real flights
	$(BIN)/seamline demo $(DEMO)

test: $(VENV)/ready system  ## every gate and every test, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(TEST)

check: $(VENV)/ready  ## the fast gates
	$(BIN)/python -m pytest tests/house tests/unit src

soak: $(VENV)/ready system  ## the long counts; the result goes to docs/explanation/soak.md
	$(BIN)/python -m pytest tests/chaos --soak
	$(BIN)/python -m pytest tests -m hypothesis --soak
	$(BIN)/python -m pytest tests/conformance/data_interop --soak
	$(BIN)/python -m pytest tests/calibration --soak
	$(BIN)/python -m bench.calibration

lock:  ## after a change of dependencies
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --extra postgres --extra mysql --extra grpc --extra otel \
	  --extra bigquery --extra databricks --extra snowflake --extra demo --extra dev pyproject.toml -o requirements.lock

# Debian packages that tests drive: a browser, PostgreSQL and podman. Where they cannot be
# installed, the tests that need them are skipped and say so.
system:
	@sh tests/install_system.sh

$(VENV)/ready: requirements.lock pyproject.toml
	test -d $(VENV) || python3 -m venv $(VENV)
	awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) demo-workspace
