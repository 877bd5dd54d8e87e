"""What happens to orders, payments and coupons. Each function is one transaction's work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.demo.shop_transaction import BODIES

if TYPE_CHECKING:
    from include.demo.shop_transaction import Transaction

METHODS = ("card", "PayPal", "bank transfer", "cash/on delivery", " ")


def place_order(tx: Transaction) -> None:
    """An order, its lines, its stock, often its payment."""
    status = "draft" if tx.random.random() < 0.2 else "placed"
    order_id, day = tx.made(
        """INSERT INTO orders (placed_on, customer_id, status, channel, ship_to, patience)
        VALUES (%s, %s, %s, %s, ROW(%s, 'Rear "B"', '1', 'DE')::postal_address, %s::interval)
        RETURNING order_id, placed_on""",
        tx.day(),
        tx.customer(),
        status,
        tx.random.choice(("web", "app", "phone")),
        tx.random.choice(BODIES),
        f"{tx.random.randint(0, 3)} mons -{tx.random.randint(0, 9)} days 00:00:00.5",
    )
    for line, product in enumerate(
        sorted({tx.product() for _ in range(tx.random.randint(1, 4))}), 1
    ):
        tx.run(
            """INSERT INTO order_lines (order_id, placed_on, line_no, product_id, quantity,
            unit_price)
            SELECT %s, %s, %s, product_id, %s, list_price
            FROM products
            WHERE product_id = %s""",
            order_id,
            day,
            line,
            tx.random.randint(1, 3),
            product,
        )
        tx.run(
            """UPDATE stock SET quantity = quantity - 1, reserved = reserved + 1
            WHERE warehouse = 'HAM' AND product_id = %s""",
            product,
        )
    if status == "placed" and tx.random.random() < 0.6:
        _pay(tx, order_id, day)


def _pay(tx: Transaction, order_id: int, day: object) -> None:
    tx.run(
        """INSERT INTO payments (order_id, placed_on, method, amount, fee, reference, answer,
        paid_at)
        SELECT order_id, placed_on, %s, total, 0.35::numeric::money, %s, %s, placed_at AT TIME
        ZONE 'UTC'
        FROM orders
        WHERE order_id = %s AND placed_on = %s""",
        tx.random.choice(METHODS),
        tx.fresh("PAY"),
        '{"a":1, "a": 2.50, "t":"x\\\\y"}',
        order_id,
        day,
    )
    tx.run(
        "UPDATE orders SET status = 'paid' WHERE order_id = %s AND placed_on = %s", order_id, day
    )


def pay_order(tx: Transaction) -> None:
    """A payment for an order that is there already."""
    _pay(tx, *tx.order())


def change_status(tx: Transaction) -> None:
    """An order goes on, to one of the awkwardly named states too."""
    status = tx.random.choice(
        (
            "in transit",
            "delivered",
            "won't pay",
            "returned, refunded",
            '"lost"',
            "back\\slash",
            "{}",
        )
    )
    order_id, day = tx.order()
    tx.run(
        "UPDATE orders SET status = %s, flags = B'101' WHERE order_id = %s AND placed_on = %s",
        status,
        order_id,
        day,
    )


def move_order(tx: Transaction) -> None:
    """An order's date changes: the row moves to another partition, lines and payments follow.

    Before 15 a server deletes the lines of a row that moves: there only drafts without lines do.
    """
    order_id, day = tx.order()
    if tx.connection.info.server_version < 150000:
        tx.run(
            """UPDATE orders o SET placed_on = %s
            WHERE order_id = %s AND placed_on = %s AND NOT EXISTS (SELECT FROM order_lines l
            WHERE l.order_id = o.order_id) AND NOT EXISTS (SELECT FROM payments p WHERE
            p.order_id = o.order_id)""",
            tx.day(),
            order_id,
            day,
        )
    else:
        tx.run(
            "UPDATE orders SET placed_on = %s WHERE order_id = %s AND placed_on = %s",
            tx.day(),
            order_id,
            day,
        )


def delete_order(tx: Transaction) -> None:
    """An order goes with its lines; payments stay without it."""
    order_id, day = tx.order()
    tx.run("DELETE FROM orders WHERE order_id = %s AND placed_on = %s", order_id, day)


def renumber_order(tx: Transaction) -> None:
    """The key of an order changes inside its partition tree; lines and payments follow."""
    order_id, day = tx.order()
    if tx.connection.info.server_version >= 150000:
        tx.run(
            """UPDATE orders SET order_id = nextval('order_number_seq')
            WHERE order_id = %s AND placed_on = %s""",
            order_id,
            day,
        )
    else:
        tx.run(
            "UPDATE order_lines SET line_no = line_no + 100 WHERE order_id = %s AND line_no < 100",
            order_id,
        )


def rename_coupon(tx: Transaction) -> None:
    """A primary key changes."""
    tx.run(
        "UPDATE coupons SET code = %s, uses = uses + 1 WHERE code = %s",
        tx.fresh("NEW"),
        tx.coupon(),
    )


def swap_coupons(tx: Transaction) -> None:
    """Two rows exchange their primary keys."""
    one, two = tx.coupon(), tx.coupon()
    if one != two:
        tx.run("UPDATE coupons SET code = '(swapping)' WHERE code = %s", one)
        tx.run("UPDATE coupons SET code = %s WHERE code = %s", one, two)
        tx.run("UPDATE coupons SET code = %s WHERE code = '(swapping)'", two)


def reinsert_coupon(tx: Transaction) -> None:
    """A key is deleted and inserted again in one transaction; another comes and goes within it."""
    code = tx.coupon()
    if tx.run("DELETE FROM coupons WHERE code = %s", code):
        tx.run(
            "INSERT INTO coupons (code, percent, valid, terms) VALUES (%s, %s, 'empty', %s)",
            code,
            tx.random.randint(0, 100),
            None if tx.random.random() < 0.7 else tx.noise(9000),
        )
    brief = tx.fresh("NEW")
    tx.run("INSERT INTO coupons (code, percent, valid) VALUES (%s, 5, '(,)')", brief)
    tx.run("UPDATE coupons SET uses = 3 WHERE code = %s", brief)
    tx.run("DELETE FROM coupons WHERE code = %s", brief)


def issue_coupon(tx: Transaction) -> None:
    """A coupon is new, one is retired through the view's rule, one is gone."""
    tx.run(
        "INSERT INTO coupons (code, percent, valid) VALUES (%s, 12.5, '[2026-01-01,infinity)')",
        tx.fresh("NEW"),
    )
    tx.run("DELETE FROM active_coupons WHERE code = %s", tx.coupon())
    if tx.random.random() < 0.9:
        tx.run("DELETE FROM coupons WHERE code = %s AND code LIKE 'NEW%%'", tx.coupon())
