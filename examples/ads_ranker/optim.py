"""Optimisers on two tensors: all dense weights as one vector, and the embedding table.

With one vector a step is a handful of kernels whatever the number of layers, and snapshots, averages and norms are one
line each. torch.optim is not used because importing it costs seconds of start-up.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

PLATEAU_FACTOR = 0.1
LOOKAHEAD_SHARE = 0.5  # how far the slow weights go towards the fast ones


def flatten(module: nn.Module) -> tuple[Tensor, Tensor]:
    """Moves all parameters into one vector and their gradients into another; the parameters become views of them."""
    parameters = list(module.parameters())
    vector = torch.cat([p.detach().reshape(-1) for p in parameters])
    gradient = torch.zeros_like(vector)
    offset = 0
    for p in parameters:
        place = slice(offset, offset + p.numel())
        p.data = vector[place].view_as(p)
        p.grad = gradient[place].view_as(p)
        offset += p.numel()
    return vector, gradient


@dataclass(frozen=True, slots=True)
class ColumnClip:
    """CowClip (Zheng et al. 2023): the gradient g of a row w that occurred n times in the batch is scaled to a norm of
    at most n * max(ratio * |w|, FLOOR), before any penalty is added.

    The row of every member counts on its own. table: [rows, members * width].
    """

    FLOOR: ClassVar[float] = 1e-5

    table: Tensor
    ratio: float
    members: int

    def __call__(self, sums: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
        """sums, the gradients [n, members * width] of the table rows `rows`, clipped. counts: [n] occurrences."""
        weights = self.table.index_select(0, rows).view(len(rows), self.members, -1).norm(dim=2)
        gradients = sums.view(len(rows), self.members, -1)
        limits = counts.unsqueeze(1) * (self.ratio * weights).clamp_min(self.FLOOR)
        scale = (limits / gradients.norm(dim=2).clamp_min(1e-30)).clamp_max(1)
        return (gradients * scale.unsqueeze(2)).view_as(sums)


def scatter_rows(gradient: Tensor, ids: Tensor, row_gradients: Tensor, clip: ColumnClip | None = None) -> None:
    """gradient[ids[i]] += row_gradients[i], in a fixed order of additions. ids: int32 [n]; row_gradients: [n, width].

    With `clip`, the sum of every row is clipped.

    Sorting ids and summing each run with embedding_bag is several times faster than torch's own dense embedding
    gradient, which adds row by row.
    """
    ordered, positions = torch.sort(ids, stable=True)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), (ordered[1:] != ordered[:-1]).nonzero().squeeze(1) + 1])
    sums = torch.nn.functional.embedding_bag(positions, row_gradients, starts, mode="sum")
    rows = ordered.index_select(0, starts).long()
    if clip is not None:
        sums = clip(sums, rows, torch.diff(starts, append=starts.new_tensor([len(ids)])))
    gradient.zero_().index_copy_(0, rows, sums)


@dataclass
class Slot:
    """One tensor under optimisation with its settings and state."""

    value: Tensor
    gradient: Tensor
    algorithm: str
    lr: float
    weight_decay: float
    state: list[Tensor] = field(default_factory=list)
    slow: Tensor | None = None


class Optimizer:
    """Adam and AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019), Adagrad (Duchi et al. 2011), row-wise Adagrad (one
    accumulator per table row, as in FBGEMM), RMSProp (Tieleman & Hinton 2012), SGD with momentum 0.9.

    embedding_l2 is the lambda of FuxiCTR's `embedding_regularizer`: lambda / 2 * ||table||^2 over the whole table is
    part of the loss, so lambda * table is added to its gradient at every step, whether or not a row was looked up.
    Published values (0.05 to 0.1 on Frappe, 1e-5 on Criteo) mean this; decaying looked-up rows only would make the
    strength depend on how frequent an id is. weight_decay is for the dense weights: decoupled in AdamW, else coupled.

    With lookahead k, every k steps a slow copy of all weights goes half the way to them and they start again from there
    (Zhang et al. 2019, "Lookahead Optimizer: k steps forward, 1 step back").
    """

    def __init__(self, settings: dict, dense: tuple[Tensor, Tensor], table: tuple[Tensor, Tensor]):
        name = settings["optimizer"]
        table_lr = settings["embedding_lr"] or settings["lr"]
        self.clip, self.embedding_l2 = settings["gradient_clip"], settings["embedding_l2"]
        dense_name = "adagrad" if name == "rowwise_adagrad" else name
        self.dense = Slot(*dense, dense_name, settings["lr"], settings["weight_decay"])
        self.table = Slot(*table, name, table_lr, 0.0)
        self.slots = [self.dense, self.table]
        self.lookahead, self.steps = settings["lookahead"], 0
        for slot in self.slots:
            self.reset(slot)

    def reset(self, slot: Slot) -> None:
        zeros = torch.zeros_like
        if slot.algorithm in ("adam", "adamw"):
            slot.state = [zeros(slot.value), zeros(slot.value), torch.zeros(())]
        elif slot.algorithm == "adagrad":
            slot.state = [zeros(slot.value), torch.zeros(())]
        elif slot.algorithm == "rowwise_adagrad":
            slot.state = [torch.zeros(len(slot.value), 1)]
        else:
            slot.state = [zeros(slot.value)]
        slot.slow = slot.value.clone() if self.lookahead else None

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with every learning rate times `scale`."""
        if self.embedding_l2 > 0:
            self.table.gradient.add_(self.table.value, alpha=self.embedding_l2)
        if self.clip > 0:
            norm = math.hypot(*(float(slot.gradient.norm()) for slot in self.slots))
            if norm > self.clip:
                for slot in self.slots:
                    slot.gradient.mul_(self.clip / norm)
        for slot in self.slots:
            _update(slot, slot.lr * scale)
        self.steps += 1
        if self.lookahead and self.steps % self.lookahead == 0:
            self.look_back()

    @torch.no_grad()
    def look_back(self) -> None:
        """Slow weights half the way to the present ones, which then go on from there; nothing without lookahead."""
        for slot in self.slots:
            if slot.slow is not None:
                slot.slow.lerp_(slot.value, LOOKAHEAD_SHARE)
                slot.value.copy_(slot.slow)


