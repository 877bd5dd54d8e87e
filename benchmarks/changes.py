"""The workloads of the change-data contests: a table's first rows, and what happens then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from include.demo.servers import Database

COLUMNS = """
  id bigint PRIMARY KEY, a int, c bigint, amount numeric(12, 2), name varchar(60), e text,
  at timestamptz, day date, flag boolean, ratio double precision
"""
ROW = """
  {0}, ({0} % 1000)::int, {0} * 7, ({0} % 100000) / 100.0, 'name ' || {0},
  'some longer text value number ' || {0}, timestamptz '2026-01-01' + {0} * interval '1 second',
  date '2020-01-01' + ({0} % 2000)::int, {0} % 2 = 0, {0} / 3.0
"""
MARKER = "CREATE TABLE marker (id int PRIMARY KEY)"


@dataclass(frozen=True)
class Workload:
    """`first`: rows there are before; `change(n)`: a block that makes n changes."""

    name: str
    title: str
    first: Callable[[int], int]
    change: Callable[[int], str]

    def create(self, database: Database, changes: int) -> None:
        """The table and its first rows, the same on both sides."""
        database.execute(f"CREATE TABLE item ({COLUMNS})")
        database.execute(MARKER)
        row = ROW.format("g")
        count = self.first(changes)
        database.execute(
            f"INSERT INTO item SELECT {row} FROM generate_series(1::bigint, {count}) g"
        )
        database.execute("VACUUM (ANALYZE)")

    def run(self, database: Database, changes: int) -> None:
        """Make the changes, then the marker that tells when all has arrived."""
        database.execute(self.change(changes))
        database.execute("INSERT INTO marker VALUES (1)")


def _inserts(n: int) -> str:
    row = ROW.format("g")
    return f"""DO $$ BEGIN FOR k IN 0..{n // 1000 - 1} LOOP
      INSERT INTO item SELECT {row} FROM generate_series(k * 1000 + 1::bigint, k * 1000 + 1000) g;
      COMMIT; END LOOP; END $$"""


def _one_transaction(n: int) -> str:
    return f"INSERT INTO item SELECT {ROW.format('g')} FROM generate_series(1::bigint, {n}) g"


def _updates(rows: Callable[[int], int]) -> Callable[[int], str]:
    return lambda n: (
        f"""DO $$ DECLARE x bigint; BEGIN PERFORM setseed(0.25);
      FOR k IN 1..{n} LOOP
        x := 1 + floor(random() * {rows(n)})::bigint;
        UPDATE item SET a = k, c = c + 1, e = 'updated text value ' || k WHERE id = x;
        IF k % 1000 = 0 THEN COMMIT; END IF;
      END LOOP; END $$"""
    )


def _mixed(n: int) -> str:
    row = ROW.format("next")
    return f"""DO $$ DECLARE x bigint; r float; made int := 0; found int; next bigint;
    BEGIN PERFORM setseed(0.25); SELECT max(id) + 1 INTO next FROM item;
      WHILE made < {n} LOOP
        r := random(); x := 1 + floor(random() * next)::bigint;
        IF r < 0.4 THEN INSERT INTO item SELECT {row}; next := next + 1;
        ELSIF r < 0.75 THEN
          UPDATE item SET a = made, c = c + 1, e = 'updated text value ' || made WHERE id = x;
        ELSIF r < 0.9 THEN DELETE FROM item WHERE id = x;
        ELSE UPDATE item SET id = next WHERE id = x; next := next + 1; END IF;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF found > 0 THEN made := made + 1; IF made % 20 = 0 THEN COMMIT; END IF; END IF;
      END LOOP; END $$"""


def _million(n: int) -> int:
    return max(1000, n * 10 // 3)


WORKLOADS = (
    Workload("ins", "inserts, 1,000 a transaction", lambda _: 0, _inserts),
    Workload("upd", "random updates over 1 M rows", _million, _updates(_million)),
    Workload("mix", "mixed 40/35/15/10, 20 a transaction", lambda n: _million(n) // 2, _mixed),
    Workload("hot", "updates of 10,000 hot rows", lambda n: n // 30, _updates(lambda n: n // 30)),
    Workload("huge", "one huge transaction", lambda _: 0, _one_transaction),
)
