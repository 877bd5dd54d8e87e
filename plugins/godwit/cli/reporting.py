"""The display and the state store told together."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from godwit.protocols import Reporter


class Together:
    """Several reporters as one."""

    def __init__(self, *members: Reporter) -> None:
        self._members = members

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell every one."""
        for member in self._members:
            member.event(kind, data)


@contextmanager
def reporting(migration: str, display: Reporter, *, store: bool) -> Iterator[Reporter]:
    """The display, and the state store when the command changes something."""
    if not store:
        yield display
        return
    from godwit.state import StateStore

    kept = StateStore()
    stored = kept.reporter(migration)
    try:
        yield Together(display, stored)
    finally:
        stored.close()
        kept.close()
