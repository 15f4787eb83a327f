"""What models are built of: linear layers, dropout, hidden layers, gates on embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) from 16 random bits per unit.

    torch's own draws one uniform float per unit, which on a CPU costs as much as the layer's matrix product.
    """
    if not training or p == 0:
        return x
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    keep = bits[: x.numel()].view(x.shape) >= round(p * 65536) - 32768
    return x * keep.to(x.dtype).mul_(1 / (1 - p))


class Dropout(nn.Module):
    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)


class Linear(nn.Linear):
    """A linear layer started at Xavier normal; with bf16, its matrix products alone are computed in bfloat16.

    Weights, sums of gradients and everything between layers stay in float32. Processors with bfloat16 instructions
    are two to three times faster that way; others are slower.
    """

    bf16 = False

    def reset_parameters(self) -> None:
        nn.init.xavier_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.bf16:
            return super().forward(x)
        y = F.linear(x.bfloat16(), self.weight.bfloat16()).float()
        return y if self.bias is None else y + self.bias


class SwiGLU(nn.Module):
    """Halves its input: one half gates the other (Shazeer 2020, "GLU Variants Improve Transformer")."""

    def forward(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "prelu": nn.PReLU, "swiglu": SwiGLU}


class Residual(nn.Module):
    """layer(x) + x, where the widths differ + a linear map of x (He et al. 2016; in click models Shan et al. 2016)."""

    def __init__(self, layer: nn.Module, inputs: int, outputs: int):
        super().__init__()
        self.layer = layer
        self.shortcut = nn.Identity() if inputs == outputs else Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.shortcut(x)


def mlp(inputs: int, settings: dict) -> tuple[nn.Sequential, int]:
    """Hidden layers (linear, normalisation, activation, dropout) and the width of their output.

    With mlp_residual every hidden layer also passes its input on.
    """
    blocks: list[nn.Module] = []
    for width in (int(part) for part in settings["mlp_units"].split(",") if part):
        outputs = width * 2 if settings["activation"] == "swiglu" else width
        layers: list[nn.Module] = [Linear(inputs, outputs)]
        if settings["normalization"] != "none":
            layers.append(nn.BatchNorm1d(outputs) if settings["normalization"] == "batch" else nn.LayerNorm(outputs))
        layers.append(ACTIVATIONS[settings["activation"]]())
        layers.append(Dropout(settings["dropout"]))
        blocks += [Residual(nn.Sequential(*layers), inputs, width)] if settings["mlp_residual"] else layers
        inputs = width
    return nn.Sequential(*blocks), inputs


class Head(nn.Module):
    """Hidden layers, then one log odds per row: [batch, inputs] -> [batch]."""

    def __init__(self, inputs: int, settings: dict):
        super().__init__()
        self.hidden, width = mlp(inputs, settings)
        self.out = Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x)).squeeze(1)


class SENet(nn.Module):
    """A weight per field from all fields' means: squeeze and excitation (FiBiNET; Huang et al. 2019)."""

    def __init__(self, fields: int, dim: int):
        super().__init__()
        self.squeeze, self.excite = Linear(fields, max(1, fields // 2)), Linear(max(1, fields // 2), fields)

    def forward(self, e: Tensor) -> Tensor:
        return e * (1 + self.excite(F.relu(self.squeeze(e.mean(2))))).unsqueeze(2)


class LHUC(nn.Module):
    """A weight in (0, 2) per embedding element from the whole instance, no gradient through its input.

    Learning hidden unit contributions (Swietojanski & Renals 2014), as gated embeddings in PEPNet (Chang et al. 2023).
    """

    def __init__(self, fields: int, dim: int):
        super().__init__()
        self.down, self.up = Linear(fields * dim, 32), Linear(32, fields * dim)

    def forward(self, e: Tensor) -> Tensor:
        context = e.detach().flatten(1)
        return e * (2 * torch.sigmoid(self.up(F.relu(self.down(context))))).view_as(e)


class StreamGate(nn.Module):
    """A weight in (0, 2) per embedding element, from a learned context shared by all rows."""

    def __init__(self, inputs: int):
        super().__init__()
        self.context = nn.Parameter(torch.randn(1, 16))
        self.gate = nn.Sequential(Linear(16, 64), nn.ReLU(), Linear(64, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 * torch.sigmoid(self.gate(self.context)))


# ---- what an interaction is -----------------------------------------------------------------------------------------


class Interaction(nn.Module):
    """How fields combine: embeddings [batch, fields, dim] -> log odds [batch].

    `streams` gives the log odds as well as those of every stream read alone, each [batch], so that a loss can be put
    on each of them. They are scaled to mean the same thing: the log odds are the mean of the streams', plus what a
    family adds by fusing them. A family of one stream is its own.
    """

    def streams(self, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        logit = self(e)
        return logit, [logit]


class Summed(Interaction):
    """A family whose log odds are the sum of several terms, each a stream."""

    def terms(self, e: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def forward(self, e: Tensor) -> Tensor:
        first, *others = self.terms(e)
        for term in others:
            first = first + term
        return first

    def streams(self, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        terms = self.terms(e)
        stacked = torch.stack(terms)
        return stacked.sum(0), [len(terms) * term for term in terms]


class Joined(Interaction):
    """A family whose streams, each [batch, its width], are read by one last linear layer `out`."""

    out: Linear

    def parts(self, e: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def forward(self, e: Tensor) -> Tensor:
        return self.out(torch.cat(self.parts(e), 1)).squeeze(1)

    def streams(self, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        parts = self.parts(e)
        return self.out(torch.cat(parts, 1)).squeeze(1), shares(self.out, parts)


def shares(out: Linear, parts: list[Tensor]) -> list[Tensor]:
    """What a linear layer to one output, which reads the parts side by side, makes of each: their mean is its output.

    parts: each [batch, width]; the widths may fall short of what the layer reads, and then the rest is in no share.
    """
    found, at = [], 0
    for part in parts:
        weight = out.weight[0, at : at + part.shape[1]]
        found.append(len(parts) * (part @ weight) + out.bias)
        at += part.shape[1]
    return found
