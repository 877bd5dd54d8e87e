"""Columns as lines of CREATE TABLE, and the key over a table's row identity."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.datatypes import holds_text, spelling, text_collation
from godwit.engines.mysql.ddl_steps import identity_key, shortened
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects_shapes import ColumnLine, KeyLine, TableShape
from godwit.engines.mysql.sqltext import tokens
from godwit.model.datatypes import DataType
from godwit.model.mapping import DeclaredKey, TableMapping

_NULLABLE = re.compile(r"(?<!NOT )\bNULL\b")
_DEFAULT_NULL = re.compile(r"\s+DEFAULT NULL\b")
_TYPE_END = re.compile(r"\s+(DEFAULT|COMMENT|AUTO_INCREMENT|ON UPDATE|INVISIBLE|CHECK)\b")


def other(removed: set[str], own: str) -> Callable[[str], bool]:
    """Whether a name is one of those removed, and not the column's own."""
    return lambda name: name in removed and name != own


def quoted_names(text: str) -> str:
    """The names in a column's text that mean columns: those in backticks."""
    return " ".join(t for k, t in tokens(text) if k == "name")


def without_default(text: str) -> str:
    """A column's text up to its default."""
    return re.split(r"\s+DEFAULT\b", text, maxsplit=1)[0]


def is_required(text: str) -> bool:
    """Whether the column takes no nulls."""
    return " NOT NULL" in text


def made_text(
    kind: DataType,
    version: Version,
    settings: Mapping[str, Any],
    *,
    required: bool,
    key_bytes: int | None = None,
) -> str:
    """Text of a column that is made from its logical type alone (`key_bytes`: as in `spelling`)."""
    text = spelling(kind, settings, key_bytes=key_bytes)
    if holds_text(text):
        charset, collation = text_collation(kind, version)
        text += f" CHARACTER SET {charset} COLLATE {collation}"
    return f"{text} NOT NULL" if required else f"{text} DEFAULT NULL"


def with_identity(shape: TableShape, mapping: TableMapping) -> TableShape:
    """The table with a key over its row identity, where the source has none that remains."""
    identity = mapping.identity
    has_primary = any(k.primary for k in shape.keys)
    wanted = mapping.declared_key or DeclaredKey(primary=not has_primary)
    if not identity:
        return shape
    if identity_key(shape, identity) and not (
        mapping.declared_key and wanted.primary and not has_primary
    ):
        return shape
    parts = tuple(quoted(c) for c in identity)
    if wanted.primary and not has_primary:
        key = KeyLine("PRIMARY", "PRIMARY KEY", parts)
    else:
        key = KeyLine(shortened(wanted.name or "identity"), "UNIQUE KEY", parts)
    columns = tuple(required(c) if c.name in identity else c for c in shape.columns)
    return replace(shape, columns=columns, keys=(key, *shape.keys))


def required(column: ColumnLine) -> ColumnLine:
    """The column without nulls."""
    if is_required(column.text):
        return column
    text = _DEFAULT_NULL.sub("", column.text)
    text = _NULLABLE.sub("NOT NULL", text, count=1) if _NULLABLE.search(text) else text
    if not is_required(text):
        type_end, rest = _split_type(text)
        text = f"{type_end} NOT NULL{rest}"
    return ColumnLine(column.name, text)


def _split_type(text: str) -> tuple[str, str]:
    match = _TYPE_END.search(text)
    return (text[: match.start()], text[match.start() :]) if match else (text, "")
