# ruff: noqa: E501 - one column a line
"""Tables that exist in MySQL and in PostgreSQL, and a digest of their rows that both compute."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.contest import WrongContentError
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database

AnyDatabase = Database | MySqlDatabase
Digest = tuple[int, str]


@dataclass(frozen=True)
class Column:
    """`make`: MySQL's expression over a row number g. `digest`: what both make a text of, by kind."""

    name: str
    mysql: str
    postgres: str
    make: str
    kind: str = "plain"


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = field(default=())
    """Indexes beside the key on the first column, the same words on both."""

    @property
    def names(self) -> str:
        return ", ".join(c.name for c in self.columns)

    def create(self, database: AnyDatabase, *, keys: bool = False, schema: str = "") -> None:
        """The empty table; `schema` is where PostgreSQL has what is a database in MySQL."""
        mysql = isinstance(database, MySqlDatabase)
        columns = [f"{c.name} {c.mysql if mysql else c.postgres}" for c in self.columns]
        if keys:
            columns.append(f"PRIMARY KEY ({self.columns[0].name})")
        if schema:
            database.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        database.execute(f"CREATE TABLE {self._in(schema)} ({', '.join(columns)})")
        for number, columns_ in enumerate(self.keys if keys else ()):
            database.execute(
                f"CREATE INDEX {self.name}_{number} ON {self._in(schema)} ({columns_})"
            )

    def fill(self, database: MySqlDatabase, rows: int, first: int = 1) -> None:
        """Make the rows; every server makes the same ones."""
        database.execute(
            f"INSERT INTO {self.name} SELECT {', '.join(c.make for c in self.columns)} FROM"
            f" (SELECT {first} + a.n + b.n * 1000 AS g FROM"
            f" {_numbers(1000)} a, {_numbers(max(1, (rows + 999) // 1000))} b) numbers"
            f" WHERE g < {first + rows} ORDER BY g"
        )

    def digest(self, database: AnyDatabase, schema: str = "") -> Digest:
        """Rows and a sum of checksums over whole rows, computed by the server."""
        if isinstance(database, MySqlDatabase):
            parts = ", ".join(_MYSQL[c.kind].format(c.name) for c in self.columns)
            value = f"CRC32(CONCAT_WS('|', {parts}))"
        else:
            parts = ", ".join(_POSTGRES[c.kind].format(c.name) for c in self.columns)
            value = f"crc32(convert_to(concat_ws('|', {parts}), 'UTF8'))"
        query = f"SELECT count(*), coalesce(sum({value}), 0) FROM {self._in(schema)}"
        rows, total = database.fetch(query)[0]
        return int(rows), str(int(total))

    def check(self, wanted: Digest, database: AnyDatabase, schema: str = "") -> None:
        """Raise WrongContentError unless the table holds exactly that."""
        found = self.digest(database, schema)
        if found != wanted:
            raise WrongContentError(f"{self.name}: {wanted} became {found}")

    def _in(self, schema: str) -> str:
        return f"{schema}.{self.name}" if schema else self.name


#: One value as a text that both servers write in the same way.
_MYSQL = {
    "plain": "{}",
    "double": "CAST(FLOOR({} * 1000) AS SIGNED)",
    "time": "DATE_FORMAT({}, '%Y-%m-%d %H:%i:%s.%f')",
    "span": "TIME_FORMAT({}, '%H:%i:%s.%f')",
    "bytes": "LOWER(HEX({}))",
}
_POSTGRES = {
    "plain": "{}::text",
    "double": "floor({}::float8 * 1000)::bigint",
    "time": "to_char({}, 'YYYY-MM-DD HH24:MI:SS.US')",
    "span": "to_char({}, 'HH24:MI:SS.US')",
    "bytes": "encode({}, 'hex')",
}


