"""Canonical forms of values, as MySQL and MariaDB compute them.

What the forms are is told in `godwit.model.values`. Two endpoints of this engine use forms of a
family of their own, which differ where the shared ones cannot show what this engine can hold: zero
and partial dates, and geometries as they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from godwit.engines.mysql.names import parameterless, quoted
from godwit.model import values

FAMILY = "mysql"

_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "year"})
_FLOATS = frozenset({"float", "double"})
_BINARY = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"})
_GEOMETRY = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"}
    | {"multipolygon", "geometrycollection", "geomcollection"}
)
_FORMS = {
    "decimal": (values.NUMBER,),
    "bit": (values.BITS, values.NUMBER),
    "set": (values.SET, values.TEXT, values.STRIPPED),
    "date": (values.DATE,),
    # A column without a zone may hold UTC by agreement.
    "datetime": (values.TIMESTAMP, values.INSTANT),
    "timestamp": (values.INSTANT, values.TIMESTAMP),
    "time": (values.DURATION, values.TIME),
}


@dataclass(frozen=True)
class FormColumn:
    """A column as the server tells it: DATA_TYPE, COLUMN_TYPE and its character set."""

    name: str
    type: str
    native: str
    charset: str | None

    @property
    def binary(self) -> bool:
        """It holds bytes."""
        return self.type in _BINARY or self.charset == "binary"


def forms(column: FormColumn) -> tuple[str, ...]:
    """The forms that a column can be given, best first: this engine's own, then the shared."""
    if column.type in _INTEGERS:
        shared: tuple[str, ...] = (values.NUMBER,)
    elif column.type in _FLOATS:
        shared = (values.FLOAT,)
    elif column.binary or column.type in _GEOMETRY:
        shared = (values.BINARY,)
    else:
        shared = _FORMS.get(column.type, (values.TEXT, values.STRIPPED))
    own = f"{FAMILY}:{shared[0].partition(':')[2]}"
    return (own, *shared)


def rendered(kind: str, column: FormColumn, zero_dates: str) -> str:
    """SQL of the form's text of a column; NULL stays NULL.

    `zero_dates`: what becomes of zero and partial dates in shared forms (``sentinel``, ``null``,
    ``reject``).
    """
    family, _, form = kind.partition(":")
    name = parameterless(quoted(column.name))
    own = family == FAMILY
    return f"({_text(form, column, name, zero_dates, own=own)}) COLLATE utf8mb4_bin"


def _text(form: str, column: FormColumn, name: str, zero_dates: str, *, own: bool) -> str:
    shared = f"{values.FAMILY}:{form}"
    if shared == values.NUMBER:
        return _number(column, name)
    if shared == values.BINARY:
        return _binary(column, name, own=own)
    if shared == values.STRIPPED:
        return _shortened(f"REPLACE(CONVERT({name} USING utf8mb4), '\\0', '')")
    if shared in {values.TEXT, values.SET}:
        return _shortened(f"CONVERT({name} USING utf8mb4)")
    if shared == values.BITS:
        width = column.native.partition("(")[2].rstrip(")") or "1"
        return _utf8(f"LPAD(BIN({name} + 0), {int(width)}, '0')")
    if shared in {values.DATE, values.TIMESTAMP, values.INSTANT}:
        text = _utf8(f"DATE_FORMAT({name}, '{_PATTERNS[shared]}')")
        return text if own else _dated(name, text, zero_dates)
    if shared == values.TIME:
        return _utf8(f"TIME_FORMAT({name}, '%%H:%%i:%%s.%%f')")
    if shared == values.DURATION:
        return _utf8(_MICROSECONDS.format(c=name))
    return _float(column, name)


_PATTERNS = {
    values.DATE: "%%Y-%%m-%%d",
    values.TIMESTAMP: "%%Y-%%m-%%d %%H:%%i:%%s.%%f",
    values.INSTANT: "%%Y-%%m-%%d %%H:%%i:%%s.%%f",
}


def _utf8(expression: str) -> str:
    return f"CONVERT({expression} USING utf8mb4)"


def _number(column: FormColumn, name: str) -> str:
    if column.type in {"year", "bit"}:
        return _utf8(f"CAST({name} + 0 AS UNSIGNED)")
    # The sum takes the zeros of ZEROFILL away.
    text = _utf8(f"{name} + 0")
    if column.type != "decimal":
        return text
    trimmed = f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {text}))"
    return f"IF({name} = 0, '0', IF(LOCATE('.', {text}), {trimmed}, {text}))"


def _binary(column: FormColumn, name: str, *, own: bool) -> str:
    if column.type in _GEOMETRY and not own:
        return _ewkb(name)
    return (
        f"IF(LENGTH({name}) > {values.LONG}, CONCAT('#', {_utf8(f'SHA2({name}, 256)')}),"
        f" {_utf8(f'LOWER(HEX({name}))')})"
    )


