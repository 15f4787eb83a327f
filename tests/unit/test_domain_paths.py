"""Which paths a patch may touch."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codebase import Codebase, ConfigStyle, LauncherChoice, Objective, Resources
from rea.domain.errors import GuardrailError
from rea.domain.paths import check_editable, matches


def codebase(
    root: Path, editable: tuple[str, ...] = ("models/**", "losses.py"), protected: tuple[str, ...] = ()
) -> Codebase:
    return Codebase(
        name="ads",
        root=str(root),
        python="python",
        train="{python} train.py",
        evaluate=None,
        config=None,
        style=ConfigStyle.ENV,
        editable=editable,
        protected=protected,
        env=(),
        objective=Objective("ne", "minimize", "valid", None, 0.001),
        resources=Resources(1, 0, None, 60.0),
        launcher=LauncherChoice("local", 1),
        knobs=(),
    )


def may_edit(codebase: Codebase, path: str) -> bool:
    try:
        check_editable(codebase, path)
    except GuardrailError:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "path", "covers"),
    [
        ("models/**", "models/a.py", True),
        ("models/**", "models/deep/er/a.py", True),
        ("models/**", "models", False),
        ("models/**", "othermodels/a.py", False),
        ("models/*.py", "models/deep/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "x/y/a.py", True),
        ("a/**/b.py", "a/b.py", True),
        ("a/**/b.py", "a/x/y/b.py", True),
        ("a/**/b.py", "ab.py", False),
        ("**", "x/y", True),
        ("a?.py", "ab.py", True),
        ("a?.py", "a/.py", False),
        ("[ab].py", "b.py", True),
        ("[!ab].py", "b.py", False),
        ("[!ab].py", "c.py", True),
        ("a.py", "axpy", False),
        ("./a.py", "a.py", True),
        ("x[", "x[", True),
        ("[z-a].py", "[z-a].py", True),
        ("models", "models/deep/a.py", True),
        ("models", "models2/a.py", False),
    ],
)
def test_a_double_star_crosses_folders_and_nothing_else_does(pattern: str, path: str, covers: bool) -> None:
    assert matches(path, [pattern]) is covers


def test_nothing_may_be_edited_without_an_editable_pattern(tmp_path: Path) -> None:
    assert not may_edit(codebase(tmp_path, editable=()), "models/a.py")


def test_only_editable_paths_that_are_not_protected_may_be_edited(tmp_path: Path) -> None:
    base = codebase(tmp_path, protected=("models/frozen", "models/Metric.py"))
    assert may_edit(base, "models/a.py")
    assert may_edit(base, "losses.py")
    assert not may_edit(base, "train.py")
    assert not may_edit(base, "models/frozen/layer.py")
    assert not may_edit(base, "models/metric.py")


@pytest.mark.parametrize(
    "path",
    ["", "/models/a.py", "../x.py", "models/../evaluate.py", "models//a.py", "./losses.py", "models/./a.py", "models/",
     ".git/config", "models/.git/hooks/x", "models/.GIT/x", ".gitattributes", "rea.toml", "models/rea.toml", "REA.toml",
     ".rea/allowed_signers", "models/.rea/x", "models\\..\\evaluate.py", "models/a\n.py", "models/a\0.py"],
)  # fmt: skip
def test_places_nobody_may_change_are_refused_whatever_the_patterns_say(tmp_path: Path, path: str) -> None:
    assert not may_edit(codebase(tmp_path, editable=("**",)), path)


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", ".git", "c.py", "*"]), max_size=5))
def test_an_allowed_path_stays_inside_the_root(parts: list[str]) -> None:
    path = "/".join(parts)
    if may_edit(codebase(Path("/nowhere/root"), editable=("**",)), path):
        assert not {"..", ".", "", ".git"} & set(path.split("/"))
