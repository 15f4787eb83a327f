"""From a run to the job a launcher gets: the commands, where they run, and their limits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rea.codebase.git import repository
from rea.codebase.overrides import evaluate_command, prepare
from rea.domain.campaign import Campaign
from rea.domain.errors import GuardrailError, ReaError
from rea.domain.jobs import SPEC_FILE, Check, JobSpec, Step, StopRule, WakeCall
from rea.domain.run import Attempt, Run
from rea.domain.runbook import CORRUPT_CHECKPOINT, EVALUATOR_FAILED
from rea.domain.states import Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor.checkpoints import GOES_ON, RESUME, last_good, resumed_from, since_anew
from rea.executor.harvest import EVALUATE, TRAIN
from rea.executor.wakefiles import WakeFiles
from rea.guard import sandbox

GRACE_S = 5.0  # from SIGTERM to SIGKILL
GRACE_SHARE = 0.05  # of a run's limit, at most


@dataclass(frozen=True, slots=True)
class Site:
    """Where the jobs of a store run, and what they see of this machine.

    `runs` is the root of all run directories. `wake_command` is what a job's wrapper starts when the job has ended,
    with the campaign behind it, in the environment `wake_env`. `job_env` is what every job gets beside the variables
    that the plan pins. `hidden` is what a trainer in a box does not see, beside what its codebase hides: the store,
    keys.
    """

    uid: str
    runs: Path
    wake_command: tuple[str, ...] | None
    wake_env: Mapping[str, str]
    job_env: Mapping[str, str]
    hidden: tuple[Path, ...] = ()
    store: Path | None = None  # the file it is kept in, which is hidden with its log

    def campaign_dir(self, campaign: int) -> Path:
        return self.runs / self.uid / f"C-{campaign}"

    def run_dir(self, campaign: int, run: int, number: int) -> Path:
        return self.campaign_dir(campaign) / f"R-{run}" / str(number)


def checkout(site: Site, campaign: Campaign, treatment: Treatment) -> Path:
    """The codebase's folder in a worktree at the pinned commit, patched where the treatment has a patch."""
    repo = repository(Path(campaign.codebase.root))
    trees = site.campaign_dir(campaign.id) / "trees"
    if treatment.patch is None:
        return repo.worktree(campaign.commit, trees / "pinned")
    name = hashlib.sha256(treatment.patch.encode()).hexdigest()[:12]
    folder = repo.worktree(campaign.commit, trees / name)
    marker = trees / f"{name}.patched"
    if not marker.exists():
        repo.apply_patch(campaign.codebase, folder, treatment.patch)
        marker.touch()
    return folder


def build(
    site: Site,
    campaign: Campaign,
    run: Run,
    attempt: Attempt,
    runs: tuple[Run, ...],
    *,
    boxless: bool = False,
    avoid: tuple[str, ...] = (),
) -> JobSpec:
    """The job of one attempt. Raises ReaError where its commands cannot be made.

    `boxless`: an engineer granted that trainings run without a sandbox where there is none. `avoid` are nodes that
    it is not to run on.
    """
    run_dir = Path(attempt.run_dir)
    env = environment(site, campaign)
    if run.draft.phase is Phase.REVEAL:
        steps = _reveal_steps(site, campaign, run, run_dir, runs, env)
    else:
        steps = _training_steps(site, campaign, run, run_dir, env, boxless)
    objective, resources = campaign.codebase.objective, campaign.codebase.resources
    rule = None
    if run.draft.stop_limits:
        axis = _axis(runs)
        rule = StopRule(objective.metric, objective.split, objective.direction, run.draft.stop_limits, axis)
    calls = WakeFiles(site.runs, site.uid)
    wake = WakeCall(
        file=calls.file(campaign.id, attempt.job),
        command=(*site.wake_command, campaign.title) if site.wake_command else None,
        cwd=site.runs,
        env=site.wake_env,
        attended=calls.attended(campaign.id),
    )
    # The time a trainer takes to end at its limit is paid from the reservation, too: the limit comes that much earlier.
    held_s = attempt.reserved_s / resources.devices
    grace_s = min(GRACE_S, held_s * GRACE_SHARE)
    return JobSpec(
        name=attempt.job,
        run_dir=run_dir,
        steps=steps,
        walltime_s=held_s - grace_s,
        idle_s=resources.idle_limit(run.draft.predicted_s, _silence(runs)),
        grace_s=grace_s,
        memory_bytes=resources.memory_bytes,
        cpus=resources.cpus,
        gpus=resources.gpus,
        stop_rule=rule,
        wake=wake,
        avoid=avoid,
    )


def _training_steps(
    site: Site, campaign: Campaign, run: Run, run_dir: Path, env: Mapping[str, str], boxless: bool
) -> tuple[Step, ...]:
    codebase, draft = campaign.codebase, run.draft
    folder = checkout(site, campaign, draft.treatment)
    settings = Treatment({**draft.treatment.overrides, **run.adjust}, draft.treatment.patch)
    train = prepare(codebase, settings, worktree=folder, run_dir=run_dir, seed=draft.seed, env=env, smoke=draft.smoke)
    checkpoint = _checkpoint(site, campaign, run, run_dir)
    trainer_env = {**train.env, **({RESUME: str(checkpoint)} if checkpoint is not None else {})}
    argv = train.argv
    if codebase.sandbox.boxes(patched=draft.treatment.patch is not None):
        argv, trainer_env = _in_a_box(site, campaign, argv, trainer_env, run_dir, boxless)
    steps = [Step(TRAIN, argv, train.cwd, trainer_env)]
    pinned = checkout(site, campaign, Treatment())
    evaluate = evaluate_command(codebase, pinned, run_dir, codebase.objective.split, draft.seed, env=env)
    if evaluate is not None:
        check = _check(site, campaign, pinned, run_dir)
        output = f"step-{EVALUATE}.jsonl"
        steps.append(Step(EVALUATE, evaluate.argv, evaluate.cwd, evaluate.env, stdout=output, check=check))
    return tuple(steps)


