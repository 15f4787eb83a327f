"""Describe the data of one config: one JSON object on stdout, or a message and a non-zero exit.

python profile_data.py --config configs/generated_dcnv2.yaml

Inputs of train and valid are looked at; of labels, those of train alone. numpy only.
"""

import argparse
import json
import sys

import config as config_file
import data
import information
import numpy as np

MOST_PAIRS = 10


def profile(logs: dict[str, data.Log]) -> dict:
    """What rea.toml's `profile` command prints. Of logs with labels in train; those of other splits are not read.

    information: the share of the label's entropy that a field explains out of fold, or that a pair explains beyond all
    single fields and the pairs before it. drift: the Jensen-Shannon distance from train to valid beyond chance.
    """
    train, valid = logs["train"], logs["valid"]
    found = information.measure(train)
    names = train.cat_fields + train.num_fields
    return {
        "rows": {name: len(log) for name, log in logs.items()},
        "positive_rate": _rounded(train.y.mean()),
        "seen_rows": _rounded(information.seen(train, valid)),
        "fields": [
            {"name": name, **_field(train, valid, i), "information": _rounded(found.fields[i])}
            for i, name in enumerate(names)
        ],
        "pairs": [
            {"fields": [names[pair.first], names[pair.second]], "information": _rounded(pair.information)}
            for pair in found.pairs[:MOST_PAIRS]
        ],
    }


def _field(train: data.Log, valid: data.Log, column: int) -> dict:
    moved = information.drift(information.coded(train, train, column), information.coded(train, valid, column))
    if column >= train.cat.shape[1]:
        known = train.num[:, column - train.cat.shape[1]]
        known = known[~np.isnan(known)]
        coverage = len(known) / len(train)
        return {
            "kind": "numeric",
            "cardinality": len(np.unique(known)),
            "coverage": _rounded(coverage),
            "drift": _rounded(moved),
        }
    ids = train.cat[:, column]
    rare_rows, rare_ids, unseen_rows = information.rare(ids, valid.cat[:, column])
    return {
        "kind": "categorical",
        "cardinality": len(np.unique(ids[ids > 0])),
        "coverage": _rounded((ids > 0).mean()),
        "rare_rows": _rounded(rare_rows),
        "rare_ids": _rounded(rare_ids),
        "unseen_rows": _rounded(unseen_rows),
        "drift": _rounded(moved),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the YAML config whose data section names the log")
    args = parser.parse_args()
    try:
        print(json.dumps(profile(data.load(config_file.load(args.config)["data"], labelled=["train"]))))
    except config_file.ConfigError as error:
        print(f"profile_data.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
