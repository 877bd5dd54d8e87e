"""Tables of a stream as the log tells them: how to read their row images, and when not to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from godwit.engines.mysql.checks_tables import logs_cascades
from godwit.engines.mysql.column_changes import change_of
from godwit.engines.mysql.connection import MYSQL_COLUMNS, Connector, Session
from godwit.engines.mysql.decode import RowDecoder, log_field, skipped_field
from godwit.engines.mysql.gtid import LogPosition, parse_position
from godwit.engines.mysql.layouts import Field
from godwit.engines.mysql.read import character_sets
from godwit.engines.mysql.silent import Silent, changed_keys, silent_of
from godwit.engines.mysql.statements_alter import Alteration, column_difference, names_columns
from godwit.engines.mysql.table_maps import MapColumn, TableMap, label_texts, table_map
from godwit.engines.mysql.unnamed import Unnamed
from godwit.errors import CaptureError, EndpointError, UntoldError
from godwit.model.catalog import Column, Table, TableName
from godwit.model.changes import Format, ShapeChange
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import TableMapping

_PLANS = 10_000
_HIDDEN = ("row_start", "row_end")
_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.ENUM, Kind.SET})
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
        #: Differences that were told although the table goes on.
        self._told: dict[TableName, str] = {}
        #: Table maps of other shapes from before what their table was loaded with.
        self._former: dict[bytes, LogPosition | None] = {}
        self._gone: set[TableName] = set()
        self._unnamed = Unnamed(connector, [m.source for m in self._mappings.values()])

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

    def mark(self, table: TableName) -> LogPosition | None:
        """What a captured table was loaded with."""
        return self._marks.get(self._key(table))

    def seen(
        self, body: bytes, passed: Callable[[LogPosition | None], bool]
    ) -> tuple[Plan, ShapeChange | None]:
        """The plan of a new table map; a shape that the mapping cannot live with is a stage, unless
        that time has `passed` for the table's mark.
        """
        if body in self._former and passed(self._former[body]):
            return IGNORED, None
        told = table_map(body, mariadb=self._connector.version.mariadb)
        mapping = self._mappings.get(self._key(told.name))
        if len(self._plans) > _PLANS:
            # Temporary tables of other people have new names every time.
            self._plans.clear()
        if mapping is None or mapping.source.name in self._gone:
            self._plans[body] = IGNORED
            return IGNORED, None
        table = mapping.source.name
        mark = self.mark(table)
        try:
            difference = self._unnamed.give(told, mapping.source) or self._difference(told, mapping)
            if not difference:
                plan = self._plans[body] = self._plan(told, mapping)
                return plan, None
        except (CaptureError, EndpointError) as cause:
            if not passed(mark):
                where = f"{table}, {cause.where}" if cause.where else str(table)
                kind = UntoldError if isinstance(cause, UntoldError) else CaptureError
                raise kind(cause.what, where=where, why=cause.why, hint=cause.hint) from None
            difference = cause.what
        if passed(mark):
            self._former[body] = mark
            return IGNORED, None
        change = ShapeChange(table, difference)
        self.changed(change)
        return IGNORED, change

    def altered(self, table: TableName, statement: str, told: Alteration) -> ShapeChange | None:
        """The stage for a definition that has taken nothing away from the table: its columns may
        have changed, and what foreign keys do to its rows untold.
        """
        self._unnamed.altered.add(table)
        self._plans.clear()
        mapping = self._mappings[self._key(table)]
        with self._connector.lease() as session:
            found = self._columns_altered(session, mapping, told) if told.columns else None
            reason = changed_keys(mapping.source, statement)
            if not reason or logs_cascades(session, self._connector.version):
                return found
        if found is None:
            return ShapeChange(table, reason)
        return replace(found, description=f"{found.description}, {reason}", grown=False)

    def _columns_altered(
        self, session: Session, mapping: TableMapping, told: Alteration
    ) -> ShapeChange | None:
        table = mapping.source
        wanted = self.wanted(table.name)
        unnamed = self._unnamed.met or not names_columns(session)
        if unnamed:
            lost = wanted.intersection(told.modified)
            if told.converted:
                lost |= {c for c in wanted if table.column(c).type.kind in _TEXTS}
            if lost:
                named = ", ".join(c for c in table.by_name if c in lost)
                return ShapeChange(
                    table.name, f"columns {named} were altered, and the log does not tell how"
                )
        found = column_difference(session, self._connector.version, table, wanted)
        described = ", ".join(found.parts)
        if not described and told.concerns(wanted):
            # It was altered and altered back, or what is known of it is younger than this.
            what = "its columns were altered"
            return ShapeChange(table.name, what, grown=True, rewritten=told.converted)
        if not described or described == self._told.get(table.name):
            return None
        self._told[table.name] = described
        renamed = told.renamed if told.understood else ()
        grown = found.grown and not unnamed
        rewritten = told.replaced or told.converted
        return ShapeChange(table.name, described, renamed, grown=grown, rewritten=rewritten)

    def left_out(self, table: TableName) -> bool:
        """It has another shape, so it is no longer read."""
        return table in self._gone

    def changed(self, change: ShapeChange) -> None:
        """It has another shape: its rows are no longer read, unless that makes no difference."""
        if not change.grown:
            self._gone.add(change.table)
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
