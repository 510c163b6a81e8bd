"""A bundle as a Tesseract: a folder that Tesseract Core runs, serves and builds.

    python examples/tools/tesseract_folder.py runs/demo/pod-gp flow
    tesseract build flow                    # a container; or from Python, without one:
    Tesseract.from_tesseract_api("flow/tesseract_api.py").apply(inputs)

Schemas follow from the surrogate's variables; outputs carry the error bound and whether
the inputs resemble the training inputs; derivatives are those of the surrogate, so that
`tesseract-jax` puts it into a JAX program. Tesseract Core wants other versions of some
packages than opkit may have: give it an environment of its own.
"""

import shutil
import sys
from pathlib import Path

import opkit
from opkit.serve.vectors import input_parts

API = '''"""A surrogate of opkit: {title}."""

from pathlib import Path

import numpy as np
import torch
from pydantic import create_model
from tesseract_core.runtime import Array, Differentiable, Float64

import opkit
from opkit.serve.vectors import input_parts, output_parts

SURROGATE = opkit.load(Path(__file__).parent / "bundle")
INPUTS, OUTPUTS = input_parts(SURROGATE), output_parts(SURROGATE, None)


def fields(parts):
    return {{p.name: (Differentiable[Array[p.shape, Float64]], ...) for p in parts}}


InputSchema = create_model("InputSchema", **fields(INPUTS))
OutputSchema = create_model(
    "OutputSchema",
    **fields(OUTPUTS),
    error_bound=(Array[(), Float64], ...),
    resembles_training=(Array[(), Float64], ...),  # 1 or 0
)


def apply(inputs):
    checked = SURROGATE({{p.name: getattr(inputs, p.name) for p in INPUTS}}, check=True)
    values = {{k: v.astype(np.float64) for k, v in checked.prediction.items()}}
    bound = np.float64(checked.error_bound[0])
    usual = np.float64(checked.resembles_training()[0])
    return OutputSchema(**values, error_bound=bound, resembles_training=usual)


def traced(inputs, names):
    x = {{p.name: torch.tensor(np.array(getattr(inputs, p.name))) for p in INPUTS}}
    for name in names:
        x[name].requires_grad_()
    return x, SURROGATE(x)


def vector_jacobian_product(inputs, vjp_inputs, vjp_outputs, cotangent_vector):
    x, y = traced(inputs, vjp_inputs)
    names, outputs = sorted(vjp_inputs), sorted(vjp_outputs)
    weights = [torch.tensor(np.array(cotangent_vector[name])) for name in outputs]
    slopes = torch.autograd.grad(
        [y[n] for n in outputs], [x[n] for n in names], weights, allow_unused=True
    )
    return {{n: (torch.zeros_like(x[n]) if s is None else s).numpy()
            for n, s in zip(names, slopes)}}


def jacobian_vector_product(inputs, jvp_inputs, jvp_outputs, tangent_vector):
    x, y = traced(inputs, jvp_inputs)
    names, products = sorted(jvp_inputs), {{}}
    for name in jvp_outputs:  # J v is the derivative of uᵀ J v in u
        u = torch.zeros_like(y[name], requires_grad=True)
        ends = [x[n] for n in names]
        slopes = torch.autograd.grad(y[name], ends, u, create_graph=True)
        along = sum((s * torch.tensor(np.array(tangent_vector[n]))).sum()
                    for n, s in zip(names, slopes))
        (product,) = torch.autograd.grad(along, u)
        products[name] = product.numpy()
    return products


def abstract_eval(abstract_inputs):
    shapes = {{p.name: {{"shape": p.shape, "dtype": "float64"}} for p in OUTPUTS}}
    number = {{"shape": (), "dtype": "float64"}}
    return shapes | {{"error_bound": number, "resembles_training": number}}
'''
CONFIG = """name: {name}
version: "{version}"
description: "A surrogate of opkit"
build_config:
  package_data: [["bundle", "bundle"]]
"""


def main(run, out):
    """Write the folder; refuses a folder that is there."""
    surrogate, out = opkit.load(run), Path(out)
    input_parts(surrogate)  # refuses surrogates without variables of one length
    bundle = next(p for p in (Path(run) / "bundle", Path(run)) if p.is_dir())
    out.mkdir()
    shutil.copytree(bundle, out / "bundle")
    title = f"{surrogate.config.operator} for {surrogate.config.case.get('name')}"
    (out / "tesseract_api.py").write_text(API.format(title=title))
    config = CONFIG.format(name=out.name, version=opkit.__version__)
    (out / "tesseract_config.yaml").write_text(config)
    (out / "tesseract_requirements.txt").write_text("opkit\n")
    return out


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
