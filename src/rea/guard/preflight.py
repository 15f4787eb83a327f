"""The checklist before a campaign may spend: what can be checked by itself, and what only an engineer can grant.

Small functions gather facts; `checks` turns facts into the list, and `blocking` says what still stands in the way.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rea.domain.codebase import Codebase
from rea.domain.codec import canonical
from rea.domain.errors import ConfigError
from rea.domain.grants import pinned, rows_of
from rea.domain.host import LOCAL, Host, fits, lacks
from rea.domain.jobs import Capacity
from rea.domain.paths import is_protected
from rea.domain.plan import Plan
from rea.domain.share import Share
from rea.guard import sandbox
from rea.guard.redact import secretive, shows_secret
from rea.guard.signing import SIGNERS_FILE, has_ssh_keygen, read_signers, signers

MINIMUM_FREE_BYTES = 2 * 1024**3
TELLING = 0.6  # share of the label's entropy; of real click logs the best field explains a third
SEEN = 0.05  # share of the rows; of real click logs not a hundredth is in two splits


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist.

    `ok` is None where it cannot be told. A check that does not hold blocks the campaign, unless it is `grantable`
    and an engineer granted it by name: for good, or where it is about what was `seen`, for that alone.
    """

    name: str
    ok: bool | None
    words: str
    hint: str | None = None
    grantable: bool = False
    seen: str = ""

    @property
    def grant(self) -> str:
        """The name under which its permission is kept."""
        return pinned(self.name, self.seen) if self.seen else self.name


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found. A field that holds an error's words (`…_error`) is empty where there was none.

    `capacity` None means that the launcher did not answer. `overrides_verifiable` is whether the trainer's own
    record of its configuration can be compared with what was asked.
    """

    commit: str
    commit_found: bool
    changes: tuple[str, ...]
    git_error: str
    python: str
    python_error: str
    evaluator: tuple[str, ...]
    runs: str
    free_bytes: int
    needed_bytes: int
    capacity: Capacity | None
    launcher_error: str
    overrides_verifiable: bool
    signers: tuple[str, ...]
    signers_error: str
    ssh_keygen: bool
    host: Host
    trail: tuple[str, ...] = ()  # what of the campaign something else than REA wrote
    data_digest: str = ""  # of the data as they are now, where rea.toml names them
    data_error: str = ""
    environment: str = ""  # what of it is not as the plan pins it
    shares: tuple[Share, ...] = ()  # of the team, as they are used now
    no_sandbox: str = ""  # why trainings cannot run in a box here
    departed: str | None = None  # how far the baseline is from an earlier one of the same training, if there is one
    unhidden: tuple[str, ...] = ()  # of what is to be hidden from trainers, what is not there


def gather(
    codebase: Codebase,
    commit: str,
    runs_folder: Path,
    *,
    capacity: Capacity | None,
    host: Host,
    launcher_error: str = "",
    overrides_verifiable: bool = True,
    needed_bytes: int = MINIMUM_FREE_BYTES,
    trail: tuple[str, ...] = (),
    data: tuple[str, str] = ("", ""),
    environment: str = "",
    shares: tuple[Share, ...] = (),
    departed: str | None = None,
) -> Facts:
    """Look at the codebase, its environment and the disk; the launcher's capacity and its host are handed in.

    `data` are the digest of the data that rea.toml names, and why there is none; `environment` is what of the
    trainings' environment has changed since the plan.
    """
    root = Path(codebase.root)
    found, changes, git_error = git_state(root, commit)
    version, python_error = python_version(codebase)
    names, signers_error = listed_signers(root)
    return Facts(
        commit=commit,
        commit_found=found,
        changes=changes,
        git_error=git_error,
        python=version,
        python_error=python_error,
        evaluator=evaluator_files(codebase),
        runs=str(runs_folder),
        free_bytes=free_bytes(runs_folder),
        needed_bytes=needed_bytes,
        capacity=capacity,
        launcher_error=launcher_error,
        overrides_verifiable=overrides_verifiable,
        signers=names,
        signers_error=signers_error,
        ssh_keygen=has_ssh_keygen(),
        host=host,
        trail=trail,
        data_digest=data[0],
        data_error=data[1],
        environment=environment,
        shares=shares,
        departed=departed,
        no_sandbox=sandbox.unavailable(),
        unhidden=tuple(path for path in codebase.sandbox.hidden if not (root / Path(path).expanduser()).exists()),
    )


def checks(codebase: Codebase, facts: Facts, plan: Plan | None = None) -> tuple[Check, ...]:
    """The checklist; the checks of guardrails, knob values and budget are in it once there is a plan."""
    common = (
        _commit(facts),
        _clean(facts),
        _python(codebase, facts),
        _evaluator(codebase),
        *_protected(codebase, facts),
        _sealed(codebase),
        _overrides(facts),
        _launcher(codebase, facts),
        *_resources(codebase, facts),
        _disk(facts),
        _signers(facts),
        _ssh_keygen(facts),
        _record(facts),
    )
    if plan is None:
        return common
    of_plan = (_guardrails(codebase, plan), _knobs(codebase, plan), _budget(codebase, plan))
    pinned = (
        _secrets(plan),
        _data(codebase, facts, plan),
        _environment(facts, plan),
        *_leaks(plan),
        *_reproduced(facts),
    )
    return (*common, *of_plan, *pinned, *_team(facts, plan), *_sandbox(codebase, facts, plan))


def blocking(listed: Collection[Check], granted: Collection[str] = ()) -> tuple[Check, ...]:
    """The checks that keep the campaign from starting: not holding, and not granted by an engineer."""
    return tuple(check for check in listed if check.ok is not True and not (check.grantable and check.grant in granted))


def git_state(root: Path, commit: str) -> tuple[bool, tuple[str, ...], str]:
    """Whether the commit exists, the paths with uncommitted changes below `root`, and why git could not tell."""
    try:
        status = _git(root, "status", "--porcelain", "--untracked-files=normal", "-z", "--", ".")
        found = _git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, (), f"git does not run: {error}"
    if status.returncode != 0:
        return False, (), status.stderr.strip()
    fields = iter(status.stdout.split("\0"))
    changes = []
    for field in fields:
        if field:
            changes.append(field[3:])
            if field[0] in "RC":
                next(fields, None)  # with -z, a rename is followed by the old name
    return found.returncode == 0, tuple(changes), ""


def python_version(codebase: Codebase) -> tuple[str, str]:
    """The version of the team's Python, or why it does not run."""
    path = str(Path(codebase.root, codebase.python)) if "/" in codebase.python else codebase.python
    probe = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run([path, "-c", probe], capture_output=True, text=True, timeout=60, cwd=codebase.root)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if done.returncode != 0:
        return "", (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    return done.stdout.strip(), ""


def evaluator_files(codebase: Codebase) -> tuple[str, ...]:
    """The codebase's own files that the evaluate command runs, relative to its root (`-m a.b` is a/b.py)."""
    if not codebase.evaluate:
        return ()
    try:
        words = shlex.split(codebase.evaluate)
    except ValueError as error:
        raise ConfigError(f"rea.toml, codebase.evaluate: {error}", hint="close the quotation mark") from error
    root = Path(codebase.root)
    modules = [after.replace(".", "/") for word, after in pairwise(words) if word == "-m"]
    named = [*words, *(f"{module}.py" for module in modules), *(f"{module}/__main__.py" for module in modules)]
    plain = (Path(word) for word in named if "{" not in word)
    inside = (path for path in plain if not path.is_absolute() and ".." not in path.parts and (root / path).is_file())
    return tuple(dict.fromkeys(path.as_posix() for path in inside))


def free_bytes(folder: Path) -> int:
    """Free space where the folder is, or will be made."""
    place = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    return shutil.disk_usage(place).free


def listed_signers(root: Path) -> tuple[tuple[str, ...], str]:
    """The names in the codebase's allowed_signers file, or why it cannot be read."""
    try:
        listed = signers(read_signers(root))
    except ConfigError as error:
        return (), error.message
    return tuple(dict.fromkeys(name for signer in listed for name in signer.principals)), ""


def headroom_s(codebase: Codebase, plan: Plan) -> float:
    """Device-seconds that must stay free beyond what the last run is expected to use: its wall-time limit is reserved.

    Where the budget runs low the executor gives a run 1.6 times its predicted time and a second, or the predicted time
    once more where that is shorter, and no less.
    """
    run_s = plan.baseline.run_s
    return (
        min(1.6 * run_s + min(1.0, run_s), max(run_s, codebase.resources.walltime_s)) - run_s
    ) * codebase.resources.devices


def _commit(facts: Facts) -> Check:
    if facts.git_error:
        return Check("commit", False, facts.git_error, "a campaign starts from a commit: `git init`, then commit")
    short = facts.commit[:12]
    if not facts.commit_found:
        return Check("commit", False, f"there is no commit {short} in this repository", "name one that `git log` shows")
    return Check("commit", True, f"runs start from {short}")


def _clean(facts: Facts) -> Check:
    if facts.git_error:
        return Check("clean", None, "git could not tell whether anything is uncommitted")
    if not facts.changes:
        return Check("clean", True, "nothing uncommitted", grantable=True)
    first = ", ".join(facts.changes[:3]) + (" …" if len(facts.changes) > 3 else "")
    words = f"uncommitted changes the runs will not see ({len(facts.changes)}): {first}"
    return Check("clean", False, words, "commit them, or grant `clean` to leave them out", grantable=True)


def _python(codebase: Codebase, facts: Facts) -> Check:
    if facts.python_error:
        words = f"{codebase.python} does not run: {facts.python_error}"
        return Check("python", False, words, "point [codebase] python of rea.toml at the training environment")
    return Check("python", True, f"{codebase.python} is Python {facts.python}")


def _evaluator(codebase: Codebase) -> Check:
    if codebase.evaluate:
        return Check("evaluator", True, "metrics are recomputed from predictions, by code no treatment can change")
    hint = "set [codebase] evaluate in rea.toml, or grant `evaluator`"
    return Check("evaluator", False, "no evaluator: metrics are the trainer's own word", hint, grantable=True)


def _protected(codebase: Codebase, facts: Facts) -> tuple[Check, ...]:
    if not codebase.evaluate:
        return ()
    if not facts.evaluator:
        words = "the evaluate command names no file of this codebase, so nobody can tell whether it is protected"
        return (Check("protected", None, words, "see that no treatment can change it, then grant", grantable=True),)
    open_ = [path for path in facts.evaluator if not is_protected(codebase, path)]
    if open_:
        hint = f"add {', '.join(repr(path) for path in open_)} to [codebase] protected in rea.toml"
        return (Check("protected", False, f"a treatment could change the evaluator: {', '.join(open_)}", hint),)
    return (Check("protected", True, f"no treatment can change {', '.join(facts.evaluator)}"),)


def _sealed(codebase: Codebase) -> Check:
    if codebase.objective.sealed:
        return Check("sealed", True, f"the split {codebase.objective.sealed!r} is opened once, for the proposal")
    words = "no sealed split: the final claim will rest on data the search has seen"
    return Check("sealed", False, words, "set [objective] sealed in rea.toml, or grant `sealed`", grantable=True)


def _overrides(facts: Facts) -> Check:
    if facts.overrides_verifiable:
        return Check("overrides", True, "each run shows the settings it trained with")
    words = "override verification is impossible: a trainer that ignores a setting would not be noticed"
    return Check(
        "overrides", None, words, "see that the trainer obeys overrides, then grant `overrides`", grantable=True
    )


def _launcher(codebase: Codebase, facts: Facts) -> Check:
    kind = codebase.launcher.kind
    if facts.capacity is None:
        words = f"the {kind} launcher does not answer" + (f": {facts.launcher_error}" if facts.launcher_error else "")
        return Check("launcher", False, words, "check [launcher] in rea.toml")
    if facts.capacity.slots < 1:
        return Check("launcher", False, f"the {kind} launcher has no slot", "set [launcher] slots in rea.toml")
    return Check("launcher", True, f"{kind}: {facts.capacity.slots} slots, {facts.capacity.free} free now")


def _resources(codebase: Codebase, facts: Facts) -> tuple[Check, ...]:
    """What not even one run gets blocks; runs in each other's way are the engineer's to have, and are told."""
    if codebase.launcher.kind != LOCAL:
        return ()
    found = lacks(codebase, facts.host)
    words = "; ".join(lack.words for lack in found) or fits(codebase, facts.host)
    fatal = [lack.hint for lack in found if lack.fatal]
    hint = f"{fatal[0]}; or grant `resources`" if fatal else None
    return (Check("resources", not fatal, words, hint, grantable=True),)


def _disk(facts: Facts) -> Check:
    free, needed = facts.free_bytes / 1024**3, facts.needed_bytes / 1024**3
    words = f"{free:.1f} GiB free for runs in {facts.runs}, {needed:.1f} GiB wanted"
    return Check("disk", free >= needed, words, None if free >= needed else "free some space, or set REA_RUNS")


def _signers(facts: Facts) -> Check:
    if facts.signers_error:
        return Check("signers", False, facts.signers_error, "mend the line; ssh-keygen(1) gives the format")
    if not facts.signers:
        return Check(
            "signers",
            False,
            f"{SIGNERS_FILE} lists nobody who may approve",
            "list yourself: `rea init` does; then commit the file",
        )
    return Check("signers", True, f"may approve: {', '.join(facts.signers)}")


def _ssh_keygen(facts: Facts) -> Check:
    if facts.ssh_keygen:
        return Check("ssh-keygen", True, "ssh-keygen is there")
    return Check("ssh-keygen", False, "ssh-keygen is not installed", "install openssh-client (or openssh-clients)")


def _record(facts: Facts) -> Check:
    if not facts.trail:
        return Check("record", True, "every row is as REA wrote it")
    more = f" (and {len(facts.trail) - 1} more)" if len(facts.trail) > 1 else ""
    hint = "`rea audit verify` lists it; restore the store from a backup, or vouch for it: grant `record`"
    return Check("record", False, f"{facts.trail[0]}{more}", hint, grantable=True, seen=rows_of(facts.trail))


def _guardrails(codebase: Codebase, plan: Plan) -> Check:
    missing = [rail.metric for rail in codebase.objective.guardrails if rail.metric not in plan.baseline.metrics]
    if missing:
        words = f"no run of the baseline printed {', '.join(missing)}: nothing could keep such a guardrail"
        hint = f"it printed {', '.join(sorted(plan.baseline.metrics))}; correct rea.toml, or print it, and plan again"
        return Check("guardrails", False, words, hint)
    return Check("guardrails", True, "the baseline prints every metric that a guardrail watches")


def _knobs(codebase: Codebase, plan: Plan) -> Check:
    outside = []
    for planned in plan.hypotheses:
        for name, value in planned.draft.full.overrides.items():
            knob = codebase.knob(name)
            if knob is None:
                outside.append(f"{planned.draft.title!r} sets {name}, which is no knob")
            elif not knob.allows(value):
                outside.append(f"{planned.draft.title!r} sets {name} to {value!r}, outside what it may be")
    if outside:
        return Check("knobs", False, "; ".join(outside), "widen [knobs] in rea.toml, or plan again")
    return Check("knobs", True, "every treatment stays inside its knobs' ranges")


def _budget(codebase: Codebase, plan: Plan) -> Check:
    wanted = plan.estimate.device_s + headroom_s(codebase, plan)
    words = f"budget {_amount(plan.budget_s)}, expected with room for the last run {_amount(wanted)}"
    hint = None if plan.budget_s >= wanted else f"plan again with a budget of at least {_amount(wanted)}"
    return Check("budget", hint is None, words, hint)


def _data(codebase: Codebase, facts: Facts, plan: Plan) -> Check:
    if not codebase.data:
        return Check("data", True, "no data are pinned: [codebase] data names none")
    if facts.data_error:
        return Check("data", False, facts.data_error, "bring the data back, or correct rea.toml and plan again")
    if facts.data_digest != plan.data_digest:
        words = "the data are not those that the baseline was measured on"
        return Check("data", False, words, "bring them back, or plan again: results on others cannot be compared")
    return Check("data", True, f"the data are those of the plan ({facts.data_digest[:12]})")


def _team(facts: Facts, plan: Plan) -> tuple[Check, ...]:
    """What the team has left; one that holds no run at all would let nothing ever begin."""
    if not facts.shares:
        return ()
    small = [share for share in facts.shares if share.limit_s < plan.baseline.device_s]
    if small:
        words = f"{small[0].whose} holds {_amount(small[0].limit_s)}, one run takes {_amount(plan.baseline.device_s)}"
        return (Check("team", False, words, "raise it under [team] in rea.toml, commit, and plan again"),)
    said = (f"{_amount(share.used_s)} of {_amount(share.limit_s)} used in {share.whose}" for share in facts.shares)
    return (Check("team", True, "; ".join(said)),)


def _environment(facts: Facts, plan: Plan) -> Check:
    if plan.environment is None:
        return Check("environment", True, "the plan pins no environment", grantable=True)
    if facts.environment:
        words = f"the environment is not the one that the baseline was measured in: {facts.environment}"
        hint = "bring it back, plan again, or grant `environment` where that changes no result"
        return Check("environment", False, words, hint, grantable=True, seen=facts.environment)
    return Check("environment", True, f"as the baseline had it: {plan.environment}", grantable=True)


def _secrets(plan: Plan) -> Check:
    found = secretive(plan.env)
    if found or shows_secret(canonical(plan.codebase)):
        words = f"what looks secret stands in the plan, and in its reports: {', '.join(found) or 'a value of rea.toml'}"
        hint = "take it out of rea.toml and plan again, or grant `secrets` where it is none"
        return Check("secrets", False, words, hint, grantable=True, seen=words)
    return Check("secrets", True, "nothing that the plan pins looks like a secret", grantable=True)


def _leaks(plan: Plan) -> tuple[Check, ...]:
    """What the data profile tells of labels that inputs give away, and of rows that are in two splits."""
    data = plan.baseline.data
    if data is None:
        return ()
    told = [one for one in data.fields if one.information is not None]
    most = max(told, key=lambda one: one.information or 0.0, default=None)
    said: list[str] = []
    wrong: list[str] = []
    if most is not None:
        words = f"{most.name} alone explains {most.information:.0%} of the label"
        (wrong if (most.information or 0.0) > TELLING else said).append(words)
    if data.seen_rows is not None:
        words = f"{data.seen_rows:.1%} of the rows that runs are judged on are in train, input for input"
        (wrong if data.seen_rows > SEEN else said).append(words)
    if wrong:
        hint = "mend the data and plan again, or grant `leaks` where that is how it has to be"
        return (Check("leaks", False, "; ".join(wrong), hint, grantable=True, seen="; ".join(wrong)),)
    return (Check("leaks", True, "; ".join(said), grantable=True),) if said else ()


def _reproduced(facts: Facts) -> tuple[Check, ...]:
    """Only where an earlier campaign has trained the same baseline on the same seeds."""
    if facts.departed is None:
        return ()
    if facts.departed:
        hint = "find out what has changed beside the code, or grant `reproduced` where that is meant to be"
        return (Check("reproduced", False, facts.departed, hint, grantable=True, seen=facts.departed),)
    words = "the baseline is what an earlier campaign measured of it on the same seeds"
    return (Check("reproduced", True, words, grantable=True),)


def _sandbox(codebase: Codebase, facts: Facts, plan: Plan) -> tuple[Check, ...]:
    patched = any(planned.draft.full.patch is not None for planned in plan.hypotheses)
    if not codebase.sandbox.boxes(patched):
        return ()
    if facts.no_sandbox:
        words = f"trainings are to run in a sandbox, and {facts.no_sandbox}"
        hint = "install bubblewrap, or grant `sandbox` to run them without"
        return (Check("sandbox", False, words, hint, grantable=True),)
    if facts.unhidden:
        words = f"[sandbox] hidden names what is not there: {', '.join(facts.unhidden)}"
        return (Check("sandbox", False, words, "correct rea.toml, or grant `sandbox`", grantable=True),)
    hidden = f", and {', '.join(codebase.sandbox.hidden)} out of sight" if codebase.sandbox.hidden else ""
    return (Check("sandbox", True, f"trainings run in a box: only their directory writable{hidden}", grantable=True),)


def _amount(device_s: float) -> str:
    return (
        f"{device_s / 3600:.2f} device-hours"
        if device_s >= 3600
        else f"{device_s:.{0 if device_s >= 100 else 1}f} device-seconds"
    )


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60)
