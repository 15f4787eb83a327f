"""Judge the predictions of one split: one JSON line on stdout, or a message and a non-zero exit.

python evaluate.py --predictions run/predictions_valid.npy --split valid
"""

import argparse
import array
import json
import math
import sys
from pathlib import Path

import data
import metrics


def read(path):
    with Path(path).open("rb") as file:
        head = file.read(10)
        file.seek(10 + int.from_bytes(head[8:10], "little"))
        values = array.array("d")
        values.frombytes(file.read())
    return values


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--predictions", required=True)
    parser.add_argument("--split", required=True, choices=sorted(data.SPLITS))
    args = parser.parse_args()
    logits, labels, _ = data.load(args.split)
    found = read(args.predictions)
    if len(found) != len(labels):
        sys.exit(f"evaluate.py: expected {len(labels)} predictions of {args.split}, found {len(found)}")
    if not all(math.isfinite(p) and 0 < p < 1 for p in found):
        sys.exit("evaluate.py: predictions are no probabilities")
    line = {"split": args.split, **metrics.summarise(found, labels), "rows": len(found)}
    line["blocks"] = {"loss": metrics.blocks(metrics.losses(found, labels))}
    line["irreducible_ne"] = metrics.summarise([metrics.sigmoid(z) for z in logits], labels)["ne"]
    print(json.dumps(line))


if __name__ == "__main__":
    main()
