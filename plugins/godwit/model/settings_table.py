# ruff: noqa: E501
"""Every task setting of AWS DMS: type, default, range, and what it does here.

The one place that knows them; `godwit.model.settings` reads files by it, and the page
``docs/dms-compatibility.md`` is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        path: group and key, with dots.
        kind: ``bool``, ``int``, ``text``, ``list`` or ``enum``.
        default: DMS's default, unless `ours` says otherwise.
        effect: what it does here; "" = nothing.
        instead: why it does nothing here, and what takes its place.
        low, high: range of an ``int``.
        choices: of an ``enum``.
    """

    path: str
    kind: str
    default: Any = None
    effect: str = ""
    instead: str = ""
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def honoured(self) -> bool:
        """It has an effect here."""
        return bool(self.effect)


def _on(path: str, effect: str = "", *, no: str = "") -> Setting:
    return Setting(path, "bool", default=True, effect=effect, instead=no)


def _off(path: str, effect: str = "", *, no: str = "") -> Setting:
    return Setting(path, "bool", default=False, effect=effect, instead=no)


def _int(
    path: str, default: int, low: int, high: int, effect: str = "", *, no: str = ""
) -> Setting:
    return Setting(path, "int", default, effect, no, low, high)


def _text(path: str, default: str | None, effect: str = "", *, no: str = "") -> Setting:
    return Setting(path, "text", default, effect, no)


def _enum(
    path: str, choices: str, effect: str = "", *, no: str = "", default: str | None = None
) -> Setting:
    words = tuple(choices.split())
    return Setting(path, "enum", default or words[0], effect, no, choices=words)


_POLICY = "LOG_ERROR IGNORE_RECORD SUSPEND_TABLE STOP_TASK"
_BIG = 2**31 - 1
_WHOLE = "values of any size are always copied whole"
_STREAMS = "loading is parallel by chunks: use FullLoadSettings.MaxFullLoadSubTasks"
_APPLY = "changes are applied as sets in one session: use replication_instance.class for its memory"
_RETRY = "retries are Airflow's: use the DAG's retries and retry_delay; every step continues where it was"
_LOGS = "tasks log where Airflow logs"
_STATE = "history, status and statistics are in Godwit's own state store and control tables"
_ESCALATE = "errors are not counted up to a harsher policy: set the harsher policy itself"
_IMAGE = "before images are not written: keep a history table on the target"
_TRAVEL = "there is no time travel log: the exceptions table and the journal say what happened"
_ANY_TEXT = (
    "text is carried as it is; a character the target cannot hold is an error that names the row"
)
_LOOP = "a migration runs one way; changes of the way back are told apart by their origin"

TARGET = (
    _text(
        "TargetMetadata.TargetSchema", "", "schema of every table on the target; a schema rule wins"
    ),
    _on("TargetMetadata.SupportLobs", no=_WHOLE),
    _off("TargetMetadata.FullLobMode", no=_WHOLE),
    _int("TargetMetadata.LobChunkSize", 64, 0, _BIG, no=_WHOLE),
    _on("TargetMetadata.LimitedSizeLobMode", no=_WHOLE),
    _int("TargetMetadata.LobMaxSize", 32, 0, _BIG, no=_WHOLE),
    _int("TargetMetadata.InlineLobMaxSize", 0, 0, 102400, no=_WHOLE),
    _int(
        "TargetMetadata.LoadMaxFileSize",
        0,
        0,
        100000,
        no="rows are streamed, not written to files first",
    ),
    _off(
        "TargetMetadata.BatchApplyEnabled",
        no="changes are always applied in batches, exactly",
    ),
    _int("TargetMetadata.ParallelLoadThreads", 0, 0, 200, no=_STREAMS),
    _int("TargetMetadata.ParallelLoadBufferSize", 50, 0, 1000, no=_STREAMS),
    _int("TargetMetadata.ParallelLoadQueuesPerThread", 1, 0, _BIG, no=_STREAMS),
    _int("TargetMetadata.ParallelApplyThreads", 0, 0, 200, no=_APPLY),
    _int("TargetMetadata.ParallelApplyBufferSize", 100, 0, 1000, no=_APPLY),
    _int("TargetMetadata.ParallelApplyQueuesPerThread", 1, 0, _BIG, no=_APPLY),
    _off(
        "TargetMetadata.TaskRecoveryTableEnabled",
        no="the checkpoint is always kept on the target, with the data",
    ),
)

