"""A migration beside ordinary tasks, without a triggerer for its changes, and a DAG that waits."""

from datetime import timedelta

from airflow.sdk import DAG, Asset, task

from godwit.airflow.dag import MigrationTaskGroup

MOVED = {
    "name": "moved",
    "migration_type": "full-load-and-cdc",
    "source": {"conn_id": "moved_source"},
    "target": {"conn_id": "moved_target"},
    "tables": {"include": ["app.notes"]},
    "cutover": {
        "mode": "automatic",
        "hooks": [{"airflow_connection": {"conn_id": "application", "from": "target"}}],
    },
}
NOTES = "godwit://moved_target/app/notes"


@task
def before() -> None:
    """Ordinary work."""


@task
def after() -> None:
    """Ordinary work."""


with DAG("host", schedule=None):
    quick = {"deferrable": False, "window": timedelta(seconds=0.3), "retries": 1}
    before() >> MigrationTaskGroup(MOVED, group_id="move", default_args=quick) >> after()

with DAG("reports", schedule=[Asset(name=NOTES, uri=NOTES)]):
    after()
