"""A network as a graph of its layers, by tracing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from fairsparse.core import Batch, InputError
from fairsparse.masks.modes import evaluating

NORMS = frozenset(f"{kind}norm{d}d" for kind in ("batch", "instance") for d in (1, 2, 3))
_FROM_ZERO = {
    *("relu", "relu6", "leakyrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish"),
    *("tanh", "hardtanh", "hardswish", "softsign", "tanhshrink", "dropout", "identity"),
}
KEEP_ZERO = _FROM_ZERO | {"contiguous", "clone"}
"""Functions of single numbers under which zero stays zero."""
_ACTIVATIONS = _FROM_ZERO | {"sigmoid", "hardsigmoid", "softplus"}


def traced(model: nn.Module) -> fx.GraphModule:
    """The graph of `model` in evaluation mode, over the same modules and parameters.

    Where tracing fails, as with a flow of control that depends on the input: an `InputError`.
    """
    try:
        with evaluating(model):
            return fx.symbolic_trace(model)
    except Exception as error:  # whatever the model's forward raises on an input without values
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the model {type(model).__name__} cannot be traced ({reason}); what is asked for"
            " needs to know which layers feed which: write its forward without branches on the"
            " input, or use a criterion and a grouping that do not"
        ) from None


def operation(node: fx.Node, graph: fx.GraphModule) -> str:
    """What a node does, in one spelling for module, function and method: ``relu`` for nn.ReLU."""
    if node.op == "call_module":
        name = type(graph.get_submodule(str(node.target))).__name__
    elif node.op == "call_function":
        name = getattr(node.target, "__name__", "")
    else:
        name = str(node.target) if node.op == "call_method" else ""
    return name.replace("_", "").lower()


def activations(
    model: nn.Module,
    names: Iterable[str],
    batches: Sequence[Batch],
    reduce: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """What the layers pass on, after the normalization and the activation that follow each.

    Parameters
    ----------
    names : iterable of str
        Names of the layers' weights.
    reduce : callable
        Maps what a layer with U filters passes on, (B, U, ...), to (B, U), one batch at a time.

    Returns
    -------
    dict
        Name -> (N, U), over the N examples of all batches, in evaluation mode.
    """
    names = list(names)
    graph = traced(model)
    layers = {name.rpartition(".")[0]: name for name in names}
    wanted: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target in layers:
            wanted[_last(node, graph)] = layers[str(node.target)]
    reader = _Reader(graph, wanted, reduce)
    with evaluating(model), torch.no_grad():
        for batch in batches:
            reader.run(batch.x)
    for name in names:
        if name not in reader.values:
            raise InputError(
                f"the layer of {name} is not called as a module, so what it passes on cannot be"
                " read; use a criterion of weights"
            )
    return {name: torch.cat(reader.values[name]) for name in names}


def _last(node: fx.Node, graph: fx.GraphModule) -> fx.Node:
    while len(node.users) == 1:
        (after,) = node.users
        if operation(after, graph) not in NORMS | _ACTIVATIONS:
            break
        node = after
    return node


class _Reader(fx.Interpreter):
    """Runs a graph and reduces chosen values at once, before a later step can overwrite them."""

    def __init__(
        self,
        graph: fx.GraphModule,
        wanted: dict[fx.Node, str],
        reduce: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(graph)
        self.wanted, self.reduce = wanted, reduce
        self.values: dict[str, list[Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self.wanted:
            self.values.setdefault(self.wanted[n], []).append(self.reduce(value))
        return value
