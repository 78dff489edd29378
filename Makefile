# Everything a person does with this project. `make help` lists it.
# Needs python3 (3.11 or newer) with venv and pip; the rest is installed into .venv.

PYTHON ?= python3
UV_VERSION := 0.13.9
PIP_AUDIT_VERSION := 2.10.1
CYCLONEDX_VERSION := 7.5.0
BIN := .venv/bin
UV := $(BIN)/uv
# Python's cache of compiled modules halves every start.
unexport PYTHONDONTWRITEBYTECODE

COMPILE := $(UV) pip compile pyproject.toml --universal --python-version 3.11 \
	--no-emit-index-url --generate-hashes --quiet
# A file's tests stay together: they share what their first one built.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder --durations 25
INSTALL_PROJECT := $(UV) pip install --quiet --no-deps --editable .

.DEFAULT_GOAL := help
.PHONY: help setup demo up smoke test test-full test-bigquery test-infra lint format typecheck bench render docs audit sbom lock clean clean-data

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort \
		| awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: .venv/.runtime ## the whole platform on simulated meters, with the Dagster UI
	@$(BIN)/ami demo

up: .venv/.runtime ## Pub/Sub, ingest and Dagster, without simulated meters
	@$(BIN)/ami up

smoke: .venv/.runtime ## two meters for two minutes in real time: stored, balanced, the one sag found
	@$(BIN)/ami smoke

setup: .venv/.dev ## install everything, test tools included

test: .venv/.dev ## lint, types and all tests that take minutes (what CI runs)
	@$(MAKE) --no-print-directory lint typecheck
	$(BIN)/pytest -m "not slow" $(PARALLEL)

test-full: .venv/.dev ## every test, the slow ones too
	@$(MAKE) --no-print-directory lint typecheck
	$(BIN)/pytest

test-bigquery: .venv/.dev ## the models on BigQuery's terms, without a Google account
	@echo "GoogleSQL's analyzer and evaluator: dialect, DDL, contracts, rows equal to DuckDB's, data and"
	@echo "unit tests, required partition filters, columns and days that a tick reads. Not checked there:"
	@echo "that BigQuery prunes so, bytes billed, slots, quotas, permissions, DML other than dbt's."
	@echo "Emulator: requests and jobs of the real dbt-bigquery. Not checked there: rows and dialect"
	@echo "(it computes with DuckDB), contracts, local time, unit tests, permissions, bytes billed."
	$(BIN)/pytest tests/dbt_ami/bigquery --numprocesses 2 --dist loadfile

test-infra: .venv/.dev ## Terraform's files and the scripts, with checkov and, where Terraform finds its provider, its tests
	$(BIN)/pytest tests/infra/test_terraform.py tests/infra/test_terraform_tools.py tests/infra/test_scripts.py

lint: .venv/.dev ## ruff, sqlfluff, hadolint and shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	AMI_DATA_DIR=$(CURDIR)/.venv/lint $(BIN)/sqlfluff lint --disable-progress-bar \
		dbt_ami/models dbt_ami/tests
	$(BIN)/hadolint infra/Dockerfile infra/worker/Dockerfile
	$(BIN)/shellcheck --external-sources --source-path infra/scripts \
		.ci/run infra/scripts/*.sh infra/vm/*.sh

format: .venv/.dev ## rewrite Python and SQL in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix --disable-progress-bar dbt_ami/models dbt_ami/tests

typecheck: .venv/.dev ## mypy
	$(BIN)/mypy

bench: .venv/.dev ## measure, write benchmarks/results.json and docs/benchmarks.md
	$(BIN)/python -m benchmarks

render: .venv/.dev ## rewrite all files derived from code
	$(BIN)/python -m ami_contract.render
	$(BIN)/python -m simulator.render
	$(BIN)/python -m ami_dagster.column_lineage
	$(BIN)/python -m ami_api.render
	$(BIN)/python -m ami_cost.pages

docs: .venv/.dev ## the documentation as a site, .cache/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open $(CURDIR)/.cache/site/index.html"

audit: .venv/.uv ## known vulnerabilities of what the lock pins (asks the network)
	$(UV) tool run pip-audit@$(PIP_AUDIT_VERSION) --disable-pip --require-hashes \
		--requirement requirements.lock

sbom: .venv/.uv ## bill of materials of what the lock pins, .cache/sbom.cdx.json
	@mkdir -p .cache
	$(UV) tool run --from cyclonedx-bom==$(CYCLONEDX_VERSION) cyclonedx-py requirements \
		requirements.lock --output-format JSON --output-file .cache/sbom.cdx.json

lock: .venv/.uv ## pin the newest versions that pyproject.toml allows
	$(COMPILE) --upgrade --output-file requirements.lock
	$(COMPILE) --upgrade --extra dev --group docs --constraint requirements.lock \
		--output-file requirements-dev.lock
	for judge in googlesql emulator; do \
		$(UV) pip compile tests/dbt_ami/bigquery/$$judge.in --universal --python-version 3.11 \
			--no-emit-index-url --generate-hashes --quiet --upgrade \
			--output-file tests/dbt_ami/bigquery/$$judge.lock || exit 1; \
	done
	$(UV) pip compile tests/infra/checkov.in --universal --python-version 3.11 --no-emit-index-url \
		--generate-hashes --quiet --upgrade --output-file tests/infra/checkov.lock

clean: ## remove the environment and all caches
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dbt_ami/target dbt_ami/logs logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-data: ## remove everything local runs have written (.ami)
	rm -rf .ami

.venv/.uv: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=... to one"; exit 1; }
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.runtime: .venv/.uv requirements.lock pyproject.toml
	@echo "installing the platform into .venv (about 1.4 GB; some minutes with an empty cache)"
	@$(UV) pip install --compile-bytecode --requirements requirements.lock
	@$(INSTALL_PROJECT)
	@touch $@

.venv/.dev: .venv/.uv requirements-dev.lock pyproject.toml
	@echo "installing the platform and its test tools into .venv"
	@$(UV) pip sync --compile-bytecode requirements-dev.lock
	@$(INSTALL_PROJECT)
	@touch .venv/.runtime $@
