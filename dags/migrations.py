"""One DAG for every file in include/migrations."""

from pathlib import Path

from godwit.airflow.dag import migration_dags

globals().update(migration_dags(Path(__file__).parent.parent / "include" / "migrations"))
