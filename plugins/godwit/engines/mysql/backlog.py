"""Changes that are kept until they are taken: of complete transactions, then of the open one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from godwit.engines.mysql.gtid import LogPosition
from godwit.engines.mysql.netting import Images, Operation
from godwit.engines.mysql.xa import images_bytes
from godwit.model.changes import ShapeChange


@dataclass(frozen=True)
class Taken:
    """What a batch is made of; see `godwit.model.changes.ChangeBatch`."""

    operations: list[Operation]
    position: LogPosition
    transactions: int = 0
    commits: tuple[float, ...] = ()


@dataclass
class _Cut:
    """Where a batch has to end, because a table has another shape from there."""

    shapes: list[ShapeChange]
    position: LogPosition
    operations: int
    transactions: int


class Backlog:
    """Keeps changes.

    Attributes:
        bytes: of row images.
        handed: a part of the open transaction has been taken.
    """

    def __init__(self, position: Callable[[], LogPosition]) -> None:
        self._position = position
        self._operations: list[Operation] = []
        self._complete = 0
        self._commits: list[float] = []
        #: The transaction of which a part was taken has ended.
        self._owed = False
        self._cut: _Cut | None = None
        self.bytes = 0
        self.handed = False

    @property
    def complete(self) -> bool:
        """There is something of complete transactions to be taken, if only the end of one that
        went in parts, or a shape that changed behind it.
        """
        return self._complete > 0 or self._owed or self.cut

    @property
    def cut(self) -> bool:
        """A table has another shape: nothing more is to be added before that has been taken."""
        return self._cut is not None

    @property
    def open(self) -> int:
        """How many changes of the open transaction there are."""
        return len(self._operations) - self._complete

    @property
    def empty(self) -> bool:
        """Nothing is kept."""
        return not self._operations and not self.cut

    def add(self, operation: Operation) -> None:
        """A change of the open transaction."""
        self._operations.append(operation)
        if isinstance(operation, Images):
            self.bytes += len(operation.data)

    def reshape(self, change: ShapeChange) -> None:
        """A table has another shape from here on: behind what is complete, the batch ends.

        In a transaction of which a part has been taken it can only be one more of its changes.
        """
        if self.handed:
            self._operations.append(replace(change, clean=False))
            return
        if self._cut is None:
            done = len(self._commits)
            self._cut = _Cut([], self._position(), self._complete, done)
        self._cut.shapes.append(replace(change, clean=True))
        if change.grown:
            return
        for images in self._operations[self._complete :]:
            if isinstance(images, Images) and images.plan.table == change.table:
                images.loaded, images.without = True, None

    def end(self, committed: float) -> None:
        """The open transaction is complete."""
        if self.open or self.handed:
            self._complete, self._owed = len(self._operations), self.handed
            self._commits.append(committed)
        self.handed = False

    def undo(self, since: int = 0) -> None:
        """Take back what the open transaction has added, but for its first `since` changes."""
        self._forget(self._remove(self._complete + since))

    def hold(self) -> list[Operation]:
        """Take the open transaction out: it is prepared."""
        held = self._remove(self._complete)
        self._forget(held)
        return held

    def take(self) -> Taken:
        """What is complete, up to where the batch has to end."""
        cut = self._cut or _Cut([], self._position(), self._complete, len(self._commits))
        taken = self._operations[: cut.operations]
        commits = tuple(self._commits[: cut.transactions])
        del self._operations[: cut.operations], self._commits[: cut.transactions]
        self._complete -= cut.operations
        self._owed, self._cut = False, None
        self._forget(taken)
        return Taken([*taken, *cut.shapes], cut.position, cut.transactions, commits)

    def take_open(self) -> Taken:
        """The changes so far of the open transaction, when nothing is complete."""
        taken, self._operations = self._operations, []
        self.handed = True
        self._forget(taken)
        return Taken(taken, self._position())

    def _remove(self, since: int) -> list[Operation]:
        gone = self._operations[since:]
        del self._operations[since:]
        return gone

    def _forget(self, gone: list[Operation]) -> None:
        self.bytes -= images_bytes(gone)
