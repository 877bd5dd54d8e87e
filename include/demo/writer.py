"""The shop's application: keeps changing the sample database until it is stopped or fenced off.

``python include/demo/writer.py --url postgresql://… --rate 100 --seed 7 [--seconds 30]``, or
``ShopWriter`` in a program. The source refusing writes (read-only, rights revoked, connection ended
and not to be had again) is what a cutover does: the writer stops, and says when and why. Every
other error is counted by kind and SQLSTATE, never hidden.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors

if not __package__:  # started as a program
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from include.demo.application import Application, FencedError
from include.demo.shop_changes import KINDS
from include.demo.shop_people import click, note_order
from include.demo.shop_transaction import Ranges, Transaction

LONG = "long_transaction"
ALL_KINDS = (*KINDS, LONG)
LONG_WEIGHT = 0.5
REFUSED = (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege)
COLLIDED = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
RECONNECT_SECONDS = 3.0


class ShopWriter(Application):
    """Changes the shop at ``url`` in a thread of its own.

    ``rate`` is transactions per second (0: as many as it can). One seed is one history, as far as
    nobody else writes. ``start`` raises ``psycopg.Error`` where the shop cannot be reached; after
    it, ``stats`` may be read at any time. A second connection holds a long transaction open beside
    the others now and then, so that transactions commit in another order than they began.
    """

    def __init__(self, url: str, rate: float = 100.0, seed: int = 1) -> None:
        weights = {kind: weight for kind, (weight, _) in KINDS.items()} | {LONG: LONG_WEIGHT}
        super().__init__(weights, rate, seed)
        self._url = url
        self._ranges: Ranges | None = None
        self._long: Transaction | None = None

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
        except REFUSED:
            self.stats.rolled_back[LONG] += 1
        except psycopg.Error as error:
            self.stats.errors[f"{LONG}: {error.sqlstate or type(error).__name__}"] += 1
        finally:
            self._main.close()
            self._side.close()

    def _connect(self) -> None:
        options: dict[str, Any] = {
            "autocommit": True,
            "application_name": "godwit demo shop",
            "connect_timeout": 5,
        }
        self._main = psycopg.connect(self._url, **options)
        self._side = psycopg.connect(self._url, **options)
        for connection in (self._main, self._side):
            connection.execute("SET lock_timeout = '5s'")
            connection.execute("SET timezone = 'UTC'")
        self._long = None
        if self._ranges is None:
            self._ranges = Ranges.of(self._main)
        self._connected = True

    def _one(self, kind: str) -> None:
        in_commit = False
        try:
            if kind == LONG:
                in_commit = self._long is not None
                self._advance_long()
                return
            tx = self._begin(self._main)
            with self._main.transaction():
                KINDS[kind][1](tx)
                in_commit = True
            if tx.discarded:
                self.stats.rolled_back[kind] += 1
            else:
                self.stats.committed[kind] += 1
                self.stats.rows += tx.rows
        except psycopg.Error as error:
            self._failed(kind, error, in_commit=in_commit)

    def _begin(self, connection: psycopg.Connection[Any]) -> Transaction:
        if self._ranges is None:
            raise RuntimeError("connect first")
        return Transaction(connection, self._random, self._ranges)

    def _failed(self, kind: str, error: psycopg.Error, *, in_commit: bool) -> None:
        if isinstance(error, REFUSED):
            raise FencedError(f"{error.sqlstate} {type(error).__name__}") from error
        if self._main.closed or self._side.closed:
            self.stats.uncertain += in_commit
            if self._long is not None:
                self.stats.rolled_back[LONG] += 1
                self._long = None
            self._reconnect(error)
        elif isinstance(error, COLLIDED):
            self.stats.collided[kind] += 1
        else:
            self.stats.errors[f"{kind}: {error.sqlstate or type(error).__name__}"] += 1

    def _reconnect(self, cause: psycopg.Error) -> None:
        """A connection pool comes back after a cut; at a cutover it finds the door closed."""
        reason = f"{cause.sqlstate or ''} {type(cause).__name__}".strip()
        deadline = time.monotonic() + RECONNECT_SECONDS
        self._main.close()
        self._side.close()
        while time.monotonic() < deadline and not self._stop.is_set():
            try:
                self._connect()
            except psycopg.OperationalError as error:
                reason = f"{error.sqlstate or ''} {type(error).__name__} on connecting".strip()
                self._stop.wait(0.1)
                continue
            self.stats.reconnects += 1
            return
        raise FencedError(reason)

    def _advance_long(self) -> None:
        if self._long is not None:
            self._end_long()
            return
        self._side.execute("BEGIN")
        self._long = self._begin(self._side)
        note_order(self._long)
        click(self._long)

    def _end_long(self) -> None:
        tx = self._long
        if tx is None:
            return
        self._long = None
        if self._side.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            self._side.execute("ROLLBACK")
            self.stats.rolled_back[LONG] += 1
            return
        click(tx)
        self._side.execute("COMMIT")
        self.stats.committed[LONG] += 1
        self.stats.rows += tx.rows


def main() -> int:
    """Write until time is over, a signal comes or the source is fenced; 1 after an error."""
    parser = argparse.ArgumentParser(description="Keep changing Godwit's sample shop.")
    parser.add_argument("--url", required=True, help="postgresql://user@host:port/database")
    parser.add_argument(
        "--rate", type=float, default=100.0, help="transactions per second; 0: as many as it can"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, help="stop after so many seconds (without: until stopped)"
    )
    parser.add_argument("--json", action="store_true", help="print the final statistics as JSON")
    arguments = parser.parse_args()
    writer = ShopWriter(arguments.url, arguments.rate, arguments.seed)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    writer.start()
    deadline = time.monotonic() + (arguments.seconds or float("inf"))
    said = time.monotonic()
    while writer.running and time.monotonic() < deadline and not ended.is_set():
        writer.wait(min(0.2, max(deadline - time.monotonic(), 0)))
        if time.monotonic() - said >= 5:
            said = time.monotonic()
            print(writer.stats.summary(), file=sys.stderr, flush=True)
    stats = writer.stop()
    print(json.dumps(stats.as_dict()) if arguments.json else stats.summary())
    return 1 if stats.errors else 0


if __name__ == "__main__":
    sys.exit(main())
