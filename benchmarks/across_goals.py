"""What the measurements between engines should come to, and what they came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Standings = Sequence[Mapping[str, Any]]
Line = tuple[str, str, str, bool]


def across_goals(contests: Mapping[str, Standings]) -> Iterator[Line]:
    """What, target, measured, met."""
    for table in ("event", "lineitem", "mixed"):
        one = contests.get(f"copy-my-{table}", ())
        yield from _ratio(one, f"MariaDB → PG, {table}", "mariadb -B", 2.0)
        yield from _ratio(one, f"MariaDB → PG, {table}", "pgloader", 4.0)
        yield from _ratio(one, f"MariaDB → PG, {table}, CPU", "pgloader", 5.0, "client")
        yield from _ratio(one, f"MariaDB → PG, {table}", "dlt", 8.0)
    yield from _ratio(
        contests.get("copy-my-event-mysql", ()), "MySQL → PG, event", "mariadb -B", 2.0
    )
    for name, what in (
        ("event", "PG → MariaDB, event"),
        ("lineitem", "PG → MariaDB, lineitem"),
        ("event-mysql", "PG → MySQL, event"),
    ):
        yield from _ratio(contests.get(f"copy-pg-{name}", ()), what, "psql COPY", 0.95)
    whole = contests.get("whole-my", ())
    yield from _ratio(whole, "MariaDB → MariaDB", "mysqldump", 2.0)
    yield from _ratio(whole, "MariaDB → MariaDB", "mydumper", 1.3)
    for name, what in (("ins", "inserts"), ("upd", "random updates"), ("mix", "mixed changes")):
        one = contests.get(f"my-{name}", ())
        yield from _ratio(one, f"drain of {what}", "pg_chameleon", 20.0)
        yield from _ratio(one, f"drain of {what}", "python-mysql-replication", 8.0)
    for ours in _ours(contests.get("my-decode", ())):
        rate = ours["amount"] / ours["client"] if ours.get("amount") else 0.0
        yield "decoding, rows per second of one core", "≥ 100,000", f"{rate:,.0f}", rate >= 100_000
    for ours in _ours(contests.get("my-latency", ())):
        for key, most in (("p50", 50.0), ("p99", 200.0)):
            values = sorted(run["more"][key] for run in ours["runs"])
            value = values[len(values) // 2]
            what = f"commit to visible, MariaDB → PG, {key}"
            yield what, f"≤ {most:.0f} ms", f"{value:.1f} ms", value <= most


def _ours(standings: Standings) -> list[Mapping[str, Any]]:
    return [s for s in standings if s["contender"].startswith("godwit")]


def _ratio(
    standings: Standings, what: str, peer: str, least: float, of: str = "seconds"
) -> Iterator[Line]:
    """Our best standing against a peer's, both being medians of one run."""
    ours = [s[of] for s in _ours(standings)]
    theirs = [s for s in standings if s["contender"].startswith(peer)]
    if ours and theirs and min(ours) > 0:
        value = theirs[0][of] / min(ours)
        name = theirs[0]["contender"].split(" (")[0]
        yield (
            f"{what}, against {name}",
            f"≥ {least:.2f} times",
            f"{value:.2f} times",
            value >= least,
        )
