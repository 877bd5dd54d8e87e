"""A value is the same by both roads: loaded, replicated as an insert, replicated as an update.

Every type stands in one table; each of its values goes in before the load, after it, and as an
update of a row that held NULL. On the target all three have the text the source gives them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from godwit.engines.postgres.connection import BINARY
from godwit.steps import load
from include.demo.servers import Database
from tests.conftest import OLDER_VERSION
from tests.pair import CHANGE_FORMATS, MIGRATION, OneFormat, Pair, pair_of

TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'so so', 'it''s "fine", really', 'a\\b');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN tiny AS positive CHECK (VALUE < 1000);
CREATE TYPE point3 AS (x int, y text, m mood);
CREATE TYPE span AS RANGE (subtype = float8);
"""

VALUES: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767", "0"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["NaN", "0", "1.0", "1.00", "-0.000000000000000000000000000001", "9" * 200 + ".5"],
    "numeric(12,2)": ["1234567890.12", "-0.01"],
    "numeric(10,-2)": ["123400"],
    "real": ["0.1", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38"],
    "double precision": ["0.1", "-0", "NaN", "Infinity", "5e-324", "1.7976931348623157e308"],
    "money": ["-92233720368547758.08", "12.34"],
    "text": ["", "NULL", "\\N", 'a"b""c', "tab\tcr\rlf\nend", "\\.", "\n\\.\n", "ünï 🦆", " x "],
    "varchar(5)": ["", "abcde", "ab  "],
    "char(5)": ["", "ab", "ab   "],
    '"char"': ["a", ""],
    "name": ["a name"],
    "bytea": ["", "\\x00ff0a5c", "\\x"],
    "date": ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "0001-01-01"],
    "time": ["00:00:00", "24:00:00", "23:59:59.999999"],
    "timetz": ["24:00:00+15:59", "00:00:00.000001-15:59:59"],
    "timestamp": [
        "infinity",
        "-infinity",
        "4713-01-01 00:00:00 BC",
        "294276-12-31 23:59:59.999999",
    ],
    "timestamptz": ["infinity", "2000-01-01 00:00:00.000001+00", "1900-01-01 00:00:00+05:45"],
    "timestamp(3)": ["2024-02-29 12:34:56.789"],
    "interval": ["1 year -2 mons 3 days -04:05:06.789", "-178000000 years", "00:00:00.000001"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "json": ['{"b": 1,  "a": 1.0, "b": 2}', "null", '"\\u00e4"', "[1e400]"],
    "jsonb": ['{"b": 1, "a": 12345678901234567890.1234567890}', "null", '{"t": "\\t"}'],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1", "2001:db8::/32"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(3)": ["101"],
    "varbit": ["", "10101010101"],
    "point": ["(1.5,-0)", "(NaN,Infinity)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(1,2),(3,4)]"],
    "box": ["(3,4),(1,2)"],
    "path": ["((1,2),(3,4))", "[(1,2)]"],
    "polygon": ["((1,2),(3,4),(5,6))"],
    "circle": ["<(1,2),3>"],
    "tsvector": ["'a b':1A 'it''s':2,3B", ""],
    "tsquery": ["'a b' & !'c' | 'd':*"],
    "int4range": ["empty", "[1,10)", "(,)", "[5,)"],
    "numrange": ["(1.10,2.200]", "[NaN,NaN]"],
    "tstzrange": ['["2020-01-01 00:00:00+00",infinity)'],
    "int4multirange": ["{}", "{[1,3),[5,7)}"],
    "span": ["[1.5,2.5)", "empty"],
    "int[]": ["{}", "{1,NULL,3}", "[0:1]={7,8}", "{{1,2},{3,4}}", "[2:3][-1:0]={{1,2},{3,4}}"],
    "text[]": ['{"",NULL,"NULL","a\\"b","c\\\\d","e,f","{g}"}', "{{a,b},{c,d}}"],
    "mood[]": ['{sad,NULL,"so so"}', "{}"],
    "positive[]": ["{1,2}"],
    "mood": ["sad", "so so", 'it\'s "fine", really', "a\\b"],
    "tiny": ["1", "999"],
    "point3": ['(1,"a,""b\\\\",sad)', "(,,)", '(2,"",)'],
    "point3[]": ['{"(1,\\"x y\\",sad)",NULL}'],
    "oid": ["4294967295"],
    "pg_lsn": ["FFFFFFFF/FFFFFFFF"],
    "xid": ["7"],
    "regclass": ["pg_class"],
    "regtype": ["integer"],
    "jsonpath": ['$."a"[*]?(@ > 1)'],
    "pg_snapshot": ["10:20:10,14,15"],
}

if OLDER_VERSION < 15:
    del VALUES["numeric(10,-2)"]
if OLDER_VERSION < 14:
    del VALUES["int4multirange"]


def table(number: int) -> str:
    return f"type_{number:02}"


@pytest.fixture(scope="module")
def script() -> str:
    return TYPES + "".join(
        f"CREATE TABLE {table(i)} (id int PRIMARY KEY, v {name});" for i, name in enumerate(VALUES)
    )


@pytest.fixture
def pair(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair_of(source_db, target_db) as made:
        yield made


def put(database: Database, first: int, *, update: bool = False) -> None:
    with database.connect() as connection:
        for number, (name, values) in enumerate(VALUES.items()):
            for offset, value in enumerate(values):
                key = first + offset
                if update:
                    query = f"UPDATE {table(number)} SET v = %s::text::{name} WHERE id = %s"
                    connection.execute(query.encode(), [value, key])
                else:
                    query = f"INSERT INTO {table(number)} VALUES (%s, %s::text::{name})"
                    connection.execute(query.encode(), [key, value])


@pytest.mark.parametrize("format", CHANGE_FORMATS, ids=lambda f: f.name)
def test_loaded_equals_replicated(pair: Pair, script: str, format: object) -> None:
    pair.both(script)
    put(pair.source_db, 100)
    for number, values in enumerate(VALUES.values()):
        pair.source_db.execute(
            f"INSERT INTO {table(number)} SELECT 300 + i FROM generate_series(0, {len(values)}) i"
        )
    pair.open(exact=False)
    only = OneFormat(pair.target, format)  # type: ignore[arg-type]
    if format == BINARY:
        # What the log's binary form can't carry between servers goes as text, for all tables.
        only = pair.target  # type: ignore[assignment]
    for bundle in load.plan(pair.source, pair.mappings, migration=MIGRATION):
        load.load_bundle(
            pair.source,
            pair.target,
            pair.control,
            bundle,
            pair.mappings,
            report=pair.events,
            stop=lambda: False,
        )
    put(pair.source_db, 200)
    put(pair.source_db, 300, update=True)
    pair.drain(target=only)
    pair.assert_equal()
    for number, (name, values) in enumerate(VALUES.items()):
        rows = dict(pair.target_db.fetch(f"SELECT id, v::text FROM {table(number)}"))
        for offset, value in enumerate(values):
            three = [rows[first + offset] for first in (100, 200, 300)]
            assert len(set(three)) == 1, f"{name} {value}: {three}"


def test_binary_streams_carry_what_is_safe(pair: Pair, script: str) -> None:
    """With only types that binary carries between servers, the log is read in binary."""
    pair.both(script)
    pair.open()
    safe = [m for m in pair.mappings if all(c.native_safe for c in m.source.columns)]
    assert len(safe) > 35
    assert pair.source.change_formats(safe)[0] == CHANGE_FORMATS[0]
    pair.mappings = safe
    put(pair.source_db, 100)
    put(pair.source_db, 100, update=True)
    pair.drain()
    pair.assert_equal()
