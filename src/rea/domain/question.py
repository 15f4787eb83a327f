"""Questions to engineers: what lies outside the guardrails, asked once, while the rest of a campaign goes on."""

from __future__ import annotations

from dataclasses import dataclass

from rea.domain.ids import say

QUARANTINE = "quarantine"  # of questions: whether a result that nobody believes may be believed
OBSTACLE = "obstacle"  # whether what an engineer has to mend is mended
BELIEVE, RETRY, DISMISS = "believe", "retry", "dismiss"  # their answers


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer: its name, what it leads to, and the device-seconds that it will cost."""

    name: str
    words: str
    cost_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """`kind` and `subject` name it within its campaign: it is asked once. `answer` is the name of an option."""

    id: int
    campaign: int
    kind: str
    subject: str
    text: str
    options: tuple[Option, ...]
    at: float
    answer: str | None = None
    by: str | None = None
    answered_at: float | None = None

    @property
    def name(self) -> str:
        return say("Q", self.id)
