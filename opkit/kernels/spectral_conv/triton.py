"""The spectral convolution as Triton kernels.

Triton has no complex type: real and imaginary parts are planes. On a full axis the
modes +m and -m share one pair of real sums with the cosines and the sines:

    Z_±m = (CC ± SS) + i (CS ∓ SC),   CC = Σ cos·Re, CS = Σ cos·Im, SC = Σ sin·Re, …

The tables f of the last axis and g of another axis come from `matrices.py`, padded with
zeros to whole blocks, so that only fields and spectra need masks. With FOLD the last
axis is folded at its middle: x_j + x_{N-j} meets the cosines and x_j - x_{N-j} the
sines, which halves the arithmetic for every N, odd or even.

`contract` and `contract_batch` mix channels, mode by mode.
"""

import triton
import triton.language as tl

from opkit.kernels.spectral_conv.triton_parts import (
    add_points,
    add_rows,
    load_signed,
    store_points,
    store_signed,
)


@triton.jit
def analyse_rows(
    x, f, out, rows, width, points, modes, step_row, step_mode, plane, step_part,
    BR: tl.constexpr, BJ: tl.constexpr, KP: tl.constexpr, FOLD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform the last axis of x (rows, width).

    Grid: blocks of BR rows, blocks of KP modes, parts of the axis. Each part stores its
    own partial sums.
    """
    row = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    k = tl.arange(0, KP)
    block = tl.program_id(1)
    part = tl.program_id(2)
    row_ok = (row < rows)[:, None]
    x += row[:, None] * width
    f += block * (2 * points * KP)
    share = tl.cdiv(points // BJ, tl.num_programs(2)) * BJ
    real = tl.zeros((BR, KP), tl.float32)
    imag = tl.zeros((BR, KP), tl.float32)
    for start in range(part * share, tl.minimum((part + 1) * share, points), BJ):
        j = start + tl.arange(0, BJ)
        real, imag = add_rows(
            real, imag, x, f, row_ok, j, k, width, points * KP, KP, FOLD, PRECISION
        )
    mode = block * KP + k
    out += part * step_part + row[:, None] * step_row + mode[None, :] * step_mode
    ok = row_ok & (mode < modes)[None, :]
    tl.store(out, real, ok)
    tl.store(out + plane, imag, ok)


@triton.jit
def analyse_planes(
    x, f, g, out, height, width, lines, points, count, modes,
    step_image, step_row, step_mode, plane, step_part,
    BH: tl.constexpr, BJ: tl.constexpr, KP: tl.constexpr, MP: tl.constexpr,
    FOLD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform the last two axes of x (images, height, width), reading x once.

    Grid: images, parts of the height.
    """
    image = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    k = tl.arange(0, KP)
    m = tl.arange(0, MP)
    x += image * height * width
    share = tl.cdiv(lines // BH, tl.num_programs(1)) * BH
    cc = tl.zeros((MP, KP), tl.float32)
    cs = tl.zeros((MP, KP), tl.float32)
    sc = tl.zeros((MP, KP), tl.float32)
    ss = tl.zeros((MP, KP), tl.float32)
    for start in range(part * share, tl.minimum((part + 1) * share, lines), BH):
        h = start + tl.arange(0, BH)
        row_ok = (h < height)[:, None]
        rows = x + h[:, None] * width
        real = tl.zeros((BH, KP), tl.float32)
        imag = tl.zeros((BH, KP), tl.float32)
        for column in range(0, points, BJ):
            j = column + tl.arange(0, BJ)
            real, imag = add_rows(
                real, imag, rows, f, row_ok, j, k, width, points * KP, KP, FOLD,
                PRECISION,
            )  # fmt: skip
        at = g + m[:, None] * lines + h[None, :]
        cosine = tl.load(at)
        sine = tl.load(at + MP * lines)
        cc = tl.dot(cosine, real, cc, input_precision=PRECISION)
        cs = tl.dot(cosine, imag, cs, input_precision=PRECISION)
        sc = tl.dot(sine, real, sc, input_precision=PRECISION)
        ss = tl.dot(sine, imag, ss, input_precision=PRECISION)
    out += image * step_image + part * step_part
    store_signed(
        out, cc, cs, sc, ss, m, k * step_mode, k < modes, count, step_row, plane
    )


@triton.jit
def analyse_axis(
    t, g, out, length, points, inner, count,
    t_plane, step_outer, step_row, step_inner, plane,
    BN: tl.constexpr, BI: tl.constexpr, MP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform the middle axis of complex t (2, outer, length, inner).

    Grid: outer, blocks of BI columns, blocks of MP wavenumbers.
    """
    outer = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BI + tl.arange(0, BI)
    m = tl.program_id(2) * MP + tl.arange(0, MP)
    column_ok = column < inner
    t += outer * length * inner
    table = tl.num_programs(2) * MP * points
    cc = tl.zeros((MP, BI), tl.float32)
    cs = tl.zeros((MP, BI), tl.float32)
    sc = tl.zeros((MP, BI), tl.float32)
    ss = tl.zeros((MP, BI), tl.float32)
    for start in range(0, points, BN):
        n = start + tl.arange(0, BN)
        ok = (n < length)[:, None] & column_ok[None, :]
        at = t + n[:, None] * inner + column[None, :]
        real = tl.load(at, ok, 0.0)
        imag = tl.load(at + t_plane, ok, 0.0)
        at = g + m[:, None] * points + n[None, :]
        cosine = tl.load(at)
        sine = tl.load(at + table)
        cc = tl.dot(cosine, real, cc, input_precision=PRECISION)
        cs = tl.dot(cosine, imag, cs, input_precision=PRECISION)
        sc = tl.dot(sine, real, sc, input_precision=PRECISION)
        ss = tl.dot(sine, imag, ss, input_precision=PRECISION)
    out += outer * step_outer
    store_signed(
        out, cc, cs, sc, ss, m, column * step_inner, column_ok, count, step_row, plane
    )


@triton.jit
def synthesise_rows(
    u, f, y, rows, width, points, modes, step_row, step_mode, plane,
    BR: tl.constexpr, BJ: tl.constexpr, KP: tl.constexpr, FOLD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Fill y (rows, width) from the modes of its last axis.

    Grid: blocks of BR rows, blocks of BJ columns.
    """
    row = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    j = tl.program_id(1) * BJ + tl.arange(0, BJ)
    row_ok = (row < rows)[:, None]
    u += row[:, None] * step_row
    table = tl.cdiv(modes, KP) * KP * points
    real = tl.zeros((BR, BJ), tl.float32)
    imag = tl.zeros((BR, BJ), tl.float32)
    for start in range(0, modes, KP):
        k = start + tl.arange(0, KP)
        ok = row_ok & (k < modes)[None, :]
        even = tl.load(u + k[None, :] * step_mode, ok, 0.0)
        odd = tl.load(u + plane + k[None, :] * step_mode, ok, 0.0)
        real, imag = add_points(
            real, imag, even, odd, f, k, j, points, table, FOLD, PRECISION
        )
    store_points(real, imag, y + row[:, None] * width, row_ok, j, width, FOLD)


@triton.jit
def synthesise_planes(
    u, f, g, y, height, width, lines, points, count, modes,
    step_image, step_row, step_mode, plane,
    BH: tl.constexpr, BJ: tl.constexpr, KP: tl.constexpr, MP: tl.constexpr,
    FOLD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Fill y (images, height, width) from the modes of its two axes.

    Grid: images, blocks of BH rows.
    """
    image = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    k = tl.arange(0, KP)
    m = tl.arange(0, MP)
    cos_re, cos_im, sin_re, sin_im = load_signed(
        u + image * step_image, m, k * step_mode, k < modes, count, step_row, plane
    )
    at = g + h[:, None] * MP + m[None, :]
    cosine = tl.load(at)
    sine = tl.load(at + lines * MP)
    even = tl.dot(cosine, cos_re, input_precision=PRECISION)
    even = tl.dot(sine, sin_re, even, input_precision=PRECISION)
    odd = tl.dot(cosine, cos_im, input_precision=PRECISION)
    odd = tl.dot(sine, sin_im, odd, input_precision=PRECISION)
    row_ok = (h < height)[:, None]
    y += image * height * width + h[:, None] * width
    for column in range(0, points, BJ):
        j = column + tl.arange(0, BJ)
        real = tl.zeros((BH, BJ), tl.float32)
        imag = tl.zeros((BH, BJ), tl.float32)
        real, imag = add_points(
            real, imag, even, odd, f, k, j, points, KP * points, FOLD, PRECISION
        )
        store_points(real, imag, y, row_ok, j, width, FOLD)


@triton.jit
def synthesise_axis(
    u, g, t, length, points, inner, count, high,
    step_outer, step_row, step_inner, plane, t_plane,
    BN: tl.constexpr, BI: tl.constexpr, MP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Fill complex t (2, outer, length, inner) from the modes of its middle axis.

    Grid: outer, blocks of BN points, blocks of BI columns. The table is
    (2, points, high).
    """
    outer = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    column = tl.program_id(2) * BI + tl.arange(0, BI)
    column_ok = column < inner
    u += outer * step_outer
    real = tl.zeros((BN, BI), tl.float32)
    imag = tl.zeros((BN, BI), tl.float32)
    for start in range(0, high, MP):
        m = start + tl.arange(0, MP)
        cos_re, cos_im, sin_re, sin_im = load_signed(
            u, m, column * step_inner, column_ok, count, step_row, plane
        )
        at = g + n[:, None] * high + m[None, :]
        cosine = tl.load(at)
        sine = tl.load(at + points * high)
        real = tl.dot(cosine, cos_re, real, input_precision=PRECISION)
        real = tl.dot(sine, sin_re, real, input_precision=PRECISION)
        imag = tl.dot(cosine, cos_im, imag, input_precision=PRECISION)
        imag = tl.dot(sine, sin_im, imag, input_precision=PRECISION)
    at = t + outer * length * inner + n[:, None] * inner + column[None, :]
    ok = (n < length)[:, None] & column_ok[None, :]
    tl.store(at, real, ok)
    tl.store(at + t_plane, imag, ok)


@triton.jit
def contract(
    z, w, y, batch, inputs, outputs, w_mode, w_in, w_out, w_plane,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr, SIGN: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Mix channels: y (mode, 2, batch, output) = z (mode, 2, batch, input) w.

    SIGN is 1 for w and -1 for its complex conjugate. Grid: modes, blocks of the batch,
    blocks of outputs.
    """
    mode = tl.program_id(0).to(tl.int64)
    b = tl.program_id(1) * BB + tl.arange(0, BB)
    o = tl.program_id(2) * BO + tl.arange(0, BO)
    z += mode * 2 * batch * inputs
    w += mode * w_mode
    real = tl.zeros((BB, BO), tl.float32)
    imag = tl.zeros((BB, BO), tl.float32)
    for start in range(0, inputs, BI):
        i = start + tl.arange(0, BI)
        z_ok = (b < batch)[:, None] & (i < inputs)[None, :]
        at = z + b[:, None] * inputs + i[None, :]
        z_re = tl.load(at, z_ok, 0.0)
        z_im = tl.load(at + batch * inputs, z_ok, 0.0)
        w_ok = (i < inputs)[:, None] & (o < outputs)[None, :]
        at = w + i[:, None] * w_in + o[None, :] * w_out
        w_re = tl.load(at, w_ok, 0.0)
        w_im = tl.load(at + w_plane, w_ok, 0.0)
        real = tl.dot(z_re, w_re, real, input_precision=PRECISION)
        real = tl.dot(z_im, -SIGN * w_im, real, input_precision=PRECISION)
        imag = tl.dot(z_im, w_re, imag, input_precision=PRECISION)
        imag = tl.dot(z_re, SIGN * w_im, imag, input_precision=PRECISION)
    ok = (b < batch)[:, None] & (o < outputs)[None, :]
    at = y + mode * 2 * batch * outputs + b[:, None] * outputs + o[None, :]
    tl.store(at, real, ok)
    tl.store(at + batch * outputs, imag, ok)


@triton.jit
def contract_batch(
    z, y, w, batch, inputs, outputs,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sum over the batch: w (mode, input, 2, output) = conj(z) y.

    Grid: modes, blocks of inputs, blocks of outputs.
    """
    mode = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BI + tl.arange(0, BI)
    o = tl.program_id(2) * BO + tl.arange(0, BO)
    z += mode * 2 * batch * inputs
    y += mode * 2 * batch * outputs
    real = tl.zeros((BI, BO), tl.float32)
    imag = tl.zeros((BI, BO), tl.float32)
    for start in range(0, batch, BB):
        b = start + tl.arange(0, BB)
        z_ok = (i < inputs)[:, None] & (b < batch)[None, :]
        at = z + i[:, None] + b[None, :] * inputs
        z_re = tl.load(at, z_ok, 0.0)
        z_im = tl.load(at + batch * inputs, z_ok, 0.0)
        y_ok = (b < batch)[:, None] & (o < outputs)[None, :]
        at = y + b[:, None] * outputs + o[None, :]
        y_re = tl.load(at, y_ok, 0.0)
        y_im = tl.load(at + batch * outputs, y_ok, 0.0)
        real = tl.dot(z_re, y_re, real, input_precision=PRECISION)
        real = tl.dot(z_im, y_im, real, input_precision=PRECISION)
        imag = tl.dot(z_re, y_im, imag, input_precision=PRECISION)
        imag = tl.dot(-z_im, y_re, imag, input_precision=PRECISION)
    ok = (i < inputs)[:, None] & (o < outputs)[None, :]
    at = w + mode * 2 * inputs * outputs + i[:, None] * 2 * outputs + o[None, :]
    tl.store(at, real, ok)
    tl.store(at + outputs, imag, ok)