def _ewkb(name: str) -> str:
    """The SRID in front of the stored bytes moves behind the type, whose highest bit but two it
    sets.
    """
    stored = _utf8(f"LOWER(HEX({name}))")
    flagged = f"CONCAT(SUBSTR({stored}, 9, 8), '20', SUBSTR({stored}, 1, 8), SUBSTR({stored}, 19))"
    text = f"IF({stored} LIKE '00000000%%', SUBSTR({stored}, 9), {flagged})"
    digest = _utf8(f"SHA2(UNHEX({text}), 256)")
    return f"IF(LENGTH({text}) > {2 * values.LONG}, CONCAT('#', {digest}), {text})"


def _shortened(text: str) -> str:
    return f"IF(LENGTH({text}) > {values.LONG}, CONCAT('#', {_utf8(f'SHA2({text}, 256)')}), {text})"


def _dated(name: str, text: str, zero_dates: str) -> str:
    """Dates that no calendar has, as the decoder shows them; the year 0 is 1 BC."""
    shown = "NULL" if zero_dates == "null" else "'-infinity'"
    month = f"CONCAT(DATE_FORMAT({name}, '%%Y-%%m'), '-01')"
    # The year 0 has a leap day of its own in no calendar, so any leap year's will do for it.
    last = f"IF(YEAR({name}) = 0, DAYOFMONTH(LAST_DAY(CONCAT('2004-', MONTH({name}), '-01'))),"
    last += f" DAYOFMONTH(LAST_DAY({month})))"
    # NULL is not zero: it takes the last branch and stays NULL.
    return (
        f"CASE WHEN MONTH({name}) = 0 OR DAYOFMONTH({name}) = 0 OR DAYOFMONTH({name}) > {last}"
        f" THEN {shown} WHEN YEAR({name}) = 0 THEN CONCAT('0001', SUBSTR({text}, 5), ' BC')"
        f" ELSE {text} END"
    )


_MICROSECONDS = (
    "CAST(IF(LEFT(CAST({c} AS CHAR), 1) = '-', -1, 1) * (FLOOR(ABS(TIME_TO_SEC({c}))) * 1000000"
    " + MICROSECOND({c})) AS DECIMAL(20,0))"
)
#: Digits and exponent of the shortest text of a double; see `godwit.model.values`.
_SIGN = "IF({n} < 0, '-', '')"
_MANTISSA = "TRIM(LEADING '-' FROM SUBSTRING_INDEX({t}, 'e', 1))"
_EXPONENT = "IF(LOCATE('e', {t}), CAST(SUBSTRING_INDEX({t}, 'e', -1) AS SIGNED), 0)"
_DIGITS = f"REPLACE({_MANTISSA}, '.', '')"
_POINT = f"LOCATE('.', CONCAT({_MANTISSA}, '.')) - 1"
_LEADING = f"LENGTH({_DIGITS}) - LENGTH(TRIM(LEADING '0' FROM {_DIGITS}))"
_FLOAT = (
    "IF({t} IN ('0', '-0'), '0', "
    f"CONCAT({_SIGN}, TRIM(TRAILING '0' FROM TRIM(LEADING '0' FROM {_DIGITS})), 'e',"
    f" {_EXPONENT} + {_POINT} - ({_LEADING})))"
)


def _float(column: FormColumn, name: str) -> str:
    """MySQL writes a number that it has computed in 22 characters and drops digits for it: too few
    for the doubles with a sign or a long exponent, enough for all single ones without their sign.
    A double column's own text is whole, unless it is declared with decimals.
    """
    whole = column.type == "double" and "(" not in column.native
    number = name if whole else f"ABS({name} * 1e0)"
    return _FLOAT.format(n=name, t=_utf8(f"CAST({number} AS CHAR(40))"))


def matching(kind: str, column: FormColumn, text: str, zero_dates: str) -> tuple[str, list[str]]:
    """The condition that a column has this canonical text, so that an index serves it, and its
    parameters.
    """
    name = parameterless(quoted(column.name))
    form = f"{values.FAMILY}:{kind.partition(':')[2]}"
    if form == values.NUMBER and column.type not in {"bit", "year"} and _plain_number(text):
        # As a literal: a text would be compared as a double.
        return f"{name} = {text}", []
    if form == values.BINARY and column.binary and not text.startswith("#"):
        return f"{name} = UNHEX(%s)", [text]
    if form == values.TEXT and not text.startswith("#") and column.charset:
        return f"({name} = %s AND {rendered(kind, column, zero_dates)} = %s)", [text, text]
    dated = form in {values.DATE, values.TIMESTAMP, values.INSTANT}
    if dated and text[:1].isdigit():
        return f"{name} = %s", [text]
    return f"{rendered(kind, column, zero_dates)} = %s", [text]


def _plain_number(text: str) -> bool:
    bare = text.removeprefix("-").replace(".", "", 1)
    return bare.isascii() and bare.isdigit()
