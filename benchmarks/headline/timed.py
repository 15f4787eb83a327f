"""Trains as train.py does, then times predicting the test split: least CPU-seconds of five, into $REA_RUN_DIR.

Started by the verdict with the frozen trainer's folder on PYTHONPATH, with the arguments of its train.py.
"""

import os
import sys
import time
from pathlib import Path

import train  # of the frozen trainer

REPEATS = 5


def main() -> int:
    predict = train.Trainer.predict
    last: list = []

    def remembered(self, rows):
        last[:] = [self, rows]  # train.py predicts the test split last
        return predict(self, rows)

    train.Trainer.predict = remembered
    code = train.main()
    if code == 0:
        seconds = []
        for _ in range(REPEATS):
            began = time.process_time()
            predict(*last)
            seconds.append(time.process_time() - began)
        Path(os.environ["REA_RUN_DIR"], "predict_cpu_s").write_text(repr(min(seconds)))
    return code


if __name__ == "__main__":
    sys.exit(main())
