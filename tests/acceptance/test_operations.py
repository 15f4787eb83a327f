"""What keeps a system going that nobody watches: the daemon's status, services, backups, cleaning, watching."""

import fcntl
import json

from rea.domain.jobs import ATTENDED


def test_the_status_of_the_daemon_is_told_without_starting_anything(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    alone = desk.call("daemon", "status")
    assert alone.returncode == 1 and "no daemon attends" in alone.stdout
    assert "due: no campaign has anything under way" in alone.stdout

    folder = workspace.wakefiles.folder
    workspace.wakefiles.file(campaign.id, f"rea-{workspace.store.uid}-R1-1").touch()
    (folder / "1.rea-ffffff-R1-1").touch()
    with workspace.store.transaction(campaign.id) as tx:
        tx.event(campaign.id, "note", "nothing", 1.0)
    with (folder / ATTENDED).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        there = desk.call("daemon", "status", "--json")
    assert there.returncode == 0
    told = json.loads(there.stdout)
    assert told["alive"] and told["waiting"] == {"C-1": 1} and told["others"] == 1 and told["due"] == {}
    assert workspace.wakefiles.waiting() == {campaign.id}
