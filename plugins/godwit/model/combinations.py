"""Combinations of a definition's keys that make no sense together."""

from __future__ import annotations

from typing import Any

from godwit.model.checking import as_mapping
from godwit.model.problems import Problems
from godwit.model.rules import RuleSet
from godwit.model.settings import TaskSettings


def check_combinations(data: dict[str, Any], problems: Problems) -> None:
    """Combinations that make no sense; looks at plain data, to work beside other problems."""
    _impossible_tables(data, problems)
    _impossible_schedule(data, problems)
    kind, cutover = data.get("migration_type"), as_mapping(data.get("cutover"))
    if kind == "full-load" and cutover and cutover.get("mode", "approval") != "never":
        problems.add(
            ("cutover",),
            "a full-load migration does not follow the source, so there is nothing to cut over to",
            "use migration_type: full-load-and-cdc, or remove cutover",
        )
    if cutover.get("fence") == "none" and cutover.get("mode") == "automatic":
        problems.add(
            ("cutover", "fence"),
            "without a fence nobody may write to the source, and only a person can know that",
            "use fence: read-only, or mode: approval",
        )
    if cutover.get("fence") == "none" and cutover.get("terminate_sessions"):
        problems.add(
            ("cutover", "terminate_sessions"),
            "sessions that are ended come back when there is no fence",
            "use fence: read-only or revoke, or remove terminate_sessions",
        )
    source, target = (as_mapping(data.get(k)) for k in ("source", "target"))
    if source.get("conn_id") and source.get("conn_id") == target.get("conn_id"):
        problems.add(
            ("target", "conn_id"), "source and target are the same connection", "name another one"
        )


def _impossible_tables(data: dict[str, Any], problems: Problems) -> None:
    rules = data.get("table_mappings")
    selections = rules.selections if isinstance(rules, RuleSet) else ()
    if data.get("tables") is not None and selections:
        problems.add(
            ("tables",),
            "tables and selection rules both say which tables migrate",
            "keep one: move the patterns into selection rules, or remove those "
            "(other rules of table_mappings go well with tables)",
        )
    elif data.get("tables") is None and not any(s.action != "exclude" for s in selections):
        unreadable = any(
            p.file != problems.file or p.key.startswith("table_mappings") for p in problems.found
        )
        if not unreadable:
            problems.add(
                ("table_mappings",) if isinstance(rules, RuleSet) else (),
                "nothing says which tables migrate",
                'add tables: {include: ["public.*"]}, or an include rule to table_mappings',
            )


def _impossible_schedule(data: dict[str, Any], problems: Problems) -> None:
    schedule, kind = data.get("schedule"), data.get("migration_type")
    _impossible_window(data, problems)
    if data.get("catchup") is True and schedule is None:
        problems.add(
            ("catchup",),
            "there are no runs to make up for",
            "add schedule and start_date, or remove catchup",
        )
    elif data.get("catchup") is True and data.get("start_date") is None:
        problems.add(("catchup",), "catch-up needs the first day", "add start_date")
    mode = as_mapping(data.get("cutover")).get("mode", "approval")
    if (
        schedule is not None
        and schedule != "@once"
        and kind in ("cdc", "full-load-and-cdc")
        and mode != "never"
    ):
        problems.add(
            ("schedule",),
            "a migration that cuts over happens once",
            "remove schedule, or set cutover: {mode: never} for ongoing replication",
        )


def _impossible_window(data: dict[str, Any], problems: Problems) -> None:
    schedule, kind = data.get("schedule"), data.get("migration_type")
    window = data.get("load_window")
    if window is not None and kind in ("cdc", "full-load-and-cdc"):
        problems.add(
            ("load_window",),
            f"a window is loaded run by run, and {kind} follows the log",
            "use migration_type: full-load, or remove load_window",
        )
    elif window is not None and (schedule is None or schedule in ("@once", "@continuous")):
        problems.add(
            ("load_window",),
            "each run loads its data interval, and only a schedule with intervals gives it one",
            "add schedule, e.g. '@daily', or remove load_window",
        )
    settings = data.get("task_settings")
    prep = (settings if isinstance(settings, TaskSettings) else TaskSettings()).prep_mode
    if window is None and kind == "full-load" and schedule not in (None, "@once"):
        if prep == "DO_NOTHING":
            problems.add(
                ("schedule",),
                "each run loads every row again, and DO_NOTHING refuses tables that have rows",
                "set TargetTablePrepMode to TRUNCATE_BEFORE_LOAD or DROP_AND_CREATE in "
                "task_settings: FullLoadSettings, or add load_window: {column: …}",
            )
    elif window is not None and prep in ("DROP_AND_CREATE", "TRUNCATE_BEFORE_LOAD"):
        problems.add(
            ("task_settings", "FullLoadSettings", "TargetTablePrepMode"),
            f"{prep} would throw away the windows loaded before",
            "use DO_NOTHING: a window replaces its own rows",
        )
