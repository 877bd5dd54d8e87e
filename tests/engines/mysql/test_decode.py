"""Rows into Arrow: the twins agree, the log agrees with the load, and both with the server."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from godwit.engines.mysql import binary_json, layouts
from godwit.engines.mysql.charsets import UTF8, charset, decoded
from godwit.engines.mysql.decode import (
    COMPILED,
    Field,
    RowDecoder,
    log_field,
    metadata_of,
    scan,
    scan_python,
)
from godwit.engines.mysql.decode_rows import BadValueError, PythonRows
from godwit.errors import CaptureError, EndpointError, LoadError
from godwit.model.catalog import Column
from godwit.model.datatypes import DataType, Kind
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.reading import (
    COLUMNS,
    MYSQL_COLUMNS,
    Log,
    loaded,
    mapping_of,
    source_of,
    table_of,
)

if COMPILED:
    from godwit.engines.mysql._decode import CompiledRows, json_text
else:
    CompiledRows, json_text = PythonRows, binary_json.json_text

_SKIPPED_SETS = {"binary", "utf8mb3", "utf8mb4", "ucs2", "utf16", "utf16le", "utf32", "gb18030"}


@pytest.fixture
def mysql97_db(mysql97: MySqlServer) -> Iterator[MySqlDatabase]:
    with mysql97.create_database() as database:
        yield database


# -- character sets


def _codes(longest: int) -> Iterator[bytes]:
    yield from (bytes([a]) for a in range(256))
    if longest > 1:
        yield from (bytes([a, b]) for a in range(0x80, 256) for b in range(0x30, 256))
    if longest == 3:
        yield from (bytes([0x8F, a, b]) for a in range(0xA1, 255) for b in range(0xA1, 255))


def test_every_character_of_every_character_set_is_the_servers(mysql_source: MySqlDatabase) -> None:
    with mysql_source.connect() as session, session.cursor() as cursor:
        cursor.execute("CREATE TABLE codes (n int PRIMARY KEY, code varbinary(3))")
        every = list(_codes(3))
        rows = ",".join(f"({n},x'{code.hex()}')" for n, code in enumerate(every))
        cursor.execute(f"INSERT INTO codes VALUES {rows}")
        cursor.execute("SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS")
        for name, longest in cursor.fetchall():
            if name in _SKIPPED_SETS:
                continue
            cursor.execute(
                f"SELECT n, CONVERT(CONVERT(code USING {name}) USING utf32) FROM codes"
                " WHERE LENGTH(code) <= %s ORDER BY n",
                (longest,),
            )
            for n, told in cursor.fetchall():
                text, ours = told, decoded(every[n], charset(name))
                # What it cannot convert, the server makes a question mark (or two of them).
                if not text or "?" in text.replace("?", "", every[n].count(b"?")):
                    text = None
                if text is None or "\ufffd" in text or len(text) > 1:
                    assert ours is None or len(ours) > 1, (name, every[n])
                else:
                    assert ours == text, (name, every[n])


@pytest.mark.parametrize("name", ["utf16", "utf16le", "ucs2", "utf32", "gb18030", "utf8mb4"])
@given(text=st.text())
def test_wide_character_sets(name: str, text: str) -> None:
    codecs = {"utf16": "utf-16-be", "utf16le": "utf-16-le", "ucs2": "utf-16-be"}
    if name == "ucs2":
        text = "".join(c for c in text if ord(c) < 0x10000)
    if name == "gb18030":
        text = text.replace("\ue7c7", "").replace("\u1e3f", "")
    codec = codecs.get(name, {"utf32": "utf-32-be"}.get(name, name.replace("utf8mb4", "utf-8")))
    field = Field("t", layouts.PREFIXED, 2, layouts.TEXT, extra=charset(name))
    value = text.encode(codec)
    image = b"\0" + len(value).to_bytes(2, "little") + value
    for rows in (None, PythonRows):
        batch = RowDecoder("t", [field], rows=rows).images(image, [0])
        assert batch.column(0).to_pylist() == [text]


def test_an_unknown_character_set_is_named() -> None:
    with pytest.raises(EndpointError, match="klingon"):
        charset("klingon")


# -- the twins


_SETS = (
    "utf8mb4",
    "latin1",
    "gbk",
    "ujis",
    "utf16",
    "utf16le",
    "ucs2",
    "utf32",
    "ascii",
    "gb18030",
)
_LABELS = (b"a", "\u00e9".encode(), b"c d")


def _log_fields() -> st.SearchStrategy[Field]:
    digits = st.integers(0, 6)
    x = layouts

    def of(layout: int, size: int = 0, output: int = 0, **more: Any) -> Field:
        return Field("c", layout, size, output, **more)

    return st.one_of(
        st.builds(
            lambda n, u: of(x.INT, n, x.INTEGER, detail=4 if n == 3 else n, unsigned=u),
            st.sampled_from((1, 2, 3, 4, 8)),
            st.booleans(),
        ),
        st.sampled_from(
            (
                of(x.FLOAT4, 0, x.SINGLE),
                of(x.FLOAT8, 0, x.DOUBLE),
                of(x.YEAR1, 0, x.INTEGER, detail=2),
                of(x.DATE3, 0, x.DATE),
                of(x.TIME3, 0, x.DURATION),
                of(x.TIMESTAMP4, 0, x.MOMENT, zoned=True),
                of(x.FIXED, 2, x.BITS, detail=9),
                of(x.FIXED, 8, x.BITS, detail=64),
                of(x.FIXED, 1, x.LABEL, extra=_LABELS),
                of(x.FIXED, 2, x.LABEL, extra=_LABELS),
                of(x.FIXED, 1, x.LABELS, extra=_LABELS),
                of(x.PREFIXED, 1, x.BYTES),
                of(x.PREFIXED, 2, x.BYTES, detail=5),
                of(x.PREFIXED, 4, x.EWKB),
                of(x.PREFIXED, 4, x.JSON),
                of(x.PREFIXED, 1, x.UUID),
                of(x.PREFIXED, 1, x.INET4),
                of(x.PREFIXED, 1, x.INET6),
                of(x.LENENC, 0, x.DIGITS),
                of(x.LENENC, 0, x.TEXT, extra=charset("utf8mb4")),
                of(x.RESULT_TIME, 0, x.DURATION, detail=6),
                of(x.PREFIXED, 2),
            )
        ),
        st.builds(lambda n: of(x.TIME2, n, x.DURATION, detail=n), digits),
        st.builds(lambda n: of(x.TIMESTAMP2, n, x.MOMENT, zoned=True, digits=n), digits),
        st.builds(
            lambda p, s: of(
                x.PACKED_DECIMAL,
                x.decimal_bytes(p, min(s, p)),
                x.DECIMAL,
                detail=p,
                extra=min(s, p),
            ),
            st.integers(1, 65),
            st.integers(0, 30),
        ),
        st.builds(
            lambda name, n: of(x.PREFIXED, n, x.TEXT, extra=charset(name)),
            st.sampled_from(_SETS),
            st.integers(1, 4),
        ),
    )


def _size_bytes(field: Field, value: bytes) -> bytes:
    """A value that begins as the layout wants it, so that random bytes get somewhere."""
    if field.layout == layouts.PREFIXED:
        return len(value).to_bytes(field.size, "little") + value
    if field.layout == layouts.LENENC:
        return bytes([len(value)]) + value
    if field.layout == layouts.RESULT_TIME:
        return bytes([12, value[0] & 1 if value else 0, 1, 0, 0, 0, 5, 6, 7, 1, 2, 3, 0])
    return value.ljust(40, b"\1")


def _outcome(rows: Any, call: Callable[[Any], Any]) -> Any:
    try:
        return call(rows)
    except BadValueError as error:
        return error.position, error.reason


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_twins_decode_the_same(data: st.DataObject) -> None:
    fields = [
        Field(f"c{i}", *[getattr(f, n) for n in ("layout", "size", "output", "detail")],
              extra=f.extra, unsigned=f.unsigned, zoned=f.zoned, digits=f.digits)
        for i, f in enumerate(data.draw(st.lists(_log_fields(), min_size=1, max_size=10)))
    ]  # fmt: skip
    twins = (PythonRows(fields), CompiledRows(fields))
    mask = data.draw(st.none() | st.binary(min_size=2, max_size=2))
    present = [i for i in range(len(fields)) if mask is None or mask[i >> 3] >> (i & 7) & 1]
    wanted = [i for i in present if fields[i].output]
    buffer, starts = bytearray(data.draw(st.binary(max_size=3))), array("q")
    for _ in range(data.draw(st.integers(0, 4))):
        nulls = data.draw(st.integers(0, (1 << len(present)) - 1) | st.just(0))
        starts.append(len(buffer))
        buffer += nulls.to_bytes((len(present) + 7) // 8, "little")
        for n, i in enumerate(present):
            if not nulls >> n & 1:
                value = _size_bytes(fields[i], data.draw(st.binary(max_size=24)))
                size = fields[i].size
                fixed = fields[i].layout in (layouts.INT, layouts.FIXED, layouts.PACKED_DECIMAL)
                buffer += value[:size] if fixed else value
    buffer += data.draw(st.binary(max_size=9))
    if data.draw(st.booleans()):
        del buffer[data.draw(st.integers(0, len(buffer))) :]
    whole = bytes(buffer)
    for call in (
        lambda rows: rows.images(whole, starts, mask, wanted),
        lambda rows: rows.results(whole, starts, range(len(fields))) if mask is None else 0,
        lambda rows: rows.keys(whole, starts, wanted[::-1], mask),
        lambda rows: list(rows.split(whole, 0, len(whole), (mask, None))),
    ):
        ours = [_outcome(rows, call) for rows in twins]
        assert ours[0] == ours[1]


_MOMENTS = st.tuples(
    st.sampled_from((layouts.DATE3, layouts.DATETIME8, layouts.DATETIME2, layouts.RESULT_DATE)),
    st.integers(0, 9999), st.integers(0, 12), st.integers(0, 31), st.integers(0, 86_399_999_999),
    st.integers(0, 6),
)  # fmt: skip


@given(st.lists(_MOMENTS, min_size=1, max_size=3))
def test_the_twins_decode_the_same_moments(moments: list[tuple[int, ...]]) -> None:
    layout, *_, digits = moments[0]
    kind = layouts.DATE if layout == layouts.DATE3 else layouts.MOMENT
    fields = [Field("d", layout, digits if layout == layouts.DATETIME2 else 0, kind)]
    image, starts = b"", array("q")
    for _, year, month, day, micros, _ in moments:
        starts.append(len(image))
        image += b"\0\0"[: 2 if layout == layouts.RESULT_DATE else 1]
        seconds, part = divmod(micros, 1_000_000)
        hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
        if layout == layouts.DATE3:
            image += (year << 9 | month << 5 | day).to_bytes(3, "little")
        elif layout == layouts.RESULT_DATE:
            image += bytes([11, year & 255, year >> 8, month, day, hour, minute, second])
            image += part.to_bytes(4, "little")
        elif layout == layouts.DATETIME8:
            number = (year * 10000 + month * 100 + day) * 1_000_000
            image += (number + hour * 10000 + minute * 100 + second).to_bytes(8, "little")
        else:
            packed = (year * 13 + month) << 22 | day << 17 | hour << 12 | minute << 6 | second
            image += (packed + (1 << 39)).to_bytes(5, "big")
            size = (digits + 1) // 2
            image += (part // 10 ** (6 - 2 * size)).to_bytes(size, "big")
    call = "results" if layout == layouts.RESULT_DATE else "images"
    arguments = ([0],) if call == "results" else (None, [0])
    ours = [getattr(t(fields), call)(image, starts, *arguments) for t in (PythonRows, CompiledRows)]
    assert ours[0] == ours[1]


@given(
    sizes=st.lists(st.sampled_from((0, 1, 7, 300)), max_size=6),
    end=st.sampled_from((b"", b"\5\0\0\1\xfe\0\0\2\0", b"\1\0", b"\3\0\0\1\xff\1\2")),
)
def test_the_twins_find_the_same_rows(sizes: list[int], end: bytes) -> None:
    packets = b"".join((size + 1).to_bytes(3, "little") + b"\1\0" + b"x" * size for size in sizes)
    buffer = bytearray(packets + end)
    python = scan_python(bytearray(buffer), 0, len(buffer))
    compiled = scan(buffer, 0, len(buffer))
    assert (list(python[0]), *python[1:]) == (list(compiled[0]), *compiled[1:])
    assert len(python[0]) == len(sizes)


@pytest.mark.parametrize("find", [scan, scan_python])
@pytest.mark.parametrize("size", [0xFFFFFE, 0xFFFFFF, 0x1000000, 2 * 0xFFFFFF + 5])
def test_a_row_longer_than_a_packet_is_joined(find: Any, size: int) -> None:
    payload = b"\0" + bytes(range(251)) * (size // 251 + 1)
    payload = payload[:size]
    packets, rest = bytearray(b"\2\0\0\1\0z"), payload
    while True:
        part, rest = rest[:0xFFFFFF], rest[0xFFFFFF:]
        packets += len(part).to_bytes(3, "little") + b"\1" + part
        if len(part) < 0xFFFFFF:
            break
    for cut in (8, len(packets) - 1):
        copy = bytearray(packets)
        starts, position, stop = find(copy, 0, cut)
        assert (list(starts), position, stop) == ([4], 6, -1)
    starts, position, stop = find(packets, 0, len(packets))
    assert (position, stop) == (len(packets), -1)
    assert packets[starts[1] : starts[1] + size] == payload


# -- JSON


@given(st.binary(max_size=60))
def test_the_twins_spell_the_same_json(data: bytes) -> None:
    found = []
    for spell in (binary_json.json_text, json_text):
        try:
            found.append(spell(data))
        except ValueError:
            found.append(None)
    assert found[0] == found[1]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_in_json_read_back_and_are_spelled_alike(number: float) -> None:
    text = binary_json.double_text(number)
    assert float(text) == number
    import struct

    assert json_text(b"\x0b" + struct.pack("<d", number)) == text


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
)
_DOCUMENTS = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), inner, max_size=5)
    ),
    max_leaves=30,
)
#: What only SQL can put into a document.
_OPAQUE = (
    "JSON_ARRAY(CAST(-1.50 AS DECIMAL(20,5)), CAST(0 AS DECIMAL(5,5)), CAST(7 AS DECIMAL(65,30)))",
    "JSON_ARRAY(DATE'2020-01-02', TIME'-838:59:59', TIME'00:00:01.5')",
    "JSON_ARRAY(TIMESTAMP'1999-12-31 03:04:05.6', CAST('0001-01-01' AS DATETIME(6)))",
    "JSON_OBJECT('b', b'101', 'x', x'00ff', 'r', REPEAT(CAST('a' AS BINARY), 57))",
    "JSON_ARRAY(REPEAT(CAST('abc' AS BINARY), 100), POINT(1, 2), YEAR(NOW()))",
    "CAST('[1e15, 1000000000000000.5, 99999999999999999.5, 1e-15, 1e-16, 1e14]' AS JSON)",
    "JSON_QUOTE(REPEAT('\\\\\"\\n', 40000))",
    "JSON_OBJECT(REPEAT('k', 300), REPEAT('v', 70000), 'n', 1, 'l', -70000, 'u', 3000000000)",
    "CAST(CONCAT('[', REPEAT('12345,', 30000), '1]') AS JSON)",
)


@pytest.mark.matrix
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(documents=st.lists(_DOCUMENTS, min_size=20, max_size=40))
def test_json_in_the_log_is_the_servers_text(
    mysql97_db: MySqlDatabase, documents: list[Any]
) -> None:
    _json_parity(mysql97_db, [("%s", json.dumps(d, ensure_ascii=False)) for d in documents])


@pytest.mark.matrix
def test_opaque_json_in_the_log_is_the_servers_text(mysql97_db: MySqlDatabase) -> None:
    _json_parity(mysql97_db, [(expression, None) for expression in _OPAQUE])


def _json_parity(database: MySqlDatabase, documents: list[tuple[str, str | None]]) -> None:
    database.execute("DROP TABLE IF EXISTS j")
    database.execute("CREATE TABLE j (id int PRIMARY KEY AUTO_INCREMENT, j json)")
    source = source_of(database)
    table = table_of(source, "j")
    log = Log(source, table)
    with database.connect() as session, session.cursor() as cursor:
        for expression, value in documents:
            cursor.execute(
                f"INSERT INTO j (j) VALUES ({expression})", None if value is None else (value,)
            )
        cursor.execute("SELECT CAST(j AS CHAR) FROM j ORDER BY id")
        told = [row[0] for row in cursor.fetchall()]
    for rows in (None, PythonRows):
        assert log.inserted(rows=rows)["j"].to_pylist() == told
    assert loaded(source, mapping_of(table))["j"].to_pylist() == told


# -- every type: loaded = replicated = what the server says

_ZERO = "'0000-00-00 00:00:00'"
_MOMENT_VALUES = ("'2024-02-29 12:34:56.123456'", "'9999-12-31 23:59:59'", "'1000-01-01'")
_TEXTS = ("''", "'a\u00e9\u20ac'", "'x  '", "'\\t\\n\\\\'", "'b\\0c'")
_BYTES = ("x''", "x'0102'", "x'00'", "x'0102030000'")
#: Column type → values as SQL, and whether the server's own CAST to text says the same.
_TYPES: dict[str, tuple[tuple[str, ...], bool]] = {
    "tinyint": (("-128", "127", "0"), True),
    "tinyint unsigned": (("255", "0"), True),
    "tinyint(1)": (("0", "1", "2", "-3"), True),
    "smallint zerofill": (("65535", "7"), False),
    "mediumint": (("-8388608", "8388607", "-1"), True),
    "mediumint unsigned": (("16777215", "0"), True),
    "int": (("-2147483648", "2147483647"), True),
    "int unsigned": (("4294967295", "0"), True),
    "bigint": (("-9223372036854775808", "9223372036854775807"), True),
    "bigint unsigned": (("18446744073709551615", "0"), True),
    "decimal(65,30)": (("-1e-30", "99999999999999999999999999999999999.5", "0", "-0.5"), True),
    "decimal(5,5)": (("-0.12345", "0.99999", "0"), True),
    "decimal(9,0)": (("-999999999", "42"), True),
    "decimal(12,3) unsigned zerofill": (("0", "999999999.999", "7.5"), False),
    "float": (("-1.1", "3.4028235e38", "1e-45"), False),
    "double": (("-1.1", "1.7976931348623157e308", "5e-324"), False),
    "year": (("1901", "2155", "0"), False),
    "date": (("'2024-02-29'", "'9999-12-31'", "'0001-01-01'"), True),
    "char(200)": (_TEXTS, True),
    "char(0)": (("''",), True),
    "varchar(300)": (_TEXTS, True),
    "varchar(20) character set latin1": (("x'818d8f909dff80'", "'\u00e9\u20ac'"), True),
    "char(20) character set gbk": (("'\u4e2d\u6587a'", "x'8140'"), True),
    "varchar(20) character set utf16": (_TEXTS, True),
    "char(5) character set utf32": (_TEXTS, True),
    "varchar(9) character set ucs2": (_TEXTS, True),
    "text character set utf16le": (_TEXTS, True),
    "text character set ujis": (("'\u65e5\u672c'", "x'8fb0a1'", "x'8eb1'"), True),
    "mediumtext character set koi8r": (("'\u043f\u0440\u0438'", "''"), True),
    "longtext": (_TEXTS, True),
    "binary(5)": (_BYTES, False),
    "varbinary(300)": (_BYTES, False),
    "tinyblob": (_BYTES, False),
    "longblob": (_BYTES, False),
    "bit(1)": (("0", "1"), False),
    "bit(9)": (("256", "1"), False),
    "bit(64)": (("18446744073709551615", "1"), False),
    "enum('a','\u00e9','x y')": (("0", "1", "2", "3"), True),
    "set('p','q','\u00e9')": (("0", "1", "5", "7"), True),
    "geometry": (("ST_GeomFromText('POINT(1 2)', 4326)", "POINT(1, 2)"), False),
    "json": (('\'{"b": [1, 2.5, null], "aa": "x\\\\ny"}\'', "'[]'"), True),
    **{f"time({n})": (("'-838:59:59'", "'838:59:59'", "'-00:00:00.123456'", "0"), True)
       for n in range(7)},
    **{f"datetime({n})": (_MOMENT_VALUES, True) for n in range(7)},
    **{f"timestamp({n})": (("'2024-02-29 12:34:56.123456'", "'2038-01-19 03:14:07'"), True)
       for n in range(7)},
}  # fmt: skip
_LONG_ENUM = "enum(" + ",".join(f"'e{n}'" for n in range(300)) + ")"
_LONG_SET = "set(" + ",".join(f"'m{n}'" for n in range(64)) + ")"
_TYPES[_LONG_ENUM] = (("0", "300", "256"), True)
_TYPES[_LONG_SET] = (("18446744073709551615", "9223372036854775808", "0"), True)
_MARIADB_TYPES = {
    "uuid": (
        ("'123e4567-e89b-12d3-a456-426655440000'", "'01890a5d-ac96-774b-bcce-b302099a8057'",
         "'00000000-0000-0000-0000-000000000000'"), True),
    "inet4": (("'10.1.2.3'", "'10.0.0.0'"), True),
    "inet6": (
        ("'::'", "'::ffff:1.2.3.4'", "'2001:db8::ff00:42:8329'", "'1:0:2:0:0:3:4:0'",
         "'::1.2.3.4'", "'fe80::'", "'1:2:3:4:5:6:0:8'"), True),
}  # fmt: skip
_MYSQL_TYPES = {
    "vector(3)": (("STRING_TO_VECTOR('[1,2,3]')", "STRING_TO_VECTOR('[0,0,0]')"), False)
}


def _check_types(database: MySqlDatabase, types: dict[str, tuple[tuple[str, ...], bool]]) -> None:
    names = {f"c{n}": kind for n, kind in enumerate(types)}
    nullable = {n: f"{k} NULL" for n, k in names.items()}
    columns = ", ".join(f"{name} {kind}" for name, kind in nullable.items())
    database.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}) CHARACTER SET utf8mb4")
    source = source_of(database)
    table = table_of(source, "t")
    log = Log(source, table)
    with database.connect() as session, session.cursor() as cursor:
        cursor.execute("SET sql_mode = '', time_zone = '+00:00'")
        for n in range(8):
            values = [values[n % len(values)] for values, _ in types.values()]
            row = ", ".join("NULL" if n == 5 else value for value in values)
            cursor.execute(f"INSERT INTO t VALUES ({n}, {row})")
        for format in (MYSQL_COLUMNS, COLUMNS):
            rows = loaded(source, mapping_of(table), format)
            told = log.inserted(format)
            twin = log.inserted(format, rows=PythonRows)
            for name in ("id", *names):
                kind = names.get(name, "id")
                assert rows[name].type == told[name].type == twin[name].type, kind
                assert rows[name].to_pylist() == told[name].to_pylist(), kind
                assert told[name].to_pylist() == twin[name].to_pylist(), kind
        for name, (_, comparable) in zip(names, types.values(), strict=True):
            if comparable:
                _check_words(cursor, rows[name], name, names[name])


def _check_words(cursor: Any, column: pa.ChunkedArray, name: str, kind: str) -> None:
    cursor.execute(f"SELECT CAST({name} AS CHAR CHARACTER SET utf8mb4) FROM t ORDER BY id")
    words = [row[0] for row in cursor.fetchall()]
    texts = [None if text is None else str(text) for text in column.cast(pa.string()).to_pylist()]
    if pa.types.is_timestamp(column.type):
        digits = int(kind[-2])
        cut = 20 + digits if digits else 19
        texts = [text and text[:cut].rstrip("Z") for text in texts]
    assert texts == words, kind


def test_every_type_of_mariadb(mysql_source: MySqlDatabase) -> None:
    own = _MARIADB_TYPES if mysql_source.server.mariadb else _MYSQL_TYPES
    _check_types(mysql_source, _TYPES | own)


@pytest.mark.matrix
def test_every_type_of_mysql(mysql97_db: MySqlDatabase) -> None:
    _check_types(mysql97_db, _TYPES | _MYSQL_TYPES)


# -- dates with zeros

_DATES = ("'2024-02-29'", "'0000-00-00'", "'2024-00-10'", "'2024-02-31'", "'0000-05-06'", "NULL")
_SHOWN = {
    "sentinel": [
        "2024-02-29", "-infinity", "-infinity", "-infinity", "0001-05-06 BC", None],
    "null": ["2024-02-29", None, None, None, "0001-05-06 BC", None],
    "native": ["2024-02-29", "0000-00-00", "2024-00-10", "2024-02-31", "0000-05-06", None],
}  # fmt: skip


@pytest.fixture
def odd_dates(mysql_source: MySqlDatabase) -> MySqlDatabase:
    mysql_source.execute(
        "CREATE TABLE d (id int PRIMARY KEY, d date, m datetime(3), z timestamp(2) NULL)"
    )
    with mysql_source.connect() as session, session.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
        for n, value in enumerate(_DATES):
            zoned = "'0000-00-00'" if n == 1 else "NULL" if n == 5 else "'2024-02-29 01:02:03.45'"
            cursor.execute(f"INSERT INTO d VALUES ({n}, {value}, {value}, {zoned})")
    return mysql_source


@pytest.mark.parametrize("policy", ["sentinel", "null", "native"])
def test_dates_with_zeros_by_policy(odd_dates: MySqlDatabase, policy: str) -> None:
    source = source_of(odd_dates, zero_dates=policy if policy != "native" else "sentinel")
    format = MYSQL_COLUMNS if policy == "native" else COLUMNS
    rows = loaded(source, mapping_of(table_of(source, "d")), format)
    assert rows["d"].to_pylist() == _SHOWN[policy]
    words = [
        v if v is None or "inf" in v else v[:10] + " 00:00:00.000" + v[10:] for v in _SHOWN[policy]
    ]
    assert rows["m"].to_pylist() == words
    zone = "" if policy == "native" else "+00"
    zero = {"sentinel": "-infinity", "native": "0000-00-00 00:00:00.00"}.get(policy)
    if policy == "null":
        assert pa.types.is_timestamp(rows["z"].type)
        assert rows["z"].to_pylist()[1] is None
    else:
        assert rows["z"].to_pylist()[:2] == ["2024-02-29 01:02:03.45" + zone, zero]


def test_dates_with_zeros_are_rejected_by_name(odd_dates: MySqlDatabase) -> None:
    source = source_of(odd_dates, zero_dates="reject")
    with pytest.raises(LoadError, match="zero_dates") as error:
        loaded(source, mapping_of(table_of(source, "d")), COLUMNS)
    assert "column d" in str(error.value)


# -- what cannot be decoded


def _field(kind: Kind, code: int, metadata: int, **more: Any) -> Field:
    return log_field(
        Column("c", DataType(kind, **more.pop("type", {})), "x"), code, metadata, **more
    )


def test_invalid_text_is_an_error_that_names_the_column() -> None:
    field = _field(Kind.TEXT, 15, 80, charset_name="utf8mb4")
    decoder = RowDecoder("shop.t", [field], error=CaptureError)
    with pytest.raises(CaptureError, match="character set") as error:
        decoder.images(b"\0\2\xc3(", [0])
    assert "shop.t, column c" in str(error.value)
    assert "xc3" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "image", "reason"),
    [
        (_field(Kind.ENUM, 254, 247 | 1 << 8, labels=("a",)), b"\0\2", "label"),
        (_field(Kind.SET, 254, 248 | 1 << 8, labels=("a", "b")), b"\0\4", "label"),
        (_field(Kind.JSON, 245, 4), b"\0\2\0\0\0\x14\0", "JSON"),
        (_field(Kind.GEOMETRY, 255, 4), b"\0\2\0\0\0\1\2", "geometry"),
        (_field(Kind.INTEGER, 8, 0), b"\0\2\0\0\0", "ends before"),
    ],
)
def test_damaged_values_are_refused(field: Field, image: bytes, reason: str) -> None:
    for rows in (None, PythonRows):
        with pytest.raises(LoadError, match=reason):
            RowDecoder("t", [field], rows=rows).images(image, [0])


def test_layouts_that_cannot_be_read_are_refused_by_name() -> None:
    with pytest.raises(EndpointError, match="compressed"):
        _field(Kind.TEXT, 141, 500, charset_name="utf8mb4")
    with pytest.raises(EndpointError, match="old format"):
        _field(Kind.TIMESTAMP, 12, 0, type={"precision": 3})
    with pytest.raises(EndpointError, match="number 200"):
        _field(Kind.TEXT, 200, 0)


def test_the_temporal_types_of_old_servers() -> None:
    fields = [
        _field(Kind.INTERVAL, 11, 0),
        _field(Kind.TIMESTAMP, 12, 0),
        _field(Kind.TIMESTAMP, 7, 0),
    ]
    fields = [
        Field(f"c{i}", f.layout, f.size, f.output, f.detail, f.extra, zoned=f.zoned)
        for i, f in enumerate(fields)
    ]
    time = (-123456 & 0xFFFFFF).to_bytes(3, "little")
    image = b"\0" + time + (20240229123456).to_bytes(8, "little") + (86400).to_bytes(4, "little")
    for rows in (None, PythonRows):
        batch = RowDecoder("t", fields, rows=rows).images(image, [0])
        shown = [str(column[0].as_py()) for column in batch.columns]
        assert shown == ["-12:34:56", "2024-02-29 12:34:56", "1970-01-02 00:00:00+00:00"]


def test_metadata_is_one_number_a_column() -> None:
    types = bytes([3, 15, 246, 254, 16, 17, 252, 13, 141])
    block = bytes([80, 1, 10, 2, 0xF7, 1, 3, 1, 6, 2, 9, 0])
    assert metadata_of(types, block) == [0, 336, 522, 503, 259, 6, 2, 0, 9]
    assert charset("utf8mb3").how == UTF8


# -- bitmaps and keys


def test_updates_have_two_images_and_bitmaps_of_their_own(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE u (id int PRIMARY KEY, k varchar(9) UNIQUE, a int, b text)")
    mysql_source.execute("INSERT INTO u VALUES (1,'x',1,'one'),(2,NULL,2,'two'),(3,'y',3,NULL)")
    source = source_of(mysql_source)
    table = table_of(source, "u")
    log = Log(source, table)
    with mysql_source.connect() as session, session.cursor() as cursor:
        cursor.execute("UPDATE u SET a = a + 10 WHERE id < 3")
        cursor.execute("SET binlog_row_image = MINIMAL")
        cursor.execute("UPDATE u SET b = 'three' WHERE id = 3")
        cursor.execute("DELETE FROM u WHERE id = 3")
    decoder, (full, partial, delete) = log.images()
    _, body, starts, (before, after) = full
    assert decoder.missing(before) == decoder.missing(after) == ()
    assert decoder.images(body, starts[0::2], before, ("a", "id")).to_pydict() == {
        "a": [1, 2],
        "id": [1, 2],
    }
    assert decoder.images(body, starts[1::2], after).column("a").to_pylist() == [11, 12]
    keys = decoder.keys(body, starts, ("k", "id"), before)
    assert keys[0] == keys[1] == b"\0\1x\0\1\0\0\0"
    assert keys[2] == keys[3] == b"\1\0\2\0\0\0"
    _, body, starts, (before, after) = partial
    assert decoder.missing(before) == ("k", "a", "b")
    assert decoder.missing(after) == ("id", "k", "a")
    assert decoder.images(body, starts[1:], after, ("b",)).column(0).to_pylist() == ["three"]
    with pytest.raises(KeyError, match="a"):
        decoder.images(body, starts[1:], after, ("a",))
    with pytest.raises(KeyError):
        decoder.keys(body, starts[1:], ("id",), after)
    _, body, starts, (before,) = delete
    assert decoder.keys(body, starts, ("id",), before) == [b"\0\3\0\0\0"]


def test_a_batch_without_columns_still_has_rows() -> None:
    decoder = RowDecoder("t", [_field(Kind.INTEGER, 3, 0)])
    batch = decoder.images(b"\0\1\0\0\0\0\2\0\0\0", [0, 5], None, ())
    assert (batch.num_rows, batch.num_columns) == (2, 0)
