"""The statements that apply net changes to one target table, composed once.

A temporary table may be named only once in a statement, and the optimizer knows nothing of what is
in it: every statement here names the stage once, and the order of the join is prescribed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from godwit.engines.mysql.facts import Facts
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import TableName

#: Bytes that an index of InnoDB can hold.
KEY_BYTES = 3072


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

    def _settings(self, names: Sequence[str], table: str = "t") -> str:
        told = {c.lower() for c in names}
        kept = [c.name for name, c in self.facts.columns.items() if c.clock and name not in told]
        settings = [f"{table}.{quoted(c)} = s.{quoted(c)}" for c in names]
        # What an UPDATE doesn't mention, the clock would set.
        settings += [f"{table}.{quoted(c)} = {table}.{quoted(c)}" for c in kept]
        return ", ".join(settings)

    def move(self, old: TableSql) -> str:
        """Give the row whose identity `old` has staged the columns staged here."""
        match = " AND ".join(f"t.{quoted(c)} = o.{quoted(c)}" for c in self.identity)
        return (
            f"UPDATE {old._s} o STRAIGHT_JOIN {self._s} s STRAIGHT_JOIN {self._t} t ON {match}"
            f" SET {self._settings(self.columns)}"
        )

    @cached_property
    def count(self) -> str:
        """How many of the staged rows the table has."""
        return f"SELECT COUNT(*) FROM {self.join}"

    @property
    def upsertable(self) -> bool:
        """An upsert finds a row by its identity and by nothing else."""
        return self.facts.arbiter is not None and not self.facts.others

    @cached_property
    def upsert(self) -> str:
        """Insert the staged rows or make existing ones equal."""
        names = self.columns
        settings = self._settings(names, self._t)
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
