"""A migration as one step of a DAG of your own: between ordinary tasks, with its definition inline.

Needs the connections shop_source and shop_target, as the demo has them.
"""

import logging
from datetime import UTC, datetime

from airflow.sdk import DAG, task

from godwit.airflow.dag import MigrationTaskGroup

log = logging.getLogger(__name__)

CUSTOMERS = {
    "name": "shop-customers",
    "description": "Customers and their orders, loaded once into a schema of their own",
    "migration_type": "full-load",
    "source": {"conn_id": "shop_source"},
    "target": {"conn_id": "shop_target"},
    "tables": {"include": ["public.customers", "public.orders"]},
    "table_mappings": {
        "rules": [
            {
                "rule-type": "transformation",
                "rule-id": "1",
                "rule-name": "own-schema",
                "rule-target": "schema",
                "object-locator": {"schema-name": "public"},
                "rule-action": "rename",
                "value": "reporting",
            }
        ]
    },
    "task_settings": {"FullLoadSettings": {"TargetTablePrepMode": "TRUNCATE_BEFORE_LOAD"}},
}

with DAG(
    dag_id="example_embedded_migration",
    description="A migration between ordinary tasks",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=True,
    tags=["example"],
):

    @task
    def announce() -> None:
        """Whatever has to happen before."""
        log.info("The copy of customers and orders begins")

    @task
    def refresh_reports() -> None:
        """Whatever needs the rows."""
        log.info("Customers and orders are there: reports may be built")

    announce() >> MigrationTaskGroup(CUSTOMERS, group_id="copy_customers") >> refresh_reports()
