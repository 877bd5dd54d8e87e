"""The tables of the state store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

metadata = MetaData()


class Instant(TypeDecorator[datetime]):
    """An aware UTC time, also on databases that store times without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """As UTC, whatever the database made of it."""
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


#: 64-bit row numbers; one well-known database numbers rows by itself only when told INTEGER.
RowNumber = BigInteger().with_variant(Integer, "sqlite")

migrations = Table(
    "migrations",
    metadata,
    Column("migration", String(200), primary_key=True),
    Column("migration_type", String(40), nullable=False, default=""),
    # Who may see it is decided by the DAG; empty outside Airflow.
    Column("dag_id", String(250), nullable=False, default=""),
    Column("source", String(250), nullable=False, default=""),
    Column("target", String(250), nullable=False, default=""),
    Column("phase", String(60), nullable=False, default=""),
    Column("phase_at", Instant),
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
)

instances = Table(
    "instances",
    metadata,
    Column("migration", String(200), primary_key=True),
    Column("name", String(250), nullable=False),
    Column("instance_class", String(60), nullable=False, default=""),
    Column("streams", Integer, nullable=False, default=0),
    Column("memory_mb", Integer, nullable=False, default=0),
    Column("queue", String(250), nullable=False, default=""),
    Column("state", String(40), nullable=False, default=""),
    Column("at", Instant, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("migration", String(200), nullable=False),
    Column("code", String(100), nullable=False),
    Column("severity", String(20), nullable=False),
    Column("subject", String(500), nullable=False),
    Column("reason", Text, nullable=False),
    Column("hint", Text, nullable=False, default=""),
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
    Index("findings_of", "migration", "code", "subject", unique=True),
)

events = Table(
    "events",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("migration", String(200), nullable=False),
    Column("at", Instant, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_of", "migration", "id"),
)

table_statistics = Table(
    "table_statistics",
    metadata,
    Column("migration", String(200), primary_key=True),
    Column("table_schema", String(200), primary_key=True),
    Column("table_name", String(200), primary_key=True),
    Column("state", String(40), nullable=False, default=""),
    Column("target", String(500), nullable=False, default=""),
    Column("chunks", BigInteger, nullable=False, default=0),
    Column("rows_planned", BigInteger, nullable=False, default=0),
    Column("bytes_planned", BigInteger, nullable=False, default=0),
    Column("inserts", BigInteger, nullable=False, default=0),
    Column("updates", BigInteger, nullable=False, default=0),
    Column("deletes", BigInteger, nullable=False, default=0),
    Column("last_error", Text, nullable=False, default=""),
    Column("at", Instant, nullable=False),
)

#: One line a chunk, so that a chunk that is told twice counts once.
chunk_statistics = Table(
    "chunk_statistics",
    metadata,
    Column("migration", String(200), primary_key=True),
    Column("chunk", String(250), primary_key=True),
    Column("table_schema", String(200), nullable=False),
    Column("table_name", String(200), nullable=False),
    Column("label", String(500), nullable=False),
    Column("loaded_rows", BigInteger, nullable=False),
    Column("loaded_bytes", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("at", Instant, nullable=False),
)

lag_history = Table(
    "lag_history",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("migration", String(200), nullable=False),
    Column("at", Instant, nullable=False),
    Column("position", String(500), nullable=False, default=""),
    Column("lag_p50", Float),
    Column("lag_p99", Float),
    Column("lag_now", Float),
    Column("transactions", BigInteger, nullable=False, default=0),
    Column("changes", BigInteger, nullable=False, default=0),
    Column("batches", BigInteger, nullable=False, default=0),
    Column("mode", String(40), nullable=False, default=""),
    Index("lag_of", "migration", "id"),
)

validations = Table(
    "validations",
    metadata,
    Column("migration", String(200), primary_key=True),
    Column("table_schema", String(200), primary_key=True),
    Column("table_name", String(200), primary_key=True),
    Column("compared_rows", BigInteger, nullable=False),
    Column("equal", Boolean, nullable=False),
    Column("difference_count", BigInteger, nullable=False, default=0),
    Column("rechecked", BigInteger, nullable=False, default=0),
    Column("repaired", BigInteger, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("note", Text, nullable=False, default=""),
    Column("at", Instant, nullable=False),
)
