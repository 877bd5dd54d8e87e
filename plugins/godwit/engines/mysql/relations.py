"""Tables of a stream as the log tells them: how to read their row images, and when not to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from godwit.engines.mysql.checks_tables import logs_cascades
from godwit.engines.mysql.column_changes import change_of
from godwit.engines.mysql.connection import MYSQL_COLUMNS, Connector
from godwit.engines.mysql.decode import RowDecoder, log_field, skipped_field
from godwit.engines.mysql.gtid import LogPosition, parse_position
from godwit.engines.mysql.layouts import Field
from godwit.engines.mysql.read import character_sets
from godwit.engines.mysql.silent import Silent, changed_keys, silent_of
from godwit.engines.mysql.table_maps import MapColumn, TableMap, label_texts, table_map
from godwit.errors import CaptureError, EndpointError, UntoldError
from godwit.model.catalog import Column, Table, TableName
from godwit.model.changes import Format, ShapeChange
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import TableMapping

_UNNAMED = "which the log does not name (set binlog_row_metadata to FULL on the source)"
_PLANS = 10_000
_HIDDEN = ("row_start", "row_end")
_MOMENT = DataType(Kind.TIMESTAMP, precision=6, zoned=True)


@dataclass(slots=True, eq=False)
class Plan:
    """How the row images behind one table map are treated.

    Attributes:
        table: the captured table; None = nobody wants it.
        decoder: of its images.
        columns: that are wanted.
        identity: columns of the row identity; empty = rows are counted.
        width: columns that images have.
        mark: changes up to it have been loaded already.
        silent: what foreign keys do untold when its rows change; None = nothing.
        later: the marks of the tables that may follow and were loaded again.
        ends: the column that tells when a version of a row ended; empty = rows have no versions.
        checked: bitmaps that have been found to hold every wanted column.
    """

    table: TableName | None = None
    decoder: RowDecoder | None = None
    columns: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    width: int = 0
    mark: LogPosition | None = None
    ends: str = ""
    silent: Silent | None = None
    later: tuple[tuple[TableName, LogPosition], ...] = ()
    checked: set[tuple[bytes, bytes]] = field(default_factory=set)

    def check(self, before: bytes, after: bytes) -> None:
        """Make sure that images with these bitmaps are complete.

        Raises:
            UntoldError: they are not.
        """
        assert self.decoder is not None
        lacking = self.decoder.missing(before) or self.decoder.missing(after)
        if lacking:
            raise UntoldError(
                "a change in the binary log does not tell the whole row",
                where=f"{self.table}, columns {', '.join(lacking)}",
                why="a session has set binlog_row_image to something else than FULL",
                hint="set it back to FULL everywhere, then load the table again (`godwit reload`)",
            )
        self.checked.add((before, after))


IGNORED = Plan()


class Relations:
    """Makes the plans of a stream. Its sessions look up what the log doesn't tell."""

    def __init__(
        self,
        connector: Connector,
        mappings: Sequence[TableMapping],
        marks: Mapping[TableName, str],
        format: Format,
        *,
        folded: bool,
    ) -> None:
        self._connector = connector
        self._native = format == MYSQL_COLUMNS
        self._folded = folded
        self._mappings = {
            self._key(m.source.name): m for m in mappings if m.source.capture == "full"
        }
        self._marks = {self._key(t): parse_position(text) for t, text in marks.items()}
        self._silent = silent_of(m.source for m in self._mappings.values())
        self._plans: dict[bytes, Plan] = {}
        self._charset_names: dict[int, str] = {}
        #: Tables of which an ALTER was read: without names in the log they are looked at again.
        self._altered: set[tuple[str, str]] = set()
        self._gone: set[TableName] = set()

    def _key(self, name: TableName) -> tuple[str, str]:
        schema, table = name
        return (schema.lower(), table.lower()) if self._folded else (schema, table)

    @property
    def tables(self) -> list[TableName]:
        """The captured tables."""
        return [m.source.name for m in self._mappings.values()]

    def wanted(self, table: TableName) -> set[str]:
        """The columns of a captured table that are read."""
        mapping = self._mappings[self._key(table)]
        return set(mapping.read_columns) | set(mapping.source.identity)

    def known(self, body: bytes) -> Plan | None:
        """The plan of a table map that has been seen before."""
        return self._plans.get(body)

    def seen(self, body: bytes) -> tuple[Plan, ShapeChange | None]:
        """The plan of a new table map; a shape that the mapping cannot live with is a stage."""
        told = table_map(body, mariadb=self._connector.version.mariadb)
        mapping = self._mappings.get(self._key(told.name))
        if len(self._plans) > _PLANS:
            # Temporary tables of other people have new names every time.
            self._plans.clear()
        if mapping is None or mapping.source.name in self._gone:
            self._plans[body] = IGNORED
            return IGNORED, None
        table = mapping.source.name
        try:
            difference = self._unnamed(told, mapping.source) or self._difference(told, mapping)
            if not difference:
                plan = self._plans[body] = self._plan(told, mapping)
                return plan, None
        except (CaptureError, EndpointError) as cause:
            where = f"{table}, {cause.where}" if cause.where else str(table)
            kind = UntoldError if isinstance(cause, UntoldError) else CaptureError
            raise kind(cause.what, where=where, why=cause.why, hint=cause.hint) from None
        self.give_up(table)
        self._plans[body] = IGNORED
        return IGNORED, ShapeChange(table, difference)

    def altered(self, table: TableName) -> None:
        """Its columns may have changed: what was known of it is looked at again."""
        self._altered.add(self._key(table))
        self._plans.clear()

    def keys_altered(self, table: TableName, statement: str) -> ShapeChange | None:
        """The stage for an ALTER that changes what foreign keys do to the table's rows untold."""
        source = self._mappings[self._key(table)].source
        reason = changed_keys(source, statement)
        if not reason:
            return None
        with self._connector.lease() as session:
            if logs_cascades(session, self._connector.version):
                return None
        return ShapeChange(table, reason)

    def give_up(self, table: TableName) -> None:
        """It has another shape: its rows are no longer read."""
        self._gone.add(table)
        self._plans.clear()

    def _plan(self, told: TableMap, mapping: TableMapping) -> Plan:
        table = mapping.source
        wanted = set(mapping.read_columns) | set(table.identity)
        ends = self._ends(told, table)
        silent = self._silent.get(table.name)
        if silent is not None and not {c.name for c in told.columns}.issuperset(silent.columns):
            silent = None  # no key refers to a column that is gone
        needed = wanted.union(silent.columns if silent else ())
        fields = []
        for column in told.columns:
            if column.name in needed:
                fields.append(self._field(table.column(column.name), column))
            elif column.name == ends and ends:
                fields.append(self._field(Column(ends, _MOMENT, "timestamp(6)"), column))
            else:
                fields.append(skipped_field(column.code, column.meta))
        decoder = RowDecoder(
            str(table.name),
            fields,
            native=self._native,
            zero_dates=str(self._connector.settings.get("zero_dates") or "sentinel"),
            error=UntoldError,
        )
        columns = tuple(c.name for c in table.stored_columns if c.name in wanted)
        mark = self._marks.get(self._key(table.name))
        later = [(t, self._marks.get(self._key(t))) for t in (silent.reach if silent else ())]
        return Plan(
            table.name,
            decoder,
            columns,
            table.identity,
            len(told.columns),
            mark,
            ends,
            silent,
            tuple((t, m) for t, m in later if m is not None),
        )

    def _ends(self, told: TableMap, table: Table) -> str:
        """The column that tells when a version of a row ended, in a system-versioned table."""
        named = {c.name for c in told.columns}
        for column in table.columns:
            if (column.generated or "").upper() == "ROW END" and column.name in named:
                return column.name
        # Where nobody declared them they are the last two, and hidden from the catalog.
        hidden = [c.name for c in told.columns[-2:]] == list(_HIDDEN)
        if not hidden or {c.name for c in table.columns} & set(_HIDDEN):
            return ""
        with self._connector.lease() as session:
            kind = session.value(
                "SELECT TABLE_TYPE FROM information_schema.TABLES"
                " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                tuple(table.name),
            )
        return _HIDDEN[1] if kind == "SYSTEM VERSIONED" else ""

    def _field(self, column: Column, told: MapColumn) -> Field:
        return log_field(
            column,
            told.code,
            told.meta,
            unsigned=column.type.unsigned if told.unsigned is None else told.unsigned,
            charset_name=self._charset(told),
            labels=self._labels(told),
        )

    def _charset(self, told: MapColumn) -> str | None:
        if told.collation is None:
            return None
        if not self._charset_names:
            with self._connector.lease() as session:
                self._charset_names = character_sets(session)
        name = self._charset_names.get(told.collation)
        if name is None:
            raise UntoldError(
                f"the collation number {told.collation} is not known to the source",
                hint="upgrade Godwit, or alter the column to another collation",
            )
        return name

    def _labels(self, told: MapColumn) -> tuple[str, ...]:
        if told.labels is None:
            return ()
        return label_texts(told.labels, self._charset(told) or "utf8mb4")

    def _difference(self, told: TableMap, mapping: TableMapping) -> str:
        """How the table map differs from what is wanted; empty = not at all, or only by more."""
        by_name = {c.name: c for c in told.columns}
        wanted = set(mapping.read_columns) | set(mapping.source.identity)
        parts = []
        for column in mapping.source.stored_columns:
            if column.name not in wanted:
                continue
            found = by_name.get(column.name)
            if found is None:
                parts.append(f"column {column.name} was dropped")
                continue
            change = change_of(column, found, self._charset(found), self._labels(found))
            if change:
                parts.append(f"column {column.name} changed from {column.native} to {change}")
        return ", ".join(parts)

    def _unnamed(self, told: TableMap, table: Table) -> str:
        """Give the columns of a table map without names those of the catalog; empty when they fit
        in number, else how they do not.
        """
        if told.named:
            return ""
        if len(told.columns) != len(table.columns):
            count = f"{len(told.columns)} columns instead of {len(table.columns)}"
            return f"it has {count}, {_UNNAMED}"
        now = self._now(table)
        if self._key(table.name) in self._altered and [n for n, _, _ in now] != [
            c.name for c in table.columns
        ]:
            return f"its columns were altered, {_UNNAMED}"
        collations = {name: number for name, number, _ in now}
        for told_column, column in zip(told.columns, table.columns, strict=True):
            told_column.name = column.name
            if told_column.collation is None:
                told_column.collation = collations.get(column.name)
        if self._key(table.name) in self._altered:
            natives = {name: native for name, _, native in now}
            changed = [c.name for c in table.columns if natives[c.name] != c.native]
            if changed:
                return f"columns {', '.join(changed)} were altered, and the log does not tell how"
        return ""

    def _now(self, table: Table) -> list[tuple[str, int | None, str]]:
        """`(name, number of the collation, type)` of the table's columns as they are now."""
        with self._connector.lease() as session:
            rows = session.rows(
                "SELECT c.COLUMN_NAME, (SELECT MIN(i.ID) FROM information_schema.COLLATIONS i"
                " WHERE i.CHARACTER_SET_NAME = c.CHARACTER_SET_NAME), c.COLUMN_TYPE, c.DATA_TYPE"
                " FROM information_schema.COLUMNS c"
                " WHERE c.TABLE_SCHEMA = %s AND c.TABLE_NAME = %s ORDER BY c.ORDINAL_POSITION",
                tuple(table.name),
            )
        binary = 63
        return [
            (
                name,
                int(number) if number else binary if kind.endswith(("binary", "blob")) else None,
                native,
            )
            for name, number, native, kind in rows
        ]
