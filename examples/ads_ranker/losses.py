"""Training losses on log odds [batch, members]; every member is trained by its own loss, so the members are summed."""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean log loss in nats over rows and members; labels [batch]."""
    return F.binary_cross_entropy_with_logits(logits, labels.unsqueeze(1).expand_as(logits))


def training_loss(logits: Tensor, labels: Tensor, settings: dict, streams: Tensor | None = None) -> Tensor:
    """Scalar to minimise. streams: log odds of every stream read alone, [batch, members, streams].

    label_smoothing s: targets y (1 - s) + s / 2 (Szegedy et al. 2016). focal_gamma: log loss weighted by
    (1 - p of the true class) ** gamma (Lin et al. 2017). pairwise_weight: adds a ranking loss over (click, non-click)
    pairs of the batch (Lin et al. 2024, "Understanding the Ranking Loss for Recommendation with Sparse User Feedback").
    auxiliary_weight: adds the mean log loss of the streams (deep supervision; Lee et al. 2015). The Tri-BCE loss of FCN
    (Li et al. 2024) weighs each stream by how far it is behind the whole; here the weight is fixed.
    """
    smoothing, gamma = settings["label_smoothing"], settings["focal_gamma"]
    targets = (labels * (1 - smoothing) + smoothing / 2).unsqueeze(1).expand_as(logits)
    if gamma > 0:
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        probabilities = torch.sigmoid(logits)
        miss = probabilities + targets - 2 * probabilities * targets
        loss = (miss.pow(gamma) * losses).mean()
    else:
        loss = F.binary_cross_entropy_with_logits(logits, targets)
    if settings["pairwise_weight"] > 0:
        loss = loss + settings["pairwise_weight"] * pairwise_loss(logits, labels)
    if streams is not None:
        each = targets.unsqueeze(2).expand_as(streams)
        loss = loss + settings["auxiliary_weight"] * F.binary_cross_entropy_with_logits(streams, each)
    return loss * logits.shape[1]


def pairwise_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean logistic loss of click minus non-click log odds, each row of the larger class in one pair.

    Batches are drawn at random, so pairing by position is a fair sample of all pairs.
    """
    clicks, others = logits[labels > 0.5], logits[labels < 0.5]
    if not len(clicks) or not len(others):
        return logits.sum() * 0
    pairs = torch.arange(max(len(clicks), len(others)))
    return F.softplus(others[pairs % len(others)] - clicks[pairs % len(clicks)]).mean()
