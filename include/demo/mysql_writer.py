"""The MariaDB shop's application: keeps changing it until it is stopped or fenced off."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.constants import CR, ER

from include.demo.application import Application, FencedError
from include.demo.mysql_shop import APPLICATION
from include.demo.mysql_shop_changes import KINDS, click, reinsert_coupon

if TYPE_CHECKING:
    from random import Random

    from include.demo.mysql_servers import MySqlDatabase

LONG = "long_transaction"
ALL_KINDS = (*KINDS, LONG)
LONG_WEIGHT = 0.5
#: Read-only server or transaction, rights taken away.
REFUSED = frozenset(
    {
        ER.OPTION_PREVENTS_STATEMENT,
        1792,  # a transaction begun read-only; PyMySQL has no name for it
        ER.TABLEACCESS_DENIED_ERROR,
        ER.COLUMNACCESS_DENIED_ERROR,
        ER.DBACCESS_DENIED_ERROR,
        ER.ACCESS_DENIED_ERROR,
    }
)
COLLIDED = frozenset({ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT})
#: 1927: killed by an administrator, only MariaDB.
LOST = frozenset({CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, ER.SERVER_SHUTDOWN, 1927, 0})
RECONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Ranges:
    """What the shop held when the writer began: highest ids."""

    products: int
    customers: int
    orders: int
    reviews: int


class Discard(Exception):  # noqa: N818 - nothing is wrong: the work is not wanted
    """Roll back, on purpose."""


@dataclass
class Work:
    """One open transaction: runs statements, counts changed rows, makes the choices."""

    connection: pymysql.Connection[Any]
    random: Random
    ranges: Ranges
    tokens: list[bytes] = field(default_factory=list)
    rows: int = 0

    def run(self, statement: str, *values: object) -> int:
        """Execute a statement; returns how many rows it changed."""
        with self.connection.cursor() as cursor:
            changed = max(int(cursor.execute(statement, values or None)), 0)
        self.rows += changed
        return changed

    def made(self, statement: str, *values: object) -> int:
        """Execute an INSERT; returns the number the server gave the row."""
        self.run(statement, *values)
        return int(self.connection.insert_id())

    def value(self, query: str, *values: object) -> Any:
        """The first column of a query's first row, or None."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, values or None)
            found = cursor.fetchone()
        return found[0] if found else None

    def discard(self) -> None:
        """Roll the transaction back."""
        raise Discard

    def product(self) -> int:
        """A product; one in three is one of the eight everybody buys."""
        return self.random.randint(1, 8 if self.random.random() < 0.33 else self.ranges.products)

    def customer(self) -> int:
        """A customer's id."""
        return self.random.randint(1, self.ranges.customers)

    def order(self) -> int:
        """The id of an order near a random one; 0 where there is none."""
        start = self.random.randint(1, self.ranges.orders + 50)
        query = "SELECT id FROM orders WHERE id >= %s ORDER BY id LIMIT 1"
        return int(self.value(query, start) or 0)

    def coupon(self) -> str:
        """Code of an existing coupon."""
        query = "SELECT code FROM coupons ORDER BY code LIMIT 1 OFFSET %s"
        return str(self.value(query, self.random.randint(0, 40)))

    def noise(self, size: int) -> str:
        """Text that does not compress, with the odd awkward character in it."""
        return self.random.randbytes(size // 2).hex() + "\\\t\n😀"


class MySqlShopWriter(Application):
    """Changes the shop in a thread of its own; see `include.demo.application`.

    It logs in as the application's user, whom a read-only server binds. A second connection holds a
    long transaction open beside the others now and then, so that transactions commit in another
    order than they began.
    """

    def __init__(self, database: MySqlDatabase, rate: float = 100.0, seed: int = 1) -> None:
        weights = {kind: weight for kind, (weight, _) in KINDS.items()} | {LONG: LONG_WEIGHT}
        super().__init__(weights, rate, seed)
        self._database = database
        self._ranges: Ranges | None = None
        self._tokens: list[bytes] = []
        self._long: Work | None = None

    def close(self) -> None:
        """Commit the long transaction, if one is open, and let go of the connections."""
        if not self._connected:
            return
        self._connected = False
        try:
            if self._long is not None and self.fenced:
                self.stats.rolled_back[LONG] += 1
            elif self._long is not None:
                self._end_long()
        except pymysql.MySQLError as error:
            if _code(error) in REFUSED:
                self.stats.rolled_back[LONG] += 1
            else:
                self.stats.errors[f"{LONG}: {_code(error)}"] += 1
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        for connection in (self._main, self._side):
            if connection.open:
                connection.close()

    def _connect(self) -> None:
        self._main, self._side = self._session(), self._session()
        self._long = None
        if self._ranges is None:
            self._ranges = self._read_ranges()
        self._connected = True

    def _session(self) -> pymysql.Connection[Any]:
        return pymysql.connect(
            host="127.0.0.1",
            port=self._database.server.port,
            user=APPLICATION,
            database=self._database.name,
            charset="utf8mb4",
            connect_timeout=5,
            # Dates that are none; times by the world's clock.
            init_command="SET sql_mode = '', time_zone = '+00:00', innodb_lock_wait_timeout = 5",
        )

    def _read_ranges(self) -> Ranges:
        with self._main.cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT MAX(id) FROM products WHERE name <> 'Trial & Error'),"
                " (SELECT MAX(id) FROM customers WHERE email NOT LIKE 'trial%'),"
                " (SELECT MAX(id) FROM orders), (SELECT MAX(id) FROM reviews)"
            )
            found = cursor.fetchone()
        self._main.rollback()
        if found is None or None in found:
            raise LookupError("the shop is empty: load it with load_mysql_shop first")
        return Ranges(*map(int, found))

    def _one(self, kind: str) -> None:
        in_commit = False
        try:
            if kind == LONG:
                in_commit = self._long is not None
                self._advance_long()
                return
            work = self._begin(self._main)
            KINDS[kind][1](work)
            in_commit = True
            self._main.commit()
            self._tokens = work.tokens
            self.stats.committed[kind] += 1
            self.stats.rows += work.rows
        except Discard:
            self._main.rollback()
            self.stats.rolled_back[kind] += 1
        except pymysql.MySQLError as error:
            self._failed(kind, error, in_commit=in_commit)

    def _begin(self, connection: pymysql.Connection[Any]) -> Work:
        if self._ranges is None:
            raise RuntimeError("connect first")
        return Work(connection, self._random, self._ranges, self._tokens)

    def _failed(self, kind: str, error: pymysql.MySQLError, *, in_commit: bool) -> None:
        code = _code(error)
        if code in REFUSED:
            raise FencedError(f"{code} {type(error).__name__}") from error
        if code in LOST:
            self.stats.uncertain += in_commit
            if self._long is not None:
                self.stats.rolled_back[LONG] += 1
                self._long = None
            self._reconnect(error)
            return
        (self._side if kind == LONG else self._main).rollback()
        if kind == LONG:
            self._long = None
        if code in COLLIDED:
            self.stats.collided[kind] += 1
        else:
            self.stats.errors[f"{kind}: {code} {type(error).__name__}"] += 1

    def _reconnect(self, cause: pymysql.MySQLError) -> None:
        """A connection pool comes back after a cut; at a cutover it finds the door closed."""
        reason = f"{_code(cause)} {type(cause).__name__}"
        deadline = time.monotonic() + RECONNECT_SECONDS
        self._hang_up()
        while time.monotonic() < deadline and not self._stop.is_set():
            try:
                self._connect()
            except pymysql.MySQLError as error:
                reason = f"{_code(error)} {type(error).__name__} on connecting"
                self._stop.wait(0.1)
                continue
            self.stats.reconnects += 1
            return
        raise FencedError(reason)

    def _advance_long(self) -> None:
        if self._long is not None:
            self._end_long()
            return
        self._long = self._begin(self._side)
        click(self._long)

    def _end_long(self) -> None:
        work, self._long = self._long, None
        if work is None:
            return
        click(work)
        reinsert_coupon(work)
        self._side.commit()
        self.stats.committed[LONG] += 1
        self.stats.rows += work.rows


def _code(error: pymysql.MySQLError) -> int:
    """The server's or the driver's number; 0 for a connection that is no more."""
    found = error.args[0] if error.args else 0
    return found if isinstance(found, int) else 0
