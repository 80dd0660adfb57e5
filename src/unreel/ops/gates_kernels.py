"""The gates of RNN, LSTM and GRU as Triton kernels: what `ops/gates_triton.py` launches.

A program holds blocks of rows by features (rows are positions: clips times places in space), and all gates of them. It
goes over many such blocks, and sums the gradients of the biases into a place of its own, over all steps; what the
programs have is added up at the end, so that the result does not depend on who came first. States may be float32,
bfloat16 or float16; the arithmetic inside is float32.

What this file is not: it knows no product, no time and no torch. What the arguments mean is told in `ops/gates.py`.

Names as in flash-linear-attention: p_ pointers, b_ blocks, o_ offsets, i_ numbers; R rows, H features, BR and BH the
sizes of a block; ACT and GATE the names of the activations; m the mask.
"""

from __future__ import annotations

# Triton itself makes a constexpr of a number or name that is known when it compiles
# pyright: reportArgumentType=false
import triton
import triton.language as tl


@triton.jit
def _activate(x, KIND: tl.constexpr):
    if KIND == "tanh":
        square = x * x  # a polynomial near zero, where the quotient below cancels (Cephes), as in _gates.c
        near = -5.70498872745e-3 * square + 2.06390887954e-2
        near = near * square - 5.37397155531e-2
        near = near * square + 1.33314422036e-1
        near = near * square - 3.33332819422e-1
        near = near * square * x + x
        shrunk = tl.exp(-2.0 * tl.abs(x))
        far = 1.0 - 2.0 * shrunk / (1.0 + shrunk)
        y = tl.where(square < 0.390625, near, tl.where(x < 0.0, -far, far))
    elif KIND == "sigmoid":
        y = 1.0 / (1.0 + tl.exp(tl.where(x < -88.0, 88.0, -x)))  # no infinity on the way; NaN stays NaN
    elif KIND == "relu":
        y = tl.where(x < 0.0, 0.0, x)
    elif KIND == "linear":
        y = x
    else:
        tl.static_assert(KIND == "hard_sigmoid" or KIND == "hard_sigmoid_keras2")
        y = (x + 3.0) / 6.0 if KIND == "hard_sigmoid" else 0.2 * x + 0.5
        y = tl.where(y < 0.0, 0.0, y)
        y = tl.where(y > 1.0, 1.0, y)
    return y


@triton.jit
def _slope(y, KIND: tl.constexpr):
    """dy/dx from y."""
    if KIND == "tanh":
        slope = 1.0 - y * y
    elif KIND == "sigmoid":
        slope = y * (1.0 - y)
    elif KIND == "relu":
        slope = tl.where(y > 0.0, 1.0, 0.0)
    elif KIND == "linear":
        slope = tl.full(y.shape, 1.0, tl.float32)
    elif KIND == "hard_sigmoid":
        slope = tl.where((y > 0.0) & (y < 1.0), 1.0 / 6.0, 0.0)
    else:
        tl.static_assert(KIND == "hard_sigmoid_keras2")
        slope = tl.where((y > 0.0) & (y < 1.0), 0.2, 0.0)
    return slope


@triton.jit
def _load(p, o, m):
    return tl.load(p + o, mask=m, other=0.0).to(tl.float32)


@triton.jit
def _refill(p_z, p_base, o_z, o_h, m, H, GATES: tl.constexpr):
    """What the next step's products are added to, the same in every row."""
    for i_g in tl.static_range(GATES):  # type: ignore[misc]
        b_base = tl.load(p_base + i_g * H + o_h, mask=o_h < H, other=0.0)
        tl.store(p_z + o_z + i_g * H, tl.broadcast_to(b_base[None, :], o_z.shape), mask=m)


@triton.jit
def _add_sum(p_sums, b_sum, i_plane: tl.constexpr, o_h, H, PLANES: tl.constexpr):
    """The sum over a program's rows, added to what it had from the steps before."""
    p = p_sums + (tl.program_id(0) * PLANES + i_plane) * H + o_h
    tl.store(p, tl.load(p, mask=o_h < H, other=0.0) + tl.sum(b_sum, 0), mask=o_h < H)


@triton.jit
def rnn_forward(p_zx, p_base, p_h, R, H, ACT: tl.constexpr, GATE: tl.constexpr, BR: tl.constexpr, BH: tl.constexpr):
    """h = activation(z)."""
    o_h = tl.program_id(1) * BH + tl.arange(0, BH)
    for i_r in range(tl.program_id(0) * BR, R, tl.num_programs(0) * BR):
        o_r = (i_r + tl.arange(0, BR)).to(tl.int64)
        m = (o_r < R)[:, None] & (o_h < H)[None, :]
        o = o_r[:, None] * H + o_h[None, :]
        tl.store(p_h + o, _activate(_load(p_zx, o, m), ACT), mask=m)
        if p_base is not None:
            _refill(p_zx, p_base, o, o_h, m, H, 1)


