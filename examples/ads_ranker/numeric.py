"""Embeddings of numeric fields."""

import torch
import torch.nn.functional as F
from features import Numbers
from torch import Tensor, nn


class NumericEmbedding(nn.Module):
    """Numbers [batch, fields], NaN = missing, to embeddings [batch, fields, width].

    raw, log, standardize: the number times a vector of its field. ple: piecewise-linear encoding, periodic: sines and
    cosines of learned frequencies (Gorishniy et al. 2022, "On Embeddings for Numerical Features"). autodis: a soft
    choice among learned meta-embeddings (Guo et al. 2021). A missing number has a learned embedding of its own.
    """

    def __init__(self, numbers: Numbers, width: int, init_std: float):
        super().__init__()
        self.encoding = numbers.encoding
        fields, buckets = numbers.fields, numbers.buckets
        size = 1
        if self.encoding == "ple":
            assert numbers.edges is not None
            edges = torch.from_numpy(numbers.edges)
            self.register_buffer("low", edges[:, :-1].contiguous())
            self.register_buffer("span", edges[:, 1:] - edges[:, :-1])
            size = buckets
        elif self.encoding == "periodic":
            self.frequency = nn.Parameter(torch.randn(fields, buckets))
            size = 2 * buckets
        elif self.encoding == "autodis":
            self.score = nn.Parameter(torch.randn(fields, buckets))
            self.mix = nn.Parameter(torch.randn(fields, buckets, buckets) / buckets**0.5)
            size = buckets
        self.weight = nn.Parameter(torch.randn(fields, size, width) * init_std)
        self.missing = nn.Parameter(torch.randn(fields, width) * init_std)

    def forward(self, x: Tensor) -> Tensor:
        absent = torch.isnan(x).to(x.dtype).unsqueeze(2)
        x = x.masked_fill(torch.isnan(x), 0).unsqueeze(2)
        if self.encoding == "ple":
            basis = ((x - self.low) / self.span).clamp_(0, 1)
        elif self.encoding == "periodic":
            angle = 2 * torch.pi * self.frequency * x
            basis = torch.cat([angle.sin(), angle.cos()], 2)
        elif self.encoding == "autodis":
            hidden = F.leaky_relu(self.score * x, 0.1)
            basis = torch.softmax(torch.einsum("bfh,fhk->bfk", hidden, self.mix) + 0.1 * hidden, 2)
        else:
            return x * self.weight[:, 0] + absent * self.missing
        return torch.einsum("bfk,fkd->bfd", basis * (1 - absent), self.weight) + absent * self.missing