def _update(slot: Slot, lr: float) -> None:
    p, g, state = slot.value, slot.gradient, slot.state
    if slot.algorithm in ("adam", "adamw"):
        fused = torch._fused_adam_ if slot.algorithm == "adam" else torch._fused_adamw_
        state[2] += 1
        fused(
            [p], [g], [state[0]], [state[1]], [], [state[2]],
            lr=lr, beta1=0.9, beta2=0.999, weight_decay=slot.weight_decay, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip
        return
    if slot.weight_decay > 0:
        g.add_(p, alpha=slot.weight_decay)
    if slot.algorithm == "adagrad":
        state[0].addcmul_(g, g)
        p.addcdiv_(g, state[0].sqrt().add_(1e-8), value=-lr)
    elif slot.algorithm == "rowwise_adagrad":
        state[0].add_(g.square().mean(1, keepdim=True))
        p.addcdiv_(g, state[0].sqrt().add_(1e-8).expand_as(g), value=-lr)
    elif slot.algorithm == "rmsprop":
        state[0].mul_(0.99).addcmul_(g, g, value=0.01)
        p.addcdiv_(g, state[0].sqrt().add_(1e-8), value=-lr)
    else:
        state[0].mul_(0.9).add_(g)
        p.add_(state[0], alpha=-lr)


class Schedule:
    """Factor on the learning rate: linear warm-up over a fraction of all steps, then one of four ways down to lr_floor.

    constant stays; cosine and linear reach lr_floor at the last step; plateau multiplies by 0.1 after every epoch that
    brought no better validation NE (ReduceLROnPlateau, as in FuxiCTR).
    """

    def __init__(self, settings: dict, steps: int):
        self.kind, self.floor = settings["schedule"], settings["lr_floor"]
        self.warmup, self.steps = round(settings["warmup"] * steps), steps
        self.plateau = 1.0

    def factor(self, step: int) -> float:
        """For the step with this number, counted from 0."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.kind == "cosine":
            return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
        if self.kind == "linear":
            return self.floor + (1 - self.floor) * (1 - done)
        return max(self.floor, self.plateau)

    def epoch_ended(self, improved: bool) -> None:
        if self.kind == "plateau" and not improved:
            self.plateau *= PLATEAU_FACTOR


class Average:
    """Exponential moving average of weights: decay min(ema_decay, (1 + t) / (10 + t)) after t steps.

    active: whether the means stand for the weights.
    """

    active = True

    def __init__(self, decay: float, values: list[Tensor]):
        self.decay, self.steps, self.values = decay, 0, values
        self.means = [value.clone() for value in values]

    def restart(self, place: int) -> None:
        """After a value was set anew, so that its past says nothing."""
        self.means[place].copy_(self.values[place])

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for mean, value in zip(self.means, self.values, strict=True):
            mean.lerp_(value, 1 - decay)

    def swap(self) -> None:
        """Exchanges weights and averages; a second call undoes the first."""
        for mean, value in zip(self.means, self.values, strict=True):
            kept = value.clone()
            value.copy_(mean)
            mean.copy_(kept)


class EvenAverage(Average):
    """The mean of the weights after every step from number `start` on (stochastic weight averaging; Izmailov et al.
    2018); until then the weights stand for themselves. As with the moving average, statistics of batch normalisation
    are those of the weights in training.
    """

    def __init__(self, start: int, values: list[Tensor]):
        super().__init__(0.0, values)
        self.start, self.counts = start, [0] * len(values)

    @property
    def active(self) -> bool:  # type: ignore[override]
        return self.steps > self.start

    def restart(self, place: int) -> None:
        super().restart(place)
        self.counts[place] = 0

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        if self.active:
            for place, (mean, value) in enumerate(zip(self.means, self.values, strict=True)):
                self.counts[place] += 1
                mean.lerp_(value, 1 / self.counts[place])
