"""Task settings of DMS."""

from __future__ import annotations

from typing import Any

import pytest

from godwit.model.problems import Problems
from godwit.model.report import Severity
from godwit.model.settings import TaskSettings, read_settings
from godwit.model.settings_table import SETTINGS


def read(value: Any) -> TaskSettings:
    problems = Problems("shop.yaml")
    settings = read_settings(value, problems)
    problems.stop_if_any()
    return settings


def problems_of(value: Any) -> list[str]:
    problems = Problems("shop.yaml")
    read_settings(value, problems)
    return [str(p) for p in problems.found]


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


@pytest.mark.parametrize("path", sorted(SETTINGS))
def test_every_setting_says_what_it_does(path: str) -> None:
    setting = SETTINGS[path]
    assert bool(setting.effect) != bool(setting.instead)
    settings = read(nested(path, setting.default))
    assert settings.findings == ()
    assert settings[path] == setting.default
    assert not problems_of(nested(path, None))


@pytest.mark.parametrize("path", sorted(SETTINGS))
def test_changed_setting_is_honoured_or_found(path: str) -> None:
    setting = SETTINGS[path]
    other = {
        "bool": not setting.default,
        "int": setting.low if setting.low != setting.default else setting.high,
        "text": "other",
        "list": [{"a": 1}],
        "enum": next((c for c in setting.choices if c != setting.default), None),
    }[setting.kind]
    settings = read(nested(path, other))
    assert settings[path] == other
    if setting.honoured:
        assert settings.findings == ()
    else:
        (finding,) = settings.findings
        assert finding.severity is Severity.WARNING
        assert finding.subject == path
        assert setting.instead in finding.reason


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"FullLoadSetings": {}},
            "FullLoadSetings: unknown key\n    What to do: did you mean 'FullLoadSettings'?",
        ),
        ({"FullLoadSettings": {"MaxFullLoadSubtask": 1}}, "did you mean 'MaxFullLoadSubTasks'?"),
        ({"TTSettings": {"TTS3Settings": {"Bucket": "x"}}}, "did you mean 'BucketName'?"),
        ({"FullLoadSettings": {"MaxFullLoadSubTasks": 50}}, "50 is out of range"),
        ({"FullLoadSettings": {"MaxFullLoadSubTasks": "many"}}, "must be a whole number"),
        ({"FullLoadSettings": {"MaxFullLoadSubTasks": True}}, "must be a whole number"),
        ({"FullLoadSettings": {"TargetTablePrepMode": "DROP_CREATE"}}, "did you mean"),
        ({"FullLoadSettings": {"CreatePkAfterFullLoad": "yes"}}, "must be true or false"),
        ({"FullLoadSettings": 5}, "must be a group of settings"),
        ({"Logging": {"LogComponents": "x"}}, "must be a list"),
        (
            {
                "FullLoadSettings": {
                    "StopTaskCachedChangesApplied": True,
                    "StopTaskCachedChangesNotApplied": True,
                }
            },
            "cannot stop both",
        ),
    ],
)
def test_refused(value: Any, message: str) -> None:
    (problem,) = problems_of(value)
    assert message in problem


def test_a_document_as_dms_returns_it() -> None:
    settings = read(
        {
            "TargetMetadata": {
                "TargetSchema": "",
                "SupportLobs": True,
                "FullLobMode": False,
                "LobMaxSize": 64,
            },
            "FullLoadSettings": {
                "TargetTablePrepMode": "TRUNCATE_BEFORE_LOAD",
                "MaxFullLoadSubTasks": "16",
            },
            "Logging": {
                "EnableLogging": True,
                "LogComponents": [{"Id": "IO", "Severity": "LOGGER_SEVERITY_DEFAULT"}],
            },
            "BeforeImageSettings": None,
            "LoopbackPreventionSettings": None,
            "CharacterSetSettings": None,
            "PostProcessingRules": None,
            "FailTaskWhenCleanTaskResourceFailed": False,
            "ErrorBehavior": {
                "DataErrorPolicy": "SUSPEND_TABLE",
                "ApplyErrorInsertPolicy": "INSERT_RECORD",
            },
            "ValidationSettings": {"EnableValidation": False, "ThreadCount": 2},
        }
    )
    assert settings.prep_mode == "TRUNCATE_BEFORE_LOAD"
    assert settings.streams == 16
    assert settings.error_policy == {
        "data": "SUSPEND_TABLE",
        "insert": "INSERT_RECORD",
        "update": "LOG_ERROR",
        "delete": "IGNORE_RECORD",
        "table": "SUSPEND_TABLE",
        "truncation": "repeat",
        "alteration": "repeat",
    }
    assert not settings.validation.enabled
    assert settings.validation.rows_per_range is None
    assert [f.subject for f in settings.findings] == [
        "TargetMetadata.LobMaxSize",
        "Logging.EnableLogging",
        "Logging.LogComponents",
        "ValidationSettings.ThreadCount",
    ]


@pytest.mark.parametrize(
    ("applied", "not_applied", "stop"),
    [(False, False, None), (True, False, "caught-up"), (False, True, "loaded")],
)
def test_stop_after(applied: bool, not_applied: bool, stop: str | None) -> None:
    group = {
        "StopTaskCachedChangesApplied": applied,
        "StopTaskCachedChangesNotApplied": not_applied,
    }
    assert read({"FullLoadSettings": group}).stop_after == stop