@triton.jit
def rnn_backward(
    p_dh, p_h, p_dz, p_sums, R, H, ACT: tl.constexpr, GATE: tl.constexpr, BR: tl.constexpr, BH: tl.constexpr
):
    """dz from dh."""
    o_h = tl.program_id(1) * BH + tl.arange(0, BH)
    b_sum = tl.zeros((BR, BH), tl.float32)
    for i_r in range(tl.program_id(0) * BR, R, tl.num_programs(0) * BR):
        o_r = (i_r + tl.arange(0, BR)).to(tl.int64)
        m = (o_r < R)[:, None] & (o_h < H)[None, :]
        o = o_r[:, None] * H + o_h[None, :]
        b_d = _load(p_dh, o, m) * _slope(_load(p_h, o, m), ACT)
        tl.store(p_dz + o, b_d, mask=m)
        b_sum += b_d
    if p_sums is not None:
        _add_sum(p_sums, b_sum, 0, o_h, H, 1)


@triton.jit
def lstm_forward(
    p_zx,
    p_base,
    p_before,
    p_h,
    p_c,
    p_kept,
    R,
    H,
    ACT: tl.constexpr,
    GATE: tl.constexpr,
    BR: tl.constexpr,
    BH: tl.constexpr,
):
    """h and c from z and the c before."""
    o_h = tl.program_id(1) * BH + tl.arange(0, BH)
    for i_r in range(tl.program_id(0) * BR, R, tl.num_programs(0) * BR):
        o_r = (i_r + tl.arange(0, BR)).to(tl.int64)
        m = (o_r < R)[:, None] & (o_h < H)[None, :]
        o = o_r[:, None] * H + o_h[None, :]
        o_z = o_r[:, None] * (4 * H) + o_h[None, :]
        b_enter = _activate(_load(p_zx, o_z, m), GATE)
        b_forget = _activate(_load(p_zx, o_z + H, m), GATE)
        b_candidate = _activate(_load(p_zx, o_z + 2 * H, m), ACT)
        b_leave = _activate(_load(p_zx, o_z + 3 * H, m), GATE)
        b_c = b_forget * _load(p_before, o, m) + b_enter * b_candidate
        tl.store(p_c + o, b_c, mask=m)
        tl.store(p_h + o, b_leave * _activate(b_c, ACT), mask=m)
        if p_kept is not None:
            plane = tl.cast(R, tl.int64) * H
            tl.store(p_kept + o, b_enter, mask=m)
            tl.store(p_kept + plane + o, b_forget, mask=m)
            tl.store(p_kept + 2 * plane + o, b_candidate, mask=m)
            tl.store(p_kept + 3 * plane + o, b_leave, mask=m)
        if p_base is not None:
            _refill(p_zx, p_base, o_z, o_h, m, H, 4)


@triton.jit
def lstm_backward(
    p_dh,
    p_dc,
    p_kept,
    p_before,
    p_after,
    p_dz,
    p_sums,
    R,
    H,
    ACT: tl.constexpr,
    GATE: tl.constexpr,
    BR: tl.constexpr,
    BH: tl.constexpr,
):
    """dz from dh and dc; dc becomes that of the c before."""
    o_h = tl.program_id(1) * BH + tl.arange(0, BH)
    plane = tl.cast(R, tl.int64) * H
    b_sum_enter = tl.zeros((BR, BH), tl.float32)
    b_sum_forget = tl.zeros((BR, BH), tl.float32)
    b_sum_candidate = tl.zeros((BR, BH), tl.float32)
    b_sum_leave = tl.zeros((BR, BH), tl.float32)
    for i_r in range(tl.program_id(0) * BR, R, tl.num_programs(0) * BR):
        o_r = (i_r + tl.arange(0, BR)).to(tl.int64)
        m = (o_r < R)[:, None] & (o_h < H)[None, :]
        o = o_r[:, None] * H + o_h[None, :]
        o_z = o_r[:, None] * (4 * H) + o_h[None, :]
        b_enter = _load(p_kept, o, m)
        b_forget = _load(p_kept + plane, o, m)
        b_candidate = _load(p_kept + 2 * plane, o, m)
        b_leave = _load(p_kept + 3 * plane, o, m)
        b_dh = _load(p_dh, o, m)
        b_out = _activate(_load(p_after, o, m), ACT)
        b_whole = _load(p_dc, o, m) + b_dh * b_leave * _slope(b_out, ACT)
        b_denter = b_whole * b_candidate * _slope(b_enter, GATE)
        b_dforget = b_whole * _load(p_before, o, m) * _slope(b_forget, GATE)
        b_dcandidate = b_whole * b_enter * _slope(b_candidate, ACT)
        b_dleave = b_dh * b_out * _slope(b_leave, GATE)
        tl.store(p_dc + o, b_whole * b_forget, mask=m)
        tl.store(p_dz + o_z, b_denter, mask=m)
        tl.store(p_dz + o_z + H, b_dforget, mask=m)
        tl.store(p_dz + o_z + 2 * H, b_dcandidate, mask=m)
        tl.store(p_dz + o_z + 3 * H, b_dleave, mask=m)
        b_sum_enter += b_denter
        b_sum_forget += b_dforget
        b_sum_candidate += b_dcandidate
        b_sum_leave += b_dleave
    if p_sums is not None:
        _add_sum(p_sums, b_sum_enter, 0, o_h, H, 4)
        _add_sum(p_sums, b_sum_forget, 1, o_h, H, 4)
        _add_sum(p_sums, b_sum_candidate, 2, o_h, H, 4)
        _add_sum(p_sums, b_sum_leave, 3, o_h, H, 4)


