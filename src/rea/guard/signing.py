"""Signatures of engineers, made and checked by OpenSSH (`ssh-keygen -Y`), as git does for commits.

What is signed is a short statement that names the plan by its digest and the campaign by its name, in the namespace
`rea`: a signature made for git or for another campaign's plan is worth nothing here. Signers are listed in the
codebase, in `.rea/allowed_signers` (format: ALLOWED SIGNERS in ssh-keygen(1)).

Nothing here signs unless it is handed the path of the key to sign with.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import hashlib
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rea.domain import plainfile
from rea.domain.codec import canonical
from rea.domain.errors import ApprovalNeededError, ConfigError, NotFoundError, ReaError, UsageError

NAMESPACE = "rea"
PURPOSE = "rea-plan-approval"
SIGNERS_FILE = ".rea/allowed_signers"
_KEY_TYPE = re.compile(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+")
_PRINCIPAL = re.compile(r"[^\s*?!,\"#]+")


@dataclass(frozen=True, slots=True)
class Verified:
    """Who signed, and the fingerprint (SHA256:…) of the key they signed with."""

    signer: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Signer:
    """One line of an allowed_signers file. `principals` are patterns; `key` is the key in base64."""

    line: int
    principals: tuple[str, ...]
    options: tuple[str, ...]
    key_type: str
    key: str
    comment: str

    @property
    def fingerprint(self) -> str:
        return _fingerprint(base64.b64decode(self.key))

    @property
    def namespaces(self) -> tuple[str, ...] | None:
        """The namespaces the key is good for; None: all."""
        for option in self.options:
            name, _, value = option.partition("=")
            if name.lower() == "namespaces":
                return tuple(value.strip('"').split(","))
        return None


def statement(plan_digest: str, campaign: str) -> str:
    """The text an engineer signs: which plan, of which campaign, and what the signature means."""
    return canonical({"plan_sha256": plan_digest, "campaign": campaign, "purpose": PURPOSE})


def sign(text: str, key: Path) -> str:
    """An armoured SSH signature of `text` made with `key`.

    `key` is a private key, or a public one (`.pub`) whose private half an ssh-agent holds. A key with a passphrase
    asks for it at the terminal. Raises NotFoundError without the key, ReaError when it cannot sign.
    """
    if not key.is_file():
        raise NotFoundError(f"no key at {key}", hint="name the SSH key to sign with, for example ~/.ssh/id_ed25519")
    with tempfile.TemporaryDirectory(prefix="rea-sign-") as folder:
        message = Path(folder) / "statement"
        message.write_text(text, encoding="utf-8")
        done = _ssh_keygen(["-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(message)], timeout=300)
        armoured = message.with_name("statement.sig")
        if done.returncode != 0 or not armoured.is_file():
            said = _last_line(done.stderr) or f"ssh-keygen ended with {done.returncode}"
            hint = "a .pub needs its private half in a running ssh-agent (`ssh-add`); a passphrase needs a terminal"
            raise ReaError(f"{key} did not sign: {said}", hint=hint)
        return armoured.read_text(encoding="ascii")


def verify(
    text: str, signature: str, signer: str, allowed_signers: str, *, at: float | None = None, place: str = SIGNERS_FILE
) -> Verified:
    """Check that `signer`, listed in the text of an allowed_signers file, signed `text` for the namespace `rea`.

    `at` (Unix seconds, now without it) is the moment at which valid-after and valid-before must hold: a key that
    expires later does not undo what it signed. Raises ApprovalNeededError that says what exactly does not hold,
    ConfigError when the allowed_signers text cannot be read, and ReaError where ssh-keygen came to no judgement.
    """
    check_principal(signer)
    listed = signers(allowed_signers, place=place)
    with tempfile.TemporaryDirectory(prefix="rea-verify-") as folder:
        names, armoured = Path(folder) / "allowed_signers", Path(folder) / "signature"
        names.write_text(allowed_signers, encoding="utf-8")
        armoured.write_text(signature, encoding="utf-8")
        arguments = ["-Y", "verify", "-f", str(names), "-I", signer, "-n", NAMESPACE, "-s", str(armoured)]
        if at is not None:  # without a zone, ssh-keygen reads it as local time, as it reads valid-before
            arguments += ["-O", f"verify-time={time.strftime('%Y%m%d%H%M%S', time.localtime(at))}"]
        done = _ssh_keygen(arguments, text=text, timeout=60)
    if done.returncode == 0:
        found = re.search(r"key (SHA256:\S+)", done.stdout)
        return Verified(signer, found.group(1) if found else _fingerprint(_unpack(signature)[0]))
    if done.returncode < 0 or not (done.stdout + done.stderr).strip():
        # Whoever refuses says so. One that was killed has not judged, and the same signature may hold the next time.
        end = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
        hint = "nothing is known of the signature yet: look whether memory or disk ran short, and try again"
        raise ReaError(f"ssh-keygen {end} before it judged the signature of {signer}", hint=hint)
    raise _refusal(done.stderr, signature, signer, listed, place)


def signers(text: str, *, place: str = SIGNERS_FILE) -> tuple[Signer, ...]:
    """The signers of an allowed_signers text; raises ConfigError with the line that cannot be read.

    The options (namespaces=, valid-before=, …) are kept as written: ssh-keygen itself applies them.
    """
    return tuple(
        _signer(number, line.strip(), place)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.strip().startswith("#")
    )


def read_signers(root: Path) -> str:
    """The text of the codebase's allowed_signers file, empty where there is none."""
    path = root / SIGNERS_FILE
    try:
        return plainfile.text(path)
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="it is a text file, one signer per line") from error


def allow(root: Path, principal: str, public_key: str) -> bool:
    """List a public key (the line of a `.pub` file) for `principal` in the codebase's allowed_signers file.

    The line is limited to the namespace `rea`. Returns whether the file changed: listing a key twice changes nothing.
    """
    check_principal(principal)
    text = read_signers(root)
    listed = signers(text, place=str(root / SIGNERS_FILE))
    line = f'{principal} namespaces="{NAMESPACE}" {" ".join(public_key.split())}'
    new = _signer(1, line, "the public key")
    for old in listed:
        if (
            old.key == new.key
            and principal in old.principals
            and (old.namespaces is None or NAMESPACE in old.namespaces)
        ):
            return False
    path = root / SIGNERS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(text + ("\n" if text and not text.endswith("\n") else "") + line + "\n", encoding="utf-8")
    draft.replace(path)
    return True


def find_key(email: str, *, allowed_signers: str = "", root: Path | None = None) -> Path | None:
    """A key of this user to sign with, or None.

    In order: git's `user.signingkey` (with `gpg.format = ssh`), `~/.ssh/id_ed25519`, `id_ecdsa`, `id_rsa`, and the
    key that REA made. One that `allowed_signers` lists for `email` goes before all others.
    """
    found = [path for path in _candidates(root) if path.is_file()]
    listed = {signer.key for signer in signers(allowed_signers) if email in signer.principals}
    return next((path for path in found if _public_half(path) in listed), found[0] if found else None)


def own_key() -> Path:
    """Where REA keeps the key it makes for an engineer who has none: `$REA_HOME/keys/approver`."""
    given = os.environ.get("REA_HOME", "").strip()
    return (Path(given).expanduser().absolute() if given else _data() / "rea") / "keys" / "approver"


def key_places(root: Path | None = None) -> tuple[Path, ...]:
    """Every folder and file in which a key that signs may lie, whether or not there is one.

    The environment of now need not be the one in which a key was made: the places that hold without it belong here,
    too. `root` is the codebase whose git settings may name a key.
    """
    homes = dict.fromkeys((Path.home(), *_home_of_account()))
    folders = [own_key().parent, _data() / "rea" / "keys"]
    for home in homes:
        folders += [home / ".local" / "share" / "rea" / "keys", home / ".ssh"]
    files: list[Path] = []
    for key in _candidates(root):
        files += [key, key.with_suffix("")] if key.suffix == ".pub" else [key]
    return tuple(dict.fromkeys((*folders, *(file.absolute() for file in files if file.is_file()))))


def create_key(path: Path, comment: str) -> Path:
    """Make an Ed25519 key pair without a passphrase at `path` (and `path`.pub); returns the path of the public half.

    Raises UsageError if there is a key already: none is ever overwritten.
    """
    if path.exists() or Path(f"{path}.pub").exists():
        raise UsageError(f"there is a key at {path} already", hint="use it, or name another path")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    done = _ssh_keygen(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], timeout=60)
    if done.returncode != 0:
        raise ReaError(
            f"no key was made at {path}: {_last_line(done.stderr)}", hint="check that the folder is writable"
        )
    return Path(f"{path}.pub")


def public_key(key: Path) -> str:
    """The public half of a key, as the one line of its `.pub` file. Raises NotFoundError where there is none."""
    path = key if key.suffix == ".pub" else Path(f"{key}.pub")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        hint = f"make it with `ssh-keygen -y -f {shlex.quote(str(key))} > {shlex.quote(str(path))}`"
        raise NotFoundError(f"no public key at {path}", hint=hint) from error


def principal(root: Path | None = None) -> str:
    """The name under which this user signs: git's user.email, else user@host."""
    email = _git_config("user.email", root)
    if email and _PRINCIPAL.fullmatch(email):
        return email
    return f"{getpass.getuser()}@{socket.gethostname()}"


def check_principal(name: str) -> None:
    """Raise UsageError unless the name can stand in an allowed_signers file as exactly one signer."""
    if not _PRINCIPAL.fullmatch(name) or not name.isprintable():
        raise UsageError(f"{name!r} cannot be the name of a signer", hint="expected something like anna@example.org")


def has_ssh_keygen() -> bool:
    return shutil.which("ssh-keygen") is not None


def _refusal(
    said: str, signature: str, signer: str, listed: tuple[Signer, ...], place: str
) -> ApprovalNeededError | ConfigError:
    """ssh-keygen's answer as an error that says which of the things that must hold does not."""
    again = "sign this plan with `rea approve`"
    try:
        blob, namespace = _unpack(signature)
    except ValueError:
        return ApprovalNeededError("the approval holds no SSH signature", hint=again)
    key = _fingerprint(blob)
    if namespace != NAMESPACE:
        words = f"the signature is for the namespace {namespace!r}, not {NAMESPACE!r}: it was made for something else"
        return ApprovalNeededError(words, hint=again)
    mine = [entry for entry in listed if signer in _named(entry, signer)]
    holders = sorted({name for entry in listed if entry.fingerprint == key for name in entry.principals})
    if "key has expired" in said:
        return ApprovalNeededError(f"{signer}'s key {key} had expired when it signed", hint=f"renew it in {place}")
    if "not yet valid" in said:
        return ApprovalNeededError(f"{signer}'s key {key} was not valid yet when it signed", hint=f"see {place}")
    if "not permitted for use in signature namespace" in said:
        words = f"{place} does not let {signer}'s key {key} sign in the namespace {NAMESPACE!r}"
        return ApprovalNeededError(words, hint=f'add {NAMESPACE} to its namespaces="…" option')
    if "bad options" in said:
        return ConfigError(f"{place}: {_last_line(said)}", hint="see ALLOWED SIGNERS in ssh-keygen(1)")
    if not mine:
        known = ", ".join(sorted({name for entry in listed for name in entry.principals})) or "nobody"
        return ApprovalNeededError(
            f"{signer} is not in {place} (it lists {known})", hint="add them, or let another sign"
        )
    if signer not in holders and not any(entry.fingerprint == key for entry in mine):
        whose = f", which belongs to {', '.join(holders)}" if holders else ""
        words = f"signed with the key {key}{whose}; {place} lists another key for {signer}"
        return ApprovalNeededError(words, hint="sign with the listed key, or list this one")
    if "incorrect signature" in said:
        words = f"the signature of {signer} is over another text: the plan was changed, or it approves another plan"
        return ApprovalNeededError(words, hint=again)
    return ApprovalNeededError(f"ssh-keygen refuses the signature of {signer}: {_last_line(said)}", hint=again)


def _named(entry: Signer, name: str) -> tuple[str, ...]:
    """`(name,)` if this line's pattern list covers the name, as OpenSSH matches it ('!' takes a name out again)."""
    from fnmatch import fnmatchcase

    covered = False
    for pattern in entry.principals:
        if pattern.startswith("!") and fnmatchcase(name, pattern[1:]):
            return ()
        covered = covered or fnmatchcase(name, pattern)
    return (name,) if covered else ()


