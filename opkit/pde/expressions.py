"""Formulas and equations as text, read without ever running them.

A formula in x and y is parsed by Python's own grammar into a syntax tree (`ast.parse`,
which executes nothing), of which only numbers, x, y, pi, arithmetic and a short list of
functions are accepted. An equation is linear in u and its derivatives with constant
coefficients; everything else is refused by name.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opkit.errors import OpkitInputError, nearest

TERMS = ("u", "u_x", "u_y", "u_xx", "u_yy")
FUNCTIONS = (
    "sin",
    "cos",
    "tan",
    "exp",
    "log",
    "sqrt",
    "abs",
    "sinh",
    "cosh",
    "tanh",
)
CONSTANTS = {"pi": math.pi}
LONGEST, DEEPEST = 2000, 60

Node = tuple[Any, ...]
_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}


class ExpressionError(OpkitInputError):
    """A formula or an equation is outside the language; the message quotes it."""


@dataclass(frozen=True)
class Expression:
    """A formula in x and y.

    Args:
        node: the tree; made by `read_expression`.
        text: what was read.
    """

    node: Node
    text: str

    def __call__(self, x: Any, y: Any, module: Any) -> Any:
        """Evaluate on arrays.

        Args:
            x: numpy array or torch tensor.
            y: the same kind and shape.
            module: ``numpy`` or ``torch``, where sin, exp, ... are looked up.
        """
        with np.errstate(all="ignore"):  # whoever uses the values checks them
            return _evaluate(self.node, x, y, module) + 0 * (x + y)


@dataclass(frozen=True)
class LinearEquation:
    """c_0 u + c_1 u_x + c_2 u_y + c_3 u_xx + c_4 u_yy = source.

    Args:
        coefficients: in the order of `TERMS`.
        source: the right-hand side.
    """

    coefficients: tuple[float, float, float, float, float]
    source: Expression


def read_expression(text: str) -> Expression:
    """Read a formula in x and y such as ``"exp(-x**2) * sin(pi*y)"``.

    ``^`` may be written for ``**``.

    Raises:
        ExpressionError: not a formula of this language.
    """
    return Expression(_parse(text, {"x", "y"}), text)


def read_equation(text: str, source: str | None = None) -> LinearEquation:
    """Read a linear second-order equation such as ``"u_xx + u_yy + u = f"``.

    Args:
        text: one equation in u, u_x, u_y, u_xx, u_yy; formulas in x and y may stand on
            either side; ``f`` stands for `source`.
        source: formula for ``f``.

    Raises:
        ExpressionError: nonlinear terms, variable coefficients, mixed or higher
            derivatives, no second derivative, or f without a source.
    """
    sides = text.split("=")
    if len(sides) != 2 or not all(side.strip() for side in sides):
        raise ExpressionError(f"{short(text)} is not an equation: write one '=' sign")
    names = {"x", "y", "f", *TERMS}
    left, right = (_parse(side, names) for side in sides)
    terms, field = _linear(("-", left, right), text)
    if terms.get("u_xx", 0.0) == 0 and terms.get("u_yy", 0.0) == 0:
        raise ExpressionError(
            f"{short(text)} has no second-order term: add u_xx or u_yy (first-order "
            "equations are not solved here)"
        )
    field = ("neg", field)
    if _uses_f(field):
        if source is None:
            raise ExpressionError(
                f"{short(text)} names f: give its formula as the source"
            )
        field = _substitute(field, read_expression(source).node)
    elif source is not None:
        raise ExpressionError(f"a source is given, but {text!r} does not name f")
    shown = source if source is not None else text
    c = tuple(float(terms.get(name, 0.0)) for name in TERMS)
    return LinearEquation((c[0], c[1], c[2], c[3], c[4]), Expression(field, shown))


def _parse(text: str, names: set[str]) -> Node:
    if len(text) > LONGEST:
        raise ExpressionError(f"a formula of {len(text)} characters: {LONGEST} at most")
    python = text.strip().replace("^", "**")
    try:
        tree = ast.parse(python, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"{short(text)} is not a formula: check it") from None
    return _convert(tree.body, names, python, 0)


def short(text: str) -> str:
    """Quote a text in one line of at most 80 characters or so."""
    return repr(text if len(text) <= 80 else text[:60] + " ...")


def _convert(tree: ast.expr, names: set[str], text: str, depth: int) -> Node:
    if depth > DEEPEST:
        raise ExpressionError(f"{short(text)} is nested too deeply: simplify it")

    def inner(part: ast.expr) -> Node:
        return _convert(part, names, text, depth + 1)

    match tree:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value) if abs(value) < 1e300:
            return ("number", float(value))
        case ast.Name(id=name) if name in names:
            return ("name", name)
        case ast.Name(id=name) if name in CONSTANTS:
            return ("number", CONSTANTS[name])
        case ast.Name(id=name):
            raise ExpressionError(_unknown(name, names, text))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ("neg", inner(operand))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return inner(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return (_BINARY[type(op)], inner(left), inner(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if name not in FUNCTIONS:
                raise ExpressionError(
                    f"{short(text)}: no function {name!r}.{nearest(name, FUNCTIONS)} "
                    f"Known: {', '.join(FUNCTIONS)}."
                )
            return ("call", name, inner(argument))
        case _:
            pass
    raise ExpressionError(
        f"{short(text)}: {short(_written(tree, text))} is not allowed: use numbers, "
        f"{', '.join(sorted(names))}, pi, + - * / ** and {', '.join(FUNCTIONS)}"
    )


def _written(tree: ast.expr, text: str) -> str:
    """The characters a tree was read from; unlike `ast.unparse`, without recursion."""
    return ast.get_source_segment(text, tree) or text


def _unknown(name: str, names: set[str], text: str) -> str:
    if "u" in names:
        letters = name.removeprefix("u_")
        if name in ("u_xy", "u_yx"):
            return f"{short(text)}: mixed derivatives such as {name} are not supported"
        if letters != name and "t" in letters:
            return f"{short(text)}: write y for time, so {name.replace('t', 'y')}"
        if letters != name and set(letters) <= {"x", "y"}:
            return (
                f"{short(text)}: {name} is above second order, which is not supported"
            )
    elif name.split("_")[0] == "u":
        return f"{short(text)}: u may not stand here, only x and y"
    known = ", ".join(sorted(names))
    close = nearest(name, names)
    return f"{short(text)}: unknown name {short(name)}.{close} Known: {known}, pi."


def _evaluate(node: Node, x: Any, y: Any, module: Any) -> Any:
    match node:
        case ("number", value):
            return value
        case ("name", name):
            return x if name == "x" else y
        case ("neg", a):
            return -_evaluate(a, x, y, module)
        case ("call", name, a):
            # A constant argument becomes an array of that constant.
            argument = _evaluate(a, x, y, module) + 0 * x
            return getattr(module, name)(argument)
        case (operator, a, b):
            return _ARITHMETIC[operator](
                _evaluate(a, x, y, module), _evaluate(b, x, y, module) + 0 * x
            )
    raise AssertionError(node)


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}


def _linear(node: Node, text: str) -> tuple[dict[str, float], Node]:
    """Split a tree into coefficients of u's terms and a field without u."""
    match node:
        case ("name", name) if name in TERMS:
            return {name: 1.0}, ("number", 0.0)
        case ("number", _) | ("name", _):
            return {}, node
        case ("neg", a):
            terms, field = _linear(a, text)
            return {k: -v for k, v in terms.items()}, ("neg", field)
        case ("+" | "-" as sign, a, b):
            (first, field), (second, other) = _linear(a, text), _linear(b, text)
            factor = 1.0 if sign == "+" else -1.0
            terms = dict(first)
            for name, value in second.items():
                terms[name] = terms.get(name, 0.0) + factor * value
            return terms, (sign, field, other)
        case ("*", a, b):
            (first, field), (second, other) = _linear(a, text), _linear(b, text)
            if first and second:
                raise _nonlinear(text, "a product of two terms with u")
            if not first and not second:
                return {}, node
            terms, rest = (first, field) if first else (second, other)
            factor_tree = other if first else field
            scale = _number(factor_tree, text, next(iter(terms)))
            return {k: scale * v for k, v in terms.items()}, ("*", factor_tree, rest)
        case ("/", a, b):
            (first, field), (second, other) = _linear(a, text), _linear(b, text)
            if second:
                raise _nonlinear(text, "a division by a term with u")
            if not first:
                return {}, node
            scale = _number(other, text, next(iter(first)))
            if scale == 0:
                raise ExpressionError(
                    f"{short(text)} divides a term by zero: correct it"
                )
            return {k: v / scale for k, v in first.items()}, ("/", field, other)
        case ("**", a, b):
            if _linear(a, text)[0] or _linear(b, text)[0]:
                raise _nonlinear(text, "a power of a term with u")
            return {}, node
        case ("call", name, a):
            if _linear(a, text)[0]:
                raise _nonlinear(text, f"{name}(...) of a term with u")
            return {}, node
    raise AssertionError(node)


def _nonlinear(text: str, what: str) -> ExpressionError:
    return ExpressionError(
        f"{short(text)} is nonlinear ({what}): only linear equations are solved here"
    )


def _number(node: Node, text: str, term: str) -> float:
    if _uses(node, {"x", "y", "f"}):
        raise ExpressionError(
            f"{short(text)} has a variable coefficient of {term}: it must be a number"
        )
    with np.errstate(all="ignore"):
        value = float(_evaluate(node, np.float64(0), np.float64(0), np))
    if not math.isfinite(value):
        raise ExpressionError(f"{short(text)}: the coefficient of {term} is not finite")
    return value


def _uses(node: Node, names: set[str]) -> bool:
    if node[0] == "name":
        return node[1] in names
    return any(_uses(part, names) for part in node[1:] if isinstance(part, tuple))


def _uses_f(node: Node) -> bool:
    return _uses(node, {"f"})


def _substitute(node: Node, source: Node) -> Node:
    if node == ("name", "f"):
        return source
    return tuple(
        _substitute(part, source) if isinstance(part, tuple) else part for part in node
    )