def _numbers(count: int) -> str:
    """A table of the numbers 0 … count - 1 (up to 9,999), as every server can make it."""
    digits = " UNION ALL ".join(f"SELECT {n} n" for n in range(10))
    places = ", ".join(f"({digits}) d{n}" for n in range(4))
    value = " + ".join(f"d{n}.n * {10**n}" for n in range(4))
    return f"(SELECT {value} AS n FROM {places} HAVING n < {count})"


def _c(name: str, mysql: str, postgres: str, make: str, kind: str = "plain") -> Column:
    return Column(name, mysql, postgres, make, kind)


EVENT = Table(
    "event",
    (
        _c("id", "bigint NOT NULL", "bigint NOT NULL", "g"),
        _c("visitor", "char(32) NOT NULL", "text NOT NULL", "LEFT(SHA2(g % 50021, 256), 32)"),
        _c("session", "bigint NOT NULL", "bigint NOT NULL", "g DIV 7"),
        _c(
            "happened",
            "datetime(6) NOT NULL",
            "timestamp(6) NOT NULL",
            "TIMESTAMP '2026-01-01 00:00:00' + INTERVAL g * 370123 MICROSECOND",
            "time",
        ),
        _c(
            "kind",
            "varchar(20) NOT NULL",
            "text NOT NULL",
            "ELT(1 + g % 5, 'view', 'click', 'scroll', 'search', 'buy')",
        ),
        _c(
            "url",
            "varchar(255) NOT NULL",
            "text NOT NULL",
            "CONCAT('https://shop.example/', LEFT(SHA2(g % 9973, 256), 32), '?page=', g % 31)",
        ),
        _c(
            "referrer",
            "text",
            "text",
            "IF(g % 3 > 0, CONCAT('https://search.example/?q=', LEFT(SHA2(g % 7919, 256), 32)), NULL)",
        ),
        _c(
            "agent",
            "varchar(255) NOT NULL",
            "text NOT NULL",
            "CONCAT('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/', 90 + g % 40)",
        ),
        _c(
            "address",
            "varchar(45) NOT NULL",
            "text NOT NULL",
            "CONCAT('10.', g % 256, '.', g DIV 256 % 256, '.', g % 251)",
        ),
        _c(
            "country",
            "char(2) NOT NULL",
            "char(2) NOT NULL",
            "ELT(1 + g % 6, 'DE', 'US', 'FR', 'JP', 'BR', 'NZ')",
        ),
        _c("width", "int", "int", "320 + g % 1600"),
        _c("height", "int", "int", "480 + g % 1200"),
        _c(
            "duration",
            "double",
            "double precision",
            "IF(g % 4 > 0, (g % 10007) / 97e0, NULL)",
            "double",
        ),
        _c("price", "decimal(10,2)", "numeric(10,2)", "IF(g % 5 = 4, (g % 100003) / 100, NULL)"),
        _c("mobile", "tinyint NOT NULL", "smallint NOT NULL", "g % 3 = 0"),
        _c(
            "details",
            "json",
            "json",
            """IF(g % 2 = 0, CONCAT('{"ab": ', g % 4, ', "tag": "a', g % 17, '", "depth": ', g % 100, '}'), NULL)""",
        ),
    ),
    ("happened", "visitor, happened"),
)

