"""The statements that apply net changes to one target table, composed once and kept as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg import sql

from godwit.engines.postgres.connection import BINARY, Session
from godwit.model.catalog import TableName
from godwit.model.changes import Format


@dataclass(frozen=True)
class Facts:
    """What the target knows of a table.

    `fixed`: identity ALWAYS columns, which an UPDATE may not set. `arbiter`: a unique index on the
    identity that INSERT … ON CONFLICT can use. `others`: it has further unique keys.
    """

    rows: int
    arbiter: bool
    others: bool
    fixed: frozenset[str]
    partitioned: bool


_FACTS = """
SELECT c.reltuples::bigint, c.relkind = 'p',
  coalesce((SELECT array_agg(a.attname::text) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attidentity = 'a'), '{}'),
  coalesce((SELECT json_agg(json_build_object('immediate', i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL, 'columns', (SELECT array_agg(a.attname::text ORDER BY a.attname::text)
      FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])),
      'count', i.indnkeyatts, 'plain', i.indexprs IS NULL))
    FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion)), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""


def read_facts(session: Session, table: TableName, identity: Sequence[str]) -> Facts | None:
    """Look a table up; None when it does not exist."""
    row = session.execute(_FACTS, list(table)).fetchone()
    if row is None:
        return None
    rows, partitioned, fixed, indexes = row
    wanted = sorted(identity)
    own = [
        i
        for i in indexes
        if i["plain"] and i["columns"] == wanted and i["count"] == len(wanted) and wanted
    ]
    return Facts(
        rows=rows,
        arbiter=any(i["immediate"] for i in own),
        others=len(own) < len(indexes),
        fixed=frozenset(fixed),
        partitioned=partitioned,
    )


