"""Every kind of transaction of the shop's application, and how often each happens.

One seed makes one history as far as nobody else writes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg

from include.demo import shop_goods as goods
from include.demo import shop_orders as orders
from include.demo import shop_people as people

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.demo.shop_transaction import Transaction


def change_mind(tx: Transaction) -> None:
    """Much is done and nothing of it stays."""
    orders.place_order(tx)
    orders.rename_coupon(tx)
    tx.run("DELETE FROM reviews WHERE review_id BETWEEN 1 AND 50")
    tx.discard()


def try_again(tx: Transaction) -> None:
    """Savepoints: one released, one rolled back, one lost to an error of the database."""
    people.note_order(tx)
    with tx.connection.transaction():
        goods.count_stock(tx)
    kept = tx.rows
    with tx.connection.transaction():
        goods.touch_product(tx)
        raise psycopg.Rollback
    tx.rows = kept
    with suppress(psycopg.errors.UniqueViolation), tx.connection.transaction():
        tx.run("INSERT INTO shelves SELECT shelf_id, slot FROM shelves WHERE shelf_id = 7")
    people.click(tx)


def look_around(tx: Transaction) -> None:
    """Reads a lot and changes nothing."""
    tx.row("SELECT * FROM customer_orders(%s)", tx.customer())
    tx.run("UPDATE coupons SET uses = 0 WHERE code = 'no such code'")


# Name → (weight, work). Large transactions are rare: one in some hundreds.
KINDS: dict[str, tuple[float, Callable[[Transaction], None]]] = {
    work.__name__: (weight, work)
    for weight, work in (
        (20, orders.place_order),
        (8, orders.pay_order),
        (8, orders.change_status),
        (2, orders.move_order),
        (2, orders.delete_order),
        (1, orders.renumber_order),
        (10, goods.count_stock),
        (0.5, goods.restock),
        (4, goods.move_stock),
        (2, orders.rename_coupon),
        (1, orders.swap_coupons),
        (2, orders.reinsert_coupon),
        (2, orders.issue_coupon),
        (1, goods.swap_shelves),
        (1, goods.swap_banners),
        (5, goods.touch_product),
        (1, goods.rewrite_product),
        (1, goods.try_product),
        (2, goods.relabel_code),
        (2, people.sign_up),
        (4, people.change_customer),
        (4, people.write_review),
        (3, people.edit_review),
        (12, people.click),
        (3, people.change_click),
        (2, people.note_order),
        (1, people.measure),
        (2, people.serve_ticket),
        (1, people.book_room),
        (3, people.open_session),
        (0.2, people.truncate_sessions),
        (1, change_mind),
        (1, try_again),
        (0.05, goods.reprice_all),
        (0.05, people.import_clicks),
        (0.05, goods.count_everything),
        (1, look_around),
    )
}
