"""Statements cut into words, names and marks."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"`((?:[^`]|``)*)`"  # 1: a quoted name
    r"|('(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\")"  # 2: a string
    r"|([\w$\u0080-\U0010ffff]+)"  # 3: a word or number
    r"|(--[ \t\n][^\n]*|\#[^\n]*|/\*(?![!M]).*?\*/)"  # 4: a comment
    r"|/\*M?!\d*|\*/"  # what the servers read although it looks like one
    r"|([^\s])",  # 5: anything else
    re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A token: `name` may be an identifier (a word or a quoted name), `word` is a plain word."""

    name: str = ""
    word: str = ""
    mark: str = ""


def tokens(text: str, limit: int = 20_000) -> list[Token]:
    """The first tokens of a statement, without comments; strings lose their content."""
    found = []
    for match in _TOKEN.finditer(text):
        quoted, string, word, _, mark = match.groups()
        if quoted is not None:
            found.append(Token(name=quoted.replace("``", "`")))
        elif string is not None:
            found.append(Token(mark="'"))
        elif word is not None:
            found.append(Token(name=word, word=word.upper()))
        elif mark is not None:
            found.append(Token(mark=mark))
        if len(found) >= limit:
            break
    return found
