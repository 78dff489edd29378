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
# Groups and their order: tests/conftest.py.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder --durations 25
INSTALL_PROJECT := $(UV) pip install --quiet --no-deps --editable .

.DEFAULT_GOAL := help
.PHONY: help setup demo up smoke test test-full coverage test-bigquery test-infra test-gcp mutate clean-machine lint format typecheck bench bench-quick chaos soak render docs audit sbom lock clean clean-data

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
	@$(MAKE) --no-print-directory --jobs 2 lint typecheck
	$(BIN)/pytest -m "not slow" $(PARALLEL)

test-full: .venv/.dev ## every test, the slow ones too
	@$(MAKE) --no-print-directory --jobs 2 lint typecheck
	$(BIN)/pytest

coverage: .venv/.dev ## branches of the platform's code that `make test` goes through
	$(BIN)/pytest -m "not slow" $(PARALLEL) --cov --cov-report=
	$(BIN)/coverage report

test-bigquery: .venv/.dev ## the models on BigQuery's terms, without a Google account
	@echo "GoogleSQL's analyzer and evaluator: dialect, DDL, contracts, rows equal to DuckDB's, data and"
	@echo "unit tests, required partition filters, columns and days that a tick reads. Not checked there:"
	@echo "that BigQuery prunes so, bytes billed, slots, quotas, permissions, DML other than dbt's."
	@echo "Emulator: requests and jobs of the real dbt-bigquery. Not checked there: rows and dialect"
	@echo "(it computes with DuckDB), contracts, local time, unit tests, permissions, bytes billed."
	$(BIN)/pytest tests/dbt_ami/bigquery --numprocesses 2 --dist loadfile

test-infra: .venv/.dev ## Terraform's files and the scripts, with checkov and, where Terraform finds its provider, its tests
	$(BIN)/pytest tests/infra/test_terraform.py tests/infra/test_terraform_tools.py tests/infra/test_scripts.py

# Google's own clients against servers that stand in for its APIs, the job's graph as Dataflow gets
# it, what is deployed.
GCP_TESTS := tests/simulator/test_publisher.py \
	tests/beam_jobs/test_archive.py tests/beam_jobs/test_archive_on_gcs.py \
	tests/beam_jobs/test_bigquery_sink.py \
	tests/beam_jobs/test_deadletter_topic.py tests/beam_jobs/test_group_messages.py \
	tests/beam_jobs/test_main.py tests/beam_jobs/test_minute_aggregates.py \
	tests/beam_jobs/test_streaming.py tests/beam_jobs/test_windowed_files.py \
	tests/beam_jobs/test_worker_package.py \
	tests/ami_dagster/cloud tests/ami_store/test_serving_bigquery.py \
	tests/ami_cli/test_dbt_shell.py tests/ami_cli/test_figures.py \
	tests/infra/test_terraform.py tests/infra/test_terraform_tools.py tests/infra/test_scripts.py

test-gcp: .venv/.dev ## the way through Google Cloud, without an account: publisher to BigQuery, Dagster, Terraform, scripts
	@echo "What the models do on BigQuery: make test-bigquery. Not checked without an account: that"
	@echo "Google's services accept and do what their clients, schemas and documentation promise."
	$(BIN)/pytest $(GCP_TESTS) $(PARALLEL)

mutate: .venv/.dev ## put faults into sag rule, demand response, decoder and ledger; tests must notice 90 %
	for module in sag demand_response decode ledger; do \
		$(BIN)/python -m tests.mutation $$module --limit $(or $(LIMIT),60) || exit 1; \
	done

clean-machine: .venv/.dev ## what `make demo` and `make smoke` take with nothing installed yet; as root with 4 GB and little rights
	$(BIN)/python -m tests.clean_machine

# A minute of work, so only after a change.
.cache/sql-linted: .venv/.dev pyproject.toml $(shell find dbt_ami -name '*.sql' -not -path '*/target/*')
	AMI_DATA_DIR=$(CURDIR)/.venv/lint $(BIN)/sqlfluff lint --processes 0 --disable-progress-bar \
		dbt_ami/models dbt_ami/tests
	@mkdir -p .cache && touch $@

lint: .venv/.dev .cache/sql-linted ## ruff, sqlfluff, hadolint and shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
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

# Small inputs, once each; nothing that waits for latencies or looks at memory over minutes.
bench-quick: .venv/.dev ## the same on small inputs in minutes: a table, .cache/bench-quick.json
	@$(BIN)/python -m benchmarks --quick --output .cache/bench-quick.json \
		--only 'generate.*' --only 'publish.*' --only 'ingest.*.readings_per_s' \
		--only 'ingest.*.ratio_limit' --only 'compact.*' --only 'sag.ratio_*' --only 'health.*' \
		--only 'growth.[gic]*'

chaos: .venv/.dev ## 200 faults of all kinds, 0 readings lost or doubled (about 6 minutes); FAULTS=n SEED=s
	$(BIN)/python -m tests.chaos --faults $(or $(FAULTS),200) $(if $(SEED),--seed $(SEED))

soak: .venv/.dev ## an hour at 2 000 readings/s with a kill a minute; MINUTES=n
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60)

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
	$(UV) pip compile benchmarks/peers/peers.in --universal --python-version 3.11 \
		--no-emit-index-url --generate-hashes --quiet --upgrade --constraint requirements.lock \
		--output-file benchmarks/peers/peers.lock
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
	@echo "installing the platform into .venv (about 1.6 GB; some minutes with an empty cache)"
	@$(UV) pip install --compile-bytecode --requirements requirements.lock
	@$(INSTALL_PROJECT)
	@touch $@

.venv/.dev: .venv/.uv requirements-dev.lock pyproject.toml
	@echo "installing the platform and its test tools into .venv"
	@$(UV) pip sync --compile-bytecode requirements-dev.lock
	@$(INSTALL_PROJECT)
	@touch .venv/.runtime $@
