# Two commands: `make demo` and `make test`. Everything lands in .venv and runs/.
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.PHONY: demo test test-all test-lowest test-newest gpu-wheels lint docs docs-check clean
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
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: $(VENV)/ready
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not gpu" --timeout 3000

# What pyproject.toml promises, from the lowest versions that it allows to the newest
# that there are. uv knows no configuration of pip: no constraint of the machine counts.
.venv-%/ready: pyproject.toml .ci/find-python
	@python=$$(sh .ci/find-python) || exit 1; \
	echo "Making .venv-$* (downloads about 3 GB the first time)"; \
	test -x .venv-$*/bin/python || "$$python" -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python \
		--resolution $(if $(filter lowest,$*),lowest-direct,highest) -e ".[all,dev]"
	@touch $@

test-lowest: .venv-lowest/ready
	.venv-lowest/bin/python -m pytest -q -n 2 --dist worksteal

test-newest: .venv-newest/ready
	.venv-newest/bin/python -m pytest -q -n 2 --dist worksteal

# What a GPU machine's Python lacks: docs/gpu.md. pip refuses a file of another hash.
gpu-wheels:
	rm -rf .gpu-wheels
	@python=$$(sh .ci/find-python) || exit 1; \
	"$$python" -m pip download --quiet --disable-pip-version-check --no-deps \
		--only-binary=:all: --python-version 3.12 --implementation cp \
		--platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
		--require-hashes --dest .gpu-wheels --requirement benchmarks/gpu_wheels.txt
	@du -sh .gpu-wheels

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
