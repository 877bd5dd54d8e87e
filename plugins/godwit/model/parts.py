"""The parts of a definition: endpoints, replication instance, cutover, schedule."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from godwit.model.checking import Part
from godwit.model.wildcards import table_pattern

_SECRET = re.compile(
    r"passw|pwd|secret|token|api_?key|private_?key|credential|authorization", re.IGNORECASE
)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError("must be one value | write text, a number, true or false")


Scalar = Annotated[
    Any,
    BeforeValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]


def _no_secrets(values: dict[str, Any]) -> dict[str, Any]:
    for key in values:
        if _SECRET.search(key):
            raise ValueError(
                f"{key} looks like a secret, and a definition holds none | "
                "put it into the Airflow connection"
            )
    return values


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,200}", value):
        raise ValueError("letters, digits, dash, dot and underscore only | rename it")
    return value


ConnectionId = Annotated[str, AfterValidator(_identifier)]


class MigrationType(StrEnum):
    """What a migration does, in DMS's words."""

    FULL_LOAD = "full-load"
    CDC = "cdc"
    FULL_LOAD_AND_CDC = "full-load-and-cdc"

    @property
    def loads(self) -> bool:
        """It copies the rows that are there."""
        return self is not MigrationType.CDC

    @property
    def captures(self) -> bool:
        """It follows the source's log."""
        return self is not MigrationType.FULL_LOAD


class EndpointSpec(Part):
    """A database: an Airflow connection, and settings of its engine."""

    conn_id: ConnectionId = Field(
        description="id of an Airflow connection; its type says which engine"
    )
    settings: Annotated[dict[str, Scalar], AfterValidator(_no_secrets)] = Field(
        default_factory=dict, description="endpoint settings of the engine, by their DMS names"
    )


def _patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            table_pattern(value)
        except ValueError as cause:
            raise ValueError(f"{value!r} is no table pattern | {cause}") from None
    return values


Patterns = Annotated[tuple[str, ...], AfterValidator(_patterns)]


class TablePatterns(Part):
    """The short form of selection rules."""

    include: Patterns = Field(min_length=1, description='patterns schema.table, e.g. ["public.*"]')
    exclude: Patterns = Field(
        default=(), description="patterns of tables to leave out; exclude wins"
    )


#: Streams and megabytes of our own classes.
CLASSES = {"small": (2, 512), "medium": (4, 1024), "large": (8, 2048), "xlarge": (16, 4096)}
_SIZES = {"micro": 2, "small": 2, "medium": 2, "large": 2}
_SMALL_MEMORY = {"micro": 1024, "small": 2048, "medium": 4096}
_DMS_CLASS = re.compile(r"dms\.([tcr])\d[a-z]*\.(micro|small|medium|large|(\d*)xlarge)")


def class_size(name: str) -> tuple[int, int] | None:
    """Streams and memory (MB) of a class, ours or a DMS one; None = no such class."""
    if name in CLASSES:
        return CLASSES[name]
    match = _DMS_CLASS.fullmatch(name)
    if not match:
        return None
    family, size, times = match.groups()
    cpus = _SIZES.get(size) or 4 * int(times or 1)
    gigabytes_a_cpu = {"t": 4, "c": 2, "r": 8}[family]
    memory = _SMALL_MEMORY.get(size) if family == "t" else None
    return min(2 * cpus, 49), memory or cpus * gigabytes_a_cpu * 1024


def _known_class(value: str) -> str:
    if class_size(value) is None:
        raise ValueError(
            f"unknown class {value!r} | use {', '.join(CLASSES)}, or a DMS class (dms.c6i.large)"
        )
    return value


class ReplicationInstance(Part):
    """The room a migration works in."""

    name: ConnectionId | None = Field(
        default=None, description="its name (pool, queue); unset: the migration's"
    )
    instance_class: Annotated[str, AfterValidator(_known_class)] = Field(
        default="medium", alias="class", description="small, medium, large, xlarge or a DMS class"
    )
    streams: int | None = Field(
        default=None, ge=1, le=64, description="chunks at the same time; unset: from the class"
    )
    memory_mb: int | None = Field(
        default=None, ge=128, description="memory in MB; unset: from the class"
    )
    queue: str | None = Field(
        default=None,
        min_length=1,
        description="Airflow queue of its triggerer, where changes are streamed; no worker's",
    )


class LoadWindow(Part):
    """Each run loads the rows of its own data interval."""

    column: str = Field(
        min_length=1, description="a date or timestamp column of every selected table"
    )


class ConnectionHook(Part):
    """Points an Airflow connection at another endpoint."""

    conn_id: ConnectionId = Field(description="the Airflow connection that applications use")
    copy_from: Literal["target", "source"] = Field(
        default="target", alias="from", description="the endpoint it is to point at"
    )


