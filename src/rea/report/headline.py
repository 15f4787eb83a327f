"""A campaign's outcome in words for somebody who reads nothing else. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rea.domain.campaign import Campaign
from rea.domain.claim import Claim
from rea.domain.plaintext import clean
from rea.domain.states import CampaignState, Verdict, is_terminal
from rea.report import text
from rea.report.measured import Predictions
from rea.report.view import View


@dataclass(frozen=True, slots=True)
class Headline:
    """`tone` is "good" (a launch), "plain" (no launch), "open" (not at its end yet) or "bad" (it could not go on)."""

    tone: str
    kind: str
    title: str
    words: tuple[str, ...]
    lead: str = ""  # the claim's interval, where there is a claim


def headline(view: View) -> Headline:
    """The claim, or why there is none, in words for somebody who reads nothing else."""
    campaign = view.campaign
    reason = clean(campaign.reason)
    why = (text.capital(reason.rstrip(".")) + ".",) if reason else ()
    match campaign.state:
        case CampaignState.FINISHED if campaign.verdict is Verdict.LAUNCH:
            return Headline("good", "Launch", _claim_title(view), (*_claim_words(view), *why), _lead(view))
        case CampaignState.FINISHED:
            return Headline("plain", "No launch", _no_launch_title(view), (*why, *_claim_words(view)), _lead(view))
        case CampaignState.STOPPED:
            words = why or ("An engineer ended the campaign before it had a result.",)
            return Headline("plain", "Stopped", "No launch: the campaign was stopped", words)
        case CampaignState.FAILED:
            return Headline(
                "bad", "Failed", "No launch: the campaign could not go on", why or ("No reason was recorded.",)
            )
        case CampaignState.PAUSED:
            cause = f" ({campaign.pause_reason.value})" if campaign.pause_reason else ""
            words = (*why, "Jobs in flight end; nothing new starts.")
            return Headline("open", "Paused", f"Paused in {_phase(campaign)}{cause}", words)
        case CampaignState.RUNNING:
            words = (*why, "Nothing here is a claim yet.")
            return Headline("open", "Running", text.capital(_phase(campaign)), words)
        case CampaignState.APPROVED:
            return Headline("open", "Approved", "The plan is signed and has not started", why)
        case CampaignState.DRAFTED:
            return Headline("open", "Plan", "A plan waits for an engineer's signature", (*why, *_price(view)))
        case _:
            return Headline("open", "Profiling", "The baseline is being measured", why)


def standing(view: View) -> str:
    """What the finalist's changes are worth: said before they are listed, wherever they are not launched."""
    if view.campaign.incumbent is None:
        ended = is_terminal(view.campaign.state)
        return "Nothing changes: the baseline stays as it is." if ended else "Nothing yet: there is no finalist."
    if view.campaign.state is CampaignState.FINISHED:
        launched = view.campaign.verdict is Verdict.LAUNCH
        return "" if launched else "Nothing changes. This is the finalist, which is not launched:"
    if view.campaign.state in (CampaignState.STOPPED, CampaignState.FAILED):
        return "Nothing changes. This was the best hypothesis when the campaign ended, and was not confirmed:"
    return "The best hypothesis so far, not confirmed:"


def claims(view: View) -> tuple[tuple[str, Claim], ...]:
    """What was claimed, the last word first, with the kind of split it rests on: "sealed" or "visible".

    Without a sealed split the campaign's claim is the visible one, and is told once.
    """
    last, visible = view.campaign.claim, view.campaign.visible
    found: list[tuple[str, Claim]] = []
    if last is not None:
        sealed = last.split == view.campaign.codebase.objective.sealed
        found.append(("sealed" if sealed else "visible", last))
    if visible is not None and (last is None or visible.split != last.split):
        found.append(("visible", visible))
    return tuple(found)


def interval(claim: Claim) -> str:
    return f"{text.percent(claim.ci_low)} to {text.percent(claim.ci_high)}"


def _claim_title(view: View) -> str:
    claim, metric = view.campaign.claim, text.metric_name(view.campaign.codebase.objective)
    if claim is None:
        return f"{metric} improves"
    return f"{metric} improves by {text.percent(claim.gain, sign=False)}"


def _no_launch_title(view: View) -> str:
    claim = view.campaign.claim or view.campaign.visible
    floor = text.minimum_gain(view.plan, view.campaign.codebase.objective)
    if claim is None:
        return "No launch: nothing held up"
    if not claim.guardrails_hold:
        return "No launch: a guardrail does not hold"
    if claim.ci_low <= 0:
        return "No launch: the gain cannot be told from noise"
    if claim.gain < floor:
        return "No launch: the gain is too small to be worth it"
    return "No launch"


def _price(view: View) -> tuple[str, ...]:
    if view.plan is None:
        return ()
    codebase, estimate = view.campaign.codebase, view.plan.estimate
    asked, expected = text.device_time(view.plan.budget_s, codebase), text.device_time(estimate.device_s, codebase)
    return (f"It asks for {asked} and expects to use {expected} in about {text.duration(estimate.wall_s)}.",)


def _lead(view: View) -> str:
    """The gain with its interval: on the sealed split where it was opened, else on the visible one."""
    found = claims(view)
    if not found:
        return ""
    opened, claim = found[0]
    seeds = text.plural(len(claim.seeds), "fresh paired seed")
    where = f"on the {opened} split “{clean(claim.split)}”, over {seeds}"
    return f"{text.percent(claim.gain)}, 95 % interval {interval(claim)}, {where}"


def _claim_words(view: View) -> tuple[str, ...]:
    found = claims(view)
    if not found:
        return ()
    objective, claim = view.campaign.codebase.objective, found[0][1]
    words = []
    if claim.gap_closed is not None and claim.floor is not None:
        share = text.percent(claim.gap_closed, sign=False, digits=1)
        words.append(f"That is {share} of the way to the data's irreducible value, {text.number(claim.floor)}.")
    before, after = (metrics.get("auc") for metrics in (claim.baseline_metrics, claim.treated_metrics))
    if claim.gain > 0 and objective.metric != "auc" and before is not None and after is not None and after < before:
        rank = f"{text.number(before)} to {text.number(after)}"
        words.append(f"Its AUC is lower, {rank}: what is gained is calibration, and not ranking.")
    for opened, other in found[1:]:
        where = f"On the {opened} split “{clean(other.split)}” it is"
        words.append(f"{where} {text.percent(other.gain)} ({interval(other)}).")
    floor = text.percent(text.minimum_gain(view.plan, objective), sign=False)
    words.append(f"The smallest gain worth launching was set to {floor} beforehand.")
    if objective.guardrails:
        words.append("All guardrails hold." if claim.guardrails_hold else "At least one guardrail does not hold.")
    return tuple(words)


def _phase(campaign: Campaign) -> str:
    return f"{campaign.phase.value}, round {campaign.round}"


def prediction_words(predictions: Predictions) -> str:
    """How the predictions fared, in words; empty where none was tested."""
    found = predictions.reliability
    if found is None:
        return ""
    counts = [
        f"{round(share * found.count)} inside the {text.share(level)} one" for level, share in found.inside.items()
    ]
    words = (
        f"Of {text.plural(found.count, 'effect')} predicted before a run had shown it, the intervals held as follows: "
        f"{text.listing(counts)}; on average the observed effect differs from the predicted one by "
        f"{text.percent(found.bias)}."
    )
    if predictions.stopped:
        words += f" {predictions.stopped} more stopped early and showed only a bound."
    return words