def _signer(number: int, line: str, place: str) -> Signer:
    def wrong(what: str) -> ConfigError:
        hint = 'expected: anna@example.org namespaces="rea" ssh-ed25519 AAAA… (ALLOWED SIGNERS in ssh-keygen(1))'
        return ConfigError(f"{place}, line {number}: {what}", hint=hint)

    parts = _fields(line)
    if parts is None:
        raise wrong("a quotation mark is not closed")
    where = next((index for index in (1, 2) if index < len(parts) and _KEY_TYPE.fullmatch(parts[index])), None)
    if where is None:
        raise wrong("no key type after the signer's name")
    if where + 1 >= len(parts):
        raise wrong("no key after the key type")
    kind, key = parts[where], parts[where + 1]
    try:
        said, _ = _string(base64.b64decode(key, validate=True), 0)
    except (binascii.Error, ValueError):
        raise wrong("the key is not base64, or is cut off") from None
    if said.decode("ascii", "replace") != kind:
        raise wrong(f"the key type says {kind}, the key itself {said.decode('ascii', 'replace')!r}")
    principals = tuple(name for name in parts[0].strip('"').split(",") if name)
    if not principals:
        raise wrong("no signer's name")
    options = tuple(re.findall(r'(?:[^,"]|"[^"]*")+', parts[1])) if where == 2 else ()
    return Signer(number, principals, options, kind, key, " ".join(parts[where + 2 :]))


def _fields(line: str) -> list[str] | None:
    """Split at blanks outside quotation marks; None if a mark is not closed."""
    if line.count('"') % 2:
        return None
    return re.findall(r'(?:[^\s"]|"[^"]*")+', line)


def _unpack(armoured: str) -> tuple[bytes, str]:
    """The public key (as its wire form) and the namespace inside an armoured signature (OpenSSH, PROTOCOL.sshsig)."""
    found = re.search(r"-----BEGIN SSH SIGNATURE-----(.*?)-----END SSH SIGNATURE-----", armoured, re.S)
    if found is None:
        raise ValueError("no armour")
    blob = base64.b64decode("".join(found.group(1).split()), validate=True)
    if not blob.startswith(b"SSHSIG"):
        raise ValueError("no SSHSIG")
    key, at = _string(blob, 10)  # after the magic and a 4-byte version
    namespace, _ = _string(blob, at)
    return key, namespace.decode("utf-8", "replace")


def _string(blob: bytes, at: int) -> tuple[bytes, int]:
    """One length-prefixed string of SSH's wire format (RFC 4251, section 5), and where the next thing begins."""
    size = int.from_bytes(blob[at : at + 4], "big")
    if at + 4 > len(blob) or at + 4 + size > len(blob):
        raise ValueError("cut off")
    return blob[at + 4 : at + 4 + size], at + 4 + size


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _data() -> Path:
    given = os.environ.get("XDG_DATA_HOME", "").strip()
    return Path(given).expanduser().absolute() if given else Path.home() / ".local" / "share"


def _home_of_account() -> tuple[Path, ...]:
    """The home folder that the system has for this user, which HOME need not name; none where it has no such user."""
    try:
        return (Path(pwd.getpwuid(os.getuid()).pw_dir),)
    except KeyError:
        return ()


def _candidates(root: Path | None) -> list[Path]:
    ssh = Path.home() / ".ssh"
    paths = [ssh / "id_ed25519", ssh / "id_ecdsa", ssh / "id_rsa", own_key()]
    configured = _git_config("user.signingkey", root) if _git_config("gpg.format", root) == "ssh" else ""
    if configured.startswith(("key::", "ssh-", "ecdsa-", "sk-")):  # git also takes the public key itself
        wanted = configured.removeprefix("key::").split()[1:2]
        halves = sorted(ssh.glob("*.pub")) if ssh.is_dir() else []
        return [path for path in halves if [_public_half(path)] == wanted] + paths
    return [Path(configured).expanduser(), *paths] if configured else paths


def _public_half(key: Path) -> str | None:
    """The base64 of a key's public half, None where it cannot be read."""
    try:
        return public_key(key).split()[1]
    except (NotFoundError, UnicodeDecodeError, IndexError):
        return None


def _git_config(name: str, root: Path | None) -> str:
    command = ["git", *(["-C", str(root)] if root else []), "config", "--get", name]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _ssh_keygen(arguments: list[str], *, timeout: float, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["ssh-keygen", *arguments]
    try:
        return subprocess.run(
            command, input=text, capture_output=True, timeout=timeout, env=environment, encoding="utf-8"
        )
    except FileNotFoundError:
        hint = "install openssh-client (Debian, Ubuntu), openssh-clients (Fedora, RHEL) or openssh (Alpine, Homebrew)"
        raise ReaError("ssh-keygen is not installed; approvals are SSH signatures", hint=hint) from None
    except subprocess.TimeoutExpired:
        hint = "it may be waiting for a passphrase or for a touch of the security key"
        raise ReaError(f"ssh-keygen did not answer within {timeout:g} s", hint=hint) from None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
