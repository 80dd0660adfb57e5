"""The gates in Triton against the plain ones: on a GPU where there is one, else under Triton's interpreter.

The interpreter has to be asked for before triton is imported, so this file runs itself as a program once and the tests
read what it printed; and it compiles the kernels for a GPU, which needs none.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from unreel.ops import cells, fused, gates
from unreel.ops.fused import scan_fused
from unreel.ops.gates import PLANES, Biases, Plain
from unreel.ops.products import Convolution, Matrix
from unreel.ops.scan import scan_reference
from unreel.ops.weights import Weights

CELLS = {
    "rnn_tanh": cells.RNN_TANH,
    "rnn_relu": cells.RNN_RELU,
    "lstm": cells.LSTM,
    "lstm_hard": cells.lstm("relu", "hard_sigmoid"),
    "lstm_keras2": cells.lstm("linear", "hard_sigmoid_keras2"),
    "gru": cells.GRU,
    "gru_hard": cells.gru("sigmoid", "hard_sigmoid"),
}
SIZES = [(1, 3), (7, 150), (40, 20)]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
STEPS = {f"{name}-7x37-{dtype}": (name, 7, 37, dtype) for name in CELLS for dtype in DTYPES} | {
    f"{name}-{rows}x{hidden}-float32": (name, rows, hidden, "float32")
    for name in ("rnn_tanh", "lstm", "gru")
    for rows, hidden in SIZES
}
PRODUCTS = {"matrix": Matrix(), "conv2d": Convolution(2, (1, 1), "same", (1, 1))}
SCANS = {
    f"{name}-{product}-{precision}": (name, product, precision)
    for name in ("rnn_tanh", "lstm", "gru")
    for product in PRODUCTS
    for precision in ("float32", "bfloat16")
}
FEW_PROGRAMS = {f"{name}-few_programs": name for name in ("rnn_tanh", "lstm", "gru")}
TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs triton, which comes with PyTorch's CUDA builds for Linux"
)
KERNELS = [f"{kind}_{way}" for kind in ("rnn", "lstm", "gru") for way in ("forward", "backward")]


def relative(got, exact):
    return [
        ((a.cpu().double() - b.cpu()).norm() / b.cpu().norm().clamp(min=1e-30)).item()
        for a, b in zip(got, exact, strict=True)
    ]


def two_steps(make, cell, rows, hidden, dtype, given):
    """All that two steps forward and two back write, from float64 tensors `given` by name."""
    t = {name: value.to(dtype).clone() for name, value in given.items()}
    gru, width = cell.kind == "gru", len(cell.gates) * hidden
    biases = Biases(t["bias"], t["recurrent_bias"] if gru else None, None)
    one_step = make(cell, biases, t["h"])
    zx, zh = t["zx"], t["zh"] if gru else None
    states = [(t["h"], t["c"])[: cell.states]]
    kept = zx.new_empty(2, PLANES[cell.kind], rows, hidden)
    written = []
    for step in range(2):
        after = tuple(torch.empty_like(member) for member in states[-1])
        one_step.forward(zx, zh, t["base"], states[-1], after, kept[step])
        written += [*after, zx.clone()] + ([zh.clone()] if zh is not None else [])
        states.append(after)
    dh, dc = t["dh"], t["dc"] if cell.states == 2 else None
    for step in (1, 0):
        dzx = zx.new_empty(rows, width)
        dzh = torch.empty_like(dzx) if gru else dzx
        one_step.backward(dh, dc, kept[step], states[step], states[step + 1], dzx, dzh)
        written += [dzx, dzh, dh.clone()] + ([dc.clone()] if dc is not None else [])
    grads = one_step.gradients()
    assert all((a is None) == (b is None) for a, b in zip(grads, biases, strict=True))
    nothing = one_step.forward(zx, zh, None, states[-1], states[-1], None)  # in place, nothing kept, nothing refilled
    assert nothing is None
    return [*written, *kept.unbind(1), *(g for g in grads if g is not None), zx, *states[-1]]


def step_errors(device, name, rows, hidden, dtype):
    from unreel.ops.gates_triton import TritonGates

    cell, width = CELLS[name], len(CELLS[name].gates) * hidden
    shapes = {"zx": (rows, width), "zh": (rows, width), "base": (2, width), "bias": (width,)}
    shapes |= {"recurrent_bias": (hidden,)} | dict.fromkeys(("h", "c", "dh", "dc"), (rows, hidden))

    def plain(cell, biases, like):
        return Plain(cell, biases)

    def draw(generator):
        given = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        return {key: value.to(DTYPES[dtype]).double().to(device) for key, value in given.items()}

    def several(make, dtype):  # of small sizes more draws: the error of a handful of numbers says little
        generator = torch.Generator().manual_seed(rows + hidden)
        runs = [
            two_steps(make, cell, rows, hidden, dtype, draw(generator))
            for _ in range(min(5, max(1, 500 // (rows * hidden))))
        ]
        return [torch.cat([tensor.flatten() for tensor in tensors]) for tensors in zip(*runs, strict=True)]

    exact = several(plain, torch.float64)
    return [relative(several(make, DTYPES[dtype]), exact) for make in (TritonGates, plain)]


def scan_errors(device, name, product, precision):
    """Outputs and all gradients of a scan whose gates are Triton's, and of the plain loop, against float64."""
    from unreel.ops.gates_triton import TritonGates

    cell, n, t, d, hidden = CELLS[name], 2, 3, 16, 16
    space, kernel = ((), ()) if product == "matrix" else ((3, 4), (3, 3))
    g = len(cell.gates) * hidden
    shapes = ((d, g), (hidden, g)) if not space else ((g, d, *kernel), (g, hidden, *kernel))
    generator = torch.Generator().manual_seed(5)
    shapes = [(n, t, *space, d), *shapes, (g,)] + ([(hidden,)] if cell.recurrent_bias else [])
    shapes += [(n, *space, hidden)] * cell.states
    tensors = [torch.randn(shape, generator=generator) * 0.3 for shape in shapes]
    split = len(shapes) - cell.states

    def run(scan, dtype):
        x, *rest = leaves = [tensor.to(device, dtype).requires_grad_() for tensor in tensors]
        out, end = scan(cell, PRODUCTS[product], x, Weights(*rest[: split - 1]), tuple(rest[split - 1 :]), None, None)
        results = [out, *end]
        draw = torch.Generator().manual_seed(7)
        cotangents = [torch.randn(r.shape, generator=draw).to(device, r.dtype) for r in results]
        return [*results, *torch.autograd.grad(results, leaves, cotangents)]

    exact = run(scan_reference, torch.float64)
    triton_gates = mock.Mock(side_effect=TritonGates)
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        with (
            mock.patch.object(gates, "choose", triton_gates),
            mock.patch.object(fused.series, "serves", return_value=False),  # on a CPU they come before the gates
            mock.patch.object(fused.image_series, "serves", return_value=False),
        ):
            fast = run(scan_fused, torch.float32)
        plain = run(scan_reference, torch.float32)
    assert triton_gates.call_count == 2, "once for the forward and once for the backward"
    return [relative(fast, exact), relative(plain, exact)]


