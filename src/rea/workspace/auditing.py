"""The trail of a campaign, looked at: whether it is whole, and a copy of it that can be signed and kept elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rea.domain import plainfile
from rea.domain.campaign import Campaign
from rea.domain.codec import canonical, to_plain
from rea.domain.errors import NotFoundError, ReaError, UsageError
from rea.domain.jobs import SPEC_FILE
from rea.guard import signing
from rea.guard.policy import Effect
from rea.store.trail import FIRST, Link, chained
from rea.workspace.compose import Workspace

PURPOSE: Final = "rea-audit-head"
MOST_LISTED: Final = 20
_SPEC_BYTES: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found of one campaign's trail. `witnesses` counts the heads kept elsewhere that it was held against."""

    campaign: str
    links: int
    head: str
    witnesses: int
    faults: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return not self.faults


def verify(workspace: Workspace, campaign: int, against: Path | None = None) -> Audit:
    """Hold a campaign's rows against its trail, and the trail against every head of it that is kept elsewhere.

    Those are in the specifications of its jobs, as far as their directories are there, and in `against`, a file that
    `export` wrote, whose signature counts where there is one. Raises UsageError where that file is none of this
    campaign's.
    """
    store = workspace.store
    faults = store.trail_faults(campaign)
    links = store.trail(campaign)
    heads = list(_of_jobs(workspace, campaign))
    if against is not None:
        heads.append(_exported(workspace, campaign, against))
        faults += [f"{against}: {fault}" for fault in _follows(against)]
    known = {link.number: link.link for link in links} | {0: FIRST}
    for place, head in heads:
        number, _, link = head.partition(":")
        if known.get(int(number) if number.isdecimal() else -1) != link:
            faults.append(f"{place} knew a trail with another link {number}")
    return Audit(f"C-{campaign}", len(links), store.head(campaign), len(heads), tuple(faults))


def verify_all(workspace: Workspace) -> list[Audit]:
    """`verify` of every campaign, and of those of which the run directories alone are left."""
    ids = workspace.store.campaign_ids()
    return [verify(workspace, id_) for id_ in ids] + [
        Audit(title, 0, "", 0, (f"{title} is not in the store any more, and {folder} has run directories of it",))
        for title, folder in unknown(workspace)
    ]


def unknown(workspace: Workspace) -> list[tuple[str, Path]]:
    """Campaigns, by their ids as spoken, whose run directories are there and that the store does not know."""
    known = {f"C-{id_}" for id_ in workspace.store.campaign_ids()}
    found = sorted((workspace.runs / workspace.store.uid).glob("C-*/R-*"))
    return list({path.parent.name: path.parent for path in found if path.parent.name not in known}.items())


def _of_jobs(workspace: Workspace, campaign: int) -> Iterator[tuple[str, str]]:
    """The heads that jobs carry: place, head."""
    for attempt in workspace.store.attempts(campaign):
        path = Path(attempt.run_dir) / SPEC_FILE
        try:
            witness = json.loads(plainfile.head(path, _SPEC_BYTES)).get("witness")
        except (ValueError, AttributeError, RecursionError):
            continue
        if isinstance(witness, str) and witness:
            yield str(path), witness


def _exported(workspace: Workspace, campaign: int, path: Path) -> tuple[str, str]:
    try:
        if not path.is_file():
            raise OSError("it is no regular file")
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline())
        head, name = str(header["head"]), str(header["campaign"])
        own = header["store"] == workspace.store.uid and header["id"] == campaign
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no export of a trail: {error}", hint="`rea audit export` writes one") from error
    if not own:
        raise UsageError(f"{path} is of {name!r}, another campaign or store", hint="name the export of this campaign")
    signature = Path(f"{path}.sig")
    if signature.is_file():
        root = Path(workspace.store.campaign(campaign).codebase.root)
        signer = str(header.get("signer", ""))
        signing.verify(statement(name, head), signature.read_text("ascii"), signer, signing.read_signers(root))
    return str(path), head