LINEITEM = Table(
    "lineitem",
    (
        _c("l_id", "bigint NOT NULL", "bigint NOT NULL", "g"),
        _c("l_partkey", "int NOT NULL", "int NOT NULL", "g * 7919 % 200000"),
        _c("l_suppkey", "int NOT NULL", "int NOT NULL", "g * 31 % 10000"),
        _c("l_linenumber", "int NOT NULL", "int NOT NULL", "1 + g % 7"),
        _c("l_quantity", "decimal(15,2) NOT NULL", "numeric(15,2) NOT NULL", "1 + g % 50"),
        _c(
            "l_extendedprice",
            "decimal(15,2) NOT NULL",
            "numeric(15,2) NOT NULL",
            "(g * 7907 % 10494950) / 100",
        ),
        _c("l_discount", "decimal(15,2) NOT NULL", "numeric(15,2) NOT NULL", "(g % 11) / 100"),
        _c("l_tax", "decimal(15,2) NOT NULL", "numeric(15,2) NOT NULL", "(g % 9) / 100"),
        _c("l_returnflag", "char(1) NOT NULL", "char(1) NOT NULL", "ELT(1 + g % 3, 'R', 'A', 'N')"),
        _c("l_linestatus", "char(1) NOT NULL", "char(1) NOT NULL", "ELT(1 + g % 2, 'O', 'F')"),
        _c(
            "l_shipdate",
            "date NOT NULL",
            "date NOT NULL",
            "DATE '1992-01-01' + INTERVAL g % 2526 DAY",
        ),
        _c(
            "l_commitdate",
            "date NOT NULL",
            "date NOT NULL",
            "DATE '1992-02-01' + INTERVAL g % 2466 DAY",
        ),
        _c(
            "l_receiptdate",
            "date NOT NULL",
            "date NOT NULL",
            "DATE '1992-01-03' + INTERVAL g % 2555 DAY",
        ),
        _c(
            "l_shipinstruct",
            "char(25) NOT NULL",
            "char(25) NOT NULL",
            "ELT(1 + g % 4, 'DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN')",
        ),
        _c(
            "l_shipmode",
            "char(10) NOT NULL",
            "char(10) NOT NULL",
            "ELT(1 + g % 7, 'REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB')",
        ),
        _c(
            "l_comment",
            "varchar(44) NOT NULL",
            "varchar(44) NOT NULL",
            "CONCAT('carefully final deposits ', CRC32(g) % 4096)",
        ),
    ),
)

MIXED = Table(
    "mixed",
    (
        _c("id", "bigint unsigned NOT NULL", "numeric(20,0) NOT NULL", "g"),
        _c("tiny", "tinyint", "smallint", "g % 256 - 128"),
        _c("medium", "mediumint unsigned", "integer", "g % 16777216"),
        _c("big", "bigint unsigned", "numeric(20,0)", "18446744073709551615 - g"),
        _c("amount", "decimal(30,10)", "numeric(30,10)", "(g * 1234567 - 300000000000) / 10000"),
        _c("ratio", "double", "double precision", "(g - 250000) / 3e0", "double"),
        _c(
            "born",
            "date",
            "date",
            "IF(g % 9 = 0, NULL, DATE '1900-01-01' + INTERVAL g % 60000 DAY)",
        ),
        _c(
            "made",
            "datetime(3)",
            "timestamp(3)",
            "TIMESTAMP '2001-01-01 00:00:00' + INTERVAL g * 12345 * 1000 MICROSECOND",
            "time",
        ),
        _c(
            "seen",
            "timestamp(6) NULL",
            "timestamptz(6)",
            "TIMESTAMP '2010-06-01 12:00:00' + INTERVAL g * 98765 MICROSECOND",
            "time",
        ),
        _c("span", "time(3)", "interval", "SEC_TO_TIME(g % 86400 + (g % 1000) / 1000)", "span"),
        _c(
            "status",
            "enum('new','paid','sent','back')",
            "text",
            "ELT(1 + g % 4, 'new', 'paid', 'sent', 'back')",
        ),
        _c("year", "year", "smallint", "1950 + g % 150"),
        _c(
            "note",
            "text",
            "text",
            "IF(g % 6 = 0, NULL, CONCAT('tab', CHAR(9), 'line', CHAR(10), 'back', CHAR(92), 'slash “ümläut” 🦆 ', g))",
        ),
        _c("raw", "varbinary(64)", "bytea", "IF(g % 8 = 0, NULL, UNHEX(SHA2(g, 256)))", "bytes"),
        _c(
            "doc",
            "json",
            "json",
            """CONCAT('{"n": ', g, ', "list": [1, 2, 3], "text": "a \\\\\\\\ b"}')""",
        ),
    ),
)
