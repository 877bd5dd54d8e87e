"""The definition: what is accepted, what is refused, and how it is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml

from godwit.errors import DefinitionError
from godwit.model.catalog import TableName
from godwit.model.definition import (
    Definition,
    MigrationType,
    definition_name,
    json_schema,
    load_definition,
    parse_definition,
)

SMALLEST = """\
name: shop
migration_type: full-load-and-cdc
source: {conn_id: shop_source}
target: {conn_id: shop_target}
tables: {include: ["public.*"]}      # schema.table patterns; short form of selection rules
"""

RULES = {
    "rules": [
        {
            "rule-type": "selection",
            "rule-id": "1",
            "rule-name": "all",
            "object-locator": {"schema-name": "public", "table-name": "%"},
            "rule-action": "include",
            "filters": [],
        }
    ]
}


def write(folder: Path, text: str, name: str = "shop.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def plain(**changes: object) -> dict[str, object]:
    data: dict[str, object] = yaml.safe_load(SMALLEST)
    data.update(changes)
    return {k: v for k, v in data.items() if v is not None}


def refused(**changes: object) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(plain(**changes), "shop.yaml")
    return str(caught.value)


def test_smallest_definition(tmp_path: Path) -> None:
    definition = load_definition(write(tmp_path, SMALLEST))
    assert definition.name == "shop"
    assert definition.migration_type is MigrationType.FULL_LOAD_AND_CDC
    assert (definition.source.conn_id, definition.target.conn_id) == ("shop_source", "shop_target")
    assert definition.selects(TableName("public", "orders"))
    assert not definition.selects(TableName("audit", "orders"))
    assert definition.cutover.mode == "approval"
    assert definition.cutover.max_lag_seconds == 10
    assert definition.validation.enabled
    assert definition.task_settings.prep_mode == "DO_NOTHING"
    assert (definition.streams, definition.memory_mb) == (4, 1024)
    assert definition.instance_name == "shop"
    assert definition.findings == ()


FULL = {
    "description": "the shop",
    "tags": ["a", "b"],
    "table_mappings": RULES,
    "tables": None,
    "task_settings": {"FullLoadSettings": {"MaxFullLoadSubTasks": 12}},
    "replication_instance": {"name": "ri-1", "class": "dms.c6i.large", "queue": "cdc"},
    "cutover": {
        "mode": "automatic",
        "fence": "revoke",
        "validate": False,
        "hooks": [
            {"airflow_connection": {"conn_id": "shop", "from": "target"}},
            {"sql": {"endpoint": "target", "statements": ["ANALYZE"]}},
            {"name": "tell", "webhook": {"conn_id": "chat", "body": {"text": "done"}}},
        ],
    },
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        FULL,
        {
            "migration_type": "full-load",
            "schedule": "0 3 * * *",
            "load_window": {"column": "at"},
            "start_date": "2024-01-01",
            "catchup": True,
        },
        {"migration_type": "cdc", "cutover": {"mode": "never"}, "schedule": "@continuous"},
        {"source": {"conn_id": "a", "settings": {"HeartbeatEnable": True, "ExecuteTimeout": 60}}},
    ],
)
def test_round_trip(changes: dict[str, object]) -> None:
    definition = parse_definition(plain(**changes), "shop.yaml")
    again = parse_definition(json.loads(json.dumps(definition.to_dict())), "elsewhere.yaml")
    assert again == definition
    assert again.to_dict() == definition.to_dict()


def test_values_of_a_full_definition() -> None:
    definition = parse_definition(plain(**FULL), "shop.yaml")
    assert definition.streams == 12
    assert definition.memory_mb == 4096
    assert definition.instance_name == "ri-1"
    assert not definition.cutover.final_validation
    assert [h.label for h in definition.cutover.hooks] == ["airflow_connection", "sql", "tell"]


def test_full_load_has_no_cutover_unless_asked() -> None:
    assert parse_definition(plain(migration_type="full-load"), "x").cutover.mode == "never"
    assert "nothing to cut over" in refused(
        migration_type="full-load", cutover={"mode": "approval"}
    )


def test_every_problem_is_told_with_file_line_key_reason_and_fix(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: 3shop\n"
        "migration_typ: full-load\n"
        "source: {conn_id: shop_source, setings: {}}\n"
        "target: {conn_id: shop_source}\n"
        'tables:\n  include: ["orders"]\n  exclud: []\n'
        "cutover:\n  max_lag_seconds: soon\n  hooks:\n    - sql: {endpoint: middle}\n",
    )
    with pytest.raises(DefinitionError) as caught:
        load_definition(path)
    text = str(caught.value)
    for line in (
        f"{path}:1: name: '3shop' cannot be the id of a DAG",
        f"{path}:2: migration_typ: unknown key\n    What to do: did you mean 'migration_type'?",
        f"{path}:3: source.setings: unknown key\n    What to do: did you mean 'settings'?",
        f"{path}:4: target.conn_id: source and target are the same connection",
        (
            f"{path}:6: tables.include: 'orders' is no table pattern\n"
            '    What to do: write schema.table, e.g. "public.orders" or "*.orders"'
        ),
        f"{path}:7: tables.exclud: unknown key",
        f"{path}:9: cutover.max_lag_seconds: ",
        f"{path}:11: cutover.hooks[0].sql.endpoint: ",
        f"{path}:11: cutover.hooks[0].sql.statements: is missing",
        "migration_type: is missing",
    ):
        assert line in text


def test_one_problem_is_told_without_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, SMALLEST + "catchup: maybe\n")
    with pytest.raises(DefinitionError) as caught:
        load_definition(path)
    assert caught.value.where == f"{path}:6: catchup"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a definition is a mapping"),
        ("- a\n", "a definition is a mapping"),
        ("name: [\n", "this is not YAML"),
        ("name: a\n\tb: c\n", "this is not YAML"),
        (SMALLEST + "name: again\n", ":6: name: this key is written twice"),
        ("name: 2024-13-45\n", "put the value in quotes"),
    ],
)
def test_unreadable_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message.replace("[", r"\[")):
        load_definition(write(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="No such file"):
        load_definition(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": None}, "nothing says which tables migrate"),
        ({"table_mappings": RULES}, "tables and selection rules both say"),
        ({"load_window": {"column": "at"}}, "follows the log"),
        ({"migration_type": "full-load", "load_window": {"column": "at"}}, "only a schedule"),
        ({"schedule": "@daily"}, "cuts over happens once"),
        ({"catchup": True}, "no runs to make up for"),
        ({"migration_type": "full-load", "schedule": "@daily", "catchup": True}, "first day"),
        ({"schedule": "61 * * * *", "cutover": {"mode": "never"}}, "out of range 0-59"),
        ({"schedule": "@dayly"}, "unknown preset"),
        ({"schedule": "every day"}, "no cron expression"),
        ({"cutover": {"mode": "automatic", "fence": "none"}}, "without a fence"),
        ({"cutover": {"fence": "none", "terminate_sessions": True}}, "come back"),
        ({"cutover": {"hooks": [{}]}}, "exactly one thing"),
        ({"cutover": {"hooks": [{"webhook": {"url": "https://u:p@h/x"}}]}}, "holds a secret"),
        ({"cutover": {"hooks": [{"webhook": {"url": "https://h/x?token=1"}}]}}, "holds a secret"),
        ({"cutover": {"hooks": [{"webhook": {"url": "ftp://h"}}]}}, "no http address"),
        ({"cutover": {"hooks": [{"webhook": {}}]}}, "either conn_id or url"),
        ({"source": {"conn_id": "a", "settings": {"Password": "x"}}}, "looks like a secret"),
        ({"source": {"conn_id": "a", "settings": {"x": [1]}}}, "must be one value"),
        ({"source": "shop_source"}, "must be a mapping"),
        ({"replication_instance": {"class": "huge"}}, "unknown class 'huge'"),
        ({"replication_instance": {"streams": 0}}, "greater than or equal to 1"),
        ({"table_mappings": "rules.txt"}, "neither rules nor"),
        ({"table_mappings": "none.json"}, "cannot be read"),
        ({"table_mappings": "{not json"}, "this is not JSON"),
        ({"table_mappings": ["x"]}, "must be DMS's table mappings"),
        ({"task_settings": [1]}, "must be DMS's task settings"),
        (
            {
                "migration_type": "full-load",
                "schedule": "@daily",
                "load_window": {"column": "a"},
                "task_settings": {"FullLoadSettings": {"TargetTablePrepMode": "DROP_AND_CREATE"}},
            },
            "throw away the windows",
        ),
    ],
)
def test_refused(changes: dict[str, object], message: str) -> None:
    assert message in refused(**changes)


def test_secrets_are_not_repeated() -> None:
    text = refused(source={"conn_id": "a", "settings": {"password": "hunter2"}})
    assert "hunter2" not in text


def test_dms_documents_as_text_and_as_files(tmp_path: Path) -> None:
    (tmp_path / "dms").mkdir()
    write(tmp_path, json.dumps(RULES), "dms/rules.json")
    write(tmp_path, '{"Logging": {"EnableLogging": true}}', "dms/settings.json")
    text = SMALLEST.replace('tables: {include: ["public.*"]}', "table_mappings: dms/rules.json")
    from_files = load_definition(write(tmp_path, text + "task_settings: dms/settings.json\n"))
    inline = parse_definition(plain(tables=None, table_mappings=json.dumps(RULES)), "x")
    assert from_files.table_mappings == inline.table_mappings
    assert from_files.selects(TableName("public", "a"))
    assert [f.subject for f in from_files.findings] == ["Logging.EnableLogging"]


def test_problems_of_a_json_file_name_that_file_and_its_line(tmp_path: Path) -> None:
    rules = '{\n "rules": [\n  {"rule-type": "selection", "rule-id": 1, "rule-action": "includ",\n'
    rules += '   "object-locator": {"schema-name": "a", "table-nam": "b"}}\n ]\n}'
    file = write(tmp_path, rules, "rules.json")
    text = SMALLEST.replace('tables: {include: ["public.*"]}', "table_mappings: rules.json")
    with pytest.raises(DefinitionError) as caught:
        load_definition(write(tmp_path, text))
    assert f"{file}:4: rules[0].object-locator.table-nam: unknown key" in str(caught.value)
    assert f"{file}:3: rules[0].rule-action" in str(caught.value)


def test_key_written_twice_in_json(tmp_path: Path) -> None:
    text = refused(tables=None, table_mappings='{"rules": [], "rules": []}')
    assert "written twice" in text


@pytest.mark.parametrize(
    ("name", "streams", "memory"),
    [
        ("small", 2, 512),
        ("xlarge", 16, 4096),
        ("dms.t3.micro", 4, 1024),
        ("dms.r5.4xlarge", 32, 131072),
        ("dms.c6i.24xlarge", 49, 196608),
    ],
)
def test_classes(name: str, streams: int, memory: int) -> None:
    definition = parse_definition(plain(replication_instance={"class": name}), "x")
    assert (definition.streams, definition.memory_mb) == (streams, memory)


def test_instance_settings_win_over_task_settings_win_over_class() -> None:
    task = {
        "FullLoadSettings": {"MaxFullLoadSubTasks": 20},
        "ChangeProcessingTuning": {"MemoryLimitTotal": 2048, "BatchApplyMemoryLimit": 64},
    }
    definition = parse_definition(plain(task_settings=task), "x")
    assert (definition.streams, definition.memory_mb) == (20, 2048)
    assert definition.batch_bytes == 64 * 1024 * 1024
    instance = {"streams": 3, "memory_mb": 256}
    definition = parse_definition(plain(task_settings=task, replication_instance=instance), "x")
    assert (definition.streams, definition.memory_mb) == (3, 256)
    assert definition.batch_bytes == 32 * 1024 * 1024


def test_start_date_is_utc() -> None:
    changes = {"migration_type": "full-load", "schedule": "@once"}
    for text in (
        "start_date: 2024-05-01",
        "start_date: 2024-05-01 00:00:00",
        'start_date: "2024-05-01"',
    ):
        definition = parse_definition(plain(**changes, **yaml.safe_load(text)), "x")
        assert definition.start_date == datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name: other\nbroken: [", "file"),
        ("name: other\nx: y", "other"),
        ("- a", "file"),
        ("name: 3", "file"),
        ("", "file"),
    ],
)
def test_name_of_a_broken_file(tmp_path: Path, text: str, name: str) -> None:
    assert definition_name(write(tmp_path, text, "file.yaml")) == name


def test_frozen() -> None:
    definition = parse_definition(plain(), "x")
    with pytest.raises(ValueError, match="frozen"):
        definition.name = "other"  # type: ignore[misc]


def test_json_schema_accepts_what_is_accepted() -> None:
    schema = json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for changes in ({}, {k: v for k, v in FULL.items() if k != "tables"}):
        validator.validate(plain(**changes))
    assert not validator.is_valid(plain(tabels={}))
    assert not validator.is_valid(plain(task_settings={"FullLoadSettings": {"Nope": 1}}))
    assert not validator.is_valid(plain(migration_type="all"))
    names = schema["properties"]
    assert set(names) == set(Definition.model_fields)
    assert all("description" in v for v in names.values())
