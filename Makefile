# Two commands: `make demo` and `make test`. Everything lands in .venv and runs/.
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.PHONY: demo test test-all lint docs docs-check clean
.DELETE_ON_ERROR:

# One environment for everything; made anew when pyproject.toml changes.
$(VENV)/ready: pyproject.toml .ci/find-python
	@python=$$(sh .ci/find-python) || exit 1; \
	echo "Making $(VENV) with $$python (downloads about 3 GB the first time)"; \
	test -x $(BIN)/python || "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all,dev]"
	@touch $@

demo: $(VENV)/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh $(DEMO)

test: $(VENV)/ready
	$(BIN)/python -m pytest -q -n 2

test-all: $(VENV)/ready
	$(BIN)/python -m pytest -q -n 2 -m "not gpu" --timeout 3000

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check-files

# The site, with its tutorials run (about ten minutes the first time); docs-check leaves
# them as they are written.
docs: $(VENV)/ready
	$(BIN)/python docs/site/build.py

docs-check: $(VENV)/ready
	$(BIN)/python docs/site/build.py --fast

clean:
	rm -rf runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache
