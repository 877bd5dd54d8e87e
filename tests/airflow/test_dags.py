"""From files to DAGs: which tasks, in which order, and what a file that cannot be used becomes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from godwit.airflow.dag import MigrationTaskGroup, migration_dags
from include.demo.airflow_components import ROOT

FILE = """\
name: {name}
migration_type: {kind}
source: {{conn_id: one}}
target: {{conn_id: two}}
tables: {{include: ["app.*"]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, file: str, more: str = "", **facts: str) -> None:
    facts = {"name": Path(file).stem, "kind": "full-load-and-cdc", **facts}
    (folder / file).write_text(FILE.format(**facts) + more)


def order(dag: DAG) -> dict[str, set[str]]:
    return {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}


def test_whole_migration(folder: Path) -> None:
    write(folder, "shop.yaml")
    assert order(migration_dags(folder)["shop"]) == {
        "configure_endpoints": {"provision_instance"},
        "provision_instance": {"convert_schema"},
        "convert_schema": {"plan_chunks"},
        "plan_chunks": {"full_load"},
        "full_load": {"catch_up"},
        "catch_up": {"cdc_poll", "finish_schema"},
        "cdc_poll": {"decommission"},
        "finish_schema": {"validate"},
        "validate": {"approve_cutover"},
        "approve_cutover": {"cutover"},
        "cutover": {"decommission"},
        "decommission": set(),
    }


def test_ongoing_replication_never_ends(folder: Path) -> None:
    write(folder, "shop.yaml", "cutover: {mode: never}\n")
    tasks = order(migration_dags(folder)["shop"])
    assert not {"approve_cutover", "cutover", "decommission"} & set(tasks)
    assert tasks["cdc_poll"] == set()


def test_automatic_cutover_asks_nobody(folder: Path) -> None:
    write(folder, "shop.yaml", "cutover: {mode: automatic}\n")
    assert order(migration_dags(folder)["shop"])["validate"] == {"cutover"}


def test_changes_only(folder: Path) -> None:
    write(folder, "shop.yaml", kind="cdc")
    tasks = order(migration_dags(folder)["shop"])
    assert "full_load" not in tasks
    assert tasks["convert_schema"] == {"catch_up"}


def test_load_window_has_data_intervals(folder: Path) -> None:
    write(
        folder,
        "shop.yaml",
        'schedule: "@daily"\nload_window: {column: updated_at}\n',
        kind="full-load",
    )
    dag = migration_dags(folder)["shop"]
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"
    assert order(dag)["convert_schema"] == {"full_load"}
    assert order(dag)["full_load"] == {"finish_schema"}


def test_broken_file_is_a_dag_and_others_live(folder: Path) -> None:
    write(folder, "good.yaml")
    (folder / "bad.yaml").write_text("name: [\n")
    write(folder, "typo.yaml", "tabels: {}\n")
    dags = migration_dags(folder)
    assert set(dags) == {"good", "bad", "typo"}
    assert list(order(dags["typo"])) == ["read_definition"]
    assert "tabels" in (dags["typo"].doc_md or "")
    assert "full_load" in order(dags["good"])


def test_namesake_does_not_take_the_place(folder: Path) -> None:
    write(folder, "another.yaml", name="shop")
    write(folder, "shop.yaml")
    dags = migration_dags(folder)
    assert set(dags) == {"shop", "another"}
    assert "full_load" in order(dags["shop"])
    assert "another file has a migration 'shop'" in (dags["another"].doc_md or "")


def test_explicit_tables_are_assets_of_their_own(folder: Path) -> None:
    (folder / "shop.yaml").write_text(
        FILE.format(name="shop", kind="full-load").replace("app.*", "app.orders")
    )
    validate = migration_dags(folder)["shop"].get_task("validate")
    assert "godwit://two/app/orders" in {getattr(o, "uri", None) for o in validate.outlets}
    assert "godwit.shop" in {outlet.name for outlet in validate.outlets}


def test_group_lives_beside_other_tasks() -> None:
    with DAG("host", schedule=None) as dag:
        definition = {
            "name": "inner",
            "migration_type": "full-load",
            "source": {"conn_id": "one"},
            "target": {"conn_id": "two"},
            "tables": {"include": ["app.*"]},
        }
        MigrationTaskGroup(definition, group_id="copy")
    assert "copy.full_load" in order(dag)
    assert order(dag)["copy.validate"] == {"copy.decommission"}


def test_definition_travels_as_plain_data(folder: Path) -> None:
    write(folder, "shop.yaml")
    serialized = DagSerialization.to_dict(migration_dags(folder)["shop"])
    assert "Definition(" not in json.dumps(serialized)
    DagSerialization.from_dict(serialized)


def test_a_hundred_files_are_read_quickly(folder: Path) -> None:
    for number in range(100):
        write(folder, f"m{number:03}.yaml")
    began = time.process_time()
    assert len(migration_dags(folder)) == 100
    assert time.process_time() - began < 8


def test_projects_own_files_are_good() -> None:
    for dag in migration_dags(ROOT / "include" / "migrations").values():
        assert "configure_endpoints" in dag.task_ids, dag.doc_md
