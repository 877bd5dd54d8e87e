"""What customers, visitors and staff do. Each function is one transaction's work."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from include.demo.shop_transaction import BODIES

if TYPE_CHECKING:
    from include.demo.shop_transaction import Transaction


def sign_up(tx: Transaction) -> None:
    """A customer with a contact comes and, mostly, one of these goes."""
    (customer,) = tx.made(
        """INSERT INTO customers (email, full_name, other_homes, born, balance, note)
        VALUES (%s, %s, ARRAY[ROW('a "b"', 'c,d', NULL, 'FR')::postal_address, NULL],
        '-infinity', '-1.50', %s)
        RETURNING customer_id""",
        tx.fresh("trial") + "@example.org",
        tx.random.choice(BODIES),
        tx.random.choice(BODIES),
    )
    tx.run(
        "INSERT INTO crm.contacts VALUES (%s, 'phone', '+49', '0044-03-15 12:00:00+00 BC')",
        customer,
    )
    old = tx.row(
        """SELECT customer_id
        FROM customers
        WHERE customer_id > %s AND email LIKE 'trial%%' ORDER BY 1 LIMIT 1""",
        tx.ranges.customers,
    )
    if old and old[0] < customer - 3:
        tx.run("DELETE FROM crm.contacts WHERE customer_id = %s", old[0])
        tx.run("DELETE FROM customers WHERE customer_id = %s", old[0])


def change_customer(tx: Transaction) -> None:
    """Master data: an e-mail (audited), a composite value, a no-op update."""
    customer = tx.customer()
    tx.run(
        """UPDATE customers SET email = 'c' || customer_id || %s, last_ip = '2001:db8::7'
        WHERE customer_id = %s""",
        tx.random.choice(("@example.com", "@münchen.example")),
        customer,
    )
    tx.run(
        """UPDATE customers SET home.street = %s, balance = balance * 1.1
        WHERE customer_id = %s AND home IS NOT NULL""",
        tx.random.choice(BODIES),
        customer,
    )
    tx.run("UPDATE customers SET note = note WHERE customer_id = %s", customer)


def write_review(tx: Transaction) -> None:
    """A review in any script and with every awkward character."""
    tx.run(
        """INSERT INTO reviews (product_id, customer_id, rating, title, body, labels, written_at)
        VALUES (%s, %s, %s, %s, %s, %s, '2026-11-01 08:00+00')""",
        tx.random.randint(1, tx.ranges.products),
        tx.customer(),
        tx.random.randint(1, 5),
        tx.random.choice(BODIES),
        tx.random.choice(BODIES) * tx.random.choice((1, 1, 1, 300)),
        ["x,y", None, "", "NULL", '"', "\\"],
    )


def edit_review(tx: Transaction) -> None:
    """Reviews gain votes, one is rewritten, one is deleted."""
    review = tx.random.randint(1, tx.ranges.reviews)
    tx.run(
        "UPDATE reviews SET helpful = helpful + 1 WHERE review_id BETWEEN %s AND %s AND body <> ''",
        review,
        review + 4,
    )
    tx.run(
        "UPDATE reviews SET body = %s, labels = NULL WHERE review_id = %s",
        tx.random.choice(BODIES),
        tx.random.randint(1, tx.ranges.reviews),
    )
    if tx.random.random() < 0.4:
        tx.run(
            "DELETE FROM reviews WHERE review_id = %s",
            tx.random.randint(1, tx.ranges.reviews + 2000),
        )


def click(tx: Transaction) -> None:
    """Rows for the table without a key, one of them twice."""
    values = (
        f"/p/{tx.product()}?q=ä%20\\",
        f"10.9.{tx.random.randint(0, 255)}.1",
        f'{{ "n":{tx.random.randint(1, 9)} }}',
        tx.random.randint(1, 900) / 3,
    )
    for _ in range(tx.random.randint(1, 2)):
        tx.run(
            """INSERT INTO clickstream (clicked_at, session, url, ip, payload, ms)
            VALUES ('2026-11-01 09:00+00', '00000000-0000-0000-0000-00000000c11c', %s, %s, %s,
            %s)""",
            *values,
        )


def change_click(tx: Transaction) -> None:
    """One of several like rows is changed or deleted."""
    where: LiteralString = """WHERE ctid = (SELECT ctid FROM clickstream
        WHERE session = md5('s' || %s)::uuid ORDER BY url, clicked_at LIMIT 1)"""
    session = tx.random.randint(1, 2000)
    if tx.random.random() < 0.5:
        tx.run("UPDATE clickstream SET ms = ms + 1, payload = NULL " + where, session)
    else:
        tx.run("DELETE FROM clickstream " + where, session)
    tx.run(
        """DELETE FROM clickstream
        WHERE session = '00000000-0000-0000-0000-00000000c11c' AND ip = %s""",
        f"10.9.{tx.random.randint(0, 255)}.1",
    )


def import_clicks(tx: Transaction) -> None:
    """Four thousand rows arrive by COPY, and the imported ones of before go."""
    tx.run("DELETE FROM clickstream WHERE agent = 'import'")
    with (
        tx.connection.cursor() as cursor,
        cursor.copy("COPY clickstream (clicked_at, url, agent, ms) FROM STDIN") as copy,
    ):
        for number in range(4000):
            copy.write_row(
                (
                    "2026-10-10 00:00:00+00",
                    f"/import/{number // 2}\t\\",
                    "import",
                    tx.random.random(),
                )
            )
    tx.rows += 4000


def note_order(tx: Transaction) -> None:
    """The table with the odd names."""
    tx.run(
        """INSERT INTO "Order Notes" ("select", "Grüße", "50%% off?", " padded ")
        VALUES (%s, %s, NULL, 'x')""",
        tx.order()[0],
        tx.random.choice(BODIES),
    )
    tx.run(
        """UPDATE "Order Notes" SET "it's ""quoted"" \\ here" = %s, "order" = NULL
        WHERE "Note Id" = %s""",
        tx.random.randint(1, 9),
        tx.random.randint(1, 500),
    )


def measure(tx: Transaction) -> None:
    """Every type: a row of extreme values is written again, and over another row."""
    columns = sql.SQL(", ").join(map(sql.Identifier, tx.ranges.lab_columns))
    source = tx.random.randint(1, 12)
    tx.run(
        sql.SQL(
            """INSERT INTO lab_values (label, {0})
            SELECT 'again ' || label, {0} FROM lab_values WHERE id = %s"""
        ).format(columns),
        source,
    )
    tx.run(
        sql.SQL(
            """UPDATE lab_values SET ({0}) = (SELECT {0} FROM lab_values WHERE id = %s)
            WHERE id = %s"""
        ).format(columns),
        source,
        tx.random.randint(20, 200),
    )
    tx.run("DELETE FROM lab_values WHERE id = %s", tx.random.randint(201, 2000))


def serve_ticket(tx: Transaction) -> None:
    """The other schema: an enum of the same name, arrays of jsonb, staff referring to itself."""
    tx.run(
        """INSERT INTO crm.tickets (customer_id, status, subject, history, opened_at)
        VALUES (%s, 'NULL', %s, %s::jsonb[], '2026-11-01 11:00+00')""",
        tx.customer(),
        tx.random.choice(BODIES),
        ['{"n": 1.0}', None, '"\\\\"'],
    )
    tx.run(
        """UPDATE crm.tickets SET status = 'closed', history = history || '{}'::jsonb
        WHERE ticket_id = %s""",
        tx.random.randint(1, 800),
    )
    one, two = tx.random.sample(range(1, 9), 2)
    tx.run("UPDATE crm.departments SET head_id = 9 - head_id WHERE department_id = %s", one)
    tx.run(
        "UPDATE crm.employees SET manager_id = %s, department_id = %s WHERE employee_id = %s",
        one,
        two,
        tx.random.randint(9, tx.ranges.employees),
    )


def book_room(tx: Transaction) -> None:
    """A booking under an exclusion constraint makes room for one at the same time."""
    booking = tx.random.randint(1, 600)
    found = tx.row("SELECT building, room, during FROM crm.bookings WHERE booking_id = %s", booking)
    if found:
        tx.run("DELETE FROM crm.bookings WHERE booking_id = %s", booking)
        tx.run(
            "INSERT INTO crm.bookings (booking_id, building, room, during) VALUES (%s, %s, %s, %s)",
            booking,
            *found,
        )


def open_session(tx: Transaction) -> None:
    """A visitor's session."""
    tx.run(
        """INSERT INTO sessions
        VALUES (md5(%s)::uuid, %s, '02:00:00:ff:fe:00:00:01', '2026-11-01 12:00+00',
        '1 mon 2 days -3 hours')""",
        tx.fresh("session"),
        tx.customer(),
    )


def truncate_sessions(tx: Transaction) -> None:
    """Every session ends at once; the first new one begins in the same transaction."""
    tx.run("TRUNCATE sessions")
    open_session(tx)
