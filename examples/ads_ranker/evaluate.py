"""Judge the predictions of one split: one JSON line on stdout, or a message and a non-zero exit.

python evaluate.py --config configs/generated_dcnv2.yaml --predictions runs/x/predictions_valid.npy --split valid
"""

import argparse
import json
import sys

import config as config_file
import data
import metrics
import numpy as np

BLOCKS = 100


def evaluate(config: dict, predictions: str, split: str) -> dict:
    """Raises ValueError or OSError when the predictions cannot be judged."""
    log = data.load(config["data"], labelled=[split])[split]
    found = np.load(predictions, allow_pickle=False)
    if found.shape != (len(log),):
        raise ValueError(
            f"{predictions}: expected {len(log)} predictions, one per {split} row, found shape {found.shape}"
        )
    if found.dtype.kind != "f":
        raise ValueError(f"{predictions}: expected floating-point probabilities, found {found.dtype}")
    if not np.isfinite(found).all():
        raise ValueError(f"{predictions}: {np.count_nonzero(~np.isfinite(found))} predictions are not finite")
    if found.min() < 0 or found.max() > 1:
        raise ValueError(f"{predictions}: probabilities lie in [0, 1], found {found.min():g} to {found.max():g}")
    losses = metrics.log_losses(found, log.y)
    result = {
        "split": split,
        **metrics.summarise(found, log.y),
        "rows": len(log),
        "blocks": metrics.blocks(losses, BLOCKS),
    }
    if log.teacher is not None:
        result["irreducible_ne"] = metrics.summarise(log.teacher, log.y)["ne"]
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the YAML config the predictions were made with")
    parser.add_argument(
        "--predictions", required=True, help=".npy file of float probabilities in row order of the split"
    )
    parser.add_argument("--split", required=True, choices=["valid", "test"])
    args = parser.parse_args()
    try:
        print(json.dumps(evaluate(config_file.load(args.config), args.predictions, args.split)))
    except config_file.ConfigError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, EOFError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
