"""Whether `rea wake` has nothing to do, asked by the shortest way: the standard library, and little of that.

Sweeps ask this every half minute for weeks, nearly always with the same answer, and importing what a wake works with
costs fifty times as much as the answer. So this module says no whenever it is not sure (another kind of store, an older
schema, a damaged file, a folder that cannot be read): the whole command then looks, and says what there is to say.

A campaign with jobs in flight is due a minute after it was last looked at, because a wake-up may get lost. What to do
follows from rows, jobs and the time alone (`rea.executor.decide`). Such a campaign therefore rests, and needs no look
in full, while since it fell asleep nothing was written to the record of any campaign, no slot of this machine was given
back, no run's waiting time ended, and each job in flight still holds its lock. Every ten minutes it is looked at in
full all the same: disks that did not answer may do so again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping

REVISION = "0005_trail"  # of the schema that is asked: the newest in rea.store.migrate

# One row (revision, uid) where the store is set up. Asked first of every store, so it must stay cheap and constant.
STATUS = "SELECT (SELECT max(version_num) FROM alembic_version), (SELECT value FROM meta WHERE key = 'uid')"

# Campaigns that somebody has to look at again, first due first; and of these, those due by the clock.
MOVING = """
(state IN ('profiling', 'running')
 OR EXISTS (SELECT 1 FROM attempts WHERE attempts.campaign = campaigns.id AND attempts.state <> 'ended'))
ORDER BY coalesce(next_wake_at, 0), id
"""
DUE = f"SELECT id FROM campaigns WHERE (next_wake_at IS NULL OR next_wake_at <= :now) AND {MOVING}"

SWEEP_S = 60.0  # as in rea.executor.decide: no campaign with work in flight falls asleep for longer
SILENT_S = 300.0  # as there: after its limit, of a job that is not heard of
WHOLE_S = 600.0  # a look in full, at least this often
NEAR_S = 86400.0  # a campaign whose deadline is nearer than this does not rest: time alone may end its search
# How long before a wake reads the rows a change may have been dated that it did not see: a writer waits half a minute
# for its turn at most.
MARGIN_S = 60.0

# Of those due: when each was to be looked at; None where it must be now, whatever its jobs do.
_RESTING = """
SELECT CASE
    WHEN state IN ('profiling', 'running', 'paused')
     AND json_extract(codebase, '$.launcher.kind') = 'local'
     AND coalesce(json_extract(options, '$.deadline') > :near, 1)
     AND EXISTS (SELECT 1 FROM attempts WHERE attempts.campaign = campaigns.id AND attempts.state <> 'ended')
     AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.campaign = campaigns.id AND runs.state = 'planned'
                     AND runs.not_before > campaigns.next_wake_at - :since AND runs.not_before <= :now)
    THEN next_wake_at END
FROM campaigns WHERE id IN (SELECT value FROM json_each(:due))
"""
# A job that is long past its limit may stand still and hold its lock. With several devices the limit is shorter.
_FLIGHT = "SELECT state, run_dir, intended_at + reserved_s FROM attempts WHERE state <> 'ended'"
_RECORD = "SELECT max(at) FROM (SELECT at FROM events ORDER BY id DESC LIMIT 1)"


def nothing_to_do(environment: Mapping[str, str]) -> bool:
    """True only where a wake of all campaigns would surely leave everything as it is."""
    path = store_file(environment)
    if path is None:
        return False
    runs = runs_folder(environment, path)
    uri = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        connection = sqlite3.connect(f"file:{uri}?mode=rw", uri=True, timeout=1.0, isolation_level=None)
        try:
            # One instant for all questions.
            connection.execute("BEGIN")
            ((revision, uid),) = connection.execute(STATUS).fetchall()
            if revision != REVISION or not uid or _called(runs, uid):
                return False
            now = time.time()
            due = [id_ for (id_,) in connection.execute(DUE, {"now": now})]
            return not due or _all_rest(connection, due, runs, now)
        finally:
            connection.close()
    except (sqlite3.Error, OSError, ValueError):
        return False


def store_file(environment: Mapping[str, str]) -> str | None:
    """The SQLite file of the store as `rea.store.address` finds it; None for any other store."""
    url = environment.get("REA_STORE", "").strip()
    if url:
        scheme, _, rest = url.partition("://")
        known = scheme in ("sqlite", "sqlite+pysqlite") and rest.startswith("/") and "?" not in rest
        return os.path.realpath(os.path.expanduser(rest[1:])) if known else None
    data = environment.get("XDG_DATA_HOME", "").strip() or "~/.local/share"
    home = environment.get("REA_HOME", "").strip() or f"{data}/rea"
    return os.path.realpath(os.path.join(os.path.expanduser(home), "rea.db"))


def runs_folder(environment: Mapping[str, str], store: str) -> str:
    given = environment.get("REA_RUNS")
    return os.path.abspath(os.path.expanduser(given) if given else os.path.join(os.path.dirname(store), "runs"))


def _called(runs: str, uid: str) -> bool:
    """Whether a wake file lies ready for a campaign of this store, as `rea.executor.wakefiles` names them."""
    try:
        names = os.listdir(os.path.join(runs, "wake"))
    except FileNotFoundError:
        return False
    mark = f".rea-{uid}-"
    return any(mark in name for name in names)


def _all_rest(connection: sqlite3.Connection, due: list[int], runs: str, now: float) -> bool:
    from rea.job import alive

    given = {"due": str(due), "since": SWEEP_S, "now": now, "near": now + NEAR_S}
    times = [at for (at,) in connection.execute(_RESTING, given)]
    if len(times) != len(due) or None in times or min(times) < now - WHOLE_S:
        return False
    asleep = min(times) - SWEEP_S - MARGIN_S
    ((said,),) = connection.execute(_RECORD).fetchall()
    # The launcher's register of jobs under way: an entry goes when the end of its job was seen.
    freed = os.stat(os.path.join(runs, ".local")).st_mtime
    if (said is not None and said >= asleep) or freed >= asleep:
        return False
    flight = connection.execute(_FLIGHT).fetchall()
    return all(
        state == "submitted" and now < limit + SILENT_S and alive.runs_on(folder) for state, folder, limit in flight
    )
