"""A treatment as a branch an engineer can merge: config edits, patch, and how to reproduce the run.

yaml, toml, json   the config file says the new values; comments and formatting stay where they can (see edits.py)
hydra              each value is changed in the file that sets it; a new key goes into the primary config; a config
                   group is changed in the primary config's defaults list
argparse           the train command in rea.toml gets the flags, and the commit message lists them
env                the variables are written to `rea-treatment.env`, and the commit message lists them

What a command line or an environment sets is not all in the repository: wherever else the model is trained, the flags
or variables have to be set there, too, and the commit message says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rea.codebase import edits, hydra, overrides
from rea.codebase.config import FILE_NAME, FILE_STYLES
from rea.codebase.git import repository
from rea.codebase.trees import Path as Keys
from rea.codebase.trees import identical, is_leaf, locate, to_config, value_at
from rea.domain.codebase import Codebase, ConfigStyle, Scalar
from rea.domain.errors import ConfigError, UsageError
from rea.domain.treatment import Treatment

ENV_FILE: Final = "rea-treatment.env"


@dataclass(frozen=True, slots=True)
class Proposed:
    """The branch made, its commit, the files it changes (relative to the codebase), and how to reproduce the run."""

    branch: str
    commit: str
    files: tuple[str, ...]
    reproduce: tuple[str, ...]


def propose(codebase: Codebase, treatment: Treatment, *, commit: str, branch: str, message: str) -> Proposed:
    """Make `branch` on top of the pinned `commit` with the treatment applied, without touching the checkout.

    The reproduction lines are appended to `message`. Raises UsageError for an empty treatment or a branch of that name
    with other content, and whatever applying the patch or the overrides raises.
    """
    if treatment.empty:
        raise UsageError("the treatment is empty", hint="the baseline needs no branch")
    values = overrides.checked(codebase, treatment)
    lines = _to_be_set(codebase, values)
    text = message.rstrip() + "\n" + ("\n" + "\n".join(lines) + "\n" if lines else "")
    written: list[str] = []

    def edit(folder: Path) -> list[str]:
        written.extend(write(codebase, values, folder))
        return written

    repo = repository(Path(codebase.root))
    made = repo.propose_branch(codebase, branch, commit, edit=edit, patch=treatment.patch, message=text)
    patched = repo.check_patch(codebase, commit, treatment.patch) if treatment.patch else ()
    return Proposed(branch, made, tuple(sorted({*written, *patched})), lines)


def reproduction(
    codebase: Codebase, treatment: Treatment, *, branch: str, run_dir: Path, seed: int, env: Mapping[str, str]
) -> str:
    """The shell command that trains a proposal's branch again as its runs were trained, with the variables of `env`.

    Raises ConfigError where the treatment cannot be said on the train command.
    """
    root, values = Path(codebase.root), overrides.checked(codebase, treatment)
    unset = ""
    if codebase.style is ConfigStyle.ARGPARSE:
        codebase = replace(codebase, train=overrides.with_flags(codebase, values, root))
    elif codebase.style is ConfigStyle.ENV:
        env = overrides.variables(values, env)
        unset = "".join(f"unset {name} && " for name, value in values.items() if value is None)
    there = f"cd {shlex.quote(str(root))} && git switch {shlex.quote(branch)}"
    return f"{there} && {unset}{overrides.training(codebase, root, run_dir, seed, env)}"


def _to_be_set(codebase: Codebase, values: Mapping[str, Scalar]) -> tuple[str, ...]:
    """What a merge of the branch does not bring about by itself: lines for people."""
    if not values:
        return ()
    if codebase.style is ConfigStyle.ARGPARSE:
        root = Path(codebase.root)
        kept = shlex.split(overrides.with_flags(codebase, values, root))
        added, gone = overrides.flags(codebase, values, root), set(shlex.split(codebase.train)) - {*kept}
        lines = [f"The train command of {FILE_NAME} says the values. Set them wherever else the model is trained:"]
        lines += [f"    {shlex.join(added)}"] if added else []
        return (*lines, *([f"    without {shlex.join(sorted(gone))}"] if gone else []))
    if codebase.style is ConfigStyle.ENV:
        why = f"No file of the trainer says the values. Set the variables of {ENV_FILE} where the model is trained:"
        return (why, *(f"    {line}" for line in _env_lines(values)))
    return ()


def write(codebase: Codebase, values: Mapping[str, Scalar], folder: Path) -> tuple[str, ...]:
    """Write the values into the files of a codebase folder; returns the paths changed, relative to it.

    Raises ConfigError where a file cannot be made to say them.
    """
    if not values:
        return ()
    if codebase.style is ConfigStyle.ARGPARSE:
        train = overrides.with_flags(codebase, values, folder)
        return (FILE_NAME,) if _rewrite(_own_file(codebase, folder), lambda text: _with_train(text, train)) else ()
    if codebase.style in FILE_STYLES:
        path = overrides.config_file(codebase, folder)
        where = codebase.config or path.name
        return (where,) if _rewrite(path, lambda text: edits.apply(text, codebase.style, values, where=where)) else ()
    if codebase.style is ConfigStyle.ENV:
        (folder / ENV_FILE).write_text("\n".join(_env_lines(values)) + "\n", encoding="utf-8")
        return (ENV_FILE,)
    return _write_hydra(codebase, values, folder)


def _own_file(codebase: Codebase, folder: Path) -> Path:
    path = folder / FILE_NAME
    if not path.is_file():
        hint = "commit it: the flags of an argparse trainer are proposed there"
        raise ConfigError(f"{FILE_NAME} is in no commit of {codebase.root}", hint=hint)
    return path


def _with_train(text: str, train: str) -> str:
    """The text of a rea.toml with another train command; everything else stays as it is written."""
    import tomlkit

    tree = tomlkit.parse(text)
    table: Any = tree["codebase"]
    table["train"] = train
    return tomlkit.dumps(tree)


def _env_lines(values: Mapping[str, Scalar]) -> list[str]:
    changed = overrides.variables(values, {})
    return [f"{name}={shlex.quote(changed[name])}" if name in changed else f"# unset {name}" for name in sorted(values)]


def _rewrite(path: Path, change: Any) -> bool:
    with path.open(encoding="utf-8", newline="") as file:
        old = file.read()
    new = change(old)
    if new == old:
        return False
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(new)
    return True


def _write_hydra(codebase: Codebase, values: Mapping[str, Scalar], folder: Path) -> tuple[str, ...]:
    composition = hydra.compose(codebase.train, codebase.config, folder)
    if composition is None:
        raise ConfigError(
            f"the primary Hydra config of {codebase.name} was not found",
            hint='name it in rea.toml, for example config = "conf/config.yaml"',
        )
    changes: dict[Path, dict[Keys, Any]] = {}
    for name, value in values.items():
        file, path, present = _hydra_place(composition, name, value)
        changes.setdefault(file, {})[path] = to_config(value, present)
    changed = []
    for file, wanted in changes.items():
        where = file.relative_to(folder.resolve()).as_posix()

        def change(text: str, wanted: dict[Keys, Any] = wanted, where: str = where) -> str:
            tree = edits.parse(text, ConfigStyle.YAML, where=where) or {}
            return edits.rewrite(text, ConfigStyle.YAML, tree, wanted, where=where)

        if _rewrite(file, change):
            changed.append(where)
    _check_hydra(codebase, values, folder)
    return tuple(changed)


def _hydra_place(composition: hydra.Composition, name: str, value: Scalar) -> tuple[Path, Keys, Any]:
    """The file and path to change for `name`, and what is there now."""
    group = name.replace(".", "/")
    if composition.is_group(name, value):
        tree = edits.parse(composition.primary.read_text(encoding="utf-8"), ConfigStyle.YAML, where=name) or {}
        for index, entry in enumerate(tree.get("defaults") or []):
            for key in entry if isinstance(entry, Mapping) else ():
                if str(key).split()[-1].partition("@")[0].strip("/") == group:
                    return composition.primary, ("defaults", index, key), entry[key]
        raise ConfigError(
            f"the config group {group} is not in the defaults list of {composition.primary.name}",
            hint=f"add `- {group}: …` there, so that a proposal can change it",
        )
    path = locate(composition.values, name)
    if path is None:
        return composition.primary, tuple(name.split(".")), None
    present = value_at(composition.values, path)
    if not is_leaf(present):
        raise ConfigError(
            f"{name} is a whole table of the Hydra config, not a setting", hint="name one setting inside it"
        )
    if path not in composition.origins:
        raise ConfigError(
            f"{name} is set by the train command itself, so no config file decides it",
            hint="take it out of [codebase] train in rea.toml and set it in the config",
        )
    return (*composition.origins[path], present)


def _check_hydra(codebase: Codebase, values: Mapping[str, Scalar], folder: Path) -> None:
    after = hydra.compose(codebase.train, codebase.config, folder)
    for name, value in values.items():
        group = after.groups.get(name.replace(".", "/")) if after else None
        path = locate(after.values, name) if after else None
        present = value_at(after.values, path) if after and path is not None else None
        if not (group is not None and group[0] == value) and not identical(present, to_config(value, present)):
            raise ConfigError(
                f"after the edit the Hydra config says {name} = {present!r}, not {value!r}",
                hint="another file of the defaults list sets it too; set it in one place",
            )
