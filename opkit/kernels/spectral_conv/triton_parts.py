"""Pieces of the Triton kernels: one block's loads, products and stores."""

import os

import triton
import triton.language as tl

# Triton's interpreter multiplies the bits of bf16 numbers as integers.
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def _dot(a, b, sums, PRECISION: tl.constexpr):
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, sums, input_precision=PRECISION)


@triton.jit
def add_rows(
    real, imag, x, f, row_ok, j, k, width, table, KP: tl.constexpr,
    FOLD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add x[row, j] f[j, k] to (real, imag); x points at column 0 of each row."""
    cosine = tl.load(f + j[:, None] * KP + k[None, :])
    sine = tl.load(f + table + j[:, None] * KP + k[None, :])
    if FOLD:
        near = tl.load(x + j[None, :], row_ok & (2 * j <= width)[None, :], 0.0)
        paired = (j > 0) & (2 * j < width)
        far = tl.load(x + (width - j)[None, :], row_ok & paired[None, :], 0.0)
        even = (near.to(tl.float32) + far.to(tl.float32)).to(cosine.dtype)
        odd = (near.to(tl.float32) - far.to(tl.float32)).to(cosine.dtype)
    else:
        even = tl.load(x + j[None, :], row_ok & (j < width)[None, :], 0.0)
        odd = even
    real = _dot(even, cosine, real, PRECISION)
    imag = _dot(odd, sine, imag, PRECISION)
    return real, imag


@triton.jit
def add_points(
    real, imag, even, odd, f, k, j, points, table, FOLD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add even f_cos to ``real``, and odd f_sin to ``imag`` or, unfolded, ``real``."""
    at = f + k[:, None] * points + j[None, :]
    cosine = tl.load(at)
    sine = tl.load(at + table)
    real = _dot(even.to(cosine.dtype), cosine, real, PRECISION)
    if FOLD:
        imag = _dot(odd.to(sine.dtype), sine, imag, PRECISION)
    else:
        real = _dot(odd.to(sine.dtype), sine, real, PRECISION)
    return real, imag


@triton.jit
def store_points(real, imag, y, row_ok, j, width, FOLD: tl.constexpr):
    """Store y[row, j], and where folded its mirror image y[row, width - j]."""
    if FOLD:
        near = (real + imag).to(y.dtype.element_ty)
        tl.store(y + j[None, :], near, row_ok & (2 * j <= width)[None, :])
        paired = (j > 0) & (2 * j < width)
        far = (real - imag).to(y.dtype.element_ty)
        tl.store(y + (width - j)[None, :], far, row_ok & paired[None, :])
    else:
        value = real.to(y.dtype.element_ty)
        tl.store(y + j[None, :], value, row_ok & (j < width)[None, :])


@triton.jit
def store_signed(
    out, cc, cs, sc, ss, m, column, column_ok, count, step, plane
):  # fmt: skip
    """Store the modes +m and -m of an axis with ``count`` modes."""
    positive = (count + 1) // 2
    at = out + m[:, None] * step + column[None, :]
    ok = (m < positive)[:, None] & column_ok[None, :]
    tl.store(at, cc + ss, ok)
    tl.store(at + plane, cs - sc, ok)
    at = out + (positive + m - 1)[:, None] * step + column[None, :]
    ok = ((m > 0) & (m <= count // 2))[:, None] & column_ok[None, :]
    tl.store(at, cc - ss, ok)
    tl.store(at + plane, cs + sc, ok)


@triton.jit
def load_signed(u, m, column, column_ok, count, step, plane):
    """Load the modes ±m as the factors of cos (re, im) and of sin (re, im)."""
    positive = (count + 1) // 2
    at = u + m[:, None] * step + column[None, :]
    ok = (m < positive)[:, None] & column_ok[None, :]
    plus_re = tl.load(at, ok, 0.0)
    plus_im = tl.load(at + plane, ok, 0.0)
    at = u + (positive + m - 1)[:, None] * step + column[None, :]
    ok = ((m > 0) & (m <= count // 2))[:, None] & column_ok[None, :]
    minus_re = tl.load(at, ok, 0.0)
    minus_im = tl.load(at + plane, ok, 0.0)
    return (
        plus_re + minus_re,
        plus_im + minus_im,
        minus_im - plus_im,
        plus_re - minus_re,
    )
