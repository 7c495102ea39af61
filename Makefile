# Two commands: `make demo` and `make test`. Both begin with `make setup`, which needs python3 (3.11 or newer) and the package registries.
PYTHON ?= python3
UV_VERSION := 0.13.8
UV ?= $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin

.PHONY: setup demo test bench lint types contracts secrets clean

setup: .venv/.ready

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

WEB := $(shell find api/web -type f -not -path '*/node_modules/*' 2>/dev/null)

# --reinstall-package runs the build hook, which makes the web app again when its sources changed.
.venv/.ready: pyproject.toml uv.lock hatch_build.py $(WEB) $(if $(filter .uv/bin/uv,$(UV)),.uv/bin/uv)
	$(UV) sync --frozen --all-extras --reinstall-package quartermaster --python $(PYTHON)
	touch $@

demo: setup
	$(RUN)/quartermaster demo

test: setup lint types contracts
	$(RUN)/pytest -n 2 --dist loadgroup

bench: setup
	$(RUN)/python -m tests.benchmarks

# What compose.yaml mounts from .secrets/; needs no setup, overwrites nothing.
secrets:
	$(PYTHON) -m simulators.secret_files .secrets

lint:
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types:
	$(RUN)/mypy

contracts:
	$(RUN)/lint-imports

clean:
	rm -rf .venv .uv api/static dist .mypy_cache .ruff_cache .pytest_cache
