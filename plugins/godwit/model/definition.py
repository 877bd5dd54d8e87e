"""A migration's definition: one YAML file, checked as a whole.

`load_definition` reads a file, `parse_definition` plain data (operators carry that); both
tell every problem at once, with file, line, key, reason and fix.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from godwit.errors import DefinitionError
from godwit.model.catalog import TableName
from godwit.model.checking import Part, check
from godwit.model.combinations import check_combinations
from godwit.model.parts import (
    CutoverSpec,
    EndpointSpec,
    Hook,
    LoadWindow,
    MigrationType,
    ReplicationInstance,
    Schedule,
    TablePatterns,
    class_size,
)
from godwit.model.problems import KeyPath, Problems
from godwit.model.report import Finding
from godwit.model.resolve import Resolution, resolve
from godwit.model.rules import RuleSet, read_rules
from godwit.model.schema import rules_schema
from godwit.model.settings import TaskSettings, ValidationSettings, read_settings, settings_schema
from godwit.model.wildcards import table_pattern
from godwit.model.yaml_lines import read_json, read_yaml

__all__ = [
    "CutoverSpec",
    "Definition",
    "EndpointSpec",
    "Hook",
    "LoadWindow",
    "MigrationType",
    "ReplicationInstance",
    "Resolution",
    "TablePatterns",
    "TaskSettings",
    "ValidationSettings",
    "definition_name",
    "json_schema",
    "load_definition",
    "parse_definition",
    "resolve",
]

_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,199}"


def _rules(value: Any) -> RuleSet:
    if isinstance(value, RuleSet):
        return value
    problems = Problems("table_mappings")
    rules = read_rules(value, problems)
    if problems.found:
        raise ValueError(f"{problems.found[0]}")
    return rules


def _settings(value: Any) -> TaskSettings:
    if isinstance(value, TaskSettings):
        return value
    problems = Problems("task_settings")
    settings = read_settings(value, problems)
    if problems.found:
        raise ValueError(f"{problems.found[0]}")
    return settings


def _instant(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _zoned(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        hint = "start with a letter, then letters, digits, dash, underscore (at most 200)"
        raise ValueError(f"{value!r} cannot be the id of a DAG | {hint}")
    return value


Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]
TableMappings = Annotated[
    RuleSet,
    PlainValidator(_rules),
    PlainSerializer(lambda r: r.to_dict()),
    WithJsonSchema(rules_schema()),
]
Settings = Annotated[
    TaskSettings,
    PlainValidator(_settings),
    PlainSerializer(lambda s: s.to_dict()),
    WithJsonSchema({"anyOf": [settings_schema(), {"type": "string"}]}),
]


class Definition(Part):
    """One migration = one file = one DAG."""

    name: Name = Field(
        description="a letter, then letters, digits, dash, underscore; the DAG's id",
    )
    description: str = Field(default="", description="shown with the DAG")
    tags: tuple[str, ...] = Field(default=(), description="tags of the DAG")
    migration_type: MigrationType = Field(description="full-load, cdc or full-load-and-cdc")
    source: EndpointSpec = Field(description="{conn_id: …}: where the rows are")
    target: EndpointSpec = Field(description="{conn_id: …}: where they go")
    tables: TablePatterns | None = Field(
        default=None, description='{include: ["schema.table", …]}: short form of selection rules'
    )
    table_mappings: TableMappings = Field(
        default_factory=RuleSet,
        description="DMS table mappings: {rules: […]}, their JSON text, or a .json file",
    )
    task_settings: Settings = Field(
        default_factory=TaskSettings,
        description="DMS task settings: groups, their JSON text, or a .json file",
    )
    replication_instance: ReplicationInstance = Field(
        default_factory=ReplicationInstance, description="streams, memory, queue"
    )
    schedule: Schedule | None = Field(
        default=None, description="cron expression or preset; unset: started by hand"
    )
    start_date: Annotated[datetime, BeforeValidator(_instant), AfterValidator(_zoned)] | None = (
        Field(default=None, description="first day of the schedule; UTC unless it says otherwise")
    )
    catchup: bool = Field(default=False, description="make up for runs missed since start_date")
    load_window: LoadWindow | None = Field(
        default=None, description="{column: …}: each run loads the rows of its data interval"
    )
    cutover: CutoverSpec = Field(
        default_factory=CutoverSpec,
        description="the switch; unset: by approval, never for a full load",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """Keys written with nothing after them count as not written; a full load has no cutover."""
        if not isinstance(data, dict):
            return data
        data = {k: v for k, v in data.items() if v is not None}
        if "cutover" not in data and data.get("migration_type") == MigrationType.FULL_LOAD:
            data["cutover"] = {"mode": "never"}
        return data

    @field_validator("tags", mode="before")
    @classmethod
    def _one_tag(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def selects(self, table: TableName) -> bool:
        """True when the table is part of the migration."""
        if self.tables is not None:
            return _fits(self.tables.include, table) and not _fits(self.tables.exclude, table)
        return self.table_mappings.selects(table)

    @property
    def reloads(self) -> bool:
        """Each run of the schedule loads every row again."""
        return (
            self.migration_type == MigrationType.FULL_LOAD
            and self.schedule not in (None, "@once")
            and self.load_window is None
        )

    @property
    def instance_name(self) -> str:
        """The replication instance's name."""
        return self.replication_instance.name or self.name

    @property
    def streams(self) -> int:
        """Chunks at the same time: set on the instance, else MaxFullLoadSubTasks, else by class."""
        instance = self.replication_instance
        return instance.streams or self.task_settings.streams or self._class_size[0]

    @property
    def memory_mb(self) -> int:
        """Memory in MB: as set on the instance, else MemoryLimitTotal, else by class."""
        instance = self.replication_instance
        return instance.memory_mb or self.task_settings.memory_mb or self._class_size[1]

    @property
    def batch_bytes(self) -> int:
        """Largest batch of changes: BatchApplyMemoryLimit, at most an eighth of the memory."""
        eighth = self.memory_mb * 1024 * 1024 // 8
        return min(self.task_settings.batch_bytes or eighth, eighth)

    @property
    def _class_size(self) -> tuple[int, int]:
        return class_size(self.replication_instance.instance_class) or (4, 1024)

    @property
    def validation(self) -> ValidationSettings:
        """How contents are compared."""
        return self.task_settings.validation

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Settings and rules of DMS that have no effect here."""
        return (*self.task_settings.findings, *self.table_mappings.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; ``parse_definition(d.to_dict(), …) == d``."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _fits(patterns: tuple[str, ...], table: TableName) -> bool:
    return any(table_pattern(p).matches(table) for p in patterns)


def load_definition(path: str | Path) -> Definition:
    """Read one file.

    Raises:
        DefinitionError: it cannot be read or used; the text lists every problem.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise DefinitionError(
            "the file cannot be read",
            where=str(path),
            why=getattr(cause, "strerror", None) or type(cause).__name__,
            hint="give the path of a readable UTF-8 file",
        ) from None
    problems = Problems(str(path))
    data, lines = read_yaml(text, problems)
    if data is None and problems.found:
        problems.stop_if_any()
    problems.lines = lines
    return _parse(data, problems, path.parent)


