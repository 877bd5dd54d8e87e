"""Values that other tools lose or bend on their way from MySQL to PostgreSQL: each is inserted before
the load and after it, updated by a change, and shown by PostgreSQL as it was meant.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from include.demo.servers import Database
from tests.mixed.ends import caught_up, loaded, unequal

#: What a change adds to the id of a row that the load has brought.
AGAIN = 1_000_000


def both_roads(
    source: MySqlDatabase,
    target: Database,
    kind: str,
    values: Sequence[str],
    *,
    before: str = "SET sql_mode = ''",
    shown: str = "v::text",
) -> list[str | None]:
    """What PostgreSQL shows of the values of a column, which is the same by every road: loaded,
    inserted by a change, updated by a change, with an update of its neighbour.
    """
    source.execute(f"{before}; CREATE TABLE t (id int PRIMARY KEY, v {kind}, n int)")
    _insert(source, values, 0, before)
    loaded(source, target)
    _insert(source, values, AGAIN, before)
    # Updated from nothing to the value, and beside it.
    source.execute(
        f"{before}; INSERT INTO t (id, n) SELECT id + {AGAIN}, 1 FROM t WHERE id >= {AGAIN};"
        f"UPDATE t a JOIN t b ON a.id = b.id + 2 * {AGAIN} SET a.v = b.v;"
        f"INSERT INTO t SELECT id + 3 * {AGAIN}, v, n FROM t WHERE id < {AGAIN};"
        "UPDATE t SET n = 7"
    )
    caught_up(source, target)
    assert unequal(source, target) == {}
    table = f'"{source.name}".t'
    found = []
    for number in range(len(values)):
        texts = target.fetch(
            f"SELECT {shown}, n FROM {table} WHERE id %% {AGAIN} = %s ORDER BY id", [number]
        )
        assert len(texts) == 4, (kind, values[number])
        assert len(set(texts)) == 1, (kind, values[number], texts)
        found.append(texts[0][0])
    return found


def _insert(source: MySqlDatabase, values: Sequence[str], first: int, before: str) -> None:
    rows = ", ".join(f"({first + n}, {value}, 0)" for n, value in enumerate(values))
    source.execute(f"{before}; INSERT INTO t VALUES {rows}")


@pytest.mark.parametrize("digits", range(7))
def test_times_of_every_precision_keep_sign_and_fraction(
    mysql_source: MySqlDatabase, target_db: Database, digits: int
) -> None:
    least = f".{'0' * (digits - 1)}1" if digits else ""
    most = f".{'9' * digits}" if digits else ""
    values = [
        f"-838:59:58{most}", f"838:59:58{most}", "-838:59:59", f"-00:00:00{least or ''}",
        f"-00:00:01{least}", f"-00:01:00{most}", f"00:00:00{least}", f"-01:00:00{least}",
        "-00:00:59", "24:00:00", f"-24:00:00{most}",
    ]  # fmt: skip
    found = both_roads(mysql_source, target_db, f"time({digits})", [f"'{v}'" for v in values])
    # An interval has no negative zero, and shows no zeros behind the last digit.
    expected = ["00:00:00" if v == "-00:00:00" else v for v in values]
    assert found == expected


@pytest.mark.parametrize("digits", range(7))
def test_moments_of_every_precision(
    mysql_source: MySqlDatabase, target_db: Database, digits: int
) -> None:
    least = f".{'0' * (digits - 1)}1" if digits else ""
    most = f".{'9' * digits}" if digits else ""
    values = [
        f"1000-01-01 00:00:00{least}", f"9999-12-31 23:59:59{most}", f"1969-12-31 23:59:59{least}",
        f"1582-10-10 00:00:00{most}", f"0001-01-01 00:00:00{least}", f"2024-02-29 12:00:00{least}",
    ]  # fmt: skip
    found = both_roads(mysql_source, target_db, f"datetime({digits})", [f"'{v}'" for v in values])
    assert found == values


def test_instants_are_the_same_whatever_the_server_s_clock_shows(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """The server lives in another time zone than Godwit's sessions, the writer in a third."""
    with mysql_source.connect() as session, session.cursor() as cursor:
        cursor.execute("SELECT @@global.time_zone")
        ((zone,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL time_zone = '+03:00'")
        try:
            found = both_roads(
                mysql_source,
                target_db,
                "timestamp(6) NULL",
                ["'2024-03-31 02:30:00.05'", "'2024-10-27 02:30:00'", "'1970-01-01 05:30:01'",
                 "'2038-01-19 08:44:07.999999'", "NULL", "0"],
                before="SET sql_mode = '', time_zone = '+05:30'",
                shown="(v AT TIME ZONE 'UTC')::text",
            )  # fmt: skip
        finally:
            cursor.execute("SET GLOBAL time_zone = %s", (zone,))
    assert found == ["2024-03-30 21:00:00.05", "2024-10-26 21:00:00", "1970-01-01 00:00:01",
                     "2038-01-19 03:14:07.999999", None, "-infinity"]  # fmt: skip


def test_a_set_of_sixty_four(mysql_source: MySqlDatabase, target_db: Database) -> None:
    labels = [f"m{n}" for n in range(64)]
    listed = ",".join(f"'{label}'" for label in labels)
    found = both_roads(
        mysql_source,
        target_db,
        f"set({listed})",
        ["''", f"'{','.join(labels)}'", "'m63,m0'", "9223372036854775808", "NULL"],
    )
    assert found == ["", ",".join(labels), "m0,m63", "m63", None]


def test_labels_of_every_kind(mysql_source: MySqlDatabase, target_db: Database) -> None:
    labels = ["a,b", "it''s", 'say "hi"', "(x)", "é€", "back\\\\slash", "%s", "x" * 63, " lead"]
    listed = ",".join(f"'{label}'" for label in labels)
    values = [f"'{label}'" for label in labels]
    found = both_roads(mysql_source, target_db, f"enum({listed})", [*values, "NULL"])
    assert found == [*(s.replace("''", "'").replace("\\\\", "\\") for s in labels), None]


def test_labels_longer_than_postgresql_has(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    long = ["y" * 64 + "1", "y" * 64 + "2", "é" * 40]
    listed = ",".join(f"'{label}'" for label in long)
    found = both_roads(mysql_source, target_db, f"enum({listed})", [f"'{v}'" for v in long])
    assert found == long


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "utf8mb4", "gbk", "sjis", "cp1251"])
def test_labels_in_the_column_s_character_set(
    mysql_source: MySqlDatabase, target_db: Database, charset: str
) -> None:
    label = {"gbk": "中文", "sjis": "日本", "cp1251": "Привет"}.get(charset, "é")
    kind = f"enum('{label}', 'b') CHARACTER SET {charset}"
    assert both_roads(mysql_source, target_db, kind, [f"'{label}'", "'b'"]) == [label, "b"]


@pytest.mark.parametrize("kind", ["float", "double"])
def test_random_floats_are_the_same_by_both_roads(
    mysql_source: MySqlDatabase, target_db: Database, kind: str
) -> None:
    """The text protocol shows fewer digits of a FLOAT than its bits hold; the log has the bits."""
    chance = random.Random(7)
    limit = 37 if kind == "float" else 300
    numbers = [chance.uniform(-1, 1) * 10 ** chance.randint(-limit, limit) for _ in range(60)]
    special = [
        "-0e0",
        "1e-45" if kind == "float" else "2.3e-308",
        "16777217",
        "0.1",
        "1e22",
        "1e23",
    ]
    found = both_roads(
        mysql_source, target_db, kind, [*map(repr, numbers), *special], shown="v::text"
    )
    if kind == "double":
        assert [float(str(v)) for v in found[:60]] == numbers
    assert float(str(found[63])) == (0.1)


def test_decimals_of_every_shape(mysql_source: MySqlDatabase, target_db: Database) -> None:
    for place, (kind, values) in enumerate(
        {
            "decimal(65,0)": ["9" * 65, "-" + "9" * 65, "0", "1"],
            "decimal(30,30)": ["0." + "9" * 30, "-0." + "0" * 29 + "1"],
            "decimal(9,9)": ["0.123456789", "-0.100000000"],
            "decimal(18,9)": ["123456789.123456789", "-1.000000001"],
            "decimal(20,2) unsigned": ["1.50", "999999999999999999.99"],
            "decimal(10,2) unsigned zerofill": ["1.50"],
        }.items()
    ):
        mysql_source.execute(f"DROP TABLE IF EXISTS t{place}")
        mysql_source.execute(f"CREATE TABLE t{place} (id int PRIMARY KEY, v {kind})")
        rows = ", ".join(f"({n}, {v})" for n, v in enumerate(values))
        mysql_source.execute(f"INSERT INTO t{place} VALUES {rows}")
        mysql_source.execute(f"CREATE TABLE x{place} (id int PRIMARY KEY, v varchar(80))")
        mysql_source.execute(
            f"INSERT INTO x{place} VALUES "
            + ", ".join(f"({n}, '{v}')" for n, v in enumerate(values))
        )
    loaded(mysql_source, target_db)
    for place in range(6):
        mysql_source.execute(f"INSERT INTO t{place} SELECT id + 100, v FROM t{place}")
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    for place in range(6):
        wrong = target_db.fetch(
            f'SELECT t.v::text, x.v FROM "{mysql_source.name}".t{place} t'
            f' LEFT JOIN "{mysql_source.name}".x{place} x ON x.id = t.id %% 100'
            " WHERE t.v::text IS DISTINCT FROM x.v", []
        )  # fmt: skip
        assert wrong == []


def test_documents_as_the_source_writes_them(
    mariadb_source: MySqlDatabase, target_db: Database
) -> None:
    documents = [
        '{"b":1.0,"a":1,"b":2}', "12345678901234567890123", '{"n": 9007199254740993}', "null",
        '"\\\\u00e9\\\\ud83d\\\\ude00"', '{"":""}', "[]", '[' * 30 + ']' * 30, "  {\"sp\" :  1 }",
        "-0.0", "1E400", '"tab\\\\t nl\\\\n quote\\\\" back\\\\\\\\ "',
    ]  # fmt: skip
    found = both_roads(mariadb_source, target_db, "json", [*(f"'{d}'" for d in documents), "NULL"])
    assert found == [*(d.replace("\\\\", "\\") for d in documents), None]


@pytest.mark.matrix
def test_binary_documents_as_the_source_writes_them(
    mysql97: MySqlServer, target_db: Database
) -> None:
    """MySQL keeps documents in a form of its own, and the log has that form."""
    numbers = ["0", "-1", "32767", "32768", "-32769", "2147483648", "9223372036854775807",
               "18446744073709551615", "1.0", "1.5e300", "1e-7", "123456789.125", "-0.0",
               "0.1", "1e22", "100000000000000000000"]  # fmt: skip
    texts = ["", "é😀", "x" * 200, "y" * 20_000, "a\\\\u0001b", "\\\\\\\\", '\\\\"']
    documents = [
        *numbers,
        *(f'"{text}"' for text in texts),
        "null", "true", "false", "{}", "[]", '{"b":1,"a":{"c":[1,null,true,"x"]},"aa":2}',
        "[" + ",".join(f'{{"k{n}":"{"v" * (n % 50)}"}}' for n in range(3000)) + "]",
        "{" + ",".join(f'"key{n}":{n * 1.5}' for n in range(4000)) + "}",
    ]  # fmt: skip
    made = [
        *(f"'{d}'" for d in documents),
        "CAST(CAST('2024-02-29 01:02:03.5' AS DATETIME(6)) AS JSON)",
        "CAST(CAST('-12:30:00.25' AS TIME(6)) AS JSON)",
        "CAST(CAST('2024-02-29' AS DATE) AS JSON)",
        "CAST(CAST(12345.6700 AS DECIMAL(30,10)) AS JSON)",
        "CAST(x'00ff10' AS JSON)",
        "CAST(b'101' AS JSON)",
        "CAST(18446744073709551615 AS JSON)",
    ]
    with mysql97.create_database() as source:
        found = both_roads(source, target_db, "json", made)
        shown = [
            row[0]
            for row in source.fetch(f"SELECT CAST(v AS CHAR) FROM t WHERE id < {AGAIN} ORDER BY id")
        ]
    assert found == shown


def test_text_with_everything_that_has_a_meaning_somewhere(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    texts = ["\\N", "\\.", "\\", "\\\\", "a\tb", "a\r\nb", "\n", "\r", "'", '"', "''", "NULL", "",
             " ", "%", "{}", "\x01\x02\x1a\x7f", "\u2028\u00a0\ufeff", "\U0010ffff", "\ud7ff\ue000",
             "\\x41", "$1", "x" * 65535]  # fmt: skip
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v longtext, w char(40))")

    def insert(first: int) -> None:
        with mysql_source.connect() as session, session.cursor() as cursor:
            cursor.execute("SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
            rows = [
                (first + n, t.encode().hex(), t[:40].encode().hex()) for n, t in enumerate(texts)
            ]
            cursor.executemany(
                "INSERT INTO t VALUES (%s, CONVERT(UNHEX(%s) USING utf8mb4),"
                " CONVERT(UNHEX(%s) USING utf8mb4))", rows,
            )  # fmt: skip

    insert(0)
    loaded(mysql_source, target_db)
    insert(1000)
    mysql_source.execute("UPDATE t SET id = id + 5000")
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    for first in (5000, 6000):
        found = target_db.fetch(
            f'SELECT v FROM "{mysql_source.name}".t WHERE id >= %s AND id < %s + 1000 ORDER BY id',
            [first, first],
        )
        assert [row[0] for row in found] == texts


def test_bytes_that_end_in_zeros_find_their_rows(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """The log leaves the zeros at the end of a BINARY out; its key needs them."""
    mysql_source.execute(
        "CREATE TABLE t (k binary(16) PRIMARY KEY, n int);"
        "CREATE TABLE u (k varbinary(20) PRIMARY KEY, n int);"
        "INSERT INTO t VALUES (0x01, 1), (0x0100ff, 2), (0x00, 3), ('a ', 4), (0xff00ff00, 5);"
        "INSERT INTO u VALUES (0x01, 1), (0x0100, 2), ('', 3), (0x00, 4), (0xc328, 5), ('a ', 6),"
        " ('a', 7)"
    )
    loaded(mysql_source, target_db)
    mysql_source.execute(
        "UPDATE t SET n = n + 10; DELETE FROM t WHERE k = RPAD(0x0100ff, 16, 0x00);"
        "UPDATE t SET k = 0xeeee00 WHERE n = 13; INSERT INTO t VALUES (0x020000, 6);"
        "UPDATE t SET n = 60 WHERE n = 6;"
        "UPDATE u SET n = n + 10; DELETE FROM u WHERE k = 0x0100; UPDATE u SET k = 0xff WHERE n = 17"
    )
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    schema = f'"{mysql_source.name}"'
    found = target_db.fetch(f"SELECT encode(k, 'hex'), n FROM {schema}.t ORDER BY n")
    assert found == [(h.ljust(32, "0"), n) for h, n in
                     [("01", 11), ("eeee", 13), ("6120", 14), ("ff00ff", 15), ("02", 60)]]  # fmt: skip
    found = target_db.fetch(f"SELECT encode(k, 'hex'), n FROM {schema}.u ORDER BY n")
    assert found == [("01", 11), ("", 13), ("00", 14), ("c328", 15), ("6120", 16), ("ff", 17)]


def test_computed_and_invisible_columns(mysql_source: MySqlDatabase, target_db: Database) -> None:
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int, v int AS (a * 2) VIRTUAL,"
        " hidden int INVISIBLE DEFAULT 5, s varchar(20) AS (CONCAT('n', a)) STORED, z int,"
        " w int AS (z + 1) VIRTUAL, UNIQUE KEY (v));"
        "INSERT INTO t (id, a, z) VALUES (1, 1, 10), (2, 2, 20), (3, NULL, NULL);"
        "INSERT INTO t (id, a, hidden, z) VALUES (4, 4, NULL, 0)"
    )
    loaded(mysql_source, target_db)
    mysql_source.execute(
        "INSERT INTO t (id, a, z) VALUES (11, 11, 10); UPDATE t SET a = a + 100, hidden = id;"
        "UPDATE t SET id = 20 WHERE id = 2; DELETE FROM t WHERE id = 3"
    )
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    here = mysql_source.fetch("SELECT id, a, v, hidden, s, z, w FROM t ORDER BY id")
    there = target_db.fetch(
        f'SELECT id, a, v, hidden, s, z, w FROM "{mysql_source.name}".t ORDER BY id'
    )
    assert list(here) == there


@pytest.mark.parametrize("policy", ["null", "sentinel"])
def test_zero_and_partial_dates_where_they_cannot_be_null(
    mysql_source: MySqlDatabase, target_db: Database, policy: str
) -> None:
    """NOT NULL columns, zero timestamps, years of zero: the same by both roads or a named error."""
    mysql_source.execute(
        "SET sql_mode = ''; CREATE TABLE t (id int PRIMARY KEY, d date NOT NULL,"
        " m datetime(6) NOT NULL, i timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', y year);"
        "INSERT INTO t VALUES (1, 0, 0, 0, 0), (2, '2024-00-10', '2024-01-00 01:02:03', 0, 70)"
    )
    source = {"conn_id": "a", "settings": {"zero_dates": policy}}
    if policy == "null":
        with pytest.raises(Exception, match=r"(?s)\.t.*\b[dmi]\b.*(null|NULL|NOT NULL)"):
            loaded(mysql_source, target_db, source=source)
        return
    loaded(mysql_source, target_db, source=source)
    mysql_source.execute("SET sql_mode = ''; INSERT INTO t SELECT id + 10, d, m, i, y FROM t")
    caught_up(mysql_source, target_db, source=source)
    assert unequal(mysql_source, target_db, source=source) == {}
    found = target_db.fetch(
        f'SELECT d::text, m::text, i::text, y FROM "{mysql_source.name}".t ORDER BY id'
    )
    zero = ("-infinity", "-infinity", "-infinity")
    assert found == [(*zero, 0), (*zero, 1970)] * 2


def test_rows_larger_than_a_packet(mysql_source: MySqlDatabase, target_db: Database) -> None:
    """Each of the columns fits into one packet, all together do not."""
    ((packet,),) = mysql_source.fetch("SELECT @@global.max_allowed_packet")
    size = int(packet) // 2
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a longblob, b longtext, c longblob, n int)"
    )

    def insert(number: int) -> None:
        mysql_source.execute(
            f"INSERT INTO t VALUES ({number}, REPEAT(0xfe, {size}), NULL, NULL, 1)"
        )
        mysql_source.execute(f"UPDATE t SET b = REPEAT('é', {size} DIV 2) WHERE id = {number}")
        mysql_source.execute(f"UPDATE t SET c = REPEAT('\\\\', {size}) WHERE id = {number}")

    insert(1)
    loaded(mysql_source, target_db)
    insert(2)
    mysql_source.execute("UPDATE t SET n = 2 WHERE id = 1")
    caught_up(mysql_source, target_db)
    found = target_db.fetch(
        "SELECT id, octet_length(a), octet_length(b), octet_length(c), encode(sha256(a), 'hex'),"
        " encode(sha256(convert_to(b, 'UTF8')), 'hex'), encode(sha256(c), 'hex'), n"
        f' FROM "{mysql_source.name}".t ORDER BY id'
    )
    here = mysql_source.fetch(
        "SELECT id, LENGTH(a), LENGTH(b), LENGTH(c), SHA2(a, 256), SHA2(b, 256),"
        " SHA2(c, 256), n FROM t ORDER BY id"
    )
    assert found == list(here)
    assert unequal(mysql_source, target_db) == {}


