"""A surrogate as a component of OpenMDAO, with partials and its trust as a constraint.

    minimise the pressure drop over heights and widths of three bumps
    subject to   32/35 Σ h_i w_i >= A,   error bound <= LIMIT,   novelty <= STRANGE

Partials of the drop are by automatic differentiation, those of bound and novelty, which
have kinks, by differences. The solver has the last word.

    python examples/tools/openmdao_design.py runs/demo/pod-gp
"""

import sys
import time

import numpy as np
import torch

import opkit

# OpenMDAO asks which version petsc4py has; that of dolfinx-solver-real does not say
HELD = sys.modules.get("petsc4py")
sys.modules["petsc4py"] = None
import openmdao.api as om  # noqa: E402

if sys.modules.pop("petsc4py") is not HELD:
    sys.modules["petsc4py"] = HELD

PLACES, REYNOLDS, AREA = (1.5, 3.7, 5.9), 300.0, 0.4
LIMIT, STRANGE, COVERAGE = 0.3, 2.0, 0.9
HEIGHTS, WIDTHS = ("heights", 0.25, 0.1, 0.4), ("widths", 0.65, 0.5, 0.8)


def drop(pressure):
    """∫ p(inlet) - p(outlet) dy of pressures (batch, y, x), numpy or torch."""
    ends = pressure[:, :, 0] - pressure[:, :, -1]
    return (ends[:, 1:] + ends[:, :-1]).mean(1) / 2


class Flow(om.ExplicitComponent):
    """Pressure drop over bumps, and how far it can be trusted."""

    def initialize(self):
        """Take the surrogate."""
        self.options.declare("surrogate", types=opkit.Surrogate)

    def setup(self):
        """Declare inputs, outputs and partials."""
        for name, value, *_ in (HEIGHTS, WIDTHS):
            self.add_input(name, np.full(3, value))
        for name in ("drop", "error_bound", "novelty"):
            self.add_output(name)
        shape, trust = ["heights", "widths"], ["error_bound", "novelty"]
        self.declare_partials("drop", shape)
        self.declare_partials(trust, shape, method="fd", step=1e-3)

    def query(self, inputs, kind=np.asarray):
        """Name the inputs of one sample."""
        fixed = {"places": kind([PLACES]), "reynolds": kind([REYNOLDS])}
        return fixed | {name: kind(inputs[name][None]) for name in inputs}

    def compute(self, inputs, outputs):
        """Predict, and judge."""
        surrogate = self.options["surrogate"]
        checked = surrogate(self.query(inputs), check=True, coverage=COVERAGE)
        outputs["drop"] = drop(checked.prediction["pressure"])
        outputs["error_bound"] = checked.error_bound
        outputs["novelty"] = checked.novelty

    def compute_partials(self, inputs, partials):
        """Differentiate the drop."""
        x = {name: torch.tensor(inputs[name], requires_grad=True) for name in inputs}
        query = self.query(x, lambda v: torch.as_tensor(v, dtype=torch.float64))
        value = drop(self.options["surrogate"](query)["pressure"])
        slopes = torch.autograd.grad(value.sum(), list(x.values()))
        for name, slope in zip(x, slopes, strict=True):
            partials["drop", name] = slope[None].numpy()


def problem(surrogate):
    """Return the problem, set up, with its flow's component."""
    p = om.Problem()
    p.model.add_subsystem("flow", Flow(surrogate=surrogate), promotes=["*"])
    area = om.ExecComp(
        "area = 32 / 35 * sum(heights * widths)", heights=np.ones(3), widths=np.ones(3)
    )
    p.model.add_subsystem("area", area, promotes=["*"])
    for name, value, low, high in (HEIGHTS, WIDTHS):
        p.model.set_input_defaults(name, np.full(3, value))
        p.model.add_design_var(name, lower=low, upper=high)
    p.model.add_objective("drop")
    p.model.add_constraint("area", lower=AREA)
    p.model.add_constraint("error_bound", upper=LIMIT)
    p.model.add_constraint("novelty", upper=STRANGE)
    p.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-5, disp=False)
    p.setup()
    return p


def main(run):
    """Return the drop at the start, at the optimum, and there by the solver; all."""
    surrogate = opkit.load(run)
    p = problem(surrogate)
    p.run_model()
    start = float(p["drop"][0])
    p.run_driver()
    shape = {name: p[name].copy() for name in ("heights", "widths")}
    found = ("area", "error_bound", "novelty", "drop")
    best = shape | {name: p[name].copy() for name in found}
    query = p.model.flow.query(shape)
    solved = surrogate.solve(query, exact=True).outputs["pressure"]
    return start, best, float(drop(solved)[0])


if __name__ == "__main__":
    begin = time.perf_counter()
    start, best, solved = main(sys.argv[1])
    print(f"drop: {start:.4f} at the start, {solved:.4f} solved at the optimum")
    print({name: np.round(value, 3).tolist() for name, value in best.items()})
    print(f"{time.perf_counter() - begin:.0f} s")
