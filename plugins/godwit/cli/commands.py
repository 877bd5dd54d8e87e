"""The commands. Each reads a definition, calls the migrator and prints what comes back.

Exit codes: 0 done · 1 not equal, or a gate of the cutover is closed · 2 the definition or the
command line cannot be used · 3 an endpoint · 4 any other error · 130 stopped by a signal.
"""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from godwit.cli import exits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from godwit.migrator import Migrator

app = typer.Typer(
    help="Moves databases while the applications keep writing. One file is one migration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Connections are read from AIRFLOW_CONN_<ID>. Exit codes: 0 done · 1 not equal or gate "
    "closed · 2 definition or usage · 3 endpoint · 4 other error · 130 stopped.",
)

File = Annotated[Path, typer.Argument(help="The migration's YAML file.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only findings and errors on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]


class Until(StrEnum):
    """How far a run goes."""

    LOADED = "loaded"
    CAUGHT_UP = "caught-up"
    CUTOVER = "cutover"


@app.callback(invoke_without_command=True)
def start(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Moves databases while the applications keep writing. One file is one migration."""
    if version:
        from godwit import __version__

        typer.echo(__version__)
        raise typer.Exit(exits.OK)


@app.command()
def assess(file: File, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Check endpoints, mappings and settings, and size the work. Writes nothing anywhere."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        found = migrator.assess()
        return found, exits.OK if found.ready else exits.NO

    _perform("assess", file, work, as_json=as_json, quiet=quiet, debug=debug, store=False)


@app.command()
def convert(
    file: File, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Make schemas, types and tables on the target (what must be there before the rows)."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        migrator.configure_endpoints()
        report = migrator.convert_schema()
        return report, exits.NO if report.count("failed") else exits.OK

    _perform("convert", file, work, as_json=as_json, quiet=quiet, debug=debug)


@app.command()
def run(
    file: File,
    until: Annotated[
        Until | None,
        typer.Option(help="Default: loaded for full-load definitions, else caught-up."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then go on applying until stopped or cut over.")
    ] = False,
    streams: Annotated[
        int | None, typer.Option(min=1, help="Parallel streams; default: the instance's.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Migrate in this process as far as said; go on where an earlier run stopped."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        from godwit.migrator import run_until

        wanted = str(until) if until else ""
        outcome = run_until(migrator, wanted, follow=follow, streams=streams)
        return outcome, exits.OK if outcome.complete else exits.NO

    options = [f"--until {until}"] if until else []
    options += ["--follow"] if follow else []
    options += [f"--streams {streams}"] if streams else []
    _perform("run", file, work, options, as_json=as_json, quiet=quiet, debug=debug)


@app.command()
def reload(
    file: File,
    table: Annotated[
        list[str],
        typer.Option("--table", "-t", help="schema.table on the source; may be repeated."),
    ],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Load tables again, suspended ones or others, while the rest of the migration goes on."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        return migrator.reload(table), exits.OK

    options = [f"--table {shlex.quote(name)}" for name in table]
    _perform("reload", file, work, options, as_json=as_json, quiet=quiet, debug=debug)


@app.command()
def status(file: File, as_json: AsJson = False, debug: Debug = False) -> None:
    """Where the migration stands: phase, tables, checkpoint, lag, capture."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        return migrator.status(), exits.OK

    _perform("status", file, work, as_json=as_json, quiet=True, debug=debug, store=False)


@app.command()
def validate(
    file: File,
    repair: Annotated[bool, typer.Option("--repair", help="Make differing rows right.")] = False,
    drain: Annotated[
        bool,
        typer.Option(help="When nobody is applying changes, apply those of until now first."),
    ] = True,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare every table by content. Exits 0 only when all are equal."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        report = migrator.validate(repair=repair, drain=drain)
        return report, exits.OK if report.equal else exits.NO

    _perform("validate", file, work, as_json=as_json, quiet=quiet, debug=debug)


@app.command()
def cutover(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look at the gates.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Switch over: quiet the source, drain, validate, set sequences, enable triggers, hooks."""
    if not (dry_run or yes or as_json) and sys.stdin.isatty():
        typer.confirm("Applications on the source will be stopped. Cut over?", abort=True, err=True)

    def work(migrator: Migrator) -> tuple[Any, int]:
        report = migrator.cutover(dry_run=dry_run)
        return report, exits.OK if report.open else exits.NO

    _perform("cutover", file, work, as_json=as_json, quiet=quiet, debug=debug)


@app.command("fall-back")
def fall_back(
    file: File, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Undo a cutover: the source takes writes again."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        return {"undone": migrator.fall_back()}, exits.OK

    _perform("fall-back", file, work, as_json=as_json, quiet=quiet, debug=debug)


@app.command()
def cleanup(
    file: File,
    keep_control_tables: Annotated[
        bool, typer.Option("--keep-control-tables", help="Keep ledger and journal on the target.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Remove the capture from the source and the control tables from the target."""

    def work(migrator: Migrator) -> tuple[Any, int]:
        return {"removed": migrator.cleanup(control_tables=not keep_control_tables)}, exits.OK

    _perform("cleanup", file, work, as_json=as_json, quiet=quiet, debug=debug)


@app.command()
def schema() -> None:
    """Print the JSON Schema of migration files."""
    from godwit.model.definition import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def _perform(
    command: str,
    file: Path,
    work: Callable[[Migrator], tuple[Any, int]],
    options: Sequence[str] = (),
    *,
    as_json: bool,
    quiet: bool,
    debug: bool,
    store: bool = True,
) -> None:
    """Open the migration, do the work, print the result, exit with its code."""
    from rich.console import Console

    console = Console(stderr=True)
    try:
        result, code = _work(file, work, console, quiet=quiet, store=store)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every error ends as a code
        if debug:
            traceback.print_exc()
        again = " ".join(["godwit", command, shlex.quote(str(file)), *options])
        exits.print_error(console, error, again)
        if as_json:
            typer.echo(json.dumps(exits.error_data(error)))
        raise typer.Exit(exits.code_of(error)) from None
    if as_json:
        from godwit.migrator import plain

        typer.echo(json.dumps({**plain(result), "exit_code": code}))
    else:
        from godwit.cli.results import print_result

        print_result(Console(), result)
    raise typer.Exit(code)


def _work(
    file: Path,
    work: Callable[[Migrator], tuple[Any, int]],
    console: Console,
    *,
    quiet: bool,
    store: bool,
) -> tuple[Any, int]:
    from godwit.model.definition import load_definition

    definition = load_definition(file)
    # Heavy imports come after the file is known to be right.
    from godwit.cli.display import Display
    from godwit.cli.reporting import reporting
    from godwit.cli.signals import StopSignal
    from godwit.migrator import Migrator
    from godwit.model.endpoint import connection_from_environment

    with (
        StopSignal() as stop,
        Display(console, quiet=quiet) as display,
        reporting(definition.name, display, store=store) as reporter,
        Migrator(definition, connection_from_environment, reporter, stop=stop) as migrator,
    ):
        return work(migrator)
