"""Every kind of transaction of the MariaDB shop's application, and how often each happens."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pymysql

from include.demo.shop_transaction import BODIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.demo.mysql_writer import Work

WAREHOUSES = ("HAM", "MUC", "OSL", "X")
METHODS = ("card", "PayPal", "bank transfer", "gift card: ½")
STATES = ("placed", "paid", "in transit", "delivered", "returned")


def place_order(work: Work) -> None:
    """An order with lines; stock goes down, and now and then it is paid at once."""
    order = work.made(
        "INSERT INTO orders (customer_id, placed_at, remark) VALUES (%s, NOW(6), %s)",
        work.customer(),
        work.random.choice((None, "", *BODIES)),
    )
    for line in range(1, work.random.randint(2, 6)):
        product = work.product()
        work.run(
            "INSERT INTO order_lines (order_id, line, product_id, quantity, price)"
            " SELECT %s, %s, id, %s, list_price FROM products WHERE id = %s",
            order,
            line,
            work.random.randint(1, 9),
            product,
        )
        work.run(
            "UPDATE stock SET quantity = quantity - 1 WHERE warehouse = 'HAM' AND product_id = %s",
            product,
        )
    work.run(
        "UPDATE orders SET total = (SELECT SUM(amount) FROM order_lines WHERE order_id = %s)"
        " WHERE id = %s",
        order,
        order,
    )
    if work.random.random() < 0.3:
        _pay(work, order)


def pay_order(work: Work) -> None:
    """An order is paid; a payment may come in parts."""
    order = work.order()
    for _ in range(work.random.randint(1, 2)):
        _pay(work, order)


def _pay(work: Work, order: int) -> None:
    work.run(
        "INSERT INTO payments (order_id, method, amount, reference)"
        " SELECT id, %s, total, %s FROM orders WHERE id = %s",
        work.random.choice(METHODS),
        work.random.choice((None, b"", work.random.randbytes(12), b"\x00\\'\t\n")),
        order,
    )
    work.run("UPDATE orders SET status = 'paid', paid_at = NOW() WHERE id = %s", order)


def change_status(work: Work) -> None:
    """Some orders go on; a delivery gets a day, or loses it."""
    order = work.order()
    work.run(
        "UPDATE orders SET status = %s, delivery_on = %s WHERE id BETWEEN %s AND %s",
        work.random.choice(STATES),
        work.random.choice(("0000-00-00", "2026-12-24", "2027-01-31")),
        order,
        order + work.random.randint(0, 6),
    )


def delete_order(work: Work) -> None:
    """The server deletes lines and payments along with it."""
    work.run("DELETE FROM orders WHERE id = %s", work.order())


def renumber_lines(work: Work) -> None:
    """Primary keys move: one line after the other, or all at once and back."""
    order = work.order()
    work.run("UPDATE order_lines SET line = line + 100 WHERE order_id = %s", order)
    if work.random.random() < 0.5:
        work.run("UPDATE order_lines SET line = line - 100 WHERE order_id = %s", order)
    work.run(
        "UPDATE order_lines SET quantity = 1 + quantity %% 7 WHERE order_id = %s"
        " ORDER BY line LIMIT 1",
        order,
    )


def move_lines(work: Work) -> None:
    """Lines change their order, where the other one has no such line."""
    work.run(
        "UPDATE IGNORE order_lines SET order_id = %s WHERE order_id = %s AND line = 1",
        work.order(),
        work.order(),
    )


def count_stock(work: Work) -> None:
    """The hottest rows of the shop, several times in one transaction."""
    for _ in range(work.random.randint(1, 5)):
        work.run(
            "UPDATE stock SET quantity = quantity + %s, counted_at = NOW()"
            " WHERE warehouse = %s AND product_id = %s",
            work.random.randint(-3, 5),
            work.random.choice(WAREHOUSES),
            work.random.randint(1, 8),
        )


def swap_shelves(work: Work) -> None:
    """Two rows exchange the value of a unique column."""
    one, two = work.random.sample(range(1, 201), 2)
    slots = [work.value("SELECT slot FROM shelves WHERE id = %s", shelf) for shelf in (one, two)]
    work.run("UPDATE shelves SET slot = -1 WHERE id = %s", one)
    work.run("UPDATE shelves SET slot = %s WHERE id = %s", slots[0], two)
    work.run("UPDATE shelves SET slot = %s WHERE id = %s", slots[1], one)


def touch_product(work: Work) -> None:
    """A price changes, and with it `updated_at` by itself; the large description does not."""
    work.run(
        "UPDATE products SET list_price = %s, labels = %s, flags = flags ^ %s, rating = %s,"
        " weight_kg = weight_kg * 1.1, attributes = %s WHERE id = %s",
        work.random.randint(1, 99999) / 100,
        work.random.choice(("", "new", "eco,last & best", "new,eco,b-stock")),
        work.random.randint(0, 255),
        work.random.choice((None, work.random.random() * 5)),
        work.random.choice((None, '{"seen": 1.50, "é": ["😀", null]}', "[]")),
        work.product(),
    )


def rewrite_product(work: Work) -> None:
    """The large values change: new, NULL, empty."""
    product = work.product()
    text = work.random.choice((None, "", work.noise(work.random.randint(3000, 30000))))
    work.run("UPDATE products SET description = %s WHERE id = %s", text, product)
    work.run(
        "INSERT INTO pictures VALUES (%s, %s, %s)"
        " ON DUPLICATE KEY UPDATE thumbnail = VALUES(thumbnail)",
        product,
        work.random.randbytes(16),
        work.random.choice((None, b"", work.random.randbytes(9000))),
    )
    work.run(
        "UPDATE products SET status = %s, model_year = %s WHERE id = %s",
        work.random.choice(("draft", "on sale", "won't come back")),
        work.random.choice((0, 1901, 2155, None)),
        product,
    )


def try_product(work: Work) -> None:
    """A product comes with picture and stock; an older one of these goes with all it has."""
    product = work.made(
        "INSERT INTO products (sku, category_id, name, list_price, created_at, description)"
        " VALUES (%s, 5, 'Trial & Error', 1.5, NOW(6), %s)",
        f"T-{work.random.randrange(16**8):08x}",
        work.noise(4000),
    )
    work.run("INSERT INTO pictures VALUES (%s, %s, NULL)", product, work.random.randbytes(16))
    work.run(
        "INSERT INTO stock (product_id, warehouse, quantity) SELECT %s, code, 1 FROM warehouses",
        product,
    )
    work.run(
        "INSERT INTO reviews (product_id, rating, title, written_at)"
        " VALUES (%s, 5, 'first!', NOW())",
        product,
    )
    work.run(
        "DELETE FROM products WHERE id > %s AND id < %s AND name = 'Trial & Error'"
        " ORDER BY id LIMIT 1",
        work.ranges.products,
        product - 3,
    )


def rename_coupon(work: Work) -> None:
    """A text primary key changes; upper and lower case are not the same there."""
    code = work.coupon()
    work.run(
        "UPDATE coupons SET code = %s, uses = uses %% 1000 + 1 WHERE code = %s",
        code.swapcase() if work.random.random() < 0.5 else f"R{work.random.randrange(10**12)}",
        code,
    )


def swap_coupons(work: Work) -> None:
    """Two primary keys change places."""
    one, two = work.coupon(), work.coupon()
    if one == two:
        return
    for new, old in (("(swapping)", one), (one, two), (two, "(swapping)")):
        work.run("UPDATE coupons SET code = %s WHERE code = %s", new, old)


def reinsert_coupon(work: Work) -> None:
    """One key is deleted and inserted again in one transaction."""
    code = work.coupon()
    work.run("DELETE FROM coupons WHERE code = %s", code)
    work.run(
        "INSERT INTO coupons VALUES (%s, %s, 0, %s, %s)",
        code,
        work.random.randint(0, 255),
        work.random.choice((None, "0000-00-00", "2031-12-31")),
        work.random.choice(BODIES),
    )


def sign_up(work: Work) -> None:
    """A customer comes and, mostly, one of these goes."""
    customer = work.made(
        "INSERT INTO customers (email, full_name, nickname, born, balance, joined, note)"
        " VALUES (%s, %s, %s, %s, -1.5, NOW(6), %s)",
        f"trial{work.random.randrange(10**15)}@example.org",
        work.random.choice(("Zoë", "李雷", "😀 Smile")),
        work.random.choice((None, "", "Ünïcödé")),
        work.random.choice((None, "0000-00-00", "1999-12-31")),
        work.random.choice(BODIES),
    )
    work.run(
        "DELETE FROM customers WHERE id > %s AND id < %s AND email LIKE 'trial%%'"
        " ORDER BY id LIMIT 1",
        work.ranges.customers,
        customer - 3,
    )


def change_customer(work: Work) -> None:
    """Master data: an e-mail, a counter, a change that changes nothing."""
    customer = work.customer()
    work.run(
        "UPDATE customers SET email = CONCAT('c', id, %s), seen = NOW(),"
        " newsletter = 1 - newsletter, points = points + 1, balance = balance * 1.01 WHERE id = %s",
        work.random.choice(("@example.com", "@münchen.example")),
        customer,
    )
    work.run("UPDATE customers SET note = note WHERE id = %s", customer)


def write_review(work: Work) -> None:
    """A review in any script and with every awkward character."""
    work.run(
        "INSERT INTO reviews (product_id, customer_id, rating, title, body, written_at)"
        " VALUES (%s, %s, %s, %s, %s, NOW())",
        work.product(),
        work.customer(),
        work.random.randint(1, 5),
        work.random.choice(BODIES),
        work.random.choice(BODIES) * work.random.choice((1, 1, 1, 300)),
    )


def edit_review(work: Work) -> None:
    """Reviews gain votes, one is rewritten, one is deleted."""
    review = work.random.randint(1, work.ranges.reviews)
    work.run(
        "UPDATE reviews SET helpful = helpful + 1 WHERE id BETWEEN %s AND %s", review, review + 4
    )
    work.run("UPDATE reviews SET body = %s WHERE id = %s", work.random.choice(BODIES), review)
    work.run("DELETE FROM reviews WHERE id = %s", review + 2)


def click(work: Work) -> None:
    """Rows that are alike, in the table without a key."""
    row = (work.random.randbytes(8), work.random.choice(("/", "/möbel", "/cart")))
    for _ in range(work.random.randint(1, 3)):
        work.run("INSERT INTO clickstream VALUES ('2026-11-01 10:00:00.125', %s, %s, NULL)", *row)


def change_click(work: Work) -> None:
    """One of several like rows is changed, one is deleted."""
    work.run(
        "UPDATE clickstream SET took_ms = %s WHERE page = %s AND took_ms IS NULL LIMIT 1",
        work.random.randint(0, 99),
        work.random.choice(("/", "/möbel", "/cart")),
    )
    work.run("DELETE FROM clickstream WHERE page = '/cart' LIMIT 1")


def open_session(work: Work) -> None:
    """Upserts by a binary key, a REPLACE, and the oldest one ends."""
    token = work.random.choice(work.tokens) if work.tokens else work.random.randbytes(16)
    work.run(
        "INSERT INTO sessions (token, customer_id, state, hits) VALUES (%s, %s, %s, 1)"
        " ON DUPLICATE KEY UPDATE hits = hits + 1, state = VALUES(state)",
        token,
        work.customer(),
        work.random.randbytes(work.random.randint(0, 60)),
    )
    fresh = work.random.randbytes(16)
    work.run("REPLACE INTO sessions (token, state) VALUES (%s, '')", fresh)
    work.tokens = [*work.tokens, fresh][-50:]
    work.run("DELETE FROM sessions ORDER BY token LIMIT 1")


def clock_out(work: Work) -> None:
    """Times beyond a day, and negative ones."""
    work.run(
        "UPDATE shifts SET worked = ADDTIME(worked, '00:07:30'), overtime = %s"
        " WHERE employee = %s AND day >= '2026-02-01' ORDER BY day LIMIT 2",
        work.random.choice((None, "-12:34:56.789", "99:00:00", "00:00:00.001")),
        f"anna{work.random.randint(0, 7) * 5}",
    )


def measure(work: Work) -> None:
    """Every type: a copied row, changed extremes, one less."""
    work.run("DELETE FROM lab_values WHERE id >= 100 ORDER BY id LIMIT 1")
    work.run(
        "UPDATE lab_values SET u8 = u8 - 1, i8 = -i8 DIV 3, bits = ~bits, t = '-838:59:59', e = '',"
        " s = 'x', f8 = f8 / 3, c = 'é', big = REVERSE(big), ts = '2030-01-01 00:00:00.000001'"
        " WHERE id = 3"
    )
    number = work.random.randint(100, 10**8)
    work.run("DELETE FROM lab_values WHERE id = %s", number)
    work.run(
        "INSERT INTO lab_values (id, u1, u8, exact, f4, y, d, t, dt, latin, txt, vb, e, doc)"
        " SELECT %s, u1, u8, exact, f4, y, d, t, dt, latin, txt, vb, e, doc FROM lab_values"
        " WHERE id = %s",
        number,
        work.random.randint(1, 5),
    )


def change_mind(work: Work) -> None:
    """Much is done and nothing of it stays."""
    place_order(work)
    rename_coupon(work)
    work.run("DELETE FROM reviews WHERE id BETWEEN 1 AND 50")
    work.discard()


def try_again(work: Work) -> None:
    """Savepoints: one rolled back, one statement lost to an error of the database."""
    click(work)
    kept = work.rows
    work.run("SAVEPOINT before_trying")
    touch_product(work)
    work.run("ROLLBACK TO SAVEPOINT before_trying")
    work.rows = kept
    with suppress(pymysql.err.IntegrityError):
        work.run("INSERT INTO shelves SELECT id, slot FROM shelves WHERE id = 7")
    count_stock(work)


def reprice_all(work: Work) -> None:
    """A sale: up to 1,500 products at once."""
    first = work.random.randint(1, max(1, work.ranges.products - 1500))
    work.run(
        "UPDATE products SET list_price = ROUND(list_price * 0.99, 2) WHERE id BETWEEN %s AND %s",
        first,
        first + 1499,
    )


# Name → (weight, work). Large transactions are rare: one in some hundreds.
KINDS: dict[str, tuple[float, Callable[[Work], None]]] = {
    work.__name__: (weight, work)
    for weight, work in (
        (20, place_order),
        (8, pay_order),
        (8, change_status),
        (2, delete_order),
        (2, renumber_lines),
        (1, move_lines),
        (10, count_stock),
        (1, swap_shelves),
        (5, touch_product),
        (1, rewrite_product),
        (1, try_product),
        (2, rename_coupon),
        (1, swap_coupons),
        (2, reinsert_coupon),
        (2, sign_up),
        (4, change_customer),
        (4, write_review),
        (3, edit_review),
        (12, click),
        (2, change_click),
        (4, open_session),
        (2, clock_out),
        (1, measure),
        (1, change_mind),
        (1, try_again),
        (0.1, reprice_all),
    )
}
