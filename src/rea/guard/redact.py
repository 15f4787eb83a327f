"""Keeping secrets out of what is stored, shown or handed to a model: what looks like one is blotted out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

BLOT: Final = "[redacted]"
SHORTEST: Final = 8  # characters of a variable's value that is looked for as such
_MOST: Final = 20_000  # characters of a text that are looked at; the rest is dropped

_SECRETIVE: Final = re.compile(
    r"(?i)(?:^|_)(?:api_?key|access_?key|secret|token|passw(?:or)?d|passphrase|credentials?|private_?key)(?:_|$)"
)
# Forms that services give their keys, each with its own prefix; and what names itself.
_FORMS: Final = re.compile(
    r"""
    -----BEGIN\ [A-Z ]{0,30}PRIVATE\ KEY-----(?:(?!-----END)[\s\S]){0,8000}(?:-----END\ [A-Z ]{0,30}PRIVATE\ KEY-----)?
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    | \bgh[pousr]_[A-Za-z0-9]{20,255}\b | \bgithub_pat_[A-Za-z0-9_]{20,255}\b | \bglpat-[A-Za-z0-9_-]{20,64}
    | \bhf_[A-Za-z0-9]{20,64}\b | \bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,200}
    | \bxox[abprs]-[A-Za-z0-9-]{10,200} | \bAIza[0-9A-Za-z_-]{35} | \bya29\.[0-9A-Za-z_-]{20,300}
    | \beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,500}
    """,
    re.VERBOSE,
)
_NAMED: Final = re.compile(
    r"(?i)\b([\w.-]{0,40}(?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|passphrase|private[_-]?key)[\w-]{0,20})"
    r"""(["']?\s{0,3}(?:=|:|\bis\b)\s{0,3}["']?)(?!\[redacted\])([^\s"',;&]{6,400})"""
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)(\s{1,3})([A-Za-z0-9._~+/=-]{12,2000})")
_URL: Final = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:)([^\s/@]{1,200})(@)")


def secrets_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables whose name says that they are secret, longest first."""
    found = {value for name, value in env.items() if _SECRETIVE.search(name) and len(value) >= SHORTEST}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without what looks like a secret and without these `secrets`; at most 20,000 characters of it."""
    text = text[:_MOST]
    for secret in secrets:
        text = text.replace(secret, BLOT)
    text = _FORMS.sub(BLOT, text)
    text = _URL.sub(rf"\1{BLOT}\3", text)
    text = _BEARER.sub(rf"\1\2{BLOT}", text)
    return _NAMED.sub(rf"\1\2{BLOT}", text)


def secretive(env: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the variables that look secret, by name or by value."""
    return tuple(sorted(name for name, value in env.items() if _SECRETIVE.search(name) or shows_secret(value)))


def shows_secret(text: str) -> bool:
    """Whether something in this text has the form of a key, or is a password in an address.

    Unlike in `redact`, a name such as `token` beside a value is none: settings of models are called that.
    """
    return any(form.search(text) for form in (_FORMS, _URL))
