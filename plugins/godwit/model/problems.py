"""Problems of a definition: gathered with file, line and key, told all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from godwit.errors import DefinitionError

#: Where a value stands: keys and list indexes from the top of the file.
KeyPath = tuple[str | int, ...]


def spell(path: KeyPath) -> str:
    """``tables.include[0]``: a path as people write it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and what to do about it."""

    file: str
    line: int | None
    key: str
    reason: str
    hint: str

    @property
    def where(self) -> str:
        """``file:line: key``, as far as known."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}" if self.key else place

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}\n    What to do: {self.hint}"


@dataclass
class Problems:
    """Collects the problems of one file, and of files it refers to (`nested`)."""

    file: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    found: list[Problem] = field(default_factory=list)

    def add(self, path: KeyPath, reason: str, hint: str) -> None:
        """Note a problem of the value at `path`; the line is its own or its nearest parent's."""
        line = next(
            (self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None
        )
        problem = Problem(self.file, line, spell(path), reason, hint)
        if problem not in self.found:
            self.found.append(problem)

    def nested(self, file: str, lines: Mapping[KeyPath, int]) -> Problems:
        """A collector for another file that adds to the same list."""
        return Problems(file, lines, self.found)

    def unknown(self, path: KeyPath, known: Iterable[str]) -> None:
        """Note an unknown key, with the nearest known one."""
        self.add(path, "unknown key", did_you_mean(str(path[-1]), known))

    def stop_if_any(self) -> None:
        """Raise DefinitionError with every problem found, in the order of the file."""
        if not self.found:
            return
        found = sorted(self.found, key=lambda p: (p.file != self.file, p.file, p.line or 0))
        if len(found) == 1:
            one = found[0]
            raise DefinitionError(one.reason, where=one.where, hint=one.hint)
        listed = "\n".join(f"  {p}" for p in found)
        raise DefinitionError(f"{len(found)} problems\n{listed}", where=self.file)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or all of them when none is near."""
    words = list(known)
    folded = {fold(w): w for w in words}
    near = difflib.get_close_matches(fold(word), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    if not words:
        return "remove it"
    return f"remove it, or use one of: {', '.join(words[:40])}"


def fold(word: str) -> str:
    """A word without case, dashes and underscores."""
    return word.casefold().replace("-", "").replace("_", "")
