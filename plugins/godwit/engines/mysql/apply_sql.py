"""The statements that apply net changes to one target table, composed once.

A temporary table may be named only once in a statement, and the optimizer knows nothing of what is
in it: every statement here names the stage once, and the order of the join is prescribed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.names import parameterless, quoted
from godwit.model.catalog import TableName

#: Bytes that an index of InnoDB can hold.
KEY_BYTES = 3072
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
        native = self.native
        if not self.nullable and native.lower().startswith("timestamp"):
            # A NULL would become the time of day, without a word.
            native = "datetime" + native[len("timestamp") :]
        charset = f" CHARACTER SET {self.charset} COLLATE {self.collation}" if self.charset else ""
        return f"{quoted(self.name)} {native}{charset} {'NULL' if self.nullable else 'NOT NULL'}"

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
            return f"({name} + 0e0)"  # as text a float has six digits only
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


class TableSql:
    """Statements for one target table and one list of columns, staged in a temporary table.

    Args:
        table: the target table.
        columns: of the staged rows, by target name.
        identity: of the row identity, by target name; empty = whole rows are compared.
        stage: name of the temporary table.
        facts: of the target table.
        numbered: the staged rows bear their position (`number`), and their identities may repeat.
    """

    def __init__(
        self,
        table: TableName,
        columns: Sequence[str],
        identity: Sequence[str],
        stage: str,
        facts: Facts,
        *,
        numbered: bool = False,
    ) -> None:
        self.columns = tuple(columns)
        self.identity = tuple(identity)
        self.facts = facts
        self.numbered = numbered
        self.table = table
        self.stage = TableName(table.schema, stage)
        self.number = "godwit_n"
        while self.number in {c.lower() for c in columns}:
            self.number += "_"
        self._t, self._s = quoted(*table), quoted(*self.stage)

    @property
    def stage_columns(self) -> tuple[str, ...]:
        """Columns of the stage in order."""
        return (*self.columns, self.number) if self.numbered else self.columns

    def _list(self, names: Sequence[str], prefix: str = "") -> str:
        return ", ".join((f"{prefix}." if prefix else "") + quoted(n) for n in names)

    @cached_property
    def _match(self) -> str:
        return " AND ".join(f"t.{quoted(c)} = s.{quoted(c)}" for c in self.identity)

    @cached_property
    def join(self) -> str:
        """The stage first, the table by its key: staged rows are few and lie in the key's order."""
        if self.facts.arbiter is None:
            return f"{self._s} s JOIN {self._t} t ON {self._match}"
        index = quoted(self.facts.arbiter)
        return f"{self._s} s STRAIGHT_JOIN {self._t} t FORCE INDEX ({index}) ON {self._match}"

    # -- the stage

    @cached_property
    def create_stage(self) -> str:
        """An empty temporary table of the columns' types.

        With the identity as its primary key, so that staged rows lie in the order of the target's
        own key and by its own notion of equality.
        """
        parts = [self.facts.column(c).declared for c in self.columns]
        if self.numbered:
            parts.append(f"{quoted(self.number)} INT UNSIGNED NOT NULL")
        if self.identity and set(self.identity) <= set(self.columns) and self._key_fits:
            kind = "KEY" if self.numbered else "PRIMARY KEY"
            parts.append(f"{kind} ({self._list(self.identity)})")
        if self.numbered:
            parts.append(f"KEY ({quoted(self.number)})")
        return f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._s} ({', '.join(parts)}) ENGINE=InnoDB"

    @property
    def _key_fits(self) -> bool:
        columns = [self.facts.column(c) for c in self.identity]
        return all(c.keyed for c in columns) and sum(c.octets for c in columns) <= KEY_BYTES

    @cached_property
    def drop_stage(self) -> str:
        """Its end."""
        return f"DROP TEMPORARY TABLE IF EXISTS {self._s}"

    @cached_property
    def empty_stage(self) -> str:
        """For another use; inside a transaction TRUNCATE would commit it."""
        return f"DELETE FROM {self._s}"

    @cached_property
    def truncate_stage(self) -> str:
        """The same between transactions."""
        return f"TRUNCATE TABLE {self._s}"

    # -- rows with an identity

    @cached_property
    def delete(self) -> str:
        """Delete the rows whose identity is staged."""
        return f"DELETE t FROM {self.join}"

    @cached_property
    def update(self) -> str | None:
        """Set all staged columns; None when there is nothing to set."""
        names = [c for c in self.columns if c not in self.identity]
        if not names:
            return None
        return f"UPDATE {self.join} SET {self._settings(names)}"

    @cached_property
    def rewrite(self) -> str:
        """As `update`, with the identity: what the server calls equal may be written otherwise."""
        return f"UPDATE {self.join} SET {self._settings(self.columns)}"

    def _settings(self, names: Sequence[str], value: str = "s") -> str:
        told = {c.lower() for c in names}
        kept = [c.name for name, c in self.facts.columns.items() if c.clock and name not in told]
        settings = [f"t.{quoted(c)} = {value}.{quoted(c)}" for c in names]
        # What an UPDATE doesn't mention, the clock would set.
        settings += [f"t.{quoted(c)} = t.{quoted(c)}" for c in kept]
        return ", ".join(settings)

    def move(self, old: TableSql) -> str:
        """Give the row whose identity `old` has staged the columns staged here."""
        match = " AND ".join(f"t.{quoted(c)} = o.{quoted(c)}" for c in self.identity)
        return (
            f"UPDATE {old._s} o STRAIGHT_JOIN {self._s} s STRAIGHT_JOIN {self._t} t ON {match}"
            f" SET {self._settings(self.columns)}"
        )

    @cached_property
    def upsert(self) -> str:
        """Insert the staged rows or make existing ones equal."""
        names = self.columns
        settings = ", ".join(f"{self._t}.{quoted(c)} = s.{quoted(c)}" for c in names)
        return (
            f"INSERT INTO {self._t} ({self._list(names)}) SELECT {self._list(names, 's')}"
            f" FROM {self._s} s ON DUPLICATE KEY UPDATE {settings}"
        )

    @cached_property
    def insert(self) -> str:
        """Insert the staged rows."""
        names = self.columns
        return (
            f"INSERT INTO {self._t} ({self._list(names)}) SELECT {self._list(names, 's')}"
            f" FROM {self._s} s"
        )

    @cached_property
    def missing(self) -> str:
        """Numbers of the staged rows that the table does not have."""
        index = f" FORCE INDEX ({quoted(self.facts.arbiter)})" if self.facts.arbiter else ""
        return (
            f"SELECT s.{quoted(self.number)} FROM {self._s} s LEFT JOIN {self._t} t{index}"
            f" ON {self._match} WHERE t.{quoted(self.identity[0])} IS NULL ORDER BY 1"
        )

    # -- moving rows between stages: for changes applied with care

    def keep(self, old: TableSql) -> str:
        """Copy the table's rows whose identity is staged into the stage of `old`, all columns."""
        names = self._list(old.columns)
        rows = self._list(old.columns, "t")
        number = quoted(old.number)
        return f"INSERT INTO {old._s} ({names}, {number}) SELECT {rows}, 0 FROM {self.join}"

    def complete(self, whole: TableSql, first: int) -> str:
        """Copy the staged rows into the stage of `whole`, columns not staged from the table, with
        numbers from `first` on.
        """
        values = ", ".join(("s." if c in self.columns else "t.") + quoted(c) for c in whole.columns)
        return (
            f"INSERT INTO {whole._s} ({self._list(whole.columns)}, {quoted(whole.number)})"
            f" SELECT {values}, s.{quoted(self.number)} + {first:d} FROM {self.join}"
        )

    def insert_numbers(self, first: int, last: int) -> str:
        """Insert the staged rows with these numbers, both included."""
        number = quoted(self.number)
        return f"{self.insert} WHERE s.{number} BETWEEN {first:d} AND {last:d}"

    def put_back(self, old: TableSql, number: int) -> str:
        """Insert the version so far of the staged row of that number."""
        names = self._list(old.columns)
        match = " AND ".join(f"o.{quoted(c)} = s.{quoted(c)}" for c in self.identity)
        return (
            f"INSERT INTO {self._t} ({names}) SELECT {self._list(old.columns, 'o')}"
            f" FROM {self._s} s STRAIGHT_JOIN {old._s} o ON {match}"
            f" WHERE s.{quoted(self.number)} = {number:d}"
        )

    def values(self, columns: Sequence[str], number: int) -> str:
        """These columns of the staged row of that number."""
        return (
            f"SELECT {self._list(columns)} FROM {self._s} WHERE {quoted(self.number)} = {number:d}"
        )

    @cached_property
    def numbers(self) -> str:
        """Numbers of the staged rows, in order."""
        return f"SELECT {quoted(self.number)} FROM {self._s} ORDER BY 1"