FULL_LOAD = (
    _enum(
        "FullLoadSettings.TargetTablePrepMode",
        "DROP_AND_CREATE TRUNCATE_BEFORE_LOAD DO_NOTHING",
        "what happens to tables the target already has (default here: DO_NOTHING, which refuses a filled table)",
        default="DO_NOTHING",
    ),
    _off(
        "FullLoadSettings.CreatePkAfterFullLoad",
        "true: primary keys are made after the rows (always so here)",
    ),
    _off(
        "FullLoadSettings.StopTaskCachedChangesApplied",
        "true: the run stops once the target is caught up",
    ),
    _off(
        "FullLoadSettings.StopTaskCachedChangesNotApplied",
        "true: the run stops after the full load",
    ),
    _int(
        "FullLoadSettings.MaxFullLoadSubTasks",
        8,
        1,
        49,
        "chunks loaded at the same time; wins over the class",
    ),
    _int(
        "FullLoadSettings.TransactionConsistencyTimeout",
        600,
        0,
        _BIG,
        no="opening the capture waits for running transactions, so that none is missed",
    ),
    _int(
        "FullLoadSettings.CommitRate",
        10000,
        1,
        50000,
        no="a chunk is one commit, with its line in the ledger",
    ),
)

LOGGING = (
    _off("Logging.EnableLogging", no=_LOGS),
    _on("Logging.EnableLogContext", no=_LOGS),
    Setting("Logging.LogComponents", "list", None, instead=_LOGS),
    _text("Logging.CloudWatchLogGroup", None, no=_LOGS),
    _text("Logging.CloudWatchLogStream", None, no=_LOGS),
    _off("Logging.DeleteTaskLogs", no=_LOGS),
)

CONTROL = (
    _text(
        "ControlTablesSettings.ControlSchema",
        "",
        no="control tables are in the schema godwit of the target",
    ),
    _int("ControlTablesSettings.HistoryTimeslotInMinutes", 5, 1, _BIG, no=_STATE),
    _int("ControlTablesSettings.historyTimeslotInMinutes", 5, 1, _BIG, no=_STATE),
    _off("ControlTablesSettings.HistoryTableEnabled", no=_STATE),
    _off("ControlTablesSettings.SuspendedTablesTableEnabled", no=_STATE),
    _off("ControlTablesSettings.StatusTableEnabled", no=_STATE),
    _off("ControlTablesSettings.FullLoadExceptionTableEnabled", no=_STATE),
)

TUNING = (
    _int("StreamBufferSettings.StreamBufferCount", 3, 1, _BIG, no=_APPLY),
    _int("StreamBufferSettings.StreamBufferSizeInMB", 8, 1, _BIG, no=_APPLY),
    _int("StreamBufferSettings.CtrlStreamBufferSizeInMB", 5, 1, 8, no=_APPLY),
    _on(
        "ChangeProcessingTuning.BatchApplyPreserveTransaction",
        no="a batch is whole transactions, always",
    ),
    _int(
        "ChangeProcessingTuning.BatchApplyTimeoutMin",
        1,
        0,
        _BIG,
        no="what is complete is applied at once, without a window",
    ),
    _int(
        "ChangeProcessingTuning.BatchApplyTimeoutMax",
        30,
        0,
        _BIG,
        no="what is complete is applied at once, without a window",
    ),
    _int(
        "ChangeProcessingTuning.BatchApplyMemoryLimit",
        500,
        0,
        _BIG,
        "largest batch of changes, MB (unset: from the memory)",
    ),
    _int(
        "ChangeProcessingTuning.BatchSplitSize",
        0,
        0,
        _BIG,
        no="batches are cut by bytes: use BatchApplyMemoryLimit",
    ),
    _int(
        "ChangeProcessingTuning.MinTransactionSize",
        1000,
        1,
        _BIG,
        no="what is complete is applied at once, without a window",
    ),
    _int(
        "ChangeProcessingTuning.CommitTimeout",
        1,
        1,
        _BIG,
        no="what is complete is applied at once, without a window",
    ),
    _int(
        "ChangeProcessingTuning.MemoryLimitTotal",
        1024,
        1,
        _BIG,
        "memory in MB (unset: from the class); a batch of changes takes at most an eighth",
    ),
    _int(
        "ChangeProcessingTuning.MemoryKeepTime",
        60,
        0,
        _BIG,
        no="only memory decides when a transaction spills",
    ),
    _int(
        "ChangeProcessingTuning.StatementCacheSize",
        50,
        0,
        200,
        no="changes are applied as sets, with a few statements for each table",
    ),
    _int("ChangeProcessingTuning.RecoveryTimeout", -1, -1, _BIG, no=_RETRY),
)

_SHAPE = "a captured table that is dropped on the source is taken out or stops the run (TableErrorPolicy); the target keeps it"

