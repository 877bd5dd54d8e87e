"""The statements that remove rows of a table without identity."""

from __future__ import annotations

from functools import cached_property

from godwit.engines.mysql.apply_sql import TableSql
from godwit.engines.mysql.names import parameterless, quoted


class RowsSql:
    """Statements for tables without identity, whose rows are told apart by everything in them.

    Rows are compared by a hash of every column's bytes: the collation's notion of equality would
    take the wrong ones.

    Args:
        statements: those of the stage that holds the rows to be removed.
        groups: name of a temporary table for the distinct ones among them; another one has that
            name and ``_by``.
    """

    HASH, COUNT = "godwit_hash", "godwit_wanted"

    def __init__(self, statements: TableSql, groups: str) -> None:
        self._of = statements
        self._g = quoted(statements.table.schema, groups)
        self._v = quoted(statements.table.schema, f"{groups}_by")
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
        groups = f"STRAIGHT_JOIN {self._g} g ON g.{self.HASH} = {self._hash('t')}"
        if self._finder is None:
            # The whole table is read once, and the groups are looked up.
            return f"{self._t} t {groups}"
        # Every row that may be meant is read once: thousands of groups may share one value.
        name = quoted(self._finder)
        return f"{self._v} v STRAIGHT_JOIN {self._t} t ON t.{name} <=> v.{name} {groups}"

    @cached_property
    def create(self) -> tuple[str, ...]:
        """The tables of groups (a hash, how many are to go, the column that finds them) and of the
        values in that column.
        """
        found = [c.declared for c in self._columns if c.name == self._finder]
        parts = [
            f"{self.HASH} BINARY(32) NOT NULL PRIMARY KEY",
            f"{self.COUNT} INT UNSIGNED NOT NULL",
            *found,
        ]
        tables = {self._g: parts, **({self._v: found} if found else {})}
        return tuple(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({', '.join(columns)}) ENGINE=InnoDB"
            for name, columns in tables.items()
        )

    @cached_property
    def fill(self) -> tuple[str, ...]:
        """Group the staged rows, in place of those of before."""
        extra = "" if self._finder is None else f", {quoted(self._finder)}"
        value = "" if self._finder is None else f", s.{quoted(self._finder)}"
        groups = (
            f"INSERT INTO {self._g} ({self.HASH}, {self.COUNT}{extra})"
            f" SELECT {self._hash('s')}, 1{value} FROM {self._s} s"
            f" ON DUPLICATE KEY UPDATE {self.COUNT} = {self.COUNT} + 1"
        )
        if self._finder is None:
            return f"DELETE FROM {self._g}", groups
        values = f"INSERT INTO {self._v} SELECT DISTINCT {quoted(self._finder)} FROM {self._g}"
        return f"DELETE FROM {self._g}", f"DELETE FROM {self._v}", groups, values

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
