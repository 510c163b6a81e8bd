"""Time integrators as data, for du/dt = L u + N(u) with a diagonal L.

    step = STEPPERS["ifrk4"].prepare(linear, dt, nonlinear)
    for _ in range(num_steps):
        u_hat = step(u_hat)

Each declares its ``order``; `tests/solvers/test_steppers.py` measures it. States are
numpy arrays or torch tensors.
"""

from opkit.solvers.steppers.exponential import (
    ETDRK2,
    ETDRK4,
    IFRK4,
    ExponentialRungeKutta,
)
from opkit.solvers.steppers.multistep import (
    AB3,
    AB3_EULER_START,
    CNAB2,
    EULER_CN,
    Multistep,
)

STEPPERS: dict[str, ExponentialRungeKutta | Multistep] = {
    stepper.name: stepper
    for stepper in (IFRK4, ETDRK4, ETDRK2, AB3, AB3_EULER_START, CNAB2, EULER_CN)
}

__all__ = [
    "AB3",
    "AB3_EULER_START",
    "CNAB2",
    "ETDRK2",
    "ETDRK4",
    "EULER_CN",
    "IFRK4",
    "STEPPERS",
    "ExponentialRungeKutta",
    "Multistep",
]
