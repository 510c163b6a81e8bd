"""Weights of the published BENO (``HeteroGNS``) under the names used here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.beno.published import PublishedBENO

Replacement = str | Callable[[re.Match[str]], str]

# published name -> name here, applied in this order
_RENAMED: tuple[tuple[str, Replacement], ...] = (
    (r"_inbd", ""),
    (r"_encoder\.", ""),
    (r"_processor\.gnn_stacks\.", "layers."),
    (r"_decoder\.node_fn\.", "decode."),
    (r"(node|edge)_fn\.0\.", r"\1."),
    (r"(node|edge)_fn\.1\.", r"\1_norm."),
    (r"NN-(\d+)", lambda m: str(2 * int(m[1]))),  # activations are counted here
    (r"boundary_fn\.enc_embedding\.value_embedding\.tokenConv", "boundary.embed"),
    (r"boundary_fn\.encoder\.attn_layers", "boundary.layers"),
    (r"boundary_fn\.encoder\.norm", "boundary.norm"),
    (r"attention\.(\w+)_projection", r"\1"),
    (r"conv1", "widen"),
    (r"conv2", "narrow"),
)
# tables that are stored but not used, or that are computed here
_LEFT_OUT = re.compile(r"\.(temporal_embedding|position_embedding)\.")


def translate(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of `PublishedBENO` from those of ``HeteroGNS``."""
    weights = {}
    for name, tensor in published.items():
        if _LEFT_OUT.search(name):
            continue
        branch = "data" if "_inbd" in name else "source"
        stem = name
        for pattern, replacement in _RENAMED:
            stem = re.sub(pattern, replacement, stem)
        weights[f"{branch}.{stem}"] = tensor
    return weights


def load_published(model: PublishedBENO, published: Mapping[str, Tensor]) -> None:
    """Put published weights into a network of the same sizes; scales stay.

    Raises:
        OpkitInputError: a weight is missing, unknown, or of another shape.
    """
    weights = {**translate(published), "scales.moments": model.scales.moments}
    own = model.state_dict()
    for name in own.keys() | weights.keys():
        if name not in own or name not in weights:
            where = "this network" if name in weights else "the published weights"
            raise OpkitInputError(f"{name} is not in {where}: give the same sizes")
        if own[name].shape != weights[name].shape:
            raise OpkitInputError(
                f"{name} has shape {tuple(weights[name].shape)}, this network's is "
                f"{tuple(own[name].shape)}: give the same sizes"
            )
    model.load_state_dict(weights)