@pytest.mark.matrix
@pytest.mark.parametrize("number", range(4))
def test_types_of_mysql_itself(mysql97: MySqlServer, target_db: Database, number: int) -> None:
    """The same cases at a real MySQL, whose log has other forms of dates, text and documents."""
    cases = [
        ("time(3)", ["'-838:59:59'", "'-00:00:00.001'", "'12:34:56.789'"],
         ["-838:59:59", "-00:00:00.001", "12:34:56.789"]),
        ("varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", ["'é😀 '", "''"], ["é😀 ", ""]),
        ("bigint unsigned", ["18446744073709551615"], ["18446744073709551615"]),
        ("vector(3)", ["TO_VECTOR('[1,2,3]')"], ["\\x0000803f0000004000004040"]),
    ]  # fmt: skip
    kind, values, expected = cases[number]
    with mysql97.create_database() as source:
        assert both_roads(source, target_db, kind, values) == expected


def test_geometries_with_their_systems_of_reference(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Well-known bytes, extended by the number of the system where there is one; empty ones as well."""
    shapes = {
        "POINT(1 2)": 0, "POINT(-0.5 1e300)": 3857, "LINESTRING(0 0,1 1,2 0)": 4326,
        "POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 2,1 1))": 0, "MULTIPOINT(0 0,1 1)": 4326,
        "MULTILINESTRING((0 0,1 1),(2 2,3 3))": 0, "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))": 0,
        "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))": 0, "GEOMETRYCOLLECTION EMPTY": 0,
    }  # fmt: skip
    made = [f"ST_GeomFromText('{text}', {system})" for text, system in shapes.items()]
    found = both_roads(mysql_source, target_db, "geometry", [*made, "NULL"])
    # The server's own bytes: ST_AsWKB of MySQL puts the latitude first.
    shown = mysql_source.fetch(
        f"SELECT SUBSTR(HEX(v), 9), ST_SRID(v) FROM t WHERE id < {AGAIN} ORDER BY id"
    )
    assert found.pop() is None
    for text, (plain, system) in zip(found, shown, strict=False):
        # The order of bytes, the kind with the mark of a system, the system, the shape.
        mark = (0x2000_0000).to_bytes(4, "little") if system else bytes(4)
        kind = bytes(a | b for a, b in zip(bytes.fromhex(plain[2:10]), mark, strict=True))
        extra = system.to_bytes(4, "little") if system else b""
        expected = bytes.fromhex(plain[:2]) + kind + extra + bytes.fromhex(plain[10:])
        assert text == "\\x" + expected.hex()
