"""PostgreSQL's types in logical terms, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from godwit.model.datatypes import DataType, Kind

#: Objects made by initdb have lower OIDs, and the same ones on every server of a version.
FIRST_USER_OID = 16384
#: typmod counts the four bytes of a varlena header.
HEADER = 4
DEFAULT_TIME_PRECISION = 6
NAME_LENGTH = 63
#: "no precision given" in the low half of an interval's typmod.
INTERVAL_FULL_PRECISION = 0xFFFF


@dataclass(frozen=True)
class PgType:
    """One row of pg_type, as far as values are concerned.

    Attributes:
        oid, name: as in the catalog.
        kind: pg_type.typtype: b(ase) c(omposite) d(omain) e(num) r(ange) m(ultirange) p(seudo).
        base: what a domain is over, 0 otherwise; `base_typmod` its modifier.
        element: of a true array, else 0.
        subtype: of a range (or of the range of a multirange), else 0.
        labels: of an enum, in order.
        sends: has a binary output function.
    """

    oid: int
    name: str
    kind: str = "b"
    base: int = 0
    base_typmod: int = -1
    element: int = 0
    subtype: int = 0
    labels: tuple[str, ...] = ()
    sends: bool = True


Types = Mapping[int, PgType]

_INTEGERS = {"int2": 16, "int4": 32, "int8": 64}
_FLOATS = {"float4": 32, "float8": 64}
_JSON = frozenset({"json", "jsonb"})
_GEOMETRY = frozenset({"geometry", "geography"})
_TIMES = {
    "time": (Kind.TIME, False),
    "timetz": (Kind.TIME, True),
    "timestamp": (Kind.TIMESTAMP, False),
    "timestamptz": (Kind.TIMESTAMP, True),
}
#: Types without a modifier that always are the same logical type.
_SIMPLE = {
    "bool": DataType(Kind.BOOLEAN),
    "text": DataType(Kind.TEXT),
    "name": DataType(Kind.TEXT, length=NAME_LENGTH),
    "char": DataType(Kind.TEXT, length=1),
    "citext": DataType(Kind.TEXT),
    "xml": DataType(Kind.TEXT),
    "bytea": DataType(Kind.BINARY),
    "date": DataType(Kind.DATE),
    "uuid": DataType(Kind.UUID),
    "oid": DataType(Kind.INTEGER, bits=32, unsigned=True),
}
#: Binary forms that hold names' OIDs, or that another server may read otherwise.
_UNSAFE = frozenset(
    [
        "xml",
        "regclass",
        "regcollation",
        "regconfig",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
        "refcursor",
        "aclitem",
        "pg_node_tree",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
        "gtsvector",
    ]
)
#: Equal values have equal bytes, in the binary form and in the text form. Not here: floats
#: (-0 = 0), interval ('1 day' = '24:00'), jsonb (1 = 1.0), unbounded numeric (1 = 1.00).
_BYTE_EQUAL = frozenset(
    [
        "bool",
        "int2",
        "int4",
        "int8",
        "oid",
        "uuid",
        "bytea",
        "date",
        "time",
        "timetz",
        "timestamp",
        "timestamptz",
        "char",
        "name",
        "text",
        "varchar",
        "bit",
        "varbit",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "money",
        "pg_lsn",
        "xid8",
    ]
)


def datatype(types: Types, oid: int, typmod: int) -> DataType:
    """The logical type of a column; what has none is OPAQUE (travels as PostgreSQL's own text)."""
    kind = types.get(oid)
    if kind is None:
        return DataType(Kind.OPAQUE)
    if kind.kind == "d":
        return datatype(types, kind.base, kind.base_typmod if typmod < 0 else typmod)
    if kind.kind == "e":
        return DataType(Kind.ENUM, labels=kind.labels)
    if kind.element:
        return DataType(Kind.ARRAY, element=datatype(types, kind.element, typmod))
    return _base_type(kind.name, typmod) if kind.kind == "b" else DataType(Kind.OPAQUE)


def _base_type(name: str, typmod: int) -> DataType:
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name in _INTEGERS:
        return DataType(Kind.INTEGER, bits=_INTEGERS[name])
    if name in _FLOATS:
        return DataType(Kind.FLOAT, bits=_FLOATS[name])
    if name in _TIMES:
        kind, zoned = _TIMES[name]
        return DataType(kind, precision=_time_precision(typmod), zoned=zoned)
    if name in _JSON:
        return DataType(Kind.JSON)
    if name in _GEOMETRY:
        return DataType(Kind.GEOMETRY)
    return _modified_type(name, typmod)


def _modified_type(name: str, typmod: int) -> DataType:
    if name == "numeric":
        precision, scale = numeric_modifier(typmod)
        return DataType(Kind.DECIMAL, precision=precision, scale=scale)
    if name in {"varchar", "bpchar"}:
        length = typmod - HEADER if typmod >= HEADER else None
        return DataType(Kind.TEXT, length=length, fixed=name == "bpchar" and length is not None)
    if name in {"bit", "varbit"}:
        return DataType(Kind.BIT, bits=max(typmod, 0), fixed=name == "bit")
    if name == "interval":
        low = typmod & INTERVAL_FULL_PRECISION
        given = typmod >= 0 and low != INTERVAL_FULL_PRECISION
        return DataType(Kind.INTERVAL, precision=low if given else DEFAULT_TIME_PRECISION)
    return DataType(Kind.OPAQUE)


def numeric_modifier(typmod: int) -> tuple[int | None, int | None]:
    """Precision and scale of a numeric's typmod; the scale has eleven bits with a sign since 15."""
    if typmod < HEADER:
        return None, None
    packed = typmod - HEADER
    return packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 0x400) - 0x400


