"""Names and literals in SQL text. Values go as parameters; literals are for DDL without any."""

from __future__ import annotations


def quoted(*parts: str) -> str:
    """A qualified name in backticks."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(text: str) -> str:
    """A string literal for sessions of ours: a backslash escapes (no NO_BACKSLASH_ESCAPES)."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\x1a", "\\Z") + "'"


def parameterless(sql: str) -> str:
    """SQL text for a statement that also takes parameters: percent signs doubled."""
    return sql.replace("%", "%%")