def _in_a_box(
    site: Site, campaign: Campaign, argv: tuple[str, ...], env: Mapping[str, str], run_dir: Path, boxless: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The trainer's command and environment in a box. Raises GuardrailError where there can be none, unless an
    engineer granted to go without."""
    why_not = sandbox.unavailable()
    if why_not:
        if boxless:
            return argv, dict(env)
        raise GuardrailError(
            f"this training is to run in a sandbox, and {why_not}",
            hint=f"install bubblewrap, or `rea preflight {campaign.title} --grant sandbox` to run it without",
        )
    choice = campaign.codebase.sandbox
    temporary = run_dir / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    words = sandbox.boxed(
        argv,
        run_dir=run_dir,
        writable=[Path(path).expanduser() for path in choice.writable],
        hidden=_hidden(site, campaign),
        veiled=[run_dir / SPEC_FILE],
        fleeting=[] if site.store is None else [site.store],
        network=choice.network,
        devices=campaign.codebase.resources.gpus > 0,
    )
    return words, {**env, "TMPDIR": str(temporary)}


def _hidden(site: Site, campaign: Campaign) -> tuple[Path, ...]:
    """What a trainer in a box does not see."""
    root = Path(campaign.codebase.root)
    return (*site.hidden, *(root / Path(path).expanduser() for path in campaign.codebase.sandbox.hidden))


def _check(site: Site, campaign: Campaign, pinned: Path, written: Path) -> Check:
    """That nobody has changed the code in the worktree that evaluators start from, or left a link there.

    Links are looked at where trainings are boxed: a trainer that sees everything needs none.
    """
    codebase = campaign.codebase
    hidden = _hidden(site, campaign) if codebase.sandbox.hidden and codebase.sandbox.boxes(patched=False) else ()
    return Check(pinned, written, hidden)


def _checkpoint(site: Site, campaign: Campaign, run: Run, run_dir: Path) -> Path | None:
    """The last good checkpoint of the run's earlier attempts, if it may go on from one.

    It may where the failure's runbook says so, and where all of the training went well. After other failures a
    checkpoint may be one of other settings, of other data, or on the way to the same failure.
    """
    pattern, failure = campaign.codebase.checkpoints, run.failure
    if pattern is None or failure is None:
        return None
    if failure.remedy != GOES_ON and failure.runbook != EVALUATOR_FAILED:
        return None
    earlier = since_anew([path for path in run_folders(site, campaign.id, run.id) if path != run_dir])
    used = {found for folder in earlier if (found := resumed_from(folder)) is not None}
    # One that a run has failed on for good reason is no place to go on from; after a machine's failure it still is.
    return last_good(earlier, pattern, used if failure.runbook == CORRUPT_CHECKPOINT else ())


def _reveal_steps(
    site: Site, campaign: Campaign, run: Run, run_dir: Path, runs: tuple[Run, ...], env: Mapping[str, str]
) -> tuple[Step, ...]:
    """The pinned evaluator over the sealed split, once per confirmation run."""
    codebase = campaign.codebase
    pinned = checkout(site, campaign, Treatment())
    steps = []
    for other in runs:
        if other.draft.phase is not Phase.CONFIRMATION or other.state is not RunState.SUCCEEDED:
            continue
        folder = latest_folder(site, campaign.id, other.id)
        command = evaluate_command(codebase, pinned, folder, codebase.objective.sealed or "", other.draft.seed, env=env)
        if command is not None:
            name = f"reveal-{other.id}"
            check = _check(site, campaign, pinned, folder)
            output = f"step-{name}.jsonl"
            steps.append(Step(name, command.argv, command.cwd, command.env, stdout=output, check=check))
    if not steps:
        raise ReaError("there is nothing to evaluate on the sealed split")
    run_dir.mkdir(parents=True, exist_ok=True)
    return tuple(steps)


def run_folders(site: Site, campaign: int, run: int) -> list[Path]:
    """The directories of a run's attempts, in their order."""
    folder = site.campaign_dir(campaign) / f"R-{run}"
    found = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name))


def latest_folder(site: Site, campaign: int, run: int) -> Path:
    """The directory of a run's last attempt, which is the one that succeeded."""
    found = run_folders(site, campaign, run)
    if not found:
        folder = site.campaign_dir(campaign) / f"R-{run}"
        raise ReaError(f"the run directory {folder} is gone", hint="restore it, or start the campaign anew")
    return found[-1]


def _axis(runs: tuple[Run, ...]) -> str:
    done = next((run.result for run in runs if run.result is not None and run.result.curve), None)
    return done.axis if done is not None else "epoch"


def _silence(runs: tuple[Run, ...]) -> float | None:
    """The longest that a run of the baseline was silent; None where none is known to have been watched."""
    done = [run.result for run in runs if run.draft.treatment.empty and not run.draft.smoke and run.result is not None]
    return max((result.silent_s for result in done if result.silent_s is not None), default=None)


def environment(site: Site, campaign: Campaign) -> dict[str, str]:
    """What the codebase's commands see of this machine's environment, and what the plan pins of it."""
    return {**site.job_env, **campaign.env, **_threads(campaign)}


def _threads(campaign: Campaign) -> dict[str, str]:
    """A run may use the cores it asked for and no more, or slots would fight over them."""
    cores = str(campaign.codebase.resources.cpus)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {name: cores for name in names if name not in campaign.env}