class SqlHook(Part):
    """Statements on one of the endpoints; `undo` takes them back."""

    endpoint: Literal["source", "target"] = Field(description="source or target")
    statements: tuple[str, ...] = Field(min_length=1, description="SQL statements, in order")
    undo: tuple[str, ...] = Field(default=(), description="SQL statements that take them back")


class WebhookHook(Part):
    """An HTTP request."""

    conn_id: ConnectionId | None = Field(
        default=None, description="an Airflow HTTP connection: host, login, headers"
    )
    url: str | None = Field(default=None, description="an address without secrets")
    path: str = Field(default="", description="path below the connection's host")
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = "POST"
    headers: Annotated[dict[str, str], AfterValidator(_no_secrets)] = Field(default_factory=dict)
    body: dict[str, Any] | None = Field(default=None, description="JSON to send")
    timeout_seconds: float = Field(default=30, gt=0, le=600)

    @model_validator(mode="after")
    def _one_way(self) -> WebhookHook:
        if (self.conn_id is None) == (self.url is None):
            raise ValueError("needs either conn_id or url | give one of them")
        parts = urlsplit(self.url or "https://x")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url is no http address | write https://host/path")
        if parts.username or parts.password or _SECRET.search(parts.query):
            raise ValueError(
                "url holds a secret | put it into an Airflow connection and give conn_id"
            )
        return self


class Hook(Part):
    """What switches applications over; exactly one of the three ways."""

    name: str | None = Field(default=None, description="for the journal")
    airflow_connection: ConnectionHook | None = Field(default=None, description="conn_id, from")
    sql: SqlHook | None = Field(default=None, description="endpoint, statements")
    webhook: WebhookHook | None = Field(default=None, description="conn_id or url, …")

    @model_validator(mode="after")
    def _exactly_one(self) -> Hook:
        if sum(way is not None for way in (self.airflow_connection, self.sql, self.webhook)) != 1:
            raise ValueError(
                "a hook does exactly one thing | give one of airflow_connection, sql, webhook"
            )
        return self

    @property
    def label(self) -> str:
        """For the journal."""
        way = next(w for w in ("airflow_connection", "sql", "webhook") if getattr(self, w))
        return self.name or way


class CutoverSpec(Part):
    """The switch from source to target."""

    mode: Literal["approval", "automatic", "never"] = Field(
        default="approval",
        description="a person approves, it happens by itself, or never (ongoing replication)",
    )
    max_lag_seconds: float = Field(
        default=10, ge=0, allow_inf_nan=False, description="the gate is closed above this lag"
    )
    fence: Literal["read-only", "revoke", "none"] = Field(
        default="read-only", description="how the source is kept from changing"
    )
    terminate_sessions: bool = Field(
        default=False, description="end the source's other sessions at the fence"
    )
    drain_timeout_seconds: int = Field(
        default=600, ge=1, description="how long the last changes may take"
    )
    final_validation: bool = Field(
        default=True, alias="validate", description="compare contents behind the fence"
    )
    hooks: tuple[Hook, ...] = Field(
        default=(), description="what switches applications over, in order"
    )
    keep_control_tables: bool = Field(
        default=True, description="leave checkpoint, ledger and journal on the target"
    )
    drop_source_capture: bool = Field(
        default=True, description="remove the capture from the source at the end"
    )


_PRESETS = (
    "@hourly",
    "@daily",
    "@weekly",
    "@monthly",
    "@quarterly",
    "@yearly",
    "@annually",
    "@once",
    "@continuous",
)
_FIELD = re.compile(r"[\d*/,\-?LW#A-Za-z]+")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def check_schedule(value: str) -> str:
    """A cron expression or one of Airflow's presets; ValueError otherwise."""
    text = " ".join(value.split())
    if text.startswith("@"):
        if text not in _PRESETS:
            raise ValueError(f"unknown preset {text!r} | use one of {', '.join(_PRESETS)}")
        return text
    fields = text.split(" ")
    hint = "write five fields, e.g. '0 3 * * *', or a preset such as @daily"
    if len(fields) not in (5, 6) or not all(_FIELD.fullmatch(f) for f in fields):
        raise ValueError(f"{text!r} is no cron expression | {hint}")
    for field, (low, high) in zip(fields, _RANGES, strict=False):
        for number in re.findall(r"(?<![/\d#])\d+", field):
            if not low <= int(number) <= high:
                raise ValueError(f"{number} in {text!r} is out of range {low}-{high} | {hint}")
    return text


Schedule = Annotated[str, AfterValidator(check_schedule)]
