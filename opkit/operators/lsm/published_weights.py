"""Weights of the authors' LSM code, read into `LSM` and `PointLSM`.

Key map (authors' name → ours; k = 0 is the finest scale, * any ending):

| thuml/Latent-Spectral-Models       | opkit                           |
|------------------------------------|---------------------------------|
| fc0.*                              | lifting.*                       |
| inc.double_conv.*                  | unet.trunk.encoder.0.*          |
| down{k}.maxpool_conv.1.double_conv.* | unet.trunk.encoder.{k}.*      |
| up{k}.conv.double_conv.*           | unet.trunk.decoder.{k-1}.*      |
| outc.conv.*                        | unet.trunk.mixing.*             |
| process{k}.latent                  | unet.blocks.{k-1}.tokens        |
| process{k}.weights                 | unet.blocks.{k-1}.weights       |
| process{k}.encoder_attn.*          | unet.blocks.{k-1}.key_value.*   |
| process{k}.decoder_attn.*          | unet.blocks.{k-1}.query.*       |
| fc1.*, fc2.*                       | projection.0.*, projection.2.*  |
| convproject_in.*, convproject_out.* | grid_in.*, points_out.*        |
| fftproject_{in,out}.weights{1,2}   | spectral_{in,out}.weight, halves |
| IPHI: fc0, fc_code, fc_no_code     | map.features, map.code, map.no_code |
| IPHI: fc1 ... fc4                  | map.network.0, .2, .4, .6       |

Linear layers become convolutions of width 1: their weights get trailing axes of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from opkit.errors import BundleError

_RULES: tuple[tuple[str, str], ...] = (
    (r"fc0\.", "lifting."),
    (r"fc1\.", "projection.0."),
    (r"fc2\.", "projection.2."),
    (r"inc\.double_conv\.", "unet.trunk.encoder.0."),
    (r"down(\d)\.maxpool_conv\.1\.double_conv\.", "unet.trunk.encoder.{0}."),
    (r"up(\d)\.conv\.double_conv\.", "unet.trunk.decoder.{1}."),
    (r"outc\.conv\.", "unet.trunk.mixing."),
    (r"process(\d)\.latent$", "unet.blocks.{1}.tokens"),
    (r"process(\d)\.weights$", "unet.blocks.{1}.weights"),
    (r"process(\d)\.encoder_attn\.", "unet.blocks.{1}.key_value."),
    (r"process(\d)\.decoder_attn\.", "unet.blocks.{1}.query."),
    (r"convproject_in\.", "grid_in."),
    (r"convproject_out\.", "points_out."),
)
_MAP_RULES: tuple[tuple[str, str], ...] = (
    (r"fc0\.", "map.features."),
    (r"fc_code\.", "map.code."),
    (r"fc_no_code\.", "map.no_code."),
    (r"fc1\.", "map.network.0."),
    (r"fc2\.", "map.network.2."),
    (r"fc3\.", "map.network.4."),
    (r"fc4\.", "map.network.6."),
)


def load_reference(
    model: nn.Module,
    state: Mapping[str, Tensor],
    coordinate_map: Mapping[str, Tensor] | None = None,
) -> None:
    """Load weights of the authors' model.

    Args:
        model: an `LSM` or `PointLSM` of the same sizes.
        state: state dict of the authors' ``Model``.
        coordinate_map: state dict of the authors' ``IPHI``, for `PointLSM`. Its layer
            for the other case (with or without a code) is never used and left out.

    Raises:
        BundleError: a weight is unknown, missing, or of another size.
    """
    own_state = model.state_dict()
    renamed_state = {
        _rename(name, _RULES): value for name, value in _fuse(state).items()
    }
    for name, value in (coordinate_map or {}).items():
        renamed = _rename(name, _MAP_RULES)
        if renamed in own_state or not renamed.startswith(
            ("map.code.", "map.no_code.")
        ):
            renamed_state[renamed] = value
    for name in sorted(own_state.keys() ^ renamed_state.keys()):
        state_of = "missing" if name in own_state else "not part of this model"
        raise BundleError(
            f"weight {name} is {state_of}: build the model with the options it was "
            "trained with"
        )
    for name, value in renamed_state.items():
        if value.numel() != own_state[name].numel():
            raise BundleError(
                f"weight {name} has {value.numel()} numbers, not "
                f"{own_state[name].numel()}: build the model with the options it was "
                "trained with"
            )
        renamed_state[name] = value.reshape(own_state[name].shape)
    model.load_state_dict(renamed_state)


def _fuse(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the two halves of the spectral weights along the first wavenumber."""
    fused = {}
    for name, value in state.items():
        match = re.fullmatch(r"fftproject_(in|out)\.weights([12])", name)
        if match is None:
            fused[name] = value
        elif match[2] == "1":
            other = state[name[:-1] + "2"]
            both = torch.cat([value, other], dim=2)
            fused[f"spectral_{match[1]}.weight"] = torch.view_as_real(both)
    return fused


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, target in rules:
        match = re.match(pattern, name)
        if match:
            k = int(match[1]) if match.lastindex else 0
            return target.format(k, k - 1) + name[match.end() :]
    return name
