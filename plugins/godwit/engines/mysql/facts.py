"""What the target knows of a table that changes are applied to: columns, keys, size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import TableName

#: Types that only have a key of their first characters, if any.
_UNKEYED = re.compile(r"^(tiny|medium|long)?(text|blob)|^(json|geometry|point|linestring|polygon)")
_UNKEYED_TOO = re.compile(r"^(multi\w+|geom\w+|vector)")
_FLOAT = re.compile(r"^float")
_SHAPE = re.compile(r"^(geometry|point|linestring|polygon|multi\w+|geom\w+)")


@dataclass(frozen=True)
class TargetColumn:
    """A column as the target has it. `clock`: an UPDATE that doesn't mention it sets it to now.

    `octets`: bytes of the longest value, 0 where that is no question.
    """

    name: str
    native: str
    charset: str | None
    collation: str | None
    nullable: bool
    clock: bool
    octets: int

    @property
    def declared(self) -> str:
        """Its declaration in a stage."""
        return f"{self.declared_as(self.name, null='')} {'NULL' if self.nullable else 'NOT NULL'}"

    def declared_as(self, name: str, null: str = " NULL") -> str:
        """The same type under another name, for a column that may be NULL."""
        native = self.native
        if not self.nullable and native.lower().startswith("timestamp"):
            # A NULL would become the time of day, without a word.
            native = "datetime" + native[len("timestamp") :]
        charset = f" CHARACTER SET {self.charset} COLLATE {self.collation}" if self.charset else ""
        return f"{quoted(name)} {native}{charset}{null}"

    @property
    def keyed(self) -> bool:
        """It can be part of a key as a whole."""
        native = self.native.lower()
        return not (_UNKEYED.match(native) or _UNKEYED_TOO.match(native))

    def exact(self, table: str) -> str:
        """An expression whose text is equal only for the same value."""
        name = f"{table}.{quoted(self.name)}"
        native = self.native.lower()
        if _FLOAT.match(native):
            # As text a float has six digits only, and what MySQL has computed has 22 characters:
            # enough without the sign.
            return f"CONCAT({name} < 0, ABS({name} + 0e0))"
        if native == "json":
            return f"CAST({name} AS CHAR)"
        return f"HEX({name})" if _SHAPE.match(native) else name


@dataclass(frozen=True)
class Facts:
    """What the target knows of a table.

    Attributes:
        columns: by name, folded to lower case as the server compares names.
        arbiter: name of a unique key on exactly the identity; None = there is none.
        others: it has further unique keys.
        finder: a column that an index begins with, for tables without identity.
        rows: the server's estimate.
        transactional: what is done to it can be rolled back.
    """

    columns: dict[str, TargetColumn]
    arbiter: str | None
    others: bool
    finder: str | None
    rows: int
    transactional: bool

    def column(self, name: str) -> TargetColumn:
        """The column of that name; KeyError when there is none."""
        return self.columns[name.lower()]


_COLUMNS = """
SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE = 'YES',
  LOWER(EXTRA) LIKE '%%on update%%', COALESCE(CHARACTER_OCTET_LENGTH, 0)
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s
ORDER BY ORDINAL_POSITION
"""
_INDEXES = """
SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY INDEX_NAME, SEQ_IN_INDEX
"""
_STATUS = """
SELECT COALESCE(t.TABLE_ROWS, 0), COALESCE(e.TRANSACTIONS, 'NO') = 'YES'
FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
WHERE t.TABLE_SCHEMA = %s AND t.TABLE_NAME = %s
"""


def read_facts(session: Session, table: TableName, identity: Sequence[str]) -> Facts | None:
    """Look a table up; None when it does not exist."""
    columns = {row[0].lower(): _column(row) for row in session.rows(_COLUMNS, list(table))}
    if not columns:
        return None
    unique: dict[str, list[str | None]] = {}
    first: dict[str, str] = {}
    for name, plain, column, prefix in session.rows(_INDEXES, list(table)):
        if name not in first and column is not None and prefix is None:
            first[name] = column
        if not plain:
            # A prefix or an expression: no key of whole columns.
            whole = None if prefix is not None or column is None else column.lower()
            unique.setdefault(name, []).append(whole)
    rows, transactions = session.row(_STATUS, list(table)) or (0, 0)
    wanted = sorted(c.lower() for c in identity)
    own = [n for n, parts in unique.items() if wanted and sorted(map(str, parts)) == wanted]
    own.sort(key=lambda name: name != "PRIMARY")
    finder = next((c for c in first.values() if columns[c.lower()].keyed), None)
    return Facts(
        columns,
        own[0] if own else None,
        len(unique) > len(own),
        finder,
        int(rows),
        bool(transactions),
    )


def _column(row: tuple[object, ...]) -> TargetColumn:
    name, native, charset, collation, nullable, clock, octets = row
    return TargetColumn(
        str(name),
        native.decode() if isinstance(native, bytes) else str(native),
        None if charset is None else str(charset),
        None if collation is None else str(collation),
        bool(nullable),
        bool(clock),
        int(str(octets)),
    )
