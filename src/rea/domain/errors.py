"""Errors meant for the person who reads them: what was wrong, where, and what to do next."""

from __future__ import annotations

from typing import ClassVar


class ReaError(Exception):
    """Base of every error REA raises on purpose.

    `message` says what was wrong and where; `hint` says what was expected or which command comes next.
    `exit_code` is what the command line ends with (0 ok, 1 failure, 2 usage, 3 not found, 4 approval needed,
    5 budget or guardrail stop, 6 launcher unreachable).
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


class UsageError(ReaError):
    """The command or its values make no sense as given."""

    exit_code = 2


class ConfigError(UsageError):
    """`rea.toml`, a trainer's config, a technique card or a runbook is wrong; the message names file and key."""


class NotFoundError(ReaError):
    """No such campaign, hypothesis, run or file."""

    exit_code = 3


class ApprovalNeededError(ReaError):
    """The plan is unsigned, changed since it was signed, or signed by someone who may not."""

    exit_code = 4


class GuardrailError(ReaError):
    """A limit REA cannot pass: budget, editable paths, knob ranges."""

    exit_code = 5


class ShareUsedUpError(GuardrailError):
    """A team's day or month holds no more; it goes on by itself when the next one begins."""


class LauncherUnreachableError(ReaError):
    """The launcher did not answer; nothing is known about its jobs until it does."""

    exit_code = 6


class TransitionError(ReaError):
    """A state change the state machine does not allow."""


class LeaseLostError(ReaError):
    """Another wake took this campaign over; this one may write nothing more."""
