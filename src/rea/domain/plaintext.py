"""Text that may come from anywhere, as a terminal, a browser and a text file can show it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def clean(text: str) -> str:
    """One line of text that a terminal, a browser and a text file can show: no control or direction characters."""
    return " ".join(word for word in "".join(_shown(text)).split(" ") if word)


def clean_block(text: str, keep: str = "\t") -> str:
    """The same for a text of several lines, whose blanks and tabs are kept."""
    lines = text.splitlines()
    return "\n".join(line if line.isprintable() else "".join(_shown(line, keep)) for line in lines)


def _shown(text: str, keep: str = "") -> Iterable[str]:
    for character in text:
        category = unicodedata.category(character)
        if character in keep or category[0] not in "C":
            yield " " if category in ("Zl", "Zp") else character
        elif character in "\n\r\t\v\f":
            yield " "
        elif category in ("Cs", "Co", "Cn"):
            yield "\ufffd"
