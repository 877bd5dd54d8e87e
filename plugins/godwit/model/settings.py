"""Task settings: DMS's JSON, verbatim, as typed values.

Every key DMS knows is known (`settings_table`); one that has no effect here and was set to
something else than its default is a finding that says what to use instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from godwit.model.problems import KeyPath, Problems, did_you_mean
from godwit.model.report import Finding, Severity
from godwit.model.settings_table import SETTINGS, Setting

MB = 1024 * 1024


@dataclass(frozen=True)
class TaskSettings:
    """What was set, and the values that follow. `raw` is what was written."""

    raw: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getitem__(self, path: str) -> Any:
        """The value of ``Group.Key``: as set, else its default."""
        return self.given.get(path, SETTINGS[path].default)

    def is_set(self, path: str) -> bool:
        """It was written in the definition."""
        return path in self.given

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as written."""
        return dict(self.raw)

    # Full load

    @property
    def prep_mode(self) -> str:
        """``DROP_AND_CREATE``, ``TRUNCATE_BEFORE_LOAD`` or ``DO_NOTHING``."""
        return str(self["FullLoadSettings.TargetTablePrepMode"])

    @property
    def streams(self) -> int | None:
        """Chunks loaded at the same time; None = not set, the replication instance decides."""
        value = self.given.get("FullLoadSettings.MaxFullLoadSubTasks")
        return None if value is None else int(value)

    @property
    def stop_after(self) -> str | None:
        """``loaded`` or ``caught-up``: where the run is to stop; None = it goes on."""
        if self["FullLoadSettings.StopTaskCachedChangesNotApplied"]:
            return "loaded"
        return "caught-up" if self["FullLoadSettings.StopTaskCachedChangesApplied"] else None

    @property
    def target_schema(self) -> str:
        """Schema of every table on the target, "" = as on the source."""
        return str(self["TargetMetadata.TargetSchema"] or "")

    # Changes

    @property
    def batch_bytes(self) -> int | None:
        """Largest batch of changes in bytes; None = not set, the replication instance decides."""
        value = self.given.get("ChangeProcessingTuning.BatchApplyMemoryLimit")
        return None if not value else int(value) * MB

    @property
    def memory_mb(self) -> int | None:
        """Memory of the session; None = not set, the replication instance decides."""
        value = self.given.get("ChangeProcessingTuning.MemoryLimitTotal")
        return None if value is None else int(value)

    @property
    def truncation(self) -> str:
        """``repeat``, ``ignore`` or ``refuse``: what becomes of a TRUNCATE on the source."""
        if self["ErrorBehavior.ApplyErrorFailOnTruncationDdl"]:
            return "refuse"
        repeated = self["ChangeProcessingDdlHandlingPolicy.HandleSourceTableTruncated"]
        return "repeat" if repeated else "ignore"

    @property
    def alteration(self) -> str:
        """``repeat`` or ``refuse``: what becomes of a table that is altered on the source."""
        followed = self["ChangeProcessingDdlHandlingPolicy.HandleSourceTableAltered"]
        return "repeat" if followed else "refuse"

    # Errors

    @property
    def error_policy(self) -> dict[str, str]:
        """Policies in DMS's words, by the fields of ``godwit.protocols.ErrorPolicy``."""
        keys = {
            "data": "DataErrorPolicy",
            "insert": "ApplyErrorInsertPolicy",
            "update": "ApplyErrorUpdatePolicy",
            "delete": "ApplyErrorDeletePolicy",
            "table": "TableErrorPolicy",
        }
        words = {name: str(self[f"ErrorBehavior.{key}"]) for name, key in keys.items()}
        return words | {"truncation": self.truncation, "alteration": self.alteration}

    @property
    def fail_without_tables(self) -> bool:
        """Rules that fit no table are an error."""
        return bool(self["ErrorBehavior.FailOnNoTablesCaptured"])

    # Validation

    @property
    def validation(self) -> ValidationSettings:
        """How contents are compared."""
        group, size = "ValidationSettings.", "ValidationSettings.PartitionSize"
        return ValidationSettings(
            enabled=bool(self[f"{group}EnableValidation"]),
            rows_per_range=int(self[size]) if self.is_set(size) else None,
            failure_limit=int(self[f"{group}FailureMaxCount"]),
            table_failure_limit=int(self[f"{group}TableFailureMaxCount"]),
            repair=bool(self["ResyncSettings.EnableResync"]),
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Settings that were set and have no effect here, and what to use instead."""
        return tuple(
            Finding(
                "setting-without-effect",
                Severity.WARNING,
                path,
                "has no effect here: " + SETTINGS[path].instead,
                f"remove it, or leave it at its default ({json.dumps(SETTINGS[path].default)})",
            )
            for path, value in self.given.items()
            if not SETTINGS[path].honoured and not _is_default(SETTINGS[path], value)
        )


@dataclass(frozen=True)
class ValidationSettings:
    """How contents are compared. `rows_per_range` None = chosen from the table."""

    enabled: bool = True
    rows_per_range: int | None = None
    failure_limit: int = 10000
    table_failure_limit: int = 1000
    repair: bool = False


def _is_default(setting: Setting, value: Any) -> bool:
    return value == setting.default or (setting.kind in ("text", "list") and not value)


def read_settings(value: Any, problems: Problems, path: KeyPath = ()) -> TaskSettings:
    """Check DMS task settings; problems are added to `problems`, and the good ones come back."""
    if value is None:
        return TaskSettings()
    if not isinstance(value, Mapping):
        problems.add(
            path, "must be DMS's task settings", "write groups such as FullLoadSettings: {…}"
        )
        return TaskSettings()
    given = {p: v for p, v in _leaves(value, "", problems, path) if v is not None}
    before, after = (f"FullLoadSettings.StopTaskCachedChanges{w}Applied" for w in ("Not", ""))
    if given.get(before) and given.get(after):
        problems.add(
            (*path, *after.split(".")),
            "the run cannot stop both before and after cached changes are applied",
            "set one of StopTaskCachedChangesApplied and StopTaskCachedChangesNotApplied to false",
        )
    return TaskSettings(dict(value), given)


def _leaves(
    value: Mapping[str, Any], prefix: str, problems: Problems, path: KeyPath
) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name, place = f"{prefix}{key}", (*path, key)
        if name in SETTINGS:
            yield name, _value(SETTINGS[name], item, problems, place)
        elif any(p.startswith(f"{name}.") for p in SETTINGS):
            if isinstance(item, Mapping):
                yield from _leaves(item, f"{name}.", problems, place)
            elif item is not None:
                problems.add(place, "must be a group of settings", f"write {key}: {{…}}")
        else:
            known = {p.removeprefix(prefix).split(".")[0] for p in SETTINGS if p.startswith(prefix)}
            problems.unknown(place, sorted(known))


def _value(setting: Setting, value: Any, problems: Problems, path: KeyPath) -> Any:
    if value is None:
        return None
    reason, hint = "", ""
    if setting.kind == "bool":
        value, reason, hint = _bool(value)
    elif setting.kind == "int":
        value, reason, hint = _int(setting, value)
    elif setting.kind == "enum" and value not in setting.choices:
        reason, hint = f"{value!r} is not known", did_you_mean(str(value), setting.choices)
    elif setting.kind == "text" and not isinstance(value, str | int | float):
        reason, hint = "must be text", "write one value"
    elif setting.kind == "list" and not isinstance(value, list):
        reason, hint = "must be a list", "write [ … ]"
    if reason:
        problems.add(path, reason, hint)
        return None
    return value


def _bool(value: Any) -> tuple[Any, str, str]:
    words = {"true": True, "false": False}
    if isinstance(value, bool) or str(value).lower() in words:
        return words[str(value).lower()], "", ""
    return None, "must be true or false", "write true or false"


def _int(setting: Setting, value: Any) -> tuple[Any, str, str]:
    digits = isinstance(value, str) and value.lstrip("-").isdigit()
    if isinstance(value, bool) or not (isinstance(value, int) or digits):
        return None, "must be a whole number", f"write a number such as {setting.default}"
    low, high = setting.low, setting.high
    if low is not None and high is not None and not low <= int(value) <= high:
        return None, f"{int(value)} is out of range", f"use a number from {low} to {high}"
    return int(value), "", ""


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of task settings."""
    kinds = {
        "bool": "boolean",
        "int": "integer",
        "text": "string",
        "list": "array",
        "enum": "string",
    }
    root: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for setting in SETTINGS.values():
        *groups, key = setting.path.split(".")
        at = root
        for group in groups:
            empty = {"type": ["object", "null"], "additionalProperties": False, "properties": {}}
            at = at["properties"].setdefault(group, empty)
        about = setting.effect or f"No effect here: {setting.instead}"
        leaf: dict[str, Any] = {"type": [kinds[setting.kind], "null"], "description": about}
        if setting.default is not None:
            leaf["default"] = setting.default
        if setting.choices:
            leaf = {
                "enum": [*setting.choices, None],
                "default": setting.default,
                "description": about,
            }
        if setting.low is not None:
            leaf |= {"minimum": setting.low, "maximum": setting.high}
        at["properties"][key] = leaf
    return root
