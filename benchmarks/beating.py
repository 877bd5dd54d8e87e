"""Writes one-row transactions at a steady rate: `beating.py PORT DATABASE RATE SECONDS`."""

from __future__ import annotations

import json
import sys
import threading
import time

import pymysql

WRITERS = 4


def main() -> None:
    """Tell when each row was sent, as JSON."""
    port, database, rate, seconds = sys.argv[1:]
    total, sent = int(float(rate) * float(seconds)), {}
    start = time.time() + 0.2

    def write(part: int) -> None:
        with pymysql.connect(
            host="127.0.0.1", port=int(port), user="root", database=database, autocommit=True
        ) as session:
            cursor = session.cursor()
            for number in range(part, total, WRITERS):
                time.sleep(max(0.0, start + number / float(rate) - time.time()))
                sent[number + 1] = time.time()
                cursor.execute(
                    "INSERT INTO beat VALUES (%s, 'a payload as small rows have it')", [number + 1]
                )

    threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