DDL = (
    _on("ChangeProcessingDdlHandlingPolicy.HandleSourceTableDropped", no=_SHAPE),
    _on(
        "ChangeProcessingDdlHandlingPolicy.HandleSourceTableTruncated",
        "false: a TRUNCATE is not repeated; the target keeps rows that the source lacks",
    ),
    _on(
        "ChangeProcessingDdlHandlingPolicy.HandleSourceTableAltered",
        "false: a table that is altered on the source is taken out or stops the run "
        "(TableErrorPolicy), instead of being altered on the target as well",
    ),
)

ERRORS = (
    _enum("ErrorBehavior.DataErrorPolicy", _POLICY, "a value the target refuses"),
    _enum(
        "ErrorBehavior.DataTruncationErrorPolicy",
        _POLICY,
        no="nothing is truncated; a value too long is a data error: DataErrorPolicy",
    ),
    _enum(
        "ErrorBehavior.DataErrorEscalationPolicy",
        "SUSPEND_TABLE STOP_TASK LOG_ERROR IGNORE_RECORD",
        no=_ESCALATE,
    ),
    _int("ErrorBehavior.DataErrorEscalationCount", 0, 0, 10000, no=_ESCALATE),
    _enum(
        "ErrorBehavior.DataMaskingErrorPolicy",
        "STOP_TASK LOG_ERROR IGNORE_RECORD SUSPEND_TABLE",
        no="a value that cannot be masked is never loaded: the run stops",
    ),
    _enum(
        "ErrorBehavior.EventErrorPolicy",
        "IGNORE STOP_TASK",
        no="an unknown event for a captured table always stops the run",
    ),
    _enum("ErrorBehavior.TableErrorPolicy", "SUSPEND_TABLE STOP_TASK", "a table that cannot go on"),
    _enum("ErrorBehavior.TableErrorEscalationPolicy", "STOP_TASK SUSPEND_TABLE", no=_ESCALATE),
    _int("ErrorBehavior.TableErrorEscalationCount", 0, 0, 10000, no=_ESCALATE),
    _int("ErrorBehavior.RecoverableErrorCount", -1, -1, _BIG, no=_RETRY),
    _int("ErrorBehavior.RecoverableErrorInterval", 5, 0, _BIG, no=_RETRY),
    _on("ErrorBehavior.RecoverableErrorThrottling", no=_RETRY),
    _int("ErrorBehavior.RecoverableErrorThrottlingMax", 1800, 0, _BIG, no=_RETRY),
    _on("ErrorBehavior.RecoverableErrorStopRetryAfterThrottlingMax", no=_RETRY),
    _enum(
        "ErrorBehavior.ApplyErrorDeletePolicy",
        "IGNORE_RECORD LOG_ERROR SUSPEND_TABLE STOP_TASK",
        "a delete that finds no row",
    ),
    _enum(
        "ErrorBehavior.ApplyErrorInsertPolicy",
        f"{_POLICY} INSERT_RECORD",
        "an insert of a row that is there (INSERT_RECORD: replace it)",
    ),
    _enum(
        "ErrorBehavior.ApplyErrorUpdatePolicy",
        f"{_POLICY} UPDATE_RECORD",
        "an update that finds no row (UPDATE_RECORD: insert it)",
    ),
    _enum("ErrorBehavior.ApplyErrorEscalationPolicy", _POLICY, no=_ESCALATE),
    _int("ErrorBehavior.ApplyErrorEscalationCount", 0, 0, 10000, no=_ESCALATE),
    _off(
        "ErrorBehavior.ApplyErrorFailOnTruncationDdl",
        "true: a TRUNCATE on the source stops the run before it is applied",
    ),
    _on(
        "ErrorBehavior.FailOnNoTablesCaptured",
        "true: a migration whose rules fit no table is an error",
    ),
    _off(
        "ErrorBehavior.FailOnTransactionConsistencyBreached",
        no="opening the capture waits for running transactions, so that none is missed",
    ),
    _on(
        "ErrorBehavior.FullLoadIgnoreConflicts",
        no="until the target is caught up changes meet rows loaded later: that is no error",
    ),
)

