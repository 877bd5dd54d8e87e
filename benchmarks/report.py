"""The figures as Markdown, with the targets and how far each is."""

from __future__ import annotations

from typing import Any

from benchmarks.across_goals import across_goals

Contest = dict[str, Any]

INTRO = """\
# Benchmarks

`make bench` measures this and writes it (`make bench ARGS=--quick` is a look, no measurement).
`ARGS="--only mysql --write"` measures the sections between engines alone, `--only postgres` the
others, and any section goes by its name (`--only mysql-cdc`).
Embedded servers on one machine (PostgreSQL 18, MariaDB 10.11, MySQL 9.7), durable as shipped
(fsync on); contenders take turns (A B A B) in one run; every figure is the median of its runs;
after every run the target's content is compared with the source's by row hashes, and a wrong one
ends the benchmark. Peers come from `scripts/fetch-peers.sh`; one that cannot be had is named.
**Believe ratios, not rates**: a ratio says how many times as fast as the reference in the same
run (median over the pairs), and everything else here depends on the machine.

CPU seconds are user + system time: *client* of the process that moves the data, *source* and
*target* of everything in that server. *Memory* is the peak of our process.
"""

NOTES = {
    "copy": "Rows only, into a table without keys. Our process is started and has imported its "
    "libraries before the clock starts; planning, ledger and fences are inside.",
    "whole": "Schema, rows, keys, indexes and all other objects. Ours is the command as typed, "
    "Python's start, checks and control tables included.",
    "drain": "The backlog is written first; the slots of all contenders were made at the same "
    "point before it. The clock runs until the last transaction is visible on the target. Native: "
    "`binary = true`, all else as PostgreSQL sets it (streaming is parallel since 18).",
    "across": "Our process is started and has imported its libraries before the clock starts. "
    "Peers take one turn. pgloader and we load into tables of the same types; dlt makes types "
    "of its own, and only its number of rows is compared. Between MariaDBs everything is made: "
    "tables, keys, indexes; ours is the command as typed, with two streams.",
    "across-cdc": "A number after a peer's name: it got that many of the changes, over a table "
    "that is as much smaller, and its times are multiplied. pg_chameleon's time includes its "
    "start and its pauses; rows it copied at first are not measured. Decoding: rows read and "
    "thrown away.",
    "latency": "From the commit's time on the source until a reader on the target that asks about "
    "every millisecond has the row; what the question takes is inside, for both.",
}


def markdown(results: dict[str, Any]) -> str:
    """The whole page."""
    parts = [INTRO]
    contests: list[Contest] = [c for s in results.values() for c in s["contests"]]
    parts.append(_machine(results))
    goals = _goals(contests)
    if goals:
        parts.append("## Targets\n\n| what | target | measured | |\n|---|---|---|---|\n" + goals)
    for title, kind in (("Full load", "copy"), ("The whole step", "whole")):
        parts += _section(title, kind, [c for c in contests if _is(c, kind)])
    drains = [c for c in contests if c["name"] in {"ins", "upd", "mix", "hot", "huge"}]
    parts += _section("Draining a backlog of changes", "drain", drains)
    across = [c for c in contests if c["name"].startswith(("copy-", "whole-my"))]
    parts += _section("Full load between engines", "across", across)
    drains = [c for c in contests if c["name"] in {"my-ins", "my-upd", "my-mix", "my-decode"}]
    parts += _section("Changes of MariaDB into PostgreSQL", "across-cdc", drains)
    parts += _latency([c for c in contests if c["name"] in {"latency", "my-latency"}])
    parts += _missing(contests)
    return "\n".join(parts)


def _is(contest: Contest, kind: str) -> bool:
    name = contest["name"]
    return bool(name.startswith(kind) and not name.startswith(("copy-", "whole-my")))


def _missing(contests: list[Contest]) -> list[str]:
    """Peers that could not be measured, by name: none is left out silently."""
    lines = [
        f"- {c['title']}: {name}: {' '.join(reason.split())[:300]}"
        for c in contests
        for name, reason in c.get("missing", {}).items()
    ]
    return ["## Not measured\n\n" + "\n".join(lines) + "\n"] if lines else []


