"""Make the reference arrays in this folder with pyqg (see README.md).

PYQG_PYTHON make.py      # a Python that has pyqg built from git
"""

from pathlib import Path

import numpy as np
import pyqg

STEPS = 100
RUNS = {
    "eddy": {},
    "jet": {"rek": 7e-8, "delta": 0.1, "beta": 1e-11},
    "barotropic": {"beta": 1.5e-11, "rek": 5.787e-7},
    "reduced-gravity": {"beta": 1.5e-11, "rek": 5.787e-7, "rd": 30000.0},
}


def band_limited(rng: np.random.Generator, layers: int, n: int) -> np.ndarray:
    """White noise in wavenumbers 1..n/3, zero mean, 1/s: chaotic when evolved."""
    k = np.fft.fftfreq(n, 1 / n)
    kappa = np.hypot(k[:, None], k)
    keep = (kappa > 0) & (kappa <= n / 3)
    noise = rng.standard_normal((layers, n, n))
    field = np.fft.ifft2(np.fft.fft2(noise) * keep).real
    return 1e-5 * field / field.std()


def main() -> None:
    """Write one .npz a run: the field at steps 0, 1, 2, 3 and 100."""
    for number, (name, parameters) in enumerate(RUNS.items()):
        two = name in ("eddy", "jet")
        kind = pyqg.QGModel if two else pyqg.BTModel
        model = kind(nx=32, dt=3600.0, log_level=0, **parameters)
        rng = np.random.default_rng(number)
        # white noise on top fills every wavenumber, the Nyquist ones too
        start = band_limited(rng, 2 if two else 1, 32)
        start += 1e-7 * rng.standard_normal(start.shape)
        model.q = start
        record = {"q_0": start}
        for step in range(1, STEPS + 1):
            model._step_forward()
            if step in (1, 2, 3, STEPS):
                record[f"q_{step}"] = np.array(model.q)
        model._invert()
        record["psi_hat_100"] = np.array(model.ph)
        print(name, {key: float(abs(value).max()) for key, value in record.items()})
        np.savez_compressed(Path(__file__).with_name(f"{name}.npz"), **record)


if __name__ == "__main__":
    main()