def statement(campaign: str, head: str) -> str:
    """What is signed of a trail: which campaign's it is, and where it ended."""
    return canonical({"campaign": campaign, "head": head, "purpose": PURPOSE})


def export(
    workspace: Workspace, campaign: Campaign, target: Path, *, key: Path | None = None, force: bool = False
) -> str:
    """Write the trail with everything that it is about to `target`, one JSON object a line; gives the head.

    The first line names campaign and head; with `key`, `target`.sig gets an SSH signature over both. Raises UsageError
    where the file is there, ReaError where the trail is not whole: a copy of it would lend it credit; GuardrailError
    for a caller that may not sign.
    """
    if key is not None:
        workspace.require(Effect.MANAGE, campaign)
    if target.exists() and not force:
        raise UsageError(f"{target} exists already", hint="name another file, or --force to replace it")
    if not target.absolute().parent.is_dir():
        raise NotFoundError(f"there is no folder {target.absolute().parent}", hint="name a file in one that is there")
    found = verify(workspace, campaign.id)
    if not found.whole:
        raise ReaError(f"the trail of {campaign.title} is not whole: {found.faults[0]}", hint="`rea audit verify`")
    signer = signing.principal(Path(campaign.codebase.root)) if key is not None else None
    header = {
        "campaign": campaign.name,
        "id": campaign.id,
        "store": workspace.store.uid,
        "head": found.head,
        "at": workspace.clock(),
    } | ({"signer": signer} if signer else {})
    says = _says(workspace, campaign.id)
    lines = [header, *({**asdict(link), **_latest(link, says)} for link in workspace.store.trail(campaign.id))]
    texts = {target: "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)}
    if key is not None:  # before anything is written: the key may be missing or refuse
        texts[Path(f"{target}.sig")] = signing.sign(statement(campaign.name, found.head), key)
    parts = {path.with_name(f".{path.name}.part"): path for path in texts}
    try:
        for part, path in parts.items():
            part.write_text(texts[path], encoding="utf-8")
        for part, path in parts.items():
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return found.head


def _says(workspace: Workspace, campaign: int) -> Mapping[str, Any]:
    """What engineers ask of a trail, by row: who approved what, what was spent, what was decided and why."""
    store = workspace.store
    found: dict[str, Any] = {f"events/{event.id}": event for event in store.events(campaign)}
    found |= {f"grants/{grant.name}": grant for grant in store.grants(campaign)}
    for plan in store.plans(campaign):
        found[f"plans/{plan.id}"] = plan
        found[f"approvals/{plan.id}"] = store.approval(plan.id)
    with store.instant() as read:
        found |= {f"entries/{id_}": entry for id_, entry in read.numbered_entries(campaign)}
    return found


def _latest(link: Link, says: Mapping[str, Any]) -> dict[str, Any]:
    value = says.get(link.row)
    return {} if value is None else {"says": to_plain(value)}


def _follows(path: Path) -> list[str]:
    """What does not agree within an exported trail itself, without its store; empty where every link follows."""
    found: list[str] = []
    last, number = FIRST, 0
    with path.open(encoding="utf-8", errors="replace") as file:
        header = json.loads(file.readline())
        for line in file:
            number += 1
            try:
                link = json.loads(line)
                said, row, content_, end = (
                    int(link["number"]),
                    str(link["row"]),
                    str(link["content"]),
                    str(link["link"]),
                )
            except (ValueError, KeyError, TypeError, RecursionError):
                return [*found, f"line {number + 1} is no link of a trail"]
            if said != number or end != chained(last, number, row, content_):
                found.append(f"line {number + 1}: link {said} does not follow from the one before it")
            number, last = said, end
    if header["head"] != f"{number}:{last}":
        found.append(f"line 1 names another head than the last link, {number}")
    return found
