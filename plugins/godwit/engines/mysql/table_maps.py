"""Table maps: what the log tells of a table's columns at the time of its changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from godwit.engines.mysql.charsets import charset, decoded
from godwit.engines.mysql.events import length, malformed
from godwit.engines.mysql.layouts import log_type, metadata_of
from godwit.model.catalog import TableName

# Optional fields, of which binlog_row_metadata decides.
_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _COLUMN_NAME, _SET_LABELS, _ENUM_LABELS = range(
    1, 7
)
_LABEL_DEFAULT_CHARSET, _LABEL_COLUMN_CHARSET = 10, 11
# Types, behind their disguise (`log_type`).
_NUMBERS = frozenset({1, 2, 3, 4, 5, 8, 9, 13, 246})
_TEXTS = frozenset({15, 242, 249, 250, 251, 252, 253, 254})
#: MariaDB counts geometry among the texts.
_TEXTS_MARIADB = _TEXTS | {255}
_ENUM, _SET = 247, 248


@dataclass
class MapColumn:
    """A column of a table map. What the log does not tell is None, or empty.

    Attributes:
        code, meta: as the table map has them; `real` and `size` behind their disguise.
        collation: the number of its collation.
        labels: of an enum or set, in the column's character set.
    """

    code: int
    meta: int
    real: int
    size: int
    name: str = ""
    unsigned: bool | None = None
    collation: int | None = None
    labels: tuple[bytes, ...] | None = None


@dataclass
class TableMap:
    """A table map. `named`: it tells the columns' names."""

    name: TableName
    columns: list[MapColumn]
    named: bool = field(default=False)


def table_map(body: bytes, *, mariadb: bool) -> TableMap:
    """From an event's body, behind the table's number and the flags."""
    width = body[0]
    schema = body[1 : 1 + width].decode()
    p = width + 2
    width = body[p]
    name = body[p + 1 : p + 1 + width].decode()
    count, p = length(body, p + width + 2)
    types = body[p : p + count]
    size, p = length(body, p + count)
    columns = []
    for code, meta in zip(types, metadata_of(types, body[p : p + size]), strict=True):
        columns.append(MapColumn(code, meta, *log_type(code, meta)))
    found = TableMap(TableName(schema, name), columns)
    # One bit per column says whether it may be null: the images tell that themselves.
    _optional(found, body[p + size + (count + 7) // 8 :], mariadb=mariadb)
    return found


def _optional(found: TableMap, data: bytes, *, mariadb: bool) -> None:
    p = 0
    readers = _FIELDS_MARIADB if mariadb else _FIELDS
    while p < len(data):
        kind = data[p]
        size, p = length(data, p + 1)
        if p + size > len(data):
            raise malformed("a table map")
        read = readers.get(kind)
        if read is not None:
            read(found, data[p : p + size])
        p += size


def _of(found: TableMap, types: frozenset[int]) -> list[MapColumn]:
    return [c for c in found.columns if c.real in types]


def _signedness(found: TableMap, data: bytes) -> None:
    columns = _of(found, _NUMBERS)
    if len(data) < (len(columns) + 7) // 8:
        raise malformed("a table map")
    for i, column in enumerate(columns):
        column.unsigned = bool(data[i >> 3] & 0x80 >> (i & 7))


def _names(found: TableMap, data: bytes) -> None:
    p = 0
    for column in found.columns:
        size, p = length(data, p)
        column.name = data[p : p + size].decode()
        p += size
    found.named = True


def _default_charset(types: frozenset[int]) -> Callable[[TableMap, bytes], None]:
    def read(found: TableMap, data: bytes) -> None:
        columns = _of(found, types)
        default, p = length(data, 0)
        for column in columns:
            column.collation = default
        while p < len(data):
            at, p = length(data, p)
            columns[at].collation, p = length(data, p)

    return read


def _column_charset(types: frozenset[int]) -> Callable[[TableMap, bytes], None]:
    def read(found: TableMap, data: bytes) -> None:
        p = 0
        for column in _of(found, types):
            column.collation, p = length(data, p)

    return read


def _labels(kind: int) -> Callable[[TableMap, bytes], None]:
    def read(found: TableMap, data: bytes) -> None:
        p = 0
        for column in _of(found, frozenset({kind})):
            count, p = length(data, p)
            labels = []
            for _ in range(count):
                size, p = length(data, p)
                labels.append(data[p : p + size])
                p += size
            column.labels = tuple(labels)

    return read


_LABELLED = frozenset({_ENUM, _SET})
_FIELDS: Mapping[int, Callable[[TableMap, bytes], None]] = {
    _SIGNEDNESS: _signedness,
    _DEFAULT_CHARSET: _default_charset(_TEXTS),
    _COLUMN_CHARSET: _column_charset(_TEXTS),
    _COLUMN_NAME: _names,
    _SET_LABELS: _labels(_SET),
    _ENUM_LABELS: _labels(_ENUM),
    _LABEL_DEFAULT_CHARSET: _default_charset(_LABELLED),
    _LABEL_COLUMN_CHARSET: _column_charset(_LABELLED),
}
_FIELDS_MARIADB = {
    **_FIELDS,
    _DEFAULT_CHARSET: _default_charset(_TEXTS_MARIADB),
    _COLUMN_CHARSET: _column_charset(_TEXTS_MARIADB),
}


def label_texts(labels: Sequence[bytes], charset_name: str) -> tuple[str, ...]:
    """Labels as texts."""
    texts = tuple(decoded(label, charset(charset_name)) for label in labels)
    if any(text is None for text in texts):
        raise malformed("labels of an enum or set")
    return tuple(text or "" for text in texts)
