"""`python -m benchmarks [--only load,cdc,…] [--quick] [--write]`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import across_cdc, across_load, cdc, latency, load, machine, report
from benchmarks.across_ends import Ends, ends
from benchmarks.pair import Pair, pair
from include.demo.servers import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
FIGURES = ROOT / "docs" / "benchmarks.json"


def main() -> None:
    """Run what is asked for, print it, and write the page when asked to."""
    options = arguments().parse_args()
    results: dict[str, Any] = {}
    for name in chosen(options.only):
        print(f"== {name}", flush=True)
        if name in ACROSS:
            with ends() as between:
                contests = ACROSS[name](between, options)
        else:
            with pair() as servers:
                contests = SECTIONS[name](servers, options)
        results[name] = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "quick": options.quick,
            "machine": machine.facts(),
            "contests": contests,
        }
    print(report.markdown(results))
    if options.write:
        write(results, PAGE, FIGURES)


def chosen(only: str) -> list[str]:
    """The sections that were asked for; a group's name stands for its sections."""
    known = [*SECTIONS, *ACROSS]
    groups = {"postgres": list(SECTIONS), "mysql": list(ACROSS)}
    found = [s for name in filter(None, only.split(",")) for s in groups.get(name, [name])]
    if unknown := [name for name in found if name not in known]:
        raise SystemExit(f"no section {', '.join(unknown)}: {', '.join([*groups, *known])}")
    return found or known


def write(results: dict[str, Any], page: Path, figures: Path) -> None:
    """The page and its figures; sections that were not measured now stay as they were."""
    known = json.loads(figures.read_text()) if figures.exists() else {}
    together = {**known, **results}
    ordered = {name: together[name] for name in [*SECTIONS, *ACROSS] if name in together}
    figures.write_text(json.dumps(ordered, indent=1) + "\n")
    page.write_text(report.markdown(ordered))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="", help=f"some of: postgres,mysql,{','.join([*SECTIONS, *ACROSS])}"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: a look, no measurement")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--rounds", type=int, default=0, help="turns of each contender")
    parser.add_argument("--changes", type=int, default=0, help="changes of each CDC workload")
    parser.add_argument("--rows", type=int, default=0, help="rows of the table that is loaded")
    parser.add_argument("--seconds", type=float, default=0, help="of each latency run")
    parser.add_argument(
        "--workloads", default="", help="some of: ins,upd,mix,hot,huge,my-ins,my-upd,my-mix"
    )
    return parser


def _sizes(options: argparse.Namespace) -> tuple[int, int, int, float]:
    """Rounds, rows, changes, seconds."""
    usual = (1, 20_000, 6_000, 2.0) if options.quick else (3, 2_000_000, 300_000, 10.0)
    given = (options.rounds, options.rows, options.changes, options.seconds)
    rounds, rows, changes, seconds = (g or u for g, u in zip(given, usual, strict=True))
    return int(rounds), int(rows), int(changes), float(seconds)


def _load(servers: Pair, options: argparse.Namespace) -> list[dict[str, Any]]:
    rounds, rows, _, _ = _sizes(options)
    copies = load.copies(servers, rows=rows, rounds=rounds)
    scale = 0.1 if options.quick else 1.0
    return [copies, *load.whole_steps(servers, rows=rows, scale=scale, rounds=rounds)]


def _cdc(servers: Pair, options: argparse.Namespace) -> list[dict[str, Any]]:
    rounds, _, changes, _ = _sizes(options)
    names = options.workloads.split(",") if options.workloads else ()
    return cdc.drain(servers, changes=changes, rounds=rounds, names=names)


def _latency(servers: Pair, options: argparse.Namespace) -> list[dict[str, Any]]:
    rounds, _, _, seconds = _sizes(options)
    return [latency.beats(servers, rate=500, seconds=seconds, rounds=rounds)]


def _across_load(
    one: Callable[..., list[dict[str, Any]]], share: int = 1
) -> Callable[[Ends, argparse.Namespace], list[dict[str, Any]]]:
    def run(servers: Ends, options: argparse.Namespace) -> list[dict[str, Any]]:
        rounds, rows, _, _ = _sizes(options)
        return one(servers, rows=max(1000, rows // share), rounds=min(rounds, TURNS))

    return run


def _across_cdc(servers: Ends, options: argparse.Namespace) -> list[dict[str, Any]]:
    rounds, _, changes, _ = _sizes(options)
    changes = changes if options.quick or options.changes else 1_000_000
    names = options.workloads.split(",") if options.workloads else ()
    return across_cdc.drain(servers, changes=changes, rounds=min(rounds, TURNS), names=names)


def _across_decode(servers: Ends, options: argparse.Namespace) -> list[dict[str, Any]]:
    rounds, _, changes, _ = _sizes(options)
    return [across_cdc.decoding(servers, changes=changes, rounds=rounds)]


def _across_latency(servers: Ends, options: argparse.Namespace) -> list[dict[str, Any]]:
    rounds, _, _, seconds = _sizes(options)
    return [across_cdc.beats(servers, rate=500, seconds=seconds, rounds=min(rounds, TURNS))]


#: Of those that take long; their slow peers take one.
TURNS = 2
#: Between engines.
ACROSS: dict[str, Callable[[Ends, argparse.Namespace], list[dict[str, Any]]]] = {
    "mysql-postgres": _across_load(across_load.to_postgres),
    "postgres-mysql": _across_load(across_load.to_mysql, 2),
    "mysql-mysql": _across_load(across_load.between_mysql, 4),
    "mysql-cdc": _across_cdc,
    "mysql-decode": _across_decode,
    "mysql-latency": _across_latency,
}
#: Between two PostgreSQLs.
SECTIONS: dict[str, Callable[[Pair, argparse.Namespace], list[dict[str, Any]]]] = {
    "load": _load,
    "cdc": _cdc,
    "latency": _latency,
}


if __name__ == "__main__":
    main()
