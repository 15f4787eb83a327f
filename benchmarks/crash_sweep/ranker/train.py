"""python train.py --config config.json --seed 1"""

import json
import os
import sys
from pathlib import Path

import model

RUN = Path(os.environ["REA_RUN_DIR"])


def main(config, seed):
    # One line for each time that anything was trained here: whoever reads it knows how often that was.
    with (RUN / "trainings").open("a") as file:
        file.write(f"{os.getpid()}\n")
    with Path(os.environ["REA_METRICS"]).open("a", buffering=1) as out:
        print(json.dumps({"config": config}), file=out)
        for epoch in range(1, config["train"]["epochs"] + 1):
            value = model.ne(config, seed, epoch)
            print(json.dumps({"epoch": epoch, "split": "valid", **model.line(value), "train_ne": value}), file=out)
        for split, gap in (("valid", 0.0), ("test", 0.001)):
            (RUN / f"predictions_{split}.json").write_text(json.dumps(value + gap))
        print(json.dumps({"final": True, "split": "valid", **model.line(value), "train_rows": 50000}), file=out)


if __name__ == "__main__":
    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    main(json.loads(Path(words["--config"]).read_text()), int(words["--seed"]))
