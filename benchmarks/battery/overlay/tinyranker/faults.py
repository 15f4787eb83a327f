"""How the trainer misbehaves on demand: everything that the battery throws at the agent.

Real where a small machine can do it (memory, signals, files, sockets, archives); else the words that the real thing
prints. What is an accident of the machine strikes the first attempt only.
"""

import ctypes
import gzip
import io
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

RUN = Path(os.environ.get("REA_RUN_DIR", "run"))
FIRST = RUN.name == "1"
SAYS = {
    "shape": "RuntimeError: mat1 and mat2 shapes cannot be multiplied (4096x390 and 400x64)",
    "dtype": "RuntimeError: expected scalar type Float but found Half",
    "index": "IndexError: index out of range in self",
    "autograd": "RuntimeError: one of the variables needed for gradient computation has been modified by an inplace "
    "operation: [torch.FloatTensor [64]], which is output 0 of ReluBackward0, is at version 1; expected version 0",
    "compile": "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised: CppCompileError",
    "gpu_oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 79.15 GiB",
    "overflow": "FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding.",
    "state_dict": 'RuntimeError: Error(s) in loading state_dict for Ranker: Unexpected key(s) in state_dict: "gate".',
}
MENDED = {  # by an engineer, before the second attempt
    "schema": "ValueError: could not convert string to float: 'C14'",
    "shm": "RuntimeError: DataLoader worker (pid 4242) is killed by signal: Bus error. It is possible that "
    "dataloader's workers are out of shared memory. Please try to raise your shared memory limit.",
    "denied": "PermissionError: [Errno 13] Permission denied: '/warehouse/clicks'",
}
ACCIDENTS = {
    "nccl": "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp, ncclSystemError: System call failed",
    "device": "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "no_gpu": "RuntimeError: No CUDA GPUs are available",
    "loader": "RuntimeError: DataLoader timed out after 60 seconds",
    "reset": "ConnectionResetError: [Errno 104] Connection reset by peer",
}


class Fault:
    """[fault] plan lists "always:KIND" or "table.key=value:KIND"."""

    def __init__(self, config):
        fault = config["fault"]
        self.epoch, self.seconds, self.mebibytes = fault["epoch"], fault["seconds"], fault["mebibytes"]
        self.kinds = set()
        for entry in fault["plan"]:
            where, _, kind = entry.rpartition(":")
            table, _, setting = where.partition(".")
            key, _, value = setting.partition("=")
            if where == "always" or str(config[table][key]) == value:
                self.kinds.add(kind)
        if self.is_("import"):
            import deepctr_torch_that_nobody_installed  # noqa: F401
        if self.is_("arguments"):
            import argparse

            argparse.ArgumentParser("train.py").parse_args(["--dropuot", "0.1"])

    def is_(self, kind):
        return kind in self.kinds

    def strike(self, epoch):
        time.sleep(self.seconds)
        if epoch == self.epoch:
            for kind in sorted(self.kinds):
                getattr(self, f"do_{kind}", lambda kind=kind: says(kind))()

    def reading(self, found, epoch):
        if self.is_("nan") and epoch >= self.epoch:
            return {**found, "ne": float("nan")}
        if self.is_("explode") and epoch >= self.epoch:
            return {**found, "ne": found["ne"] * 5.0**epoch}
        return found

    def predicted(self, values, labels):
        if self.is_("constant"):
            return [sum(labels) / len(labels)] * len(labels)
        if self.is_("leak"):
            return [0.98 if label else 0.02 for label in labels]
        return values

    # ── what kills a process for good ────────────────────────────────────────────────────────────────────────────

    def do_key(self):
        {"user": 1}["clicks"]

    def do_attribute(self):
        None.weight  # noqa: B018

    def do_missing_file(self):
        Path("/data/that/is/not/there.npy").read_bytes()

    def do_segfault(self):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)

    def do_unknown(self):
        sys.exit(3)

    def do_memory(self):
        held = [b"x" * 2**20 for _ in range(self.mebibytes)]
        time.sleep(60)
        sys.exit(len(held))

    def do_zipfile(self):
        zipfile.ZipFile(io.BytesIO(b"PK\x03\x04 half an archive"))

    def do_gzip(self):
        whole = gzip.compress(b"clicks" * 10_000)
        gzip.decompress(whole[:-200] + b"\0" * 200)

    def do_too_many_files(self):
        if FIRST:
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
            held = [open(os.devnull) for _ in range(64)]  # noqa: SIM115, PTH123
            sys.exit(len(held))

    def do_threads(self):
        if FIRST:
            raise RuntimeError("can't start new thread")

    def do_flood(self):
        line = "x" * 1023 + "\n"
        for _ in range(2**20):
            sys.stdout.write(line)
        raise RuntimeError(SAYS["shape"].partition(": ")[2])

    def do_binary(self):
        sys.stdout.buffer.write(bytes(range(256)) * 4000)
        sys.stdout.buffer.flush()
        raise RuntimeError(SAYS["shape"].partition(": ")[2])

    def do_zombies(self):
        for _ in range(20):
            if os.fork() == 0:
                os._exit(0)
        subprocess.Popen(["sleep", "300"], start_new_session=True)
        raise KeyError("clicks")

    def do_ranks(self):
        noise = "torch.distributed.DistBackendError: NCCL error: ncclRemoteError: A call failed possibly by the network"
        for rank, text in ((2, SAYS["shape"]), (0, noise), (1, noise), (3, noise)):
            for line in ("Traceback (most recent call last):", '  File "train.py", line 9, in <module>', text):
                print(f"[rank{rank}]: {line}", file=sys.stderr)
        sys.exit(1)

    def do_swallowed(self):
        print(f"Traceback (most recent call last):\n  File 'x'\n{SAYS['shape']}", file=sys.stderr)
        sys.exit(0)

    # ── accidents of the machine ─────────────────────────────────────────────────────────────────────────────────

    def do_preempted(self):
        if FIRST:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    def do_killed(self):
        if FIRST:
            os.kill(os.getpid(), signal.SIGKILL)

    def do_lost(self):
        if FIRST:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(10)

    def do_hang(self):
        if FIRST:
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()

    def do_port(self):
        if FIRST:
            with socket.socket() as one, socket.socket() as other:
                one.bind(("127.0.0.1", 0))
                one.listen()
                other.bind(one.getsockname())

    def do_torn_checkpoint(self):
        if FIRST:
            raise RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory")

    # ── what says that all is well ───────────────────────────────────────────────────────────────────────────────

    def do_silent(self):
        sys.exit(0)

    def do_tamper(self):
        judge = Path("evaluate.py")
        judge.write_text(judge.read_text().replace('"ne"]', '"ne"] * 0.5'))

    def do_slow(self):
        while True:
            sum(range(10_000))


def says(kind):
    once = {**ACCIDENTS, **MENDED} if FIRST else {}
    text = SAYS.get(kind) or once.get(kind)
    if text is not None:
        name, _, message = text.partition(": ")
        made = type(name.rpartition(".")[2], (Exception,), {"__module__": name.rpartition(".")[0] or "builtins"})
        raise made(message)
