"""Reading and writing a codebase's allowed_signers file."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.errors import ConfigError, UsageError
from rea.guard.signing import SIGNERS_FILE, allow, check_principal, signers, statement


def key(number: int = 0, kind: str = "ssh-ed25519") -> str:
    blob = len(kind).to_bytes(4, "big") + kind.encode() + (32).to_bytes(4, "big") + bytes([number]) * 32
    return f"{kind} {base64.b64encode(blob).decode()}"


def test_signers_are_read_with_their_options() -> None:
    text = f'# ours\n\nanna@x,*@y namespaces="git,rea",valid-before="20300101" {key()} anna\'s laptop\nbo@x {key(1)}\n'
    anna, bo = signers(text)
    assert anna.principals == ("anna@x", "*@y")
    assert anna.options == ('namespaces="git,rea"', 'valid-before="20300101"')
    assert anna.namespaces == ("git", "rea")
    assert anna.comment == "anna's laptop"
    assert (bo.line, bo.options, bo.namespaces) == (4, (), None)
    assert anna.fingerprint != bo.fingerprint


@pytest.mark.parametrize(
    "line",
    ["anna@x", "anna@x ssh-ed25519", "anna@x nonsense", f'anna@x namespaces="rea {key()}', "anna@x ssh-ed25519 AAAA",
     "anna@x ssh-ed25519 !!!", f"anna@x ssh-rsa {key().split()[1]}", key()],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(line: str) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        signers(f"# first\n{line}\n")


def test_listing_a_key_twice_changes_nothing(tmp_path: Path) -> None:
    assert allow(tmp_path, "anna@x", f"{key()} anna")
    before = (tmp_path / SIGNERS_FILE).read_text()
    assert not allow(tmp_path, "anna@x", f"{key()} another comment")
    assert (tmp_path / SIGNERS_FILE).read_text() == before
    assert [path.name for path in (tmp_path / ".rea").iterdir()] == ["allowed_signers"]


def test_listing_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / ".rea").mkdir()
    (tmp_path / SIGNERS_FILE).write_text(f'# team\nbo@x namespaces="git" {key(1)}')
    assert allow(tmp_path, "anna@x", key())
    assert allow(tmp_path, "bo@x", key(1))
    text = (tmp_path / SIGNERS_FILE).read_text()
    assert text.startswith("# team\nbo@x ")
    assert [signer.principals[0] for signer in signers(text)] == ["bo@x", "anna@x", "bo@x"]


@given(st.text(max_size=40))
def test_no_name_can_smuggle_a_second_signer_or_a_pattern(name: str) -> None:
    try:
        check_principal(name)
    except UsageError:
        return
    assert signers(f"{name} {key()}")[0].principals == (name,)
    assert not set(name) & set("*?!,")


def test_the_statement_names_plan_campaign_and_purpose() -> None:
    assert statement("ab", "dcn") == '{"campaign":"dcn","plan_sha256":"ab","purpose":"rea-plan-approval"}'
