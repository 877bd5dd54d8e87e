"""Changes applied beside something else, when nobody else applies them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from godwit.errors import FencedError, GodwitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from godwit.migrator.migration import Migrator


@contextmanager
def followed(migrator: Migrator) -> Iterator[None]:
    """Apply everything committed until now, and go on applying while the block runs.

    Does nothing when a session is already at it, or there is nothing to follow.

    Raises:
        GodwitError: the session failed; the block's own error, if any, follows from it.
    """
    if not migrator.needs_session():
        yield
        return
    migrator.session(until=migrator.source.position())
    migrator.check_stop()
    session = _Beside(migrator.session)
    try:
        yield
    except GodwitError as error:
        session.end()
        if session.failed:
            raise session.failed from error
        raise
    finally:
        session.end()
    if session.failed:
        raise session.failed


class _Beside:
    """A session in a thread of its own."""

    def __init__(self, run: Callable[[Callable[[], bool]], object]) -> None:
        self.failed: BaseException | None = None
        self._ended = threading.Event()
        self._run = run
        self._thread = threading.Thread(target=self._work, name="godwit-beside", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let the session finish what it is at. Safe to repeat."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            self._run(self._ended.is_set)
        except FencedError:
            # Somebody else applies the changes now, which is as good.
            return
        except BaseException as failure:  # noqa: BLE001 - raised by the other thread
            self.failed = failure
