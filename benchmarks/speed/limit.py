"""The limit: the matrix products and table look-ups of an epoch, forward and backward, and nothing else.

No activation, bias, loss, optimiser, copy between layers or choice of rows is counted, and every result is written into
memory that is there already, so an epoch of the model cannot take less with the same kernels. Weights and activations
are random, the ids are the epoch's own.
"""

import itertools
import time
from collections.abc import Callable

import torch
from features import Shape
from models import row_width
from optim import scatter_rows
from torch import Tensor

REPEATS = 5


class Product:
    """x [rows, inputs] @ w [inputs, outputs], and backward the gradients of x and w."""

    def __init__(self, rows: int, inputs: int, outputs: int):
        self.x, self.w, self.y = (torch.randn(*s) for s in ((rows, inputs), (inputs, outputs), (rows, outputs)))
        self.x_gradient, self.w_gradient = torch.empty_like(self.x), torch.empty_like(self.w)

    def run(self) -> None:
        torch.mm(self.x, self.w, out=self.y)
        torch.mm(self.y, self.w.t(), out=self.x_gradient)
        torch.mm(self.x.t(), self.y, out=self.w_gradient)


class Dots:
    """Inner products of all field pairs, and backward one product with the symmetric gradient."""

    def __init__(self, rows: int, fields: int, dim: int):
        self.e, self.dots = torch.randn(rows, fields, dim), torch.empty(rows, fields, fields)
        self.gradient = torch.empty_like(self.e)

    def run(self) -> None:
        torch.bmm(self.e, self.e.transpose(1, 2), out=self.dots)
        torch.bmm(self.dots, self.e, out=self.gradient)


def products(settings: dict, shape: Shape, rows: int) -> list[Product | Dots]:
    """The products of one step of the model in `settings` (section `model` of a config)."""
    dim, numeric = settings["embedding_dim"], sum(block.fields for block in shape.numbers)
    fields = shape.id_fields + numeric
    inputs, work = fields * dim, list[Product | Dots]()
    hidden = [int(width) for width in settings["mlp_units"].split(",")]
    if settings["interaction"] == "dcnv2":
        work += [Product(rows, inputs, inputs) for _ in range(settings["cross_layers"])]
        work += chain(rows, [inputs, *hidden])
        return [*work, Product(rows, inputs + hidden[-1], 1)]
    if settings["interaction"] == "dlrm":
        if numeric:
            work += chain(rows, [numeric * dim, 64, dim])
            fields = shape.id_fields + 1
        work.append(Dots(rows, fields, dim))
        inputs = fields * (fields - 1) // 2 + (dim if numeric else 0)
        inputs += (
            -inputs % 16
        )  # aligned rows, as the codebase has them: their products take less than those of bare ones
    elif settings["interaction"] not in ("deepfm", "widedeep"):
        raise ValueError(f"the products of {settings['interaction']} are not listed here")
    return [*work, *chain(rows, [inputs, *hidden, 1])]


def chain(rows: int, widths: list[int]) -> list[Product]:
    return [Product(rows, a, b) for a, b in itertools.pairwise(widths)]


def seconds_per_epoch(config: dict, shape: Shape, ids: Tensor, steps: int) -> dict[str, float]:
    """Least of REPEATS epochs: `products`, `lookups`, their sum `total`; with `cpu_` before, CPU seconds.

    ids: int32 [n, id fields], the rows of the table that the epoch looks up.
    """
    rows = len(ids) // steps
    work = products(config["model"], shape, rows)
    batches = [part.reshape(-1) for part in ids[: rows * steps].split(rows)]
    table = torch.randn(shape.table_rows, row_width(config["model"]))
    out, gradient = torch.empty(len(batches[0]), table.shape[1]), torch.zeros_like(table)

    def multiply() -> None:
        for _ in range(steps):
            for product in work:
                product.run()

    def look_up() -> None:
        for batch in batches:
            torch.index_select(table, 0, batch, out=out)

    def add_by_row() -> None:
        for batch in batches:
            gradient.zero_().index_add_(0, batch, out)

    def add_sorted() -> None:
        for batch in batches:
            scatter_rows(gradient, batch, out)

    with torch.inference_mode():
        times = {f.__name__: least(f) for f in (multiply, look_up, add_by_row, add_sorted)}
    back = min(times["add_by_row"], times["add_sorted"])
    found = {}
    for i, name in enumerate(("", "cpu_")):
        found[name + "products"] = times["multiply"][i]
        found[name + "lookups"] = times["look_up"][i] + back[i]
        found[name + "total"] = found[name + "products"] + found[name + "lookups"]
    return found


def least(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads: the least of REPEATS, since what disturbs can only add."""
    work()
    taken, cpu = [], []
    for _ in range(REPEATS):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        work()
        taken.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
    return min(taken), min(cpu)
