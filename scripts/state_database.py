"""Makes the database that GODWIT_STATE_URL names, on the server that it names, when it is missing.

    GODWIT_STATE_URL=postgresql+psycopg://user:password@host/godwit python scripts/state_database.py

Godwit makes the tables in it by itself. The server must be a PostgreSQL one, with a database called
``postgres`` that the user may connect to and the right to create others.
"""

from __future__ import annotations

import os
import sys

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

MAINTENANCE = "postgres"
EXISTS = "42P04"


def main(text: str) -> str:
    """Make the database of a SQLAlchemy URL; returns what was done.

    Raises:
        SQLAlchemyError: the server cannot be reached, or refuses.
    """
    url = sa.make_url(text)
    if not url.database:
        raise SystemExit("GODWIT_STATE_URL names no database")
    engine = sa.create_engine(url.set(database=MAINTENANCE), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            known = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
            if connection.execute(known, {"name": url.database}).scalar():
                return f"{url.database} is there"
            name = engine.dialect.identifier_preparer.quote_identifier(url.database)
            try:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            except ProgrammingError as error:
                # Another one was faster.
                if getattr(error.orig, "sqlstate", None) != EXISTS:
                    raise
            return f"{url.database} was made"
    finally:
        engine.dispose()


if __name__ == "__main__":
    given = os.environ.get("GODWIT_STATE_URL", "").strip()
    if not given:
        sys.exit("GODWIT_STATE_URL is not set")
    print(main(given))
