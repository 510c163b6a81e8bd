"""Formulas and equations: what is read is right, and everything else is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opkit.errors import OpkitInputError
from opkit.pde.expressions import ExpressionError, read_equation, read_expression


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", lambda x, y: 1 + 0 * x),
        ("-x + 2*y", lambda x, y: -x + 2 * y),
        ("x^2 * y**3", lambda x, y: x**2 * y**3),
        ("-x**2", lambda x, y: -(x**2)),
        ("sin(pi*x) * exp(-y)", lambda x, y: np.sin(np.pi * x) * np.exp(-y)),
        ("sqrt(2) + log(3 + x)", lambda x, y: np.sqrt(2) + np.log(3 + x)),
        ("1/(1 + x**2)", lambda x, y: 1 / (1 + x**2)),
        ("2**x - tanh(y)/cosh(x)", lambda x, y: 2**x - np.tanh(y) / np.cosh(x)),
        ("+abs(x - y) - tan(x)", lambda x, y: np.abs(x - y) - np.tan(x)),
    ],
)
def test_formulas_have_their_values(text, value):
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 50))
    expression = read_expression(text)
    np.testing.assert_allclose(expression(x, y, np), value(x, y), rtol=1e-14)
    values = expression(torch.from_numpy(x), torch.from_numpy(y), torch)
    np.testing.assert_allclose(values.numpy(), value(x, y), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "coefficients"),
    [
        ("u_xx + u_yy + u = f", (1, 0, 0, 1, 1)),
        ("u_y = 0.2*u_xx", (0, 0, 1, -0.2, 0)),
        ("u_yy/2 - 2*u_xx = 0", (0, 0, 0, -2, 0.5)),
        ("-(u_xx + 3*(u_yy - u)) + x*y = u_x", (3, -1, 0, -1, -3)),
        ("u_xx*pi - sqrt(4)*u_yy = 0", (0, 0, 0, math.pi, -2)),
        ("u_xx + u_yy + u_x - u_x = 1", (0, 0, 0, 1, 1)),
    ],
)
def test_equations_have_their_coefficients(text, coefficients):
    source = "x" if "f" in text else None
    values = read_equation(text, source).coefficients
    assert values == pytest.approx(coefficients, abs=1e-15)


def test_fields_of_both_sides_become_the_source():
    equation = read_equation("u_xx + x**2 + u_yy = 3*f - y", "sin(x)")
    x, y = np.array([0.3]), np.array([-0.7])
    expected = 3 * np.sin(x) - y - x**2
    np.testing.assert_allclose(equation.source(x, y, np), expected)
    scaled = read_equation("2*(u_xx + u_yy + x) = y")
    np.testing.assert_allclose(scaled.source(x, y, np), y - 2 * x)
    halved = read_equation("(u_xx + u_yy + x)/2 = y")
    np.testing.assert_allclose(halved.source(x, y, np), y - x / 2)
    assert halved.coefficients[3] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u*u_x + u_yy = 0", "nonlinear .a product"),
        ("u_xx + u**2 = 0", "nonlinear .a power"),
        ("u_xx + sin(u) = 0", r"nonlinear .sin\(\.\.\.\)"),
        ("u_xx + 1/u = 0", "nonlinear .a division"),
        ("x*u_xx + u_yy = 0", "variable coefficient of u_xx"),
        ("u_xx + u_yy*f = 0", "variable coefficient of u_yy"),
        ("u_xx + u/y = 0", "variable coefficient of u"),
        ("u_xy + u_yy = 0", "mixed derivatives such as u_xy"),
        ("u_xxx + u_yy = 0", "above second order"),
        ("u_t - u_xx = 0", "write y for time, so u_y"),
        ("u_x + u_y = 0", "no second-order term"),
        ("u_xx - u_xx + u = 0", "no second-order term"),
        ("u_xx + u_yy", "one '=' sign"),
        ("u_xx + u_yy = f", "give its formula"),
        ("u_xx + u_zz = 0", "unknown name 'u_zz'"),
        ("u_xx/0 + u_yy = 1", "divides a term by zero"),
        ("u_xx*log(0) + u_yy = 1", "not finite"),
        ("u_xx + (u_yy = 1", "not a formula"),
    ],
)
def test_other_equations_are_refused(text, message):
    with pytest.raises(ExpressionError, match=message) as caught:
        read_equation(text)
    assert "\n" not in str(caught.value)


def test_a_source_without_f_is_refused():
    with pytest.raises(ExpressionError, match="does not name f"):
        read_equation("u_xx + u_yy = 0", "x")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "(lambda: 1)()",
        "x.__class__",
        "[x for x in (1, 2)]",
        "x if y else 1",
        "x < y",
        "sin(x, y)",
        "sin(x=1)",
        "'x'",
        "True",
        "1j",
        "x @ y",
        "open('f')",
        "u + 1",
        "z",
        "x; y",
        "",
        "1e999",
        "(" * 500 + "x" + ")" * 500,
        "-" * 200 + "x",
        "x" * 3000,
        "not " * 400 + "x",
        "~" * 1900 + "x",
        "x" + ".a" * 900,
        "x" + "[0]" * 600,
        "x" + "(x)" * 600,
        "x" + "<x" * 900,
        "x" + "+x" * 900,
        "x" + "@x" * 900,
        "lambda: " * 200 + "x",
        "x if x else " * 150 + "x",
        "1" * 1900,
    ],
)
def test_nothing_but_formulas_is_read(text):
    with pytest.raises(OpkitInputError) as caught:
        read_expression(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_formula_or_refused(text):
    try:
        expression = read_expression(text)
    except ExpressionError:
        return
    with np.errstate(all="ignore"):
        assert np.shape(expression(np.zeros(3), np.ones(3), np)) == (3,)
