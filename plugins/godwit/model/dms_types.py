"""DMS's data types and the logical ones."""

from __future__ import annotations

from godwit.model.datatypes import DataType, Kind
from godwit.model.rule_models import DataTypeSpec

_INTEGERS = {
    f"{p}int{n}".replace("sint", "int"): (n * 8, p == "u") for p in ("s", "u") for n in (1, 2, 4, 8)
}
_PLAIN = {
    "date": DataType(Kind.DATE),
    "real4": DataType(Kind.FLOAT, bits=32),
    "real8": DataType(Kind.FLOAT, bits=64),
    "boolean": DataType(Kind.BOOLEAN),
    "blob": DataType(Kind.BINARY),
    "clob": DataType(Kind.TEXT),
    "nclob": DataType(Kind.TEXT),
}


def logical(spec: DataTypeSpec) -> DataType:
    """The logical type of a rule's ``data-type``."""
    if spec.type in _PLAIN:
        return _PLAIN[spec.type]
    if spec.type in _INTEGERS:
        bits, unsigned = _INTEGERS[spec.type]
        return DataType(Kind.INTEGER, bits=bits, unsigned=unsigned)
    if spec.type == "numeric":
        return DataType(Kind.DECIMAL, precision=spec.precision, scale=spec.scale)
    if spec.type in ("time", "datetime"):
        # DMS puts the digits of the second's fraction into scale; some rules say precision.
        digits = spec.scale if spec.scale is not None else spec.precision
        digits = 6 if digits is None else min(digits, 6)
        return DataType(Kind.TIME if spec.type == "time" else Kind.TIMESTAMP, precision=digits)
    kind = Kind.BINARY if spec.type == "bytes" else Kind.TEXT
    return DataType(kind, length=spec.length or None)


def dms_names(type: DataType) -> tuple[str, ...]:  # noqa: A002
    """What DMS may call a column of this type, for rules that choose columns by ``data-type``."""
    if type.kind is Kind.INTEGER:
        prefix = "u" if type.unsigned else ""
        return (f"{prefix}int{max(type.bits, 8) // 8}",)
    if type.kind is Kind.FLOAT:
        return ("real4",) if type.bits == 32 else ("real8",)
    if type.kind is Kind.TEXT and type.length is None:
        return ("clob", "nclob", "string", "wstring")
    if type.kind is Kind.BINARY:
        return ("blob", "bytes") if type.length is None else ("bytes",)
    return _NAMES.get(type.kind, ("string", "wstring"))


_NAMES = {
    Kind.BOOLEAN: ("boolean",),
    Kind.DECIMAL: ("numeric",),
    Kind.DATE: ("date",),
    Kind.TIME: ("time",),
    Kind.TIMESTAMP: ("datetime",),
    Kind.JSON: ("clob", "nclob"),
    Kind.GEOMETRY: ("blob",),
}
