"""Names of codebases and campaigns, which become names of files and of branches: held to what both can be."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LONGEST: Final = 64
RULE: Final = f"letters, digits, '_', '-' and single dots between them, {LONGEST} at most, a letter or digit first"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-]))*")


def is_name(text: str) -> bool:
    """Whether a text may be a name. git lets no part of a branch end in ".lock"."""
    return len(text) <= LONGEST and bool(_NAME.fullmatch(text)) and not text.lower().endswith(".lock")


def as_name(text: str, longest: int = LONGEST) -> str:
    """The nearest name to a text; empty where nothing of it can stand in one."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", letters))
    name = name.lstrip("-._")[:longest].rstrip("-.")
    while name.lower().endswith(".lock"):
        name = name[: -len(".lock")].rstrip("-.")
    return name
