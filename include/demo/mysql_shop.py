"""Load the sample shop for MariaDB (``mysql_shop.sql``) into an empty database.

with MySqlServer.start(MARIADB, folder) as server:
    load_mysql_shop(server.create_database("shop"))
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from include.demo.mysql_servers import quoted
from include.demo.shop import ShopLoad

if TYPE_CHECKING:
    from include.demo.mysql_servers import MySqlDatabase

FILE = Path(__file__).with_name("mysql_shop.sql")
#: As whom the application connects: unlike `root`, it may not write to a read-only server.
APPLICATION = "shop_app"
#: Sequences of fewer rows stay as they are.
SCALED_FROM = 1000


def load_mysql_shop(database: MySqlDatabase, scale: float = 1.0) -> ShopLoad:
    """Create the shop in an empty database, and the user of its application.

    ``scale`` multiplies the row counts of the big tables. Raises ``pymysql.MySQLError``.
    """
    began = time.perf_counter()
    name = quoted(database.name)
    database.execute(_scaled(FILE.read_text(encoding="utf-8"), scale))
    database.execute(
        f"CREATE USER IF NOT EXISTS {APPLICATION};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO {APPLICATION}"
    )
    sizes = database.fetch(
        "SELECT table_name, data_length + index_length FROM information_schema.tables"
        " WHERE table_schema = %s AND table_type = 'BASE TABLE' ORDER BY 1",
        [database.name],
    )
    rows = {
        f"{database.name}.{table}": int(
            database.fetch(f"SELECT COUNT(*) FROM {quoted(table)}")[0][0]
        )
        for table, _ in sizes
    }
    size = sum(int(size) for _, size in sizes)
    return ShopLoad(time.perf_counter() - began, size, rows)


def _scaled(statements: str, scale: float) -> str:
    def length(match: re.Match[str]) -> str:
        rows = int(match[1])
        return f"seq_1_to_{max(1, round(rows * scale)) if rows >= SCALED_FROM else rows}"

    return re.sub(r"\bseq_1_to_(\d+)", length, statements)