def _time_precision(typmod: int) -> int:
    return typmod if typmod >= 0 else DEFAULT_TIME_PRECISION


def native_safe(types: Types, oid: int) -> bool:
    """True when COPY BINARY carries the type to any other server.

    The header of an array holds its element's OID, a composite those of its fields: the OIDs of
    user types differ between servers.
    """
    kind = types.get(oid)
    if kind is None or not kind.sends or kind.name in _UNSAFE:
        return False
    if kind.kind == "d":
        return native_safe(types, kind.base)
    if kind.kind == "e":
        return True
    if kind.kind in {"r", "m"}:
        return native_safe(types, kind.subtype)
    if kind.element:
        return kind.element < FIRST_USER_OID and native_safe(types, kind.element)
    return kind.kind == "b" and oid < FIRST_USER_OID


def byte_equal(types: Types, oid: int, typmod: int, *, deterministic: bool) -> bool:
    """True when two values of the type are equal exactly when their bytes are.

    `deterministic`: of the column's collation; True for types without one.
    """
    kind = types.get(oid)
    if kind is None or not deterministic:
        return False
    if kind.kind == "d":
        modifier = kind.base_typmod if typmod < 0 else typmod
        return byte_equal(types, kind.base, modifier, deterministic=True)
    if kind.kind == "e":
        return True
    if kind.kind in {"r", "m"}:
        return byte_equal(types, kind.subtype, -1, deterministic=True)
    if kind.element:
        return byte_equal(types, kind.element, typmod, deterministic=True)
    # Without a length, char keeps blanks that its comparison ignores; with one, all are padded.
    return kind.name in _BYTE_EQUAL or (kind.name in {"numeric", "bpchar"} and typmod >= HEADER)


@dataclass(frozen=True)
class Choices:
    """How a target spells types that PostgreSQL has several words for.

    Attributes:
        json: ``json`` keeps the text as it is, ``jsonb`` doesn't, ``text`` checks nothing.
        sets: ``text`` (labels joined by commas), ``check`` (the same, checked) or ``array``.
        geometry: PostGIS's type under its qualified name; without it EWKB is kept as bytes.
    """

    json: str = "jsonb"
    sets: str = "text"
    geometry: str | None = None


def spelling(kind: DataType, choices: Choices | None = None) -> str:
    """PostgreSQL's spelling of a logical type, wide enough for every value of it.

    An enum is text here: its type has a name that only the table's plan knows.
    """
    chosen = choices or Choices()
    if kind.kind is Kind.ARRAY:
        return f"{spelling(kind.element or DataType(Kind.TEXT), chosen)}[]"
    if kind.kind is Kind.GEOMETRY:
        return chosen.geometry or "bytea"
    if kind.kind is Kind.JSON:
        return chosen.json
    if kind.kind is Kind.SET:
        return "text[]" if chosen.sets == "array" else "text"
    return _SPELLED[kind.kind](kind) if kind.kind in _SPELLED else _PLAIN[kind.kind]


_PLAIN = {
    Kind.BOOLEAN: "boolean",
    Kind.BINARY: "bytea",
    Kind.DATE: "date",
    Kind.UUID: "uuid",
    Kind.ENUM: "text",
    Kind.OPAQUE: "text",
}


def _bits(kind: DataType) -> str:
    width = f"({kind.bits})" if kind.bits else ""
    return f"bit{width}" if kind.fixed and kind.bits else f"bit varying{width}"


def _float(kind: DataType) -> str:
    return "real" if 0 < kind.bits <= 32 else "double precision"


def _interval(kind: DataType) -> str:
    limited = kind.precision is not None and kind.precision < DEFAULT_TIME_PRECISION
    return f"interval({kind.precision})" if limited else "interval"


def _integer(kind: DataType) -> str:
    # An unsigned integer needs one more bit than PostgreSQL's of the same width have.
    bits = kind.bits + (1 if kind.unsigned else 0)
    for width, name in ((16, "smallint"), (32, "integer"), (64, "bigint")):
        if bits <= width:
            return name
    return "numeric(20,0)"


#: Declared numeric precision goes this far; beyond, only an undeclared one holds the value.
MAX_PRECISION = 1000


def _decimal(kind: DataType) -> str:
    if kind.precision is None or kind.precision > MAX_PRECISION:
        return "numeric"
    return f"numeric({kind.precision},{kind.scale or 0})"


#: Longest n of varchar(n).
MAX_LENGTH = 10_485_760


def _text(kind: DataType) -> str:
    if kind.length is None or not 0 < kind.length <= MAX_LENGTH:
        return "text"
    return f"character({kind.length})" if kind.fixed else f"character varying({kind.length})"


def _time(kind: DataType) -> str:
    name = "time" if kind.kind is Kind.TIME else "timestamp"
    limited = kind.precision is not None and kind.precision < DEFAULT_TIME_PRECISION
    width = f"({kind.precision})" if limited else ""
    return f"{name}{width} {'with' if kind.zoned else 'without'} time zone"


_SPELLED: Mapping[Kind, Callable[[DataType], str]] = {
    Kind.INTEGER: _integer,
    Kind.DECIMAL: _decimal,
    Kind.TEXT: _text,
    Kind.BIT: _bits,
    Kind.FLOAT: _float,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _time,
    Kind.INTERVAL: _interval,
}