@triton.jit
def gru_forward(
    p_zx,
    p_zh,
    p_base,
    p_before,
    p_h,
    p_kept,
    R,
    H,
    ACT: tl.constexpr,
    GATE: tl.constexpr,
    BR: tl.constexpr,
    BH: tl.constexpr,
):
    """h from x·W, h·U and the h before."""
    o_h = tl.program_id(1) * BH + tl.arange(0, BH)
    for i_r in range(tl.program_id(0) * BR, R, tl.num_programs(0) * BR):
        o_r = (i_r + tl.arange(0, BR)).to(tl.int64)
        m = (o_r < R)[:, None] & (o_h < H)[None, :]
        o = o_r[:, None] * H + o_h[None, :]
        o_z = o_r[:, None] * (3 * H) + o_h[None, :]
        b_reset = _activate(_load(p_zx, o_z, m) + _load(p_zh, o_z, m), GATE)
        b_update = _activate(_load(p_zx, o_z + H, m) + _load(p_zh, o_z + H, m), GATE)
        b_product = _load(p_zh, o_z + 2 * H, m)
        b_candidate = _activate(_load(p_zx, o_z + 2 * H, m) + b_reset * b_product, ACT)
        b_before = _load(p_before, o, m)
        tl.store(p_h + o, b_candidate + b_update * (b_before - b_candidate), mask=m)
        if p_kept is not None:
            plane = tl.cast(R, tl.int64) * H
            tl.store(p_kept + o, b_reset, mask=m)
            tl.store(p_kept + plane + o, b_update, mask=m)
            tl.store(p_kept + 2 * plane + o, b_candidate, mask=m)
            tl.store(p_kept + 3 * plane + o, b_product, mask=m)
        if p_base is not None:
            _refill(p_zx, p_base, o_z, o_h, m, H, 3)
            _refill(p_zh, p_base + 3 * H, o_z, o_h, m, H, 3)


@triton.jit
def gru_backward(
    p_dh,
    p_kept,
    p_before,
    p_dzx,
    p_dzh,
    p_sums,
    R,
    H,
    ACT: tl.constexpr,
    GATE: tl.constexpr,
    BR: tl.constexpr,
    BH: tl.constexpr,
):
    """dzx and dzh from dh; dh becomes what passes by the products to the h before."""
    o_h = tl.program_id(1) * BH + tl.arange(0, BH)
    plane = tl.cast(R, tl.int64) * H
    b_sum_reset = tl.zeros((BR, BH), tl.float32)
    b_sum_update = tl.zeros((BR, BH), tl.float32)
    b_sum_candidate = tl.zeros((BR, BH), tl.float32)
    b_sum_product = tl.zeros((BR, BH), tl.float32)
    for i_r in range(tl.program_id(0) * BR, R, tl.num_programs(0) * BR):
        o_r = (i_r + tl.arange(0, BR)).to(tl.int64)
        m = (o_r < R)[:, None] & (o_h < H)[None, :]
        o = o_r[:, None] * H + o_h[None, :]
        o_z = o_r[:, None] * (3 * H) + o_h[None, :]
        b_reset = _load(p_kept, o, m)
        b_update = _load(p_kept + plane, o, m)
        b_candidate = _load(p_kept + 2 * plane, o, m)
        b_dh = _load(p_dh, o, m)
        b_dcandidate = b_dh * (1.0 - b_update) * _slope(b_candidate, ACT)
        b_dupdate = b_dh * (_load(p_before, o, m) - b_candidate) * _slope(b_update, GATE)
        b_dreset = b_dcandidate * _load(p_kept + 3 * plane, o, m) * _slope(b_reset, GATE)
        b_dproduct = b_dcandidate * b_reset
        tl.store(p_dh + o, b_dh * b_update, mask=m)
        tl.store(p_dzx + o_z, b_dreset, mask=m)
        tl.store(p_dzx + o_z + H, b_dupdate, mask=m)
        tl.store(p_dzx + o_z + 2 * H, b_dcandidate, mask=m)
        tl.store(p_dzh + o_z, b_dreset, mask=m)
        tl.store(p_dzh + o_z + H, b_dupdate, mask=m)
        tl.store(p_dzh + o_z + 2 * H, b_dproduct, mask=m)
        b_sum_reset += b_dreset
        b_sum_update += b_dupdate
        b_sum_candidate += b_dcandidate
        b_sum_product += b_dproduct
    if p_sums is not None:
        _add_sum(p_sums, b_sum_reset, 0, o_h, H, 4)
        _add_sum(p_sums, b_sum_update, 1, o_h, H, 4)
        _add_sum(p_sums, b_sum_candidate, 2, o_h, H, 4)
        _add_sum(p_sums, b_sum_product, 3, o_h, H, 4)
