"""A whole migration in one process, from wherever an earlier run stopped."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from godwit.errors import DefinitionError, FencedError, StoppedError
from godwit.migrator.migration import RUNNER
from godwit.migrator.outcome import RunOutcome
from godwit.migrator.refusals import refuse_after_cutover

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from godwit.migrator.migration import Migrator
    from godwit.model.chunks import Bundle, LoadedChunk

log = logging.getLogger(__name__)

#: How often a run looks whether another one has begun.
LOOK_SECONDS = 1.0
#: How often the newest run begins again when an older one has fenced it.
INSISTENCE = 3


def run_until(
    migrator: Migrator, until: str = "", *, follow: bool = False, streams: int | None = None
) -> RunOutcome:
    """Migrate as far as `until` says.

    Everything already done, by whichever process, is found in the control tables and not done
    again. A second run of the same migration takes over: the first ends with FencedError and has
    written nothing since.

    Args:
        migrator: the migration.
        until: ``loaded`` (rows and row identities; full-load definitions: the whole schema too),
            ``caught-up`` (everything committed on the source when it last looked is applied) or
            ``cutover``; empty = ``loaded`` for full-load definitions, else ``caught-up``.
        follow: then go on applying until stopped or cut over.
        streams: parallel streams of the load; None = as the replication instance says.

    Raises:
        StoppedError: asked to stop; run it again to go on.
    """
    return _Run(migrator, _until(migrator, until, follow=follow), streams).go(follow=follow)


def _until(migrator: Migrator, until: str, *, follow: bool) -> str:
    usual = migrator.definition.task_settings.stop_after or "caught-up"
    wanted = until or (usual if migrator.captures else "loaded")
    if (wanted != "loaded" or follow) and not migrator.captures:
        raise DefinitionError(
            f"a full-load migration cannot run until {wanted if wanted != 'loaded' else 'stopped'}",
            where=migrator.name,
            why="it has no change data capture",
            hint="use `--until loaded`, or migration_type: full-load-and-cdc",
        )
    return wanted


class _Run:
    """One run; counts what it did."""

    def __init__(self, migrator: Migrator, until: str, streams: int | None) -> None:
        self._migrator, self._until, self._streams = migrator, until, streams
        self._begun = time.monotonic()
        self._loaded: list[LoadedChunk] = []
        self._before = 0
        self._sessions: list[object] = []
        self._schema: dict[str, int] = {}

    def go(self, *, follow: bool) -> RunOutcome:
        """Do what is left to do."""
        migrator = self._migrator
        with _Takeover(migrator):
            result = self._insisting(lambda: self._steps(follow=follow))
        return RunOutcome(
            migration=migrator.name,
            until=self._until,
            seconds=time.monotonic() - self._begun,
            chunks=len(self._loaded),
            chunks_before=self._before,
            rows=sum(line.rows for line in self._loaded),
            bytes=sum(line.bytes for line in self._loaded),
            sessions=tuple(self._sessions),
            applied_to=migrator.control.progress().checkpoint,
            schema=self._schema,
            cutover=result,
            suspended={str(t): why for t, why in migrator.control.suspended().items()},
            refused=migrator.control.exception_count(),
        )

    def _steps(self, *, follow: bool) -> object:
        """What is left to do; returns the cutover's report if there was one."""
        migrator = self._migrator
        if self._until != "cutover":
            refuse_after_cutover(migrator.name, cut_over=migrator.cut_over())
        if not migrator.cut_over():
            self._to_loaded()
            if self._until != "loaded":
                self._to_caught_up()
        if self._until == "cutover":
            return migrator.cutover()
        if follow:
            self._sessions.append(migrator.follow())
            migrator.check_stop()
        return None

    def _insisting(self, work: Callable[[], object]) -> object:
        """The newest run goes on: one that is older may take an epoch from it before it notices."""
        pause = threading.Event()
        for _ in range(INSISTENCE):
            try:
                return work()
            except FencedError:
                pause.wait(2 * LOOK_SECONDS)
                if self._migrator.overtaken:
                    raise
        return work()

    def _to_loaded(self) -> None:
        migrator = self._migrator
        if migrator.definition.reloads and migrator.done("finish_schema"):
            migrator.begin_run(secrets.token_hex(8))
        instance = migrator.provision_instance()
        if not migrator.done("full_load"):
            migrator.configure_endpoints()
            self._count(migrator.convert_schema())
            bundles = migrator.plan_chunks()
            self._load(bundles, self._streams or instance.streams)
        if not migrator.captures:
            migrator.catch_up()
            self._finish_schema()

    def _to_caught_up(self) -> None:
        migrator = self._migrator
        if not migrator.consistent():
            self._sessions.append(migrator.catch_up())
        self._finish_schema()
        self._sessions.append(migrator.follow(migrator.source.position()))

    def _finish_schema(self) -> None:
        if not self._migrator.done("finish_schema"):
            self._count(self._migrator.finish_schema(alone=True))

    def _count(self, report: object) -> None:
        for item in getattr(report, "objects", ()):
            self._schema[item.state] = self._schema.get(item.state, 0) + 1

    def _load(self, bundles: Sequence[Bundle], streams: int) -> None:
        migrator = self._migrator
        ledger = migrator.control.loaded()
        left = [b for b in bundles if any(c.id not in ledger for c in b.chunks)]
        self._before = len(ledger)
        # A bundle under one snapshot uses all streams by itself; the others fill them together.
        alone = [b for b in left if b.shared_snapshot]
        for bundle in alone:
            self._note(migrator.load(bundle), ledger)
        self._together([b for b in left if not b.shared_snapshot], streams, ledger)
        migrator.finish_load()

    def _together(
        self, bundles: Sequence[Bundle], streams: int, ledger: Mapping[str, LoadedChunk]
    ) -> None:
        with ThreadPoolExecutor(streams, thread_name_prefix="godwit-load") as pool:
            running = [pool.submit(self._migrator.load, bundle) for bundle in bundles]
            wait(running, return_when=FIRST_EXCEPTION)
            if any(f.done() and f.exception() for f in running):
                # Bundles under way end by themselves: what they load is not lost.
                for future in running:
                    future.cancel()
        # The first error is the one to tell; the others follow from it or come again.
        for future in running:
            if not future.cancelled():
                self._note(future.result(), ledger)

    def _note(self, lines: Sequence[LoadedChunk], ledger: Mapping[str, LoadedChunk]) -> None:
        self._loaded += [line for line in lines if line.chunk.id not in ledger]


class _Takeover:
    """Makes this run the migration's newest: an older one notices and stops.

    Epochs already keep an older run from writing; this keeps the two from fencing each other chunk
    by chunk.
    """

    def __init__(self, migrator: Migrator) -> None:
        self._migrator = migrator
        self._token = secrets.token_hex(8)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="godwit-runner", daemon=True)

    def __enter__(self) -> None:
        control = self._migrator.control
        control.install()
        control.remember(RUNNER, self._token)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end.set()
        self._thread.join()
        # A session that was asked to stop ends without an error.
        if self._migrator.overtaken and (kind is None or issubclass(kind, StoppedError)):
            raise FencedError(
                "another run of this migration has begun",
                where=f"migration {self._migrator.name}",
                why="two runs of one migration take turns: the newest goes on",
                hint="nothing: the newer run goes on where this one was",
            )

    def _watch(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            try:
                token = self._migrator.control.recall(RUNNER)
            except Exception as problem:  # noqa: BLE001 - the work itself will meet it and say so
                log.debug("the runner's token cannot be read: %s", type(problem).__name__)
                continue
            # After a cleanup there is no token either: nothing to go on with.
            if token != self._token:
                self._migrator.overtaken = True
                return
