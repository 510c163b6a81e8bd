"""How wrong a field is: errors of fields, their means over samples, spectra."""

from typing import TYPE_CHECKING

from opkit.base.face import late

if TYPE_CHECKING:
    from opkit.metrics.modules import (
        MSE,
        NRMSE,
        VRMSE,
        MeanError,
        RelativeH1,
        RelativeL2,
        RolloutError,
        SpectralError,
    )

_MODULES = {
    "MeanError": "opkit.metrics.modules",
    "RelativeL2": "opkit.metrics.modules",
    "RelativeH1": "opkit.metrics.modules",
    "NRMSE": "opkit.metrics.modules",
    "VRMSE": "opkit.metrics.modules",
    "MSE": "opkit.metrics.modules",
    "SpectralError": "opkit.metrics.modules",
    "RolloutError": "opkit.metrics.modules",
}
__all__ = [
    "MSE",
    "NRMSE",
    "VRMSE",
    "MeanError",
    "RelativeH1",
    "RelativeL2",
    "RolloutError",
    "SpectralError",
]
__getattr__, __dir__ = late(__name__, _MODULES)