class TableSql:
    """Statements for one target table and one list of columns, staged in a temporary table.

    Args:
        table: the target table.
        columns: of the staged rows, by target name.
        identity: of the row identity, by target name; empty = whole rows are compared.
        stage: name of the temporary table.
    """

    def __init__(
        self,
        table: TableName,
        columns: Sequence[str],
        identity: Sequence[str],
        stage: str,
        facts: Facts,
        format: Format,
    ) -> None:
        self.columns = tuple(columns)
        self.identity = tuple(identity)
        self.facts = facts
        self._table = sql.Identifier(*table)
        # Inheriting tables are tables of their own; partitions are not.
        self._only = self._table if facts.partitioned else sql.SQL("ONLY {}").format(self._table)
        self._stage = sql.Identifier("pg_temp", stage)
        self._options = sql.SQL("FORMAT binary" if format == BINARY else "FORMAT csv")

    def _list(self, names: Sequence[str], prefix: str = "") -> sql.Composed:
        start = sql.SQL(f"{prefix}.") if prefix else sql.SQL("")
        return sql.SQL(", ").join(start + sql.Identifier(n) for n in names)

    @cached_property
    def _match(self) -> sql.Composed:
        pairs = [sql.SQL("t.{0} = s.{0}").format(sql.Identifier(c)) for c in self.identity]
        return sql.SQL(" AND ").join(pairs)

    def _compose(self, text: str, **parts: sql.Composable) -> bytes:
        names = {
            "table": self._table,
            "only": self._only,
            "stage": self._stage,
            "options": self._options,
            **parts,
        }
        return sql.SQL(text).format(**names).as_bytes(None)

    @cached_property
    def create_stage(self) -> bytes:
        """An empty temporary table of the columns' types, emptied again at every commit."""
        return self._compose(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ON COMMIT DELETE ROWS AS"
            " SELECT {columns} FROM {table} WITH NO DATA",
            columns=self._list(self.columns),
        )

    @cached_property
    def empty_stage(self) -> bytes:
        """For a second use inside one transaction."""
        return self._compose("DELETE FROM {stage}")

    @cached_property
    def fill_stage(self) -> bytes:
        """COPY into the stage."""
        return self._compose("COPY {stage} FROM STDIN ({options})")

    @cached_property
    def fill_stage_binary(self) -> bytes:
        """The same with binary tuples, whatever the format of everything else."""
        return self._compose("COPY {stage} FROM STDIN (FORMAT binary)")

    def texts(self, columns: Sequence[str]) -> bytes:
        """What the staged rows hold, as a person reads it."""
        listed = (sql.SQL("{}::text").format(sql.Identifier(c)) for c in columns)
        return self._compose("SELECT {texts} FROM {stage}", texts=sql.SQL(", ").join(listed))

    @cached_property
    def copy(self) -> bytes:
        """COPY straight into the table."""
        return self._compose("COPY {table}{listed} FROM STDIN ({options})", listed=self._listed)

    @cached_property
    def copy_binary(self) -> bytes:
        """The same with binary tuples, whatever the format of everything else."""
        return self._compose("COPY {table}{listed} FROM STDIN (FORMAT binary)", listed=self._listed)

    @property
    def _listed(self) -> sql.Composable:
        # Without columns there may be no list either.
        return sql.SQL(" ({})").format(self._list(self.columns)) if self.columns else sql.SQL("")

    @cached_property
    def delete(self) -> bytes:
        """Delete the rows whose identity is staged."""
        return self._compose(
            "DELETE FROM {only} t USING {stage} s WHERE {match}", match=self._match
        )

    def delete_rows(self, telling: Sequence[str]) -> bytes:
        """Delete one row for each staged whole row: as many as are staged, whichever they are.

        Args:
            telling: columns that have an equality and no NULL in the stage. They find the few rows
                whose whole text is worth comparing, by an index if there is one.
        """
        equal = [sql.SQL("t.{0} = y.{0} AND ").format(sql.Identifier(c)) for c in telling]
        return self._compose(
            "DELETE FROM {only} d USING (SELECT t.tableoid AS part, t.ctid AS place,"
            " y.godwit_wanted, row_number() OVER (PARTITION BY y.godwit_line) AS number"
            " FROM {only} t JOIN (SELECT {staged} AS godwit_line,"
            " count(*) AS godwit_wanted{columns}"
            " FROM {stage} s GROUP BY 1{columns}) y ON {equal}{row} = y.godwit_line) gone"
            " WHERE gone.number <= gone.godwit_wanted"
            " AND d.tableoid = gone.part AND d.ctid = gone.place",
            row=self._compose_row("t"),
            staged=self._compose_row("s"),
            columns=sql.SQL("").join(sql.SQL(", s.{}").format(sql.Identifier(c)) for c in telling),
            equal=sql.SQL("").join(equal),
        )

    @cached_property
    def nulls(self) -> bytes:
        """Which staged columns hold a NULL, as one row of booleans."""
        return self._compose(
            "SELECT {tests} FROM {stage} s",
            tests=sql.SQL(", ").join(
                sql.SQL("bool_or(s.{} IS NULL)").format(sql.Identifier(c)) for c in self.columns
            ),
        )

    def _compose_row(self, prefix: str) -> sql.Composed:
        # Compared as text: json has no equality, and -0 is not 0.
        texts = self._list(self.columns, prefix)
        return sql.SQL("ROW({})::text").format(texts)

    @cached_property
    def update(self) -> bytes | None:
        """Set all staged columns; None when there is nothing to set."""
        names = [c for c in self.columns if c not in self.identity]
        if not names:
            return None
        assignments = sql.SQL(", ").join(
            sql.SQL("{0} = s.{0}").format(sql.Identifier(c)) for c in names
        )
        return self._compose(
            "UPDATE {only} t SET {set} FROM {stage} s WHERE {match}",
            set=assignments,
            match=self._match,
        )

    @property
    def updatable(self) -> bool:
        """No staged column outside the identity is one that UPDATE may not set."""
        return not (self.facts.fixed & set(self.columns) - set(self.identity))

    @cached_property
    def upsert(self) -> bytes:
        """Insert the staged rows or make existing ones equal."""
        names = [c for c in self.columns if c not in self.identity]
        assignments = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in names
        )
        action = sql.SQL("UPDATE SET {}").format(assignments) if names else sql.SQL("NOTHING")
        return self._compose(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {stage}"
            " ON CONFLICT ({identity}) DO {action}",
            columns=self._list(self.columns),
            identity=self._list(self.identity),
            action=action,
        )

    @cached_property
    def insert(self) -> bytes:
        """Insert the staged rows."""
        return self._compose(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {stage}",
            columns=self._list(self.columns),
        )

    @cached_property
    def missing(self) -> bytes:
        """COPY out the identities of staged rows that the table does not have."""
        return self._compose(
            "COPY (SELECT {identity} FROM {stage} s WHERE NOT EXISTS"
            " (SELECT FROM {only} t WHERE {match})) TO STDOUT ({options}{quote})",
            identity=self._list(self.identity, "s"),
            match=self._match,
            quote=self._quote,
        )

    def completed(self, columns: Sequence[str]) -> bytes:
        """COPY out `columns` of the table's rows whose identity is staged, staged values first."""
        parts = [sql.SQL("s." if c in self.columns else "t.") + sql.Identifier(c) for c in columns]
        return self._compose(
            "COPY (SELECT {parts} FROM {stage} s JOIN {only} t ON {match}) TO STDOUT"
            " ({options}{quote})",
            parts=sql.SQL(", ").join(parts),
            match=self._match,
            quote=self._quote,
        )

    def existing(self, columns: Sequence[str]) -> bytes:
        """COPY out `columns` of the table's rows whose identity is staged."""
        return self._compose(
            "COPY (SELECT {parts} FROM {stage} s JOIN {only} t ON {match}) TO STDOUT"
            " ({options}{quote})",
            parts=self._list(columns, "t"),
            match=self._match,
            quote=self._quote,
        )

    @property
    def _quote(self) -> sql.SQL:
        csv = "csv" in self._options.as_string(None)
        return sql.SQL(", FORCE_QUOTE *" if csv else "")
