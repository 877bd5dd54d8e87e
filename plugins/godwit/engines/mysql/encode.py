"""Record batches as the text that LOAD DATA reads: exact for every value, or refused by name.

The file's character set is ``binary``: bytes are taken as they are. What the server would not read
from bytes as we mean it (texts of other character sets, JSON, the types that have a text of their
own) goes through a variable and is called UTF-8 there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from godwit.engines.mysql import convert
from godwit.engines.mysql.connection import MYSQL_COLUMNS, Session
from godwit.engines.mysql.datatypes import datatype
from godwit.engines.mysql.lines import bracketed, lines, literals
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import TableName
from godwit.model.changes import Format
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import TableMapping

_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_NUMBERS = frozenset({"decimal", "float", "double"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"})
_SHAPES = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"}
    | {"multipolygon", "geometrycollection", "geomcollection"}
)
_TEMPORAL = frozenset({"date", "datetime", "timestamp"})
_LABELLED = frozenset({"enum", "set"})
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}) | _LABELLED
#: Kinds whose canonical text is hex digits.
_HEXED = frozenset({Kind.BINARY, Kind.GEOMETRY})
#: Character sets whose bytes are those of UTF-8.
_UTF8 = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii", "binary", None})
#: Types that are read from bytes as they stand.
_DIRECT = _INTEGERS | _NUMBERS | _BYTES | _SHAPES | _TEMPORAL | {"bit", "year", "time"}


@dataclass(frozen=True)
class Destination:
    """A column that is written.

    Attributes:
        name: on the target.
        native: its type as the server spells it, e.g. ``varchar(20)``.
        charset: of a text column.
        nullable: NULL may be stored.
        kind: of the values that arrive (the source's type); None = a typed or text column as it is.
        padded: the values are of a fixed length, filled up with blanks that mean nothing.
    """

    name: str
    native: str
    charset: str | None = None
    nullable: bool = True
    kind: Kind | None = None
    padded: bool = False

    @property
    def word(self) -> str:
        """The bare type: ``varchar``."""
        return self.native.lower().partition("(")[0].split()[0]

    @property
    def digits(self) -> int:
        """The first number in brackets, 0 when there is none."""
        found = re.search(r"\((\d+)", self.native)
        return int(found[1]) if found else 0

    @property
    def direct(self) -> bool:
        """The server reads it from bytes as they stand."""
        if self.word in _TEXTS:
            return self.charset in _UTF8
        return self.word in _DIRECT


def destinations(
    session: Session, table: TableName, mapping: TableMapping, columns: Sequence[str]
) -> tuple[Destination, ...]:
    """What is known of the columns of a target table; one that it lacks is left to the server."""
    found = {
        str(name).lower(): (_spelt(native), charset, nullable)
        for name, native, charset, nullable in session.rows(
            "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, IS_NULLABLE = 'YES'"
            " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            list(table),
        )
    }
    arriving = arriving_types(mapping)
    return tuple(
        destination(
            name,
            native,
            None if charset is None else str(charset),
            nullable=bool(nullable),
            arriving=arriving.get(name),
        )
        for name in columns
        for native, charset, nullable in [found.get(name.lower(), ("longblob", None, True))]
    )


def _spelt(native: Any) -> str:
    return native.decode() if isinstance(native, bytes) else str(native)


def destination(
    name: str, native: str, charset: str | None, *, nullable: bool, arriving: DataType | None
) -> Destination:
    """A column of the target, and what arrives for it."""
    if arriving is None:
        return Destination(name, native, charset, nullable)
    padded = arriving.kind is Kind.TEXT and arriving.fixed
    return Destination(name, native, charset, nullable, arriving.kind, padded)


def arriving_types(mapping: TableMapping) -> dict[str, DataType]:
    """Of what type the values are that arrive for each target column."""
    types: dict[str, DataType] = {}
    for column in mapping.columns:
        if column.type is not None:
            types[column.target] = column.type
        elif column.source is not None and column.expression is None:
            types[column.target] = mapping.source.column(column.source).type
    return types


class Encoder:
    r"""Turns record batches of one table into lines for LOAD DATA.

    ``lines(batch)`` returns bytes: a line for each row, fields in the order of `columns`.
    `fields` is the statement's end: the list of columns, and what is set from variables.
    `expected_warnings` counts what the server will warn of though it is meant.

    Args:
        columns: in the order of the batches' columns.
        format: of the batches: COLUMNS or MYSQL_COLUMNS.
        settings: the target endpoint's: `infinity` (``reject``, ``null``, ``sentinel``) is about
            moments that the server doesn't know, and numbers that are NaN or infinite.
    """

    def __init__(
        self, columns: Sequence[Destination], format: Format, settings: Mapping[str, Any]
    ) -> None:
        self.columns = tuple(columns)
        self.expected_warnings = 0
        self._own = format == MYSQL_COLUMNS
        self._infinity = str(settings.get("infinity") or "reject")
        self._labels = {
            c.name: frozenset(datatype(c.native).labels) for c in columns if c.word in _LABELLED
        }
        self._known: dict[str, set[str]] = {name: set() for name in self._labels}

    @property
    def fields(self) -> str:
        """``(`a`, @v1) SET `b` = CONVERT(@v1 USING utf8mb4)``."""
        read, made = [], []
        for place, column in enumerate(self.columns):
            if column.direct:
                read.append(quoted(column.name))
            else:
                read.append(f"@godwit_{place}")
                made.append(f"{quoted(column.name)} = CONVERT(@godwit_{place} USING utf8mb4)")
        return f"({', '.join(read)})" + (f" SET {', '.join(made)}" if made else "")

    def lines(self, batch: pa.RecordBatch) -> bytes:
        """The rows of a batch.

        Raises:
            WarnedError: a value that its column cannot hold (with the column's name), which the
                server would have bent.
        """
        return lines(self.arrays(batch)) if batch.num_rows else b""

    def bracketed(self, arrays: Sequence[pa.Array]) -> list[bytes]:
        """What `arrays` returned, as rows of SQL literals in brackets, for INSERT."""
        pairs = zip(self.columns, arrays, strict=True)
        return bracketed([literals(array, convert=not column.direct) for column, array in pairs])

    def arrays(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """The batch's columns as text or bytes, each value as the server reads it."""
        arrays = []
        for column, array in zip(self.columns, batch.columns, strict=True):
            made = self._converted(column, convert.decoded(array))
            if not column.nullable and made.null_count:
                raise convert.no_null(column.name)
            arrays.append(made)
        return arrays

    def _converted(self, column: Destination, array: pa.Array) -> pa.Array:
        word, kind = column.word, column.kind
        if word in _LABELLED:
            return self._labelled(column, convert.text(array))
        if word in _TEMPORAL or word == "time":
            return self._temporal(column, array)
        if word in _NUMBERS:
            single = word == "float"
            return convert.number(array, column.name, self._infinity, single=single)
        if word in _INTEGERS:
            of_bits = kind is Kind.BIT
            return convert.whole(array) if of_bits else convert.integer(array, column.name)
        if word in _SHAPES and not self._own:
            return convert.shapes(array, column.name)
        if word in _BYTES or word in _SHAPES:
            return convert.binary(array, hexed=kind in _HEXED)
        if word == "bit":
            return convert.bits(array, column.digits or 1, of_bits=kind is Kind.BIT)
        if word == "year":
            return convert.year(array)
        if column.charset == "ascii":
            return convert.ascii_text(array, column.name)
        # As a column of a fixed length shows them here too.
        padded = column.padded and not self._own
        return convert.unpadded(array) if padded else convert.text(array)

    def _temporal(self, column: Destination, array: pa.Array) -> pa.Array:
        convert.no_finer(array, column.name, column.digits)
        if column.word == "time":
            return convert.text(array)
        policy = None if self._own else self._infinity
        return convert.temporal(array, column.name, column.word, policy, column.digits)

    def _labelled(self, column: Destination, array: pa.Array) -> pa.Array:
        self.expected_warnings += convert.check_labels(
            array,
            column.name,
            self._labels[column.name],
            self._known[column.name],
            many=column.word == "set",
        )
        return array
