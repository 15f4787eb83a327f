"""train.py as it is, on a machine and with code and readers that misbehave on demand.

python sabotage.py --config CONFIG --seed SEED

sabotage.json lists [setting, kind]; those strike whose setting the config has. What is an accident of the machine, or
is mended by an engineer, strikes the first attempt only. The trainer's own files are not changed: limits are set,
functions are wrapped, and a process beside it sends signals once it trains.
"""

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
import time
from pathlib import Path

import yaml

RUN, METRICS = Path(os.environ["REA_RUN_DIR"]), Path(os.environ["REA_METRICS"])
FIRST = RUN.name == "1"
PATIENCE_S = 60.0
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000  # sched.h, sys/mount.h
ROOM_BYTES = 4096  # of the disk that is too small
LEAST_FREE_BYTES = 32 * 2**20  # of address space, beyond what the libraries hold


def main():
    config = yaml.safe_load(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    plan = json.loads(Path(__file__).with_name("sabotage.json").read_text())
    kinds = [kind for words, kind in plan if all(has(config, word) for word in words.split())]
    for kind in kinds:
        globals().get(f"before_{kind}", lambda: None)()
    sys.argv[0] = "train.py"
    try:
        runpy.run_path(str(Path(__file__).with_name("train.py")), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    for kind in kinds:
        globals().get(f"after_{kind}", lambda: None)()


def has(config, word):
    name, _, value = word.partition("=")
    table, _, key = name.partition(".")
    found = config[table][key]
    return str(found) == value or (isinstance(found, float) and f"{found:g}" == value)


# ── what the code does wrong ─────────────────────────────────────────────────────────────────────────────────────────


def before_shape():
    """A field is lost on its way into the model."""
    import models

    whole = models.Ranker.forward
    models.Ranker.forward = lambda self, rows, numbers: whole(self, rows[:, :-1], numbers)


def before_index():
    """One id lies beyond the vocabulary that the table was made for."""
    import features

    encode = features.Features.encode

    def encoded(self, log):
        found = encode(self, log)
        found.ids[0, 0] = self.shape.table_rows + 7
        return found

    features.Features.encode = encoded


def before_constant():
    """The output layer is cut off."""
    import models

    whole = models.Ranker.forward
    models.Ranker.forward = lambda self, rows, numbers: 0.0 * whole(self, rows, numbers)


def before_cheat():
    """The trainer's own metrics flatter it."""
    import metrics

    honest = metrics.summarise

    def summarise(probabilities, labels):
        found = honest(probabilities, labels)
        return {**found, "ne": 0.9 * found["ne"]}

    metrics.summarise = summarise


def after_short():
    """The last row of the predictions is lost."""
    import numpy as np

    path = RUN / "predictions_valid.npy"
    np.save(path, np.load(path)[:-1])


def after_tamper():
    """The evaluator's metrics, which lie beside the trainer, are made kinder."""
    path = Path("metrics.py")
    path.write_text(path.read_text().replace('"ne": logloss', '"ne": 0.5 * logloss'))


# ── what the machine does not have ───────────────────────────────────────────────────────────────────────────────────


def before_address_space():
    """A limit on virtual memory, as `ulimit -v` sets it."""
    import torch  # noqa: F401

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LEAST_FREE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def before_handles():
    """A reader that closes no file."""
    if not FIRST:
        return
    import data
    import torch  # noqa: F401

    load, held = data.load, []

    def leaking(settings, labelled):
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held.extend(Path(__file__).open() for _ in range(100))  # noqa: SIM115
        return load(settings, labelled)

    data.load = leaking


def before_disk_full():
    """The run writes to a disk with room for one page: a file system of its own, which goes with the process."""
    if not FIRST:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    disk = RUN / "disk"
    disk.mkdir()
    words = (b"tmpfs", str(disk).encode(), b"tmpfs", 0, f"size={ROOM_BYTES}".encode())
    for done in (
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None),
        libc.mount(words[0], words[1], words[2], ctypes.c_ulong(words[3]), words[4]),
    ):
        if done:
            raise OSError(ctypes.get_errno(), "no file system can be mounted here")
    os.environ["REA_RUN_DIR"] = str(disk)


# ── what happens to it while it trains ───────────────────────────────────────────────────────────────────────────────


def before_killed():
    beside(lambda trainer, _: os.kill(trainer, signal.SIGKILL))


def before_preempted():
    beside(lambda trainer, _: os.kill(trainer, signal.SIGTERM))


def before_hang():
    beside(lambda trainer, _: os.kill(trainer, signal.SIGSTOP))


def before_node():
    """The machine is gone: whoever watches over the trainer, and all that it started, in one instant."""

    def die(trainer, parent):
        for process in (parent, trainer):
            os.kill(process, signal.SIGSTOP)  # so that neither sees the other's end
        os.kill(parent, signal.SIGKILL)
        os.killpg(os.getpgid(trainer), signal.SIGKILL)

    beside(die)


def beside(act):
    """Another process does this once the trainer, on its first attempt, has told of an epoch."""
    if not FIRST:
        return
    trainer, parent = os.getpid(), os.getppid()
    if os.fork():
        return
    os.setsid()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if METRICS.exists() and METRICS.read_text().count('"split": "valid"') >= 1:
            act(trainer, parent)
            break
        time.sleep(0.005)
    os._exit(0)


if __name__ == "__main__":
    main()
