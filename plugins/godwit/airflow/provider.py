"""What Airflow is told about this distribution when it is installed."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's facts, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-godwit",
        "name": "Godwit",
        "description": "Database migrations as DAGs: schema, full load, CDC, validation, cutover.",
        "integrations": [
            {
                "integration-name": "Godwit",
                "tags": ["software"],
            }
        ],
        "operators": [
            {
                "integration-name": "Godwit",
                "python-modules": [
                    "godwit.airflow.operators",
                    "godwit.airflow.cdc",
                    "godwit.airflow.approval",
                ],
            }
        ],
        "triggers": [{"integration-name": "Godwit", "python-modules": ["godwit.airflow.triggers"]}],
        "config": {
            "godwit": {
                "description": "Settings of Godwit inside Airflow.",
                "options": {
                    "airflow_api_conn_id": {
                        "description": (
                            "Connection of type http to Airflow's own API, of a user who may edit "
                            "pools and connections. With it provision_instance makes the pool of "
                            "the replication instance (without it task limits hold instead), and "
                            "the cutover's hooks can change connections."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "godwit_airflow_api",
                        "default": "",
                    }
                },
            }
        },
    }
