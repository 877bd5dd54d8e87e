"""``cdc_poll``: follows the source's log, on a triggerer of the replication instance."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from godwit.airflow.operators import GodwitOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from godwit.migrator import Migrator

WINDOW = timedelta(minutes=10)
PAUSE = timedelta(seconds=1)


class CdcPollOperator(GodwitOperator):
    """Follow the source's log until the cutover's stop position (or for ever without a cutover).

    Defers at once: the streaming session runs beside a triggerer and holds no worker slot. Where no
    triggerer may run it (``deferrable=False``), the same session runs here in windows, and the slot
    is given back between them.

    Args:
        trigger_queue: the triggerer queue of the replication instance (``[triggerer]
            queues_enabled``, ``airflow triggerer --queues <queue>``). The task itself stays in its
            own queue: that one is the executor's.
        deferrable: use the trigger.
        window: how long a bounded session holds a worker slot.
    """

    def __init__(
        self,
        *,
        trigger_queue: str | None = None,
        deferrable: bool = True,
        window: timedelta = WINDOW,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_queue = trigger_queue
        self.deferrable = deferrable
        self.window = window
        self._window_over = False

    def execute(self, context: Context) -> Any:
        """Hand over to the trigger, or run one window."""
        if not self.deferrable:
            return self._bounded(context)
        from godwit.airflow.triggers import FollowTrigger

        if self.trigger_queue:
            # The trigger goes to the queue that the task names at this moment.
            self.queue = self.trigger_queue
        conn_ids = [self.definition[side]["conn_id"] for side in ("source", "target")]
        trigger = FollowTrigger(
            definition=self.definition, conn_ids=list(dict.fromkeys(conn_ids)), origin=self.origin
        )
        self.defer(trigger=trigger, method_name="execute_complete")
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The session ended: its numbers, or its error as Airflow should take it."""
        if event["status"] == "ended":
            return {name: value for name, value in event.items() if name != "status"}
        if event["retryable"]:
            raise AirflowException(event["text"])
        raise AirflowFailException(event["text"])

    def step(self, migrator: Migrator, context: Context) -> dict[str, Any]:
        """One bounded session."""
        from godwit.migrator import plain

        return dict(plain(migrator.follow()))

    def resume(self, context: Context, event: Any = None) -> Any:
        """The pause between two windows is over."""
        return self.execute(context)

    def _bounded(self, context: Context) -> Any:
        timer = threading.Timer(self.window.total_seconds(), self._end_window)
        timer.daemon = True
        timer.start()
        try:
            summary = super().execute(context)
        finally:
            timer.cancel()
        if not self._window_over:
            return summary
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        self.defer(trigger=TimeDeltaTrigger(PAUSE), method_name="resume")
        return None

    def _end_window(self) -> None:
        self._window_over = True
        self.on_kill()
