import copy

import pytest
import torch
from torch import nn

from unreel.errors import ConfigError
from unreel.nn import TimeDistributed, TimeSequential

LENGTHS = torch.tensor([2, 4, 1])


def layers(norm=True):
    torch.manual_seed(0)
    return [
        nn.Conv2d(3, 4, 3, padding=1),
        *([nn.BatchNorm2d(4)] if norm else []),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4 * 25, 6),
    ]


def frames(padding=0.0):
    x = torch.randn(3, 4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    for clip, length in zip(x, LENGTHS, strict=True):
        clip[length:] = padding
    return x.requires_grad_()


def run(net, x, lengths, seed=0):
    torch.manual_seed(seed)
    out = net(x, lengths)
    gradients = torch.autograd.grad(out.sin().sum(), [x, *net.parameters()])
    return out, gradients


@pytest.mark.parametrize("lengths", [LENGTHS, None])
@pytest.mark.parametrize("train", [True, False])
def test_one_wrapped_net_and_each_layer_wrapped_are_the_same(lengths, train):
    one = TimeDistributed(nn.Sequential(*layers()))
    each = TimeSequential(*(TimeDistributed(layer) for layer in layers()))
    assert list(one.state_dict()) == list(each.state_dict()) == list(nn.Sequential(*layers()).state_dict())
    for net in (one, each):
        net.train(train)
    torch.testing.assert_close(run(one, frames(), lengths), run(each, frames(), lengths), rtol=0, atol=0)
    torch.testing.assert_close(one.state_dict(), each.state_dict(), rtol=0, atol=0)


def test_state_dicts_of_both_ways_and_of_the_bare_net_load_into_each_other():
    bare = nn.Sequential(*layers())
    one = TimeDistributed(nn.Sequential(*layers()))
    each = TimeSequential(*(TimeDistributed(layer) for layer in layers()))
    nested = nn.ModuleDict({"encoder": TimeDistributed(TimeDistributed(nn.Sequential(*layers())))})
    with torch.no_grad():
        for parameter in bare.parameters():
            parameter.normal_()
    one.load_state_dict(bare.state_dict())
    each.load_state_dict(one.state_dict())
    bare.load_state_dict(each.state_dict())
    nested.load_state_dict({f"encoder.{key}": value for key, value in bare.state_dict().items()})
    torch.testing.assert_close(nested.state_dict(), {f"encoder.{k}": v for k, v in one.state_dict().items()})
    with pytest.raises(RuntimeError, match="Missing key"):
        one.load_state_dict({})


def test_the_module_sees_valid_frames_and_nothing_else():
    seen = []
    net = nn.Sequential(*layers())
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    x = frames(padding=float("nan"))
    out = TimeDistributed(net)(x, LENGTHS)
    assert torch.equal(seen[0], torch.cat([clip[:length] for clip, length in zip(x, LENGTHS, strict=True)]))
    assert (out[0, 2:] == 0).all()
    assert net[1].running_mean.isfinite().all()
    out.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("micro_batch", [1, 3, 100, None])
def test_micro_batches_give_the_same(micro_batch):
    x = frames()
    whole = TimeDistributed(nn.Sequential(*layers(norm=False))).eval()
    pieces = TimeDistributed(whole.module, micro_batch=micro_batch).eval()
    torch.testing.assert_close(run(pieces, x, LENGTHS), run(whole, x, LENGTHS))


@pytest.mark.parametrize("micro_batch", [3, None])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_recompute_changes_no_number_and_no_statistic(micro_batch, momentum):
    kept = TimeDistributed(nn.Sequential(*layers()), micro_batch)
    kept.module[1].momentum = momentum
    again = TimeDistributed(copy.deepcopy(kept.module), micro_batch, recompute=True)
    for _ in range(2):
        torch.testing.assert_close(
            run(again, frames(), LENGTHS, seed=3), run(kept, frames(), LENGTHS, seed=3), rtol=0, atol=0
        )
    torch.testing.assert_close(again.state_dict(), kept.state_dict(), rtol=0, atol=0)
    assert again.module[1].momentum == momentum


def test_recompute_keeps_less_for_the_backward_pass():
    def saved_bytes(recompute):
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        net = TimeDistributed(nn.Sequential(*layers()), 2, recompute)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            net(frames(), LENGTHS)
        return total

    assert saved_bytes(True) < saved_bytes(False) / 3


class TwoIn(nn.Module):
    def forward(self, image, flow):
        return {"sum": image + flow, "pair": (image.flatten(1), [flow.mean((1, 2, 3))])}


@pytest.mark.parametrize("micro_batch", [2, None])
@pytest.mark.parametrize("recompute", [False, True])
def test_several_inputs_and_outputs(micro_batch, recompute):
    x, flow = frames(), frames()
    out = TimeDistributed(TwoIn(), micro_batch, recompute)((x, flow), LENGTHS)
    assert list(out) == ["sum", "pair"]
    torch.testing.assert_close(out["sum"], x + flow)
    torch.testing.assert_close(out["pair"][0], x.flatten(2))
    torch.testing.assert_close(out["pair"][1][0], flow.mean((2, 3, 4)))


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="micro_batch"):
        TimeDistributed(nn.Identity(), 0)
    with pytest.raises(ValueError, match="agree"):
        TimeDistributed(TwoIn())((torch.zeros(2, 3, 1), torch.zeros(2, 4, 1)))
    with pytest.raises(ValueError, match="a row for each of its 6 frames"):
        TimeDistributed(nn.Flatten(0))(torch.zeros(2, 3, 2))
    with pytest.raises(ValueError, match="got int"):
        TimeDistributed(TwoIn())((torch.zeros(2, 3, 1), 5))


def test_compiled_recompute_changes_no_number_and_no_statistic():
    torch._dynamo.reset()
    plain = TimeDistributed(nn.Sequential(*layers()), recompute=True)
    plain.module[4].p = 0.0
    compiled = copy.deepcopy(plain)
    run_compiled = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    out = run_compiled(frames())
    gradients = torch.autograd.grad(out.sin().sum(), list(compiled.parameters()))
    expected, expected_gradients = run(plain, frames(), None)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients, expected_gradients[1:])
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())
    torch._dynamo.reset()


def test_an_exported_program_has_no_pieces():
    net = TimeDistributed(nn.Sequential(*layers()), micro_batch=3, recompute=True).eval()
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 1: free}, {0: free})
    program = torch.export.export(net, (frames().detach(), LENGTHS), dynamic_shapes=shapes).module()
    x, lengths = torch.randn(2, 9, 3, 5, 5), torch.tensor([9, 4])
    torch.testing.assert_close(program(x, lengths), net(x, lengths))
