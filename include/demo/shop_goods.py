"""What happens to products, stock and shelves. Each function is one transaction's work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.demo.shop_transaction import WAREHOUSES

if TYPE_CHECKING:
    from include.demo.shop_transaction import Transaction


def count_stock(tx: Transaction) -> None:
    """The hottest rows of the shop, several times in one transaction."""
    for _ in range(tx.random.randint(1, 5)):
        tx.run(
            """UPDATE stock SET quantity = quantity + %s, counted_at = '2026-11-01 10:00:00.123'
            WHERE warehouse = %s AND product_id = %s""",
            tx.random.randint(-3, 5),
            tx.random.choice(WAREHOUSES),
            tx.random.randint(1, 8),
        )


def restock(tx: Transaction) -> None:
    """The shop's own procedure changes stock and movements."""
    tx.run("CALL restock(%s, %s)", tx.random.choice(WAREHOUSES), tx.random.randint(1, 50))


def move_stock(tx: Transaction) -> None:
    """A movement is written, another one moves between list and range partitions."""
    tx.run(
        """INSERT INTO stock_movements (warehouse, moved_on, product_id, delta)
        VALUES (%s, %s, %s, %s)""",
        tx.random.choice(WAREHOUSES),
        tx.day(),
        tx.product(),
        tx.random.randint(-9, 9),
    )
    tx.run(
        "UPDATE stock_movements SET warehouse = %s, moved_on = %s WHERE movement_id = %s",
        tx.random.choice(WAREHOUSES),
        tx.day(),
        tx.random.randint(1, 400),
    )


def swap_shelves(tx: Transaction) -> None:
    """Two rows exchange the value of a unique column that is checked at once."""
    one, two = tx.random.sample(range(1, 201), 2)
    slots = {
        shelf: slot
        for shelf in (one, two)
        for (slot,) in [tx.row("SELECT slot FROM shelves WHERE shelf_id = %s", shelf) or (None,)]
    }
    tx.run("UPDATE shelves SET slot = -1 WHERE shelf_id = %s", one)
    tx.run("UPDATE shelves SET slot = %s WHERE shelf_id = %s", slots[one], two)
    tx.run("UPDATE shelves SET slot = %s WHERE shelf_id = %s", slots[two], one)


def swap_banners(tx: Transaction) -> None:
    """One statement shifts the values of a deferrable unique column round."""
    first = tx.random.randint(1, 57)
    tx.run(
        """UPDATE banners SET "position" = CASE "position" WHEN %s THEN %s ELSE "position" - 1 END
        WHERE "position" BETWEEN %s AND %s""",
        first,
        first + 3,
        first,
        first + 3,
    )


def touch_product(tx: Transaction) -> None:
    """A price changes (audited); the large description and picture do not."""
    tx.run(
        """UPDATE products SET list_price = %s, attributes = attributes || %s::jsonb
        WHERE product_id = %s""",
        tx.random.randint(1, 99999) / 100,
        f'{{"seen": {tx.random.randint(1, 99)}}}',
        tx.random.randint(1, tx.ranges.products),
    )


def rewrite_product(tx: Transaction) -> None:
    """The large values change: new, NULL, empty, and back within one transaction."""
    product = tx.random.randrange(10, tx.ranges.products + 1, 10)
    text = tx.random.choice((None, "", tx.noise(tx.random.randint(9000, 60000))))
    tx.run("UPDATE products SET description = %s WHERE product_id = %s", text, product)
    tx.run(
        "UPDATE products SET image = %s, weight_kg = 'NaN' WHERE product_id = %s",
        tx.random.choice((None, b"", tx.random.randbytes(30000))),
        product,
    )
    tx.run("UPDATE products SET active = NOT active WHERE product_id = %s", product)


def try_product(tx: Transaction) -> None:
    """A product comes with its code and stock; an older one of these goes with its own."""
    (product,) = tx.made(
        """INSERT INTO products (sku, category_id, name, description, list_price)
        VALUES ('TR-' || nextval('invoice_number_seq'), 5, 'Trial & Error', %s, 1.5)
        RETURNING product_id""",
        tx.noise(20000),
    )
    tx.run(
        "INSERT INTO product_codes (ean, product_id) VALUES (make_ean(%s), %s)", product, product
    )
    tx.run(
        "INSERT INTO stock (product_id, warehouse, quantity) SELECT %s, code, 1 FROM warehouses",
        product,
    )
    tx.run("""UPDATE products SET tags = ARRAY['a,b', NULL, '"'] WHERE product_id = %s""", product)
    tx.run(
        """DELETE FROM products
        WHERE product_id IN (SELECT product_id FROM products WHERE product_id BETWEEN %s AND %s
        AND name = 'Trial & Error' ORDER BY 1 LIMIT 1)""",
        tx.ranges.products + 1,
        product - 3,
    )


def relabel_code(tx: Transaction) -> None:
    """The unique key that stands in for a primary key: other columns, then the key itself."""
    product = tx.random.randint(1, tx.ranges.products)
    tx.run(
        """UPDATE product_codes SET printed = printed %% 1000 + 1, label_bits = ~label_bits
        WHERE product_id = %s""",
        product,
    )
    if tx.random.random() < 0.3:
        tx.run(
            """UPDATE product_codes SET ean = make_ean(nextval('invoice_number_seq') * 1000)
            WHERE product_id = %s""",
            product,
        )


def reprice_all(tx: Transaction) -> None:
    """A sale: up to 1,500 products at once, audited row by row."""
    first = tx.random.randint(1, max(1, tx.ranges.products - 1500))
    tx.run(
        """UPDATE products SET list_price = round(list_price * 0.99, 2)
        WHERE product_id BETWEEN %s AND %s""",
        first,
        first + 1499,
    )


def count_everything(tx: Transaction) -> None:
    """Stocktaking in one warehouse: every row of it."""
    tx.run(
        "UPDATE stock SET reserved = reserved %% 5 WHERE warehouse = %s",
        tx.random.choice(WAREHOUSES),
    )
