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

    def _join(self, *, scan: bool) -> str:
        match = f"g.{self.HASH} = {self._hash('t')}"
        if scan or self._finder is None:
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
    def crowd(self) -> str:
        """How many groups share one value of the column that finds them, at most; empty: none does.

        For each of them all rows with that value are read: thousands of groups without a value
        would read thousands of rows each.
        """
        if self._finder is None:
            return ""
        name = quoted(self._finder)
        return f"SELECT COUNT(*) FROM {self._g} GROUP BY {name} ORDER BY 1 DESC LIMIT 1"

    def plenty(self, *, scan: bool) -> str:
        """Groups of which the table has more rows than are to go: hash, how many are to go.

        `scan`: read the whole table once instead of looking for each group.
        """
        return (
            f"SELECT g.{self.HASH}, MAX(g.{self.COUNT}) FROM {self._join(scan=scan)}"
            f" GROUP BY g.{self.HASH} HAVING COUNT(*) > MAX(g.{self.COUNT})"
        )

    @cached_property
    def leave_out(self) -> str:
        """Take a group out."""
        return f"DELETE FROM {parameterless(self._g)} WHERE {self.HASH} = %s"

    def delete(self, *, scan: bool) -> str:
        """Delete all rows of the groups that are left."""
        return f"DELETE t FROM {self._join(scan=scan)}"

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
