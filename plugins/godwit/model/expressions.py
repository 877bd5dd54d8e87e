"""Expressions of rules: the dialect DMS documents, which is SQLite's, run by SQLite itself.

``$name`` is a column of the source table (``${any name}`` for names that are no word),
``$AR_H_…`` a header of the change, ``$AR_M_…`` a fact of the table.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

HEADERS = (
    "AR_H_STREAM_POSITION",
    "AR_H_TIMESTAMP",
    "AR_H_COMMIT_TIMESTAMP",
    "AR_H_OPERATION",
    "AR_H_USER",
    "AR_H_CHANGE_SEQ",
)
METADATA = (
    "AR_M_SOURCE_SCHEMA",
    "AR_M_SOURCE_TABLE_NAME",
    "AR_M_SOURCE_COLUMN_NAME",
    "AR_M_SOURCE_COLUMN_DATATYPE",
    "AR_M_MODIFIED_SCHEMA",
    "AR_M_MODIFIED_TABLE_NAME",
)

#: What SQLite stores.
Value = str | int | float | bytes | None

_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
      | \$\{(?P<quoted>[^}]+)\} | \$(?P<plain>\w+)""",
    re.VERBOSE | re.DOTALL,
)
_VOLATILE = re.compile(
    r"\b(random|randomblob|current_(date|time|timestamp))\b|'now'", re.IGNORECASE
)


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Attributes:
        text: as written.
        columns: source columns it reads, in the order of their first use.
        facts: headers and metadata it reads.
    """

    text: str
    columns: tuple[str, ...]
    facts: tuple[str, ...]

    @property
    def marks_deletes(self) -> bool:
        """It uses ``operation_indicator``: rows deleted on the source stay, marked."""
        return "operation_indicator" in self.text.lower()

    @property
    def volatile(self) -> bool:
        """The same row may give another value the next time."""
        return bool(_VOLATILE.search(self.text)) or any(f in HEADERS for f in self.facts)


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Expression:
    """Find the names in an expression. Text in quotes and comments are left alone."""
    columns: dict[str, None] = {}
    facts: dict[str, None] = {}
    for match in _TOKEN.finditer(text):
        name = match["quoted"] or match["plain"]
        if name is not None:
            (facts if name in HEADERS or name in METADATA else columns)[name] = None
    return Expression(text, tuple(columns), tuple(facts))


def _replace_chars(text: Value, old: Value, new: Value) -> Value:
    """DMS's ``replaceChars``: every character of `old` becomes the one at its place in `new`."""
    if text is None or old is None or new is None:
        return None
    table = {ord(c): str(new)[n : n + 1] for n, c in reversed(list(enumerate(str(old))))}
    return str(text).translate(table)


def _hash(value: Value) -> Value:
    if value is None:
        return None
    data = value if isinstance(value, bytes) else str(value).encode()
    return hashlib.sha256(data).hexdigest()


_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}


def _only_reads(action: int, *names: str | None) -> int:
    forbidden = action == sqlite3.SQLITE_FUNCTION and names[1] in (
        "load_extension",
        "fts3_tokenizer",
    )
    return sqlite3.SQLITE_DENY if forbidden or action not in _ALLOWED else sqlite3.SQLITE_OK


def evaluate(
    expressions: Sequence[Expression],
    rows: Iterable[Sequence[Value]],
    columns: Sequence[str],
    facts: dict[str, Value],
    operation: str,
) -> list[tuple[Value, ...]]:
    """Values of the expressions, one tuple a row.

    Args:
        expressions: to evaluate together.
        rows: values of `columns`.
        columns: names of source columns.
        facts: headers and metadata by name; those not given are NULL.
        operation: ``I``, ``U`` or ``D``, for ``operation_indicator(deleted, updated, inserted)``.

    Raises:
        sqlite3.Error: an expression is wrong, or refuses a value.
    """
    names = {c: f'"k{n}"' for n, c in enumerate(columns)}
    with_facts = sorted({f for e in expressions for f in e.facts})
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.create_function("hash_sha256", 1, _hash, deterministic=True)
        connection.create_function("replaceChars", 3, _replace_chars, deterministic=True)
        place = {"D": 0, "U": 1, "I": 2}[operation]
        connection.create_function("operation_indicator", 3, lambda *marks: marks[place])
        fields = [*names.values(), *map(_quoted, with_facts)] or ['"none"']
        connection.execute(f"CREATE TABLE row ({', '.join(fields)})")
        constant = tuple(facts.get(f) for f in with_facts) or (() if names else (None,))
        connection.executemany(
            f"INSERT INTO row VALUES ({', '.join('?' * len(fields))})",
            ((*row, *constant) for row in rows),
        )
        connection.set_authorizer(_only_reads)
        # The line break ends a comment at the end of an expression.
        wanted = ", ".join(f"({_sql(e, names)}\n)" for e in expressions)
        return connection.execute(f"SELECT {wanted} FROM row ORDER BY rowid").fetchall()
    finally:
        connection.close()


def _quoted(name: str) -> str:
    # Not in double quotes: SQLite takes those for text when there is no such column.
    return "`" + name.replace("`", "``") + "`"


def _sql(expression: Expression, names: dict[str, str]) -> str:
    def put(match: re.Match[str]) -> str:
        name = match["quoted"] or match["plain"]
        return match.group() if name is None else names.get(name) or _quoted(name)

    return _TOKEN.sub(put, expression.text)


def problem_of(text: str) -> str:
    """Why an expression cannot be evaluated, "" when it can. Column names are not looked up."""
    expression = parse_expression(text)
    try:
        evaluate([expression], [[None] * len(expression.columns)], expression.columns, {}, "I")
    except (sqlite3.Error, ValueError) as cause:
        return str(cause)
    return ""
