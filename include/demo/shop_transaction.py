"""One transaction of the shop's application: statements, counted rows, seeded choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg

if TYPE_CHECKING:
    from random import Random

    from psycopg import sql

BODIES = (
    "Täglich benutzt, sehr zufrieden 👍🏽",
    "tab\there\nnew line\r\nand \\N and \\. and C:\\temp",
    "He said \"no\", she said 'yes'; %s {} $1",
    "多言語 עברית العربية e\u0301 \u200d 👩‍👩‍👧 \u00a0",
    "  blanks around  ",
    "\\",
)
WAREHOUSES = ("HAM", "OSL", "MUC", "X")


@dataclass(frozen=True)
class Ranges:
    """What the shop held when the writer began: highest ids, columns of ``lab_values``."""

    products: int
    customers: int
    orders: int
    reviews: int
    employees: int
    lab_columns: list[str]

    @classmethod
    def of(cls, connection: psycopg.Connection[Any]) -> Ranges:
        """Read them; raises ``psycopg.Error`` where the shop is not loaded."""
        found = connection.execute(
            """SELECT (SELECT max(product_id) FROM products WHERE name NOT LIKE 'Trial %'),
            (SELECT max(customer_id) FROM customers WHERE email NOT LIKE 'trial%'),
            (SELECT max(order_id) FROM orders),
            (SELECT max(review_id) FROM reviews),
            (SELECT max(employee_id) FROM crm.employees),
            (SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = 'lab_values'::regclass AND attnum > 0 AND NOT attisdropped
             AND attname NOT IN ('id', 'label'))"""
        ).fetchone()
        if found is None or None in found:
            raise LookupError("the shop is empty: load it with include/demo/shop.py first")
        return cls(*found)


@dataclass
class Transaction:
    """One open transaction: runs statements, counts changed rows, makes the choices."""

    connection: psycopg.Connection[Any]
    random: Random
    ranges: Ranges
    rows: int = 0
    discarded: bool = False

    def run(self, query: LiteralString | sql.Composed, *values: object) -> int:
        """Execute a statement that changes rows; returns how many it changed."""
        changed = max(self.connection.execute(query, values or None).rowcount, 0)
        self.rows += changed
        return changed

    def row(self, query: LiteralString, *values: object) -> tuple[Any, ...] | None:
        """Execute a query; returns its first row or None. Changes go through ``run``."""
        found: tuple[Any, ...] | None = self.connection.execute(query, values or None).fetchone()
        return found

    def made(self, query: LiteralString, *values: object) -> tuple[Any, ...]:
        """Execute an INSERT … RETURNING; returns the first row and counts all."""
        cursor = self.connection.execute(query, values or None)
        self.rows += max(cursor.rowcount, 0)
        found: tuple[Any, ...] | None = cursor.fetchone()
        if found is None:
            raise LookupError("a statement with RETURNING gave no row")
        return found

    def discard(self) -> None:
        """Roll the transaction back at the end of its ``with`` block, on purpose."""
        self.discarded = True
        raise psycopg.Rollback

    def fresh(self, prefix: str) -> str:
        """A text nobody used yet, from the shop's invoice sequence."""
        found = self.row("SELECT next_invoice(%s)", prefix)
        return str(found[0]) if found else prefix

    def product(self) -> int:
        """A product; one in three is one of the eight everybody buys."""
        return self.random.randint(1, 8 if self.random.random() < 0.33 else self.ranges.products)

    def customer(self) -> int:
        """A customer's id."""
        return self.random.randint(1, self.ranges.customers)

    def day(self) -> str:
        """A day of 2026, rarely one in the default partition."""
        if self.random.random() < 0.01:
            return "2031-05-05"
        return f"2026-{self.random.randint(1, 12):02}-{self.random.randint(1, 28):02}"

    def order(self) -> tuple[int, Any]:
        """Key of an order near a random id; (0, None) matches nothing: there is none."""
        start = self.random.randint(1, self.ranges.orders + 50)
        found = self.row(
            """SELECT order_id, placed_on FROM orders WHERE order_id >= %s ORDER BY 1 LIMIT 1""",
            start,
        )
        return (found[0], found[1]) if found else (0, None)

    def coupon(self) -> str:
        """Code of an existing coupon, '' where there is none."""
        place = self.random.randint(0, 400)
        found = self.row("SELECT code FROM coupons ORDER BY code OFFSET %s LIMIT 1", place)
        return str(found[0]) if found else ""

    def noise(self, size: int) -> str:
        """Text of ``size`` characters that does not compress, with the odd awkward one in it."""
        return (self.random.randbytes(size // 2 + 1).hex()[: size - 4]) + "\\\t\n😀"
