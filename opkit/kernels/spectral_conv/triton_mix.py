"""The mixing of channels, mode by mode, as Triton kernels."""

import triton
import triton.language as tl


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
