"""How the trainer misbehaves on demand."""

import os
import sys
import time
from pathlib import Path

RUN = Path(os.environ.get("REA_RUN_DIR", "run"))


class Fault:
    """A trainer that misbehaves on demand: [fault] plan lists "always:KIND" or "table.key=value:KIND"."""

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

    def is_(self, kind):
        return kind in self.kinds

    def strike(self, epoch):
        if self.is_("slow"):
            time.sleep(self.seconds)
        if epoch != self.epoch:
            return
        self.break_down()

    def break_down(self):
        if self.is_("die"):
            raise KeyError("the feature store has no table 'clicks'")
        if self.is_("hiccup") and RUN.name == "1":
            sys.exit("tiny hiccup: the storage went away")
        if self.is_("hang"):
            time.sleep(600)
        if self.is_("silent"):
            sys.exit(0)
        if self.is_("memory"):
            held = [b"x" * 2**20 for _ in range(self.mebibytes)]
            time.sleep(60)
            sys.exit(len(held))

    def reading(self, found, epoch):
        """What the trainer says of an epoch."""
        return {**found, "ne": float("nan")} if self.is_("nan") and epoch >= self.epoch else found

    def predicted(self, values, labels):
        """What it predicts."""
        return values