def every_error(device):
    from unreel.ops import gates_triton

    if device == "cpu":
        round_as_a_gpu_does()
    found = {case: step_errors(device, *of) for case, of in STEPS.items()}
    found |= {case: scan_errors(device, *of) for case, of in SCANS.items()}
    gates_triton._PROGRAMS = 2  # fewer than there are blocks of rows: each goes over several
    return found | {case: step_errors(device, name, 40, 37, "float32") for case, name in FEW_PROGRAMS.items()}


def round_as_a_gpu_does():
    """Triton 3.9's interpreter cuts the digits that bfloat16 has not; GPUs round to the nearest, ties to even."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounding(values, source, target, mode):
        if target == tl.bfloat16:
            bits = np.ascontiguousarray(values).view(np.uint32)
            return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        return convert(values, source, target, mode)

    interpreter._convert_float = rounding


def compile_kernels():
    """The kernels for an H100's architecture, with and without what may be None: their names and sizes of code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from unreel.ops import gates_kernels

    def type_of(argument, pointer, constants):
        if argument in constants:
            return "constexpr"
        if argument == "p_sums":
            return "*fp32"
        return pointer if argument.startswith("p_") else "i32"

    found = {}
    for name in KERNELS:
        kernel = getattr(gates_kernels, name)
        lacking = {"p_base", "p_sums"} | ({"p_kept"} if "forward" in name else set())
        for pointer, act, gate, absent in (
            ("*fp32", "tanh", "sigmoid", {}),
            ("*bf16", "relu", "hard_sigmoid_keras2", dict.fromkeys(lacking & set(kernel.arg_names)) | {"R": 1}),
        ):
            constants = {"ACT": act, "GATE": gate, "BR": 16, "BH": 64} | absent
            types = {argument: type_of(argument, pointer, constants) for argument in kernel.arg_names}
            values = {(kernel.arg_names.index(argument),): value for argument, value in constants.items()}
            done = triton.compile(
                ASTSource(kernel, types, values),
                target=GPUTarget("cuda", 90, 32),
                options={"enable_fp_fusion": True},
            )
            found[f"{name}{pointer}"] = len(done.asm["cubin"])
    return found