def _machine(results: dict[str, Any]) -> str:
    lines = ["| section | measured | turns | machine | load average |", "|---|---|---|---|---|"]
    for name, section in results.items():
        facts = section["machine"]
        machine = ", ".join(facts[k] for k in ("processor", "memory", "system"))
        loads = [c["load"] for c in section["contests"]]
        lines.append(
            f"| {name}{' (quick)' if section['quick'] else ''} | {section['date']} | "
            f"{max((c['rounds'] for c in section['contests']), default=0)} | {machine}, "
            f"Python {facts['python']} | {max(loads, default=0):.1f} |"
        )
    return "\n".join(lines) + "\n"


def _section(title: str, kind: str, contests: list[Contest]) -> list[str]:
    if not contests:
        return []
    lines = [f"## {title}\n", NOTES[kind] + "\n"]
    lines += [
        "| | contender | ratio | seconds | per second | CPU client | source | target | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for contest in contests:
        name = f"{contest['title']} ({contest['amount']:,})"
        for s in contest["standings"]:
            memory = f"{s['memory'] / 1e6:.0f} MB" if s["memory"] else ""
            client = f"{s['client']:.2f}" if s["client"] else ""
            lines.append(
                f"| {name} | {_cell(s['contender'])} | {s['ratio']:.2f} | {s['seconds']:.2f} | "
                f"{contest['amount'] / s['seconds']:,.0f} | {client} | {s['source']:.2f} | "
                f"{s['target']:.2f} | {memory} |"
            )
            name = ""
    return ["\n".join(lines) + "\n"]


def _latency(contests: list[Contest]) -> list[str]:
    if not contests:
        return []
    lines = ["## Latency\n", NOTES["latency"] + "\n"]
    lines += ["| | contender | p50 ms | p90 ms | p99 ms | samples |", "|---|---|---|---|---|---|"]
    for contest in contests:
        for s in contest["standings"]:
            figures = " | ".join(f"{_middle(s, p):.1f}" for p in ("p50", "p90", "p99"))
            samples = sum(int(r["more"]["samples"]) for r in s["runs"])
            lines.append(
                f"| {contest['title']} | {_cell(s['contender'])} | {figures} | {samples:,} |"
            )
    return ["\n".join(lines) + "\n"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _middle(standing: dict[str, Any], key: str) -> float:
    values = sorted(run["more"][key] for run in standing["runs"])
    return float(values[len(values) // 2])


def _goals(contests: list[Contest]) -> str:
    by_name = {c["name"]: [{**s, "amount": c["amount"]} for s in c["standings"]] for c in contests}
    lines = []

    def row(what: str, target: str, measured: str, *, met: bool) -> None:
        lines.append(
            f"| {_cell(what)} | {target} | {measured} | {'met' if met else '**not met**'} |"
        )

    def ratio(name: str, place: int, what: str, least: float) -> None:
        if name in by_name:
            value = by_name[name][place]["ratio"]
            row(what, f"≥ {least:.2f} times", f"{value:.2f} times", met=value >= least)

    ratio("copy", 1, "copy against one binary pipe", 1.0)
    ratio("whole-event", 1, "whole step, one table, against pg_dump | pg_restore", 1.0)
    ratio("whole-shop", 1, "whole step, the shop, against pg_dump | pg_restore", 1.0)
    ratio("upd", -1, "drain of random updates against native", 2.5)
    ratio("mix", -1, "drain of mixed changes against native", 1.8)
    ratio("ins", -1, "drain of inserts against native", 0.9)
    for words in across_goals(by_name):
        row(*words[:3], met=words[3])
    if "latency" in by_name:
        ours = by_name["latency"][-1]
        for key, most in (("p50", 10.0), ("p99", 50.0)):
            value = _middle(ours, key)
            what = f"commit to visible, {key}"
            row(what, f"≤ {most:.0f} ms", f"{value:.1f} ms", met=value <= most)
    for names, what in (
        (("copy",), "memory of a load worker"),
        (("ins", "upd", "mix", "hot", "huge"), "memory of a CDC session"),
        (tuple(n for n in by_name if n.startswith("copy-")), "memory of a load worker, across"),
        (("my-ins", "my-upd", "my-mix"), "memory of a CDC session, across"),
    ):
        peaks = [s["memory"] for n in names for s in by_name.get(n, ())]
        if any(peaks):
            peak, most = max(peaks) / 1e6, 300 if what.endswith("across") else 250
            row(what, f"≤ {most} MB", f"{peak:.0f} MB", met=peak <= most)
    return "\n".join(lines) + "\n" if lines else ""
