"""Load the sample shop (``shop*.sql``) into an empty database.

``python include/demo/shop.py --url postgresql://… [--scale 0.1]``
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

PARTS = ("shop.sql", "shop_rows.sql", "shop_objects.sql")
#: Takes away the values that only PostgreSQL can hold.
WITHIN = "shop_within.sql"
SCHEMAS = ("public", "crm")
# Partitioned parents count their leaves' rows, so leaves are left out.
_TABLES = """
SELECT n.nspname, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 1, 2"""


@dataclass(frozen=True)
class ShopLoad:
    """What was loaded: seconds taken, bytes of the database, rows per ``schema.table``.

    Rows of partitions count in their parent.
    """

    seconds: float
    size_bytes: int
    rows: dict[str, int]

    @property
    def total_rows(self) -> int:
        """Rows of all tables together."""
        return sum(self.rows.values())


def load_shop(url: str, scale: float = 1.0, *, within: bool = False) -> ShopLoad:
    """Create the shop in the empty database at ``url``.

    ``scale`` multiplies the row counts of the big tables; ``within`` keeps every value within what
    other engines can hold, also those that are written later. All of it is one transaction: a
    failure leaves the database as it was and raises ``psycopg.Error``. Statistics are gathered at
    the end, so that a planner sees true row counts.
    """
    began = time.perf_counter()
    with psycopg.connect(url) as connection:
        connection.execute("SELECT set_config('shop.scale', %s, false)", [str(scale)])
        for part in (*PARTS, WITHIN) if within else PARTS:
            connection.execute((Path(__file__).parent / part).read_bytes())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        seconds = time.perf_counter() - began
        size = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        return ShopLoad(seconds, size[0] if size else 0, count_rows(connection))


def count_rows(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, int]:
    """Rows of every table by ``schema.table``, counted now; partitions count in their parent."""
    counts: dict[str, int] = {}
    for schema, table in connection.execute(_TABLES, [list(SCHEMAS)]).fetchall():
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(str(schema), str(table)))
        row = connection.execute(query).fetchone()
        counts[f"{schema}.{table}"] = int(str(row[0])) if row else 0
    return counts


def main() -> None:
    """Load the shop and print what it holds."""
    parser = argparse.ArgumentParser(
        description="Load Godwit's sample shop into an empty database."
    )
    parser.add_argument("--url", required=True, help="postgresql://user@host:port/database")
    parser.add_argument("--scale", type=float, default=1.0, help="1 makes about 357,000 rows")
    arguments = parser.parse_args()
    loaded = load_shop(arguments.url, arguments.scale)
    for table, rows in loaded.rows.items():
        print(f"{rows:>9,}  {table}")
    size = f"{loaded.size_bytes / 1e6:.0f} MB"
    print(f"{loaded.total_rows:>9,}  rows, {size}, loaded in {loaded.seconds:.1f} s")


if __name__ == "__main__":
    main()