def printed(what, interpret):
    command = [sys.executable, "-W", "error::RuntimeWarning", __file__, what]
    with tempfile.TemporaryDirectory() as compiled:
        options = {"TRITON_INTERPRET": str(int(interpret)), "TRITON_CACHE_DIR": compiled, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, env=os.environ | options, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted():
    return printed("errors", True)


@pytest.fixture(scope="module")
def on_the_device():
    return printed("cuda", False)


def no_worse_than_twice(errors):
    fast, plain = torch.tensor(errors)
    assert len(fast) > 3
    assert (fast <= 2 * plain + 1e-7).all(), (fast, plain)


@TRITON
@pytest.mark.parametrize("case", [*STEPS, *SCANS, *FEW_PROGRAMS])
def test_error_is_at_most_twice_that_of_the_plain_gates(case, interpreted):
    no_worse_than_twice(interpreted[case])


@TRITON
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", [*STEPS, *SCANS, *FEW_PROGRAMS])
def test_error_is_at_most_twice_that_of_the_plain_gates_on_a_gpu(case, on_the_device):
    no_worse_than_twice(on_the_device[case])


@TRITON
def test_kernels_compile_for_a_gpu():
    sizes = printed("compile", False)
    assert len(sizes) == 2 * len(KERNELS)
    assert min(sizes.values()) > 1000


@TRITON
def test_what_is_on_a_gpu_is_served_by_triton_but_for_float64_and_peepholes():
    from unreel.ops.gates_triton import TritonGates

    with FakeTensorMode():

        def chosen(dtype=torch.float32, peephole=None, device="cuda", n=2):
            like = torch.empty(n, 4, dtype=dtype, device=device)
            return type(gates.choose(cells.LSTM, Biases(None, None, peephole), like))

        for dtype in DTYPES.values():
            assert chosen(dtype) is TritonGates
        assert chosen(torch.float64) is Plain
        assert chosen(peephole=torch.empty(3, 4, device="cuda")) is Plain
        assert chosen(n=0) is Plain
        assert chosen(device="cpu") is not TritonGates
        with mock.patch("importlib.util.find_spec", return_value=None):
            assert chosen() is Plain


if __name__ == "__main__":
    torch.set_num_threads(1)
    of = {"errors": lambda: every_error("cpu"), "cuda": lambda: every_error("cuda"), "compile": compile_kernels}
    print(json.dumps(of[sys.argv[1]]()))
