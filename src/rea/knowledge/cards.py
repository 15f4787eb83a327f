"""Loading cards: the packaged ones and a team's own, each checked against the vocabulary."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from rea.domain.errors import ConfigError
from rea.domain.jobs import Outcome
from rea.domain.runbook import Action, Charge, FailureClass, Policy, Runbook, Signal
from rea.domain.technique import Level, Prior, Symptom, Technique
from rea.knowledge.frontmatter import Fields, card_files, read_card
from rea.knowledge.regex import check_signature

TEAM_FOLDER = Path(".rea/knowledge")
"""Where a codebase keeps its own `techniques/` and `runbooks/`, relative to its root."""


def techniques_of(root: Path) -> tuple[Technique, ...]:
    """What a campaign of the codebase at `root` is planned with: the packaged techniques and its team's own."""
    return load_techniques(root / TEAM_FOLDER / "techniques")


def runbooks_of(root: Path) -> tuple[Runbook, ...]:
    """What failures of the codebase at `root` are recognised by: the packaged runbooks and its team's own."""
    return load_runbooks(root / TEAM_FOLDER / "runbooks")


def packaged(kind: str) -> Path:
    """The folder of the cards that come with REA; `kind` is "techniques" or "runbooks"."""
    return Path(str(resources.files("rea.knowledge"))) / kind


def load_techniques(*extra_folders: Path) -> tuple[Technique, ...]:
    """Every technique, sorted by name; a card in a later folder replaces one of the same name.

    Raises ConfigError naming file and key for anything unknown, missing or of the wrong kind.
    """
    cards = {path.stem: _technique(path) for path in card_files((packaged("techniques"), *extra_folders))}
    for card in cards.values():
        for key in ("overlaps", "conflicts"):
            for other in getattr(card, key):
                if other not in cards or other == card.name:
                    raise ConfigError(
                        f"{card.source}: {key}: there is no other technique named {other!r}",
                        hint=f"known: {', '.join(sorted(cards))}",
                    )
    return tuple(cards[name] for name in sorted(cards))


def load_runbooks(*extra_folders: Path) -> tuple[Runbook, ...]:
    """Every runbook, highest priority first, then by name; a card in a later folder replaces one of the same name.

    Raises ConfigError naming file and key for anything unknown, missing or of the wrong kind.
    """
    cards = {path.stem: _runbook(path) for path in card_files((packaged("runbooks"), *extra_folders))}
    for card in cards.values():
        for other in card.follows:
            if other not in cards or other == card.name:
                raise ConfigError(
                    f"{card.source}: follows: there is no other runbook named {other!r}",
                    hint=f"known: {', '.join(sorted(cards))}",
                )
    return tuple(sorted(cards.values(), key=lambda card: (-card.priority, card.name)))


def _technique(path: Path) -> Technique:
    fields = read_card(path)
    effect = fields.mapping("effect")
    card = Technique(
        name=_name(fields),
        title=fields.text("title"),
        level=fields.one_of("level", Level),
        mechanism=fields.text("mechanism"),
        treats=fields.some_of("treats", Symptom),
        avoid_when=fields.some_of("avoid_when", Symptom),
        settings=fields.settings("settings"),
        requires=fields.values_by_role("requires"),
        effect=Prior(effect.number("mean"), effect.number("sd", above=0), effect.text("basis")),
        cost=fields.number("cost", 1.0, above=0),
        overlaps=fields.texts("overlaps"),
        conflicts=fields.texts("conflicts"),
        retune=fields.roles("retune"),
        citation=fields.text("citation"),
        prose=fields.prose,
        source=str(path),
    )
    effect.done()
    fields.done()
    return card


def _runbook(path: Path) -> Runbook:
    fields = read_card(path)
    signatures = fields.texts("signatures")
    for signature in signatures:
        if complaint := check_signature(signature):
            raise fields.error("signatures", f"a plain regular expression, got {signature!r}", complaint)
    policy = fields.mapping("policy")
    card = Runbook(
        name=_name(fields),
        title=fields.text("title"),
        kind=fields.one_of("class", FailureClass),
        priority=fields.integer("priority"),
        signatures=signatures,
        outcomes=_outcomes(fields),
        signals=fields.some_of("signals", Signal),
        exit_codes=fields.integers("exit_codes"),
        kill_signals=fields.integers("kill_signals"),
        policy=Policy(
            action=policy.one_of("action", Action),
            max=policy.integer("max", 0),
            backoff_s=policy.seconds("backoff_s"),
            mutate=policy.settings("mutate", []),
            charge=policy.one_of("charge", Charge, Charge.HYPOTHESIS),
            adjust=policy.settings("adjust", []),
            resume=policy.flag("resume"),
            cordon=policy.flag("cordon"),
        ),
        validation_action=fields.one_of("validation_action", Action, None),
        follows=fields.texts("follows"),
        citation=fields.text("citation"),
        prose=fields.prose,
        source=str(path),
    )
    policy.done()
    fields.done()
    _check_policy(fields, card.policy)
    return card


def _outcomes(fields: Fields) -> tuple[str, ...]:
    return tuple(outcome.value for outcome in fields.some_of("outcomes", Outcome))


def _check_policy(fields: Fields, policy: Policy) -> None:
    repeats = policy.action in (Action.RETRY, Action.MUTATE)
    if repeats != (policy.max > 0):
        raise fields.error(
            "policy.max", f"{'1 or more' if repeats else '0'} with action {policy.action}", "see README.md"
        )
    if (policy.action is Action.MUTATE) != bool(policy.mutate):
        raise fields.error("policy.mutate", "changes exactly when the action is mutate", "write {batch_size: x0.5}")


def _name(fields: Fields) -> str:
    name, stem = fields.text("name"), fields.path.stem
    fitting = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    if stem != fitting:
        file = f"{fitting or 'my-card'}.md"
        raise fields.error("name", f"small-letters-and-dashes, as the file's name, got {stem!r}", f"call it {file}")
    if name != stem:
        raise fields.error("name", f"the file's name, got {name!r}", f"write `name: {stem}`")
    return name
