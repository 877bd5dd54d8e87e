"""What people look at: findings, events, table statistics, lag. A cache, never the truth.

The truth about progress lives on the target. Nothing here may stop or slow a migration: a reporter
buffers, writes from a thread of its own and swallows what the state store refuses.
"""

from __future__ import annotations

from godwit.state.reporter import StateReporter
from godwit.state.store import StateStore, default_url

__all__ = ["StateReporter", "StateStore", "default_url"]
