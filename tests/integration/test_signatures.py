"""Approvals with the real ssh-keygen: what may be refused is refused, with its reason."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.codebase import Codebase, ConfigStyle, LauncherChoice, Objective, Resources
from rea.domain.codec import digest
from rea.domain.errors import ApprovalNeededError, ConfigError, NotFoundError, ReaError, UsageError
from rea.domain.states import CampaignState, Phase, PlanState
from rea.guard.approval import verified_approval
from rea.guard.signing import (
    allow,
    create_key,
    find_key,
    key_places,
    own_key,
    principal,
    public_key,
    read_signers,
    sign,
    signers,
    statement,
    verify,
)

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")
ANNA, BO = "anna@example.org", "bo@example.org"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("anna", "bo", "stranger"):
        create_key(folder / name, name)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder: neither the user's keys nor their git settings are seen."""
    for name in ("SSH_AUTH_SOCK", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "EMAIL", "GIT_CONFIG_GLOBAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("REA_HOME", str(tmp_path / "rea"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(keys: Path, who: str, name: str, options: str = 'namespaces="rea"') -> str:
    return f"{who} {options} {public_key(keys / name)}\n"


def campaign(name: str = "dcn", number: int = 1) -> Campaign:
    codebase = Codebase(
        name="ads",
        root="/nowhere",
        python="python",
        train="",
        evaluate=None,
        config=None,
        style=ConfigStyle.ENV,
        editable=(),
        protected=(),
        env=(),
        objective=Objective("ne", "minimize", "valid", "test", 0.001),
        resources=Resources(1, 0, None, 60.0),
        launcher=LauncherChoice("local", 1),
        knobs=(),
    )
    return Campaign(number, name, codebase, "c" * 40, CampaignState.DRAFTED, 1, Phase.PROFILE, 0.0, {}, {})


def plan(text_of_signers: str, *, number: int = 7, budget: int = 10, of: str = "dcn") -> PlanRecord:
    text = json.dumps({"campaign": of, "signers_digest": digest(text_of_signers), "budget_s": budget})
    return PlanRecord(number, 1, 1, PlanState.DRAFT, text, digest(text), 0.0)


def approved(record: PlanRecord, key: Path, who: str = ANNA, of: str = "dcn") -> Approval:
    return Approval(record.id, record.digest, who, sign(statement(record.digest, of), key), 1.8e9)


def test_a_listed_signers_approval_of_exactly_this_plan_holds(keys: Path) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    verified = verified_approval(record, approved(record, keys / "anna"), campaign(), text)
    assert (verified.signer, verified.fingerprint) == (ANNA, signers(text)[0].fingerprint)


def test_the_public_half_beside_its_private_one_signs_too(keys: Path) -> None:
    text = line(keys, ANNA, "anna")
    assert verify("words", sign("words", keys / "anna.pub"), ANNA, text).signer == ANNA


def refused(record: PlanRecord, approval: Approval | None, text: str, of: Campaign | None = None) -> str:
    with pytest.raises(ApprovalNeededError) as caught:
        verified_approval(record, approval, of or campaign(), text)
    assert caught.value.hint
    return caught.value.message


def test_an_unsigned_plan_is_refused(keys: Path) -> None:
    text = line(keys, ANNA, "anna")
    assert "not signed" in refused(plan(text), None, text)


def test_a_plan_whose_text_was_edited_is_refused(keys: Path) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    approval = approved(record, keys / "anna")
    edited = replace(record, text=record.text.replace('"budget_s": 10', '"budget_s": 99'))
    assert edited.text != record.text
    with pytest.raises(ApprovalNeededError, match="no longer has the digest") as caught:
        verified_approval(edited, approval, campaign(), text)
    assert "make a new plan with `rea plan`" in str(caught.value.hint), "the hint names the command"
    rewritten = replace(edited, digest=digest(edited.text))
    assert "another plan" in refused(rewritten, approval, text)
    forged = replace(approval, digest=rewritten.digest)
    assert "over another text" in refused(rewritten, forged, text)


def test_an_approval_replayed_on_another_plan_or_campaign_is_refused(keys: Path) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    approval = approved(record, keys / "anna")
    later = plan(text, number=8, budget=1000)
    assert "another plan" in refused(later, approval, text)
    assert "over another text" in refused(later, replace(approval, plan=8, digest=later.digest), text)
    assert "campaign" in refused(record, approval, text, campaign("other"))
    assert "belongs to C-1" in refused(record, approval, text, campaign(number=2))
    elsewhere = plan(text, of="other")
    assert "over another text" in refused(elsewhere, approved(elsewhere, keys / "anna"), text, campaign("other"))


@pytest.mark.parametrize("state", [PlanState.SUPERSEDED, PlanState.REJECTED])
def test_a_plan_that_was_set_aside_is_refused_even_when_signed(keys: Path, state: PlanState) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    assert state.value in refused(replace(record, state=state), approved(record, keys / "anna"), text)


def test_signers_added_after_the_plan_was_written_are_refused(keys: Path) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    more = text + line(keys, BO, "stranger")
    assert "has changed" in refused(record, approved(record, keys / "stranger", BO), more)


def test_the_wrong_key_is_refused_and_named(keys: Path) -> None:
    text = line(keys, ANNA, "anna") + line(keys, BO, "bo")
    record = plan(text)
    assert "lists another key" in refused(record, approved(record, keys / "stranger"), text)
    assert f"belongs to {BO}" in refused(record, approved(record, keys / "bo"), text)


def test_a_signer_who_is_not_listed_is_refused_with_those_who_are(keys: Path) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    said = refused(record, approved(record, keys / "anna", BO), text)
    assert f"{BO} is not in" in said
    assert ANNA in said
    empty = plan("")
    assert "nobody" in refused(empty, approved(empty, keys / "anna"), "")


def test_a_signature_made_for_another_namespace_is_refused(keys: Path, tmp_path: Path) -> None:
    text = line(keys, ANNA, "anna", options="")
    record = plan(text)
    message = tmp_path / "m"
    message.write_text(statement(record.digest, "dcn"))
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", keys / "anna", message], check=True)
    signature = (tmp_path / "m.sig").read_text()
    assert "namespace 'git'" in refused(record, Approval(7, record.digest, ANNA, signature, 1.8e9), text)


def test_a_key_listed_for_another_namespace_only_is_refused(keys: Path) -> None:
    text = line(keys, ANNA, "anna", options='namespaces="git"')
    record = plan(text)
    assert "does not let" in refused(record, approved(record, keys / "anna"), text)


def test_a_key_counts_at_the_moment_it_signed(keys: Path) -> None:
    text = line(keys, ANNA, "anna", options='valid-after="20200101",valid-before="20260101"')
    record = plan(text)
    approval = approved(record, keys / "anna")
    assert verified_approval(record, replace(approval, at=1.7e9), campaign(), text).signer == ANNA
    assert "had expired" in refused(record, replace(approval, at=1.8e9), text)
    assert "not valid yet" in refused(record, replace(approval, at=1.5e9), text)
    with pytest.raises(ApprovalNeededError, match="had expired"):
        verify(
            statement(record.digest, "dcn"),
            approval.signature,
            ANNA,
            line(keys, ANNA, "anna", 'valid-before="20200101"'),
        )


@pytest.mark.parametrize(
    "signature", ["", "nonsense", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"]
)
def test_what_is_no_signature_is_refused(keys: Path, signature: str) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    assert "no SSH signature" in refused(record, Approval(7, record.digest, ANNA, signature, 1.8e9), text)


def test_an_option_ssh_keygen_does_not_know_is_an_error_of_the_file(keys: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key option"):
        verify("words", sign("words", keys / "anna"), ANNA, line(keys, ANNA, "anna", options="frobnicate"))


def test_a_missing_key_or_a_public_half_alone_does_not_sign(home: Path, keys: Path) -> None:
    with pytest.raises(NotFoundError):
        sign("words", home / "nothing")
    (home / "alone.pub").write_text(public_key(keys / "anna"))
    with pytest.raises(ReaError, match="did not sign"):
        sign("words", home / "alone.pub")


def test_a_missing_ssh_keygen_is_named_with_its_package(
    keys: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(ReaError, match="ssh-keygen is not installed") as caught:
        sign("words", keys / "anna")
    assert "openssh-client" in (caught.value.hint or "")


@pytest.mark.parametrize("end", ["kill -9 $$", "echo 'Signature verif' >&2; kill -9 $$", "exit 1"])
def test_an_ssh_keygen_that_came_to_no_judgement_has_refused_nothing(
    keys: Path, home: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    text = line(keys, ANNA, "anna")
    record = plan(text)
    approval = approved(record, keys / "anna")
    (home / "bin").mkdir()
    fake = home / "bin" / "ssh-keygen"
    fake.write_text(f"#!/bin/sh\n{end}\n")
    fake.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
        with pytest.raises(ReaError, match="before it judged") as caught:
            verified_approval(record, approval, campaign(), text)
    assert not isinstance(caught.value, ApprovalNeededError)
    assert verified_approval(record, approval, campaign(), text).signer == ANNA, "the next time it holds"


def test_a_key_is_known_of_wherever_the_environment_has_moved_since(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REA_HOME")
    before = own_key()
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    there = own_key()
    monkeypatch.setenv("REA_HOME", str(home / "moved"))
    subprocess.run(["git", "config", "--global", "gpg.format", "ssh"], check=True)
    subprocess.run(["git", "config", "--global", "user.signingkey", str(home / "mine.pub")], check=True)
    for name in ("mine", "mine.pub"):
        (home / name).write_text("a key")
    wanted = {before.parent, there.parent, own_key().parent, home / ".ssh", home / "mine", home / "mine.pub"}
    assert wanted <= set(key_places())


def test_a_new_engineer_can_make_a_key_list_it_and_sign(home: Path) -> None:
    assert find_key(ANNA) is None
    made = create_key(own_key(), ANNA)
    assert own_key().stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="already"):
        create_key(own_key(), ANNA)
    assert allow(home, ANNA, made.read_text())
    found = find_key(ANNA)
    assert found == own_key()
    assert verify("words", sign("words", found), ANNA, read_signers(home)).signer == ANNA


def test_gits_signing_key_goes_first_and_a_listed_key_before_it(home: Path, keys: Path) -> None:
    (home / ".ssh").mkdir()
    shutil.copy(keys / "anna", home / ".ssh" / "id_ed25519")
    shutil.copy(keys / "anna.pub", home / ".ssh" / "id_ed25519.pub")
    assert find_key(ANNA) == home / ".ssh" / "id_ed25519"
    (home / ".gitconfig").write_text(f"[user]\n email = {BO}\n signingkey = {keys / 'bo'}\n")
    assert find_key(ANNA) == home / ".ssh" / "id_ed25519"  # gpg.format is not ssh
    with (home / ".gitconfig").open("a") as config:
        config.write("[gpg]\n format = ssh\n")
    assert find_key(ANNA) == keys / "bo"
    assert find_key(ANNA, allowed_signers=line(keys, ANNA, "anna")) == home / ".ssh" / "id_ed25519"
    (home / ".gitconfig").write_text(f"[user]\n signingkey = key::{public_key(keys / 'anna')}\n[gpg]\n format = ssh\n")
    assert find_key(BO) == home / ".ssh" / "id_ed25519.pub"


def test_a_signer_is_gits_email_or_user_at_host(home: Path) -> None:
    assert "@" in principal(home)
    (home / ".gitconfig").write_text(f"[user]\n email = {BO}\n")
    assert principal(home) == BO
