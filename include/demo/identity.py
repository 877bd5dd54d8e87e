"""As whom an embedded server runs: PostgreSQL refuses root, and homes may be private."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class ServerError(Exception):
    """A server could not be started; the text ends with what its log says."""


@dataclass(frozen=True)
class Identity:
    """As whom a server runs: PostgreSQL refuses root."""

    user: str | None = None
    prefix: tuple[str, ...] = ()

    @classmethod
    def find(cls, where: Path, folder: Path) -> Self:
        """Whoever may run the programs in `where` and write into `folder`. Raises ServerError."""
        if os.getuid():
            return cls()
        user = _service_user()
        if user and all(_may_enter(user, path) for path in (where / "postgres", folder)):
            return cls(user=user)
        # Below a private home no other user gets at the files: a user namespace in which root has
        # another number needs none.
        prefix = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
        with contextlib.suppress(OSError):
            if not subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
                return cls(prefix=prefix)
        raise ServerError(
            f"PostgreSQL does not run as root, user {user or 'nobody'} cannot reach {where} or "
            f"{folder}, and user namespaces are not allowed here. Put the project where others may "
            "enter (not below a private home), or run this as an ordinary user."
        )

    def own(self, folder: Path) -> None:
        """Give the folder to the server's user."""
        if self.user:
            shutil.chown(folder, self.user)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command as that user to its end."""
        return subprocess.run(
            [*self.prefix, *command],
            user=self.user,
            extra_groups=[] if self.user else None,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )


def _service_user() -> str | None:
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


def _may_enter(user: str, path: Path) -> bool:
    test = ["test", "-x", str(path)]
    return not subprocess.run(test, user=user, extra_groups=[], check=False, cwd="/").returncode