def parse_definition(data: Any, origin: str) -> Definition:
    """Check plain data.

    `origin` is the file it came from: for messages, and the folder that relative paths start from.

    Raises:
        DefinitionError: it cannot be used; the text lists every problem.
    """
    return _parse(data, Problems(origin), Path(origin).parent)


def definition_name(path: str | Path) -> str:
    """The name of a migration whose file may be broken: its ``name``, else the file's own name."""
    path = Path(path)
    try:
        name = yaml.safe_load(path.read_text(encoding="utf-8-sig")).get("name")
        return name if check(_Named, {"name": name}, Problems("")) else path.stem
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return path.stem


class _Named(Part):
    name: Name


def _parse(data: Any, problems: Problems, folder: Path) -> Definition:
    if not isinstance(data, dict):
        problems.add((), "a definition is a mapping of keys and values", "start with `name: …`")
        problems.stop_if_any()
    plain = dict(data)
    rules = _document(plain, "table_mappings", problems, folder)
    if rules is not None:
        plain["table_mappings"] = read_rules(*rules)
    settings = _document(plain, "task_settings", problems, folder)
    if settings is not None:
        plain["task_settings"] = read_settings(*settings)
    definition = check(Definition, plain, problems)
    check_combinations(plain, problems)
    problems.stop_if_any()
    if definition is None:
        raise DefinitionError("cannot be used", where=problems.file)
    return definition


def _document(
    data: dict[str, Any], key: str, problems: Problems, folder: Path
) -> tuple[Any, Problems, KeyPath] | None:
    """A DMS document: inline, JSON text, or a file; with where its problems are to be told."""
    value = data.pop(key, None)
    if value is None:
        return None
    if not isinstance(value, str):
        return value, problems, (key,)
    if value.lstrip()[:1] in ("{", "["):
        inner, _ = read_json(value, problems, (key,))
        return (inner, problems, (key,)) if inner is not None else None
    file = folder / value
    if file.suffix.lower() != ".json":
        problems.add(
            (key,),
            "is neither rules nor their JSON text nor a .json file",
            "name a file that ends in .json",
        )
        return None
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        why = getattr(cause, "strerror", None) or type(cause).__name__
        problems.add(
            (key,),
            f"the file {value} cannot be read: {why}",
            "paths start from the definition's folder",
        )
        return None
    inner, lines = read_json(text, problems.nested(str(file), {}))
    return (inner, problems.nested(str(file), lines), ()) if inner is not None else None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a definition, with descriptions."""
    schema = Definition.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Godwit migration",
        **schema,
    }