class RowsSql:
    """Statements for tables without identity, whose rows are told apart by everything in them.

    Rows are compared by a hash of every column's bytes: the collation's notion of equality would
    take the wrong ones.

    Args:
        statements: those of the stage that holds the rows to be removed.
        groups: name of a temporary table for the distinct ones among them.
    """

    HASH, COUNT = "godwit_hash", "godwit_wanted"

    def __init__(self, statements: TableSql, groups: str) -> None:
        self._of = statements
        self._g = quoted(statements.table.schema, groups)
        self._t, self._s = quoted(*statements.table), quoted(*statements.stage)
        self._columns = [statements.facts.column(c) for c in statements.columns]
        self._finder = statements.facts.finder
        if self._finder is not None and self._finder.lower() not in {
            c.name.lower() for c in self._columns
        }:
            self._finder = None

    def _hash(self, table: str) -> str:
        # MySQL 9.6 has taken MD5 and SHA1 out.
        hashes = ", ".join(f"IFNULL(SHA2({c.exact(table)}, 256), '-')" for c in self._columns)
        return f"UNHEX(SHA2(CONCAT({hashes}), 256))"

    @cached_property
    def _join(self) -> str:
        match = f"g.{self.HASH} = {self._hash('t')}"
        if self._finder is None:
            # The whole table is read once, and the groups are looked up.
            return f"{self._t} t STRAIGHT_JOIN {self._g} g ON {match}"
        name = quoted(self._finder)
        return f"{self._g} g STRAIGHT_JOIN {self._t} t ON t.{name} <=> g.{name} AND {match}"

    @cached_property
    def create(self) -> str:
        """The table of groups: a hash, how many are to go, and the column that finds them."""
        found = [c.declared for c in self._columns if c.name == self._finder]
        parts = [
            f"{self.HASH} BINARY(32) NOT NULL PRIMARY KEY",
            f"{self.COUNT} INT UNSIGNED NOT NULL",
            *found,
        ]
        return f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._g} ({', '.join(parts)}) ENGINE=InnoDB"

    @cached_property
    def drop(self) -> str:
        """Its end."""
        return f"DROP TEMPORARY TABLE IF EXISTS {self._g}"

    @cached_property
    def empty(self) -> str:
        """For another use."""
        return f"DELETE FROM {self._g}"

    @cached_property
    def fill(self) -> str:
        """Group the staged rows."""
        extra = "" if self._finder is None else f", {quoted(self._finder)}"
        value = "" if self._finder is None else f", s.{quoted(self._finder)}"
        return (
            f"INSERT INTO {self._g} ({self.HASH}, {self.COUNT}{extra})"
            f" SELECT {self._hash('s')}, 1{value} FROM {self._s} s"
            f" ON DUPLICATE KEY UPDATE {self.COUNT} = {self.COUNT} + 1"
        )

    @cached_property
    def plenty(self) -> str:
        """Groups of which the table has more rows than are to go: hash, how many are to go."""
        return (
            f"SELECT g.{self.HASH}, MAX(g.{self.COUNT}) FROM {self._join}"
            f" GROUP BY g.{self.HASH} HAVING COUNT(*) > MAX(g.{self.COUNT})"
        )

    @cached_property
    def leave_out(self) -> str:
        """Take a group out."""
        return f"DELETE FROM {parameterless(self._g)} WHERE {self.HASH} = %s"

    @cached_property
    def delete(self) -> str:
        """Delete all rows of the groups that are left."""
        return f"DELETE t FROM {self._join}"

    @cached_property
    def delete_some(self) -> str:
        """Delete so many rows of one group (hash, how many)."""
        found = ""
        if self._finder is not None:
            name = parameterless(quoted(self._finder))
            found = (
                f"{name} <=> (SELECT g.{name} FROM {parameterless(self._g)} g"
                f" WHERE g.{self.HASH} = %(hash)s) AND "
            )
        table, value = parameterless(self._t), parameterless(self._hash(self._t))
        return f"DELETE FROM {table} WHERE {found}{value} = %(hash)s LIMIT %(rows)s"
