"""PyTorch's side: the networks of `torch_models.py`, plain or with Unreel's layers, as jobs of `serve.py`.

    python -m peers.torch_jobs THREADS

The mode comes with each job: one of `torch_models.py`, or `float64`, the reference that all others must agree with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from peers.serve import Arrays, Job, serve
from peers.torch_models import ImageLSTM, PlainConvLSTM2d, Trailer, recurrent_of


def job_of(
    model: nn.Module,
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    cotangent: Tensor | None = None,
    compiled: bool = False,
) -> Job:
    """Inference and the training step of `model`: gradients of `loss` of its output to all weights.

    A cotangent of the loss's shape is laid out in memory as the loss is; without one the loss is a number.
    """
    weights = list(model.parameters())
    run = torch.compile(model, dynamic=False) if compiled else model
    laid: list[Tensor] = []

    def inference() -> Tensor:
        with torch.inference_mode():
            model.eval()
            return run(x)

    def step() -> tuple[Tensor, tuple[Tensor, ...]]:
        model.train()
        out = run(x)
        value = loss(out)
        if not laid and cotangent is not None:
            laid.append(torch.empty_like(value).copy_(cotangent))
        return out, torch.autograd.grad(value, weights, laid[0] if laid else None)

    def results() -> Arrays:
        out, gradients = step()
        named = dict(zip((name for name, _ in model.named_parameters()), gradients, strict=True))
        found = {"out": out.detach(), "inference": inference()} | canonical(model, named)
        return {name: on_host(tensor) for name, tensor in found.items()}

    return Job({"inference": inference, "step": step}, results)


def on_host(tensor: Tensor) -> NDArray[Any]:
    """As NumPy has it, which knows no bfloat16."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()


def canonical(model: nn.Module, named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients under the names and in the shapes that all contestants use: those of torch, one bias a layer."""
    if isinstance(model, PlainConvLSTM2d):
        features = len(model.bias) // 4
        inner, recurrent = named["weight"].split((named["weight"].shape[1] - features, features), 1)
        return {"kernel": inner, "recurrent_kernel": recurrent, "bias": named["bias"]}
    if isinstance(model, ImageLSTM):
        layer = "lstm.layer.layers.0." if model.unreel else "lstm.layer."
        names = (
            ("kernel", "recurrent_kernel", "bias") if model.unreel else ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
        )
        kernel, recurrent, bias = (named[layer + name] for name in names)
        own = {n: g for n, g in named.items() if not n.startswith("lstm")}
        turned = (kernel.T, recurrent.T) if model.unreel else (kernel, recurrent)
        return own | {"lstm.kernel": turned[0], "lstm.recurrent_kernel": turned[1], "lstm.bias": bias}
    if isinstance(model, Trailer):
        return {"parameters": torch.tensor(sum(gradient.numel() for gradient in named.values()))}
    return {name: named[f"layer.layers.0.{name}"] for name in ("kernel", "recurrent_kernel", "bias")}


def fill(parameter: nn.Parameter, *values: Any, dim: int = 1) -> None:
    with torch.no_grad():
        parameter.copy_(torch.cat([torch.as_tensor(value) for value in values], dim))


def conv_lstm(arrays: Arrays, mode: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Job:
    kernel, recurrent, bias = (arrays[name] for name in ("kernel", "recurrent_kernel", "bias"))
    model = recurrent_of(mode)(kernel.shape[1], recurrent.shape[1], kernel.shape[-1])
    x, cotangent = (torch.from_numpy(arrays[name]) for name in ("x", "cotangent"))
    if isinstance(model, PlainConvLSTM2d):
        fill(model.weight, kernel, recurrent)
        fill(model.bias, bias, dim=0)
        if model.last:
            x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    else:
        for name, parameter in model.named_parameters():
            fill(parameter, arrays[name.rpartition(".")[2]], dim=0)
    dtype = torch.float64 if mode == "float64" else dtype
    return job_of(model.to(device, dtype), x.to(device, dtype), lambda out: out, cotangent.to(device, dtype))


def lstm(arrays: Arrays, mode: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Job:
    model = ImageLSTM(mode)
    for name, parameter in model.named_parameters():
        if name.startswith("lstm"):
            last = name.rpartition(".")[2].removesuffix("_l0")
            key = {"weight_ih": "kernel", "weight_hh": "recurrent_kernel", "bias_ih": "bias"}.get(last, last)
            value = torch.zeros_like(parameter) if key == "bias_hh" else torch.from_numpy(arrays[f"lstm.{key}"])
            fill(parameter, value.T if model.unreel and value.ndim == 2 else value, dim=0)
        else:
            fill(parameter, arrays[name], dim=0)
    dtype = torch.float64 if mode == "float64" else dtype
    x, labels = torch.from_numpy(arrays["x"]).to(device, dtype), torch.from_numpy(arrays["labels"]).to(device)
    model = model.to(device, dtype)
    if model.last:
        x = x.contiguous(memory_format=torch.channels_last)
    return job_of(model, x, lambda out: functional.cross_entropy(out, labels), compiled=mode.endswith("-compile"))


def build(name: str, arrays: Arrays, mode: str) -> Job:
    if name == "conv_lstm":
        return conv_lstm(arrays, mode)
    if name == "lstm":
        return lstm(arrays, mode)
    x = torch.from_numpy(arrays["x"])
    if mode.startswith("channels-last"):
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    truth = torch.from_numpy(arrays["labels"])
    model = Trailer(recurrent_of(mode), x.shape[-1])
    return job_of(model, x, lambda out: functional.binary_cross_entropy_with_logits(out, truth))


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    serve(build, {"torch": torch.__version__})
