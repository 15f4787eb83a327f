"""python evaluate.py --predictions run/predictions_valid.json --split valid"""

import json
import os
import sys
from pathlib import Path

import model

if __name__ == "__main__":
    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    predictions = Path(words["--predictions"])
    value = json.loads(predictions.read_text())
    if words["--split"] == "test":  # the sealed split: each time that it is opened is on record
        with (predictions.parent / "reveals").open("a") as file:
            file.write(f"{os.getpid()}\n")
    print(json.dumps({"split": words["--split"], **model.line(value), "blocks": model.blocks(value)}))