VALIDATION = (
    _on(
        "ValidationSettings.EnableValidation",
        "false: contents are not compared (default here: true)",
    ),
    _enum(
        "ValidationSettings.ValidationMode",
        "ROW_LEVEL GROUP_LEVEL",
        no="groups are compared first, and differing ones down to rows",
    ),
    _int(
        "ValidationSettings.ThreadCount",
        5,
        1,
        100,
        no="the servers compute the hashes, one table after the other",
    ),
    _int(
        "ValidationSettings.PartitionSize",
        10000,
        1,
        _BIG,
        "rows of one range of keys (at least; unset: chosen from the table)",
    ),
    _int("ValidationSettings.FailureMaxCount", 10000, 1, _BIG, "differences listed in all"),
    _int(
        "ValidationSettings.TableFailureMaxCount", 1000, 1, _BIG, "differences listed for a table"
    ),
    _int(
        "ValidationSettings.RecordFailureDelayInMinutes",
        5,
        0,
        _BIG,
        no="a row that differs is looked at again once the apply has passed it",
    ),
    _int(
        "ValidationSettings.RecordFailureDelayLimitInMinutes",
        0,
        0,
        _BIG,
        no="a row that differs is looked at again once the apply has passed it",
    ),
    _int(
        "ValidationSettings.RecordSuspendDelayInMinutes",
        30,
        0,
        _BIG,
        no="a row that differs is looked at again once the apply has passed it",
    ),
    _int("ValidationSettings.MaxKeyColumnSize", 8096, 1, _BIG, no="keys of any size are compared"),
    _off("ValidationSettings.ValidationOnly", no="use `godwit validate FILE`"),
    _off("ValidationSettings.HandleCollationDiff", no="no comparison depends on a collation"),
    _off("ValidationSettings.SkipLobColumns", no="every column is compared"),
    _int(
        "ValidationSettings.ValidationPartialLobSize",
        0,
        0,
        _BIG,
        no="every value is compared whole",
    ),
    _int("ValidationSettings.ValidationS3Mask", 0, 0, _BIG, no="the target is not an object store"),
    _int("ValidationSettings.ValidationS3Time", 0, 0, _BIG, no="the target is not an object store"),
    _int(
        "ValidationSettings.ValidationQueryCdcDelaySeconds",
        0,
        0,
        _BIG,
        no="a row that differs is looked at again once the apply has passed it",
    ),
    _off(
        "ResyncSettings.EnableResync", "true: differences found by the validate task are repaired"
    ),
    _text("ResyncSettings.ResyncSchedule", None, no="repair runs with the validate task"),
    _int("ResyncSettings.MaxResyncTime", 14400, 5, 14400, no="repair runs with the validate task"),
    _text("ResyncSettings.ValidationTaskId", None, no="repair runs with the validate task"),
)

OTHERS = (
    _off("LoopbackPreventionSettings.EnableLoopbackPrevention", no=_LOOP),
    _text("LoopbackPreventionSettings.SourceSchema", None, no=_LOOP),
    _text("LoopbackPreventionSettings.TargetSchema", None, no=_LOOP),
    Setting("CharacterSetSettings.CharacterReplacements", "list", None, instead=_ANY_TEXT),
    _text("CharacterSetSettings.CharacterSetSupport.CharacterSet", None, no=_ANY_TEXT),
    _text(
        "CharacterSetSettings.CharacterSetSupport.ReplaceWithCharacterCodePoint", None, no=_ANY_TEXT
    ),
    _off("BeforeImageSettings.EnableBeforeImage", no=_IMAGE),
    _text("BeforeImageSettings.FieldName", "", no=_IMAGE),
    _enum("BeforeImageSettings.ColumnFilter", "pk-only non-lob all", no=_IMAGE),
    _off("TTSettings.EnableTT", no=_TRAVEL),
    _text("TTSettings.FailTaskOnTTFailure", None, no=_TRAVEL),
    _enum("TTSettings.TTS3Settings.EncryptionMode", "SSE_S3 SSE_KMS", no=_TRAVEL),
    _text("TTSettings.TTS3Settings.ServerSideEncryptionKmsKeyId", None, no=_TRAVEL),
    _text("TTSettings.TTS3Settings.ServiceAccessRoleArn", None, no=_TRAVEL),
    _text("TTSettings.TTS3Settings.BucketName", None, no=_TRAVEL),
    _text("TTSettings.TTS3Settings.BucketFolder", None, no=_TRAVEL),
    _off("TTSettings.TTS3Settings.EnableDeletingFromS3OnTaskDelete", no=_TRAVEL),
    _off("TTSettings.TTRecordSettings.EnableRawData", no=_TRAVEL),
    _enum("TTSettings.TTRecordSettings.RawDataFormat", "TEXT HEX", no=_TRAVEL),
    _text("TTSettings.TTRecordSettings.OperationsToLog", "ALL", no=_TRAVEL),
    _int("TTSettings.TTRecordSettings.MaxRecordSize", 64, 1, _BIG, no=_TRAVEL),
    _off("FailTaskWhenCleanTaskResourceFailed", no="a task fails when its work fails"),
    Setting("PostProcessingRules", "list", None, instead="tags are for files of an object store"),
)

#: Every setting by its path.
SETTINGS: dict[str, Setting] = {
    s.path: s
    for s in (*TARGET, *FULL_LOAD, *LOGGING, *CONTROL, *TUNING, *DDL, *ERRORS, *VALIDATION, *OTHERS)
}
