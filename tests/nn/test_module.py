"""Networks in plain PyTorch: states threaded by name, currents that the neurons compute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from native import Seen
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.kernels import cpu
from spikegrad.nn.current import Current

native = pytest.mark.skipif(bool(cpu.load()), reason=f"no native kernels: {cpu.load()}")


class Net(sg.Module):
    """A skip connection around the second layer, as two sources of one current."""

    def __init__(self, backend: str = "auto") -> None:
        super().__init__()
        self.fc1, self.lif1 = sg.Linear(6, 8), sg.LIF(10.0)
        self.fc2, self.skip, self.lif2 = sg.Linear(8, 8), sg.Linear(8, 8), sg.LIF(10.0)
        self.fc3, self.out = sg.Linear(8, 3), sg.LI(10.0)
        sg.nn.use_backend(self, backend)

    def flow(self, x: Tensor) -> Tensor:
        a = self.lif1(self.fc1(x))
        return self.out(self.fc3(self.lif2(self.fc2(a) + self.skip(a))))


class Free(sg.Module):
    """A module of given layers with a given flow."""

    def __init__(self, flow: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.given = flow

    def flow(self, x: Tensor) -> Any:
        return self.given(self, x)


def batch(features: int = 6, steps: int = 12) -> Tensor:
    return torch.rand(steps, 4, features, generator=torch.Generator().manual_seed(0)) * 4


def by_hand(net: Net, x: Tensor) -> Tensor:
    """The same without `flow`."""
    a, _ = net.lif1(net.fc1(x))
    b, _ = net.lif2(net.fc2(a) + net.skip(a))
    return net.out(net.fc3(b))[0]


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_flow_equals_layers_called_by_hand(backend: str) -> None:
    torch.manual_seed(0)
    net, x = Net(backend), batch()
    y, states = net(x)
    want = by_hand(net, x)
    assert list(states) == ["lif1", "lif2", "out"]
    assert torch.allclose(y, want, atol=1e-6)
    assert y.abs().sum() > 0
    found = torch.autograd.grad(y.square().sum(), list(net.parameters()))
    for mine, other in zip(
        found, torch.autograd.grad(want.square().sum(), list(net.parameters())), strict=True
    ):
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-6)


def test_chunks_equal_the_whole_and_one_step_is_a_chunk() -> None:
    torch.manual_seed(0)
    net, x = Net(), (batch() * 64).round() / 64
    with torch.no_grad():  # exact products: their sums' order depends on the number of rows
        for p in net.parameters():
            p.copy_((p * 64).round() / 64)
    whole, ends = net(x)
    parts, states = [], None
    for part in (x[:5], x[5:6], x[6:]):
        y, states = net(part, states)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    assert all(torch.equal(states[k].v, ends[k].v) for k in ends)


@native
def test_a_connection_and_its_neurons_run_in_one_call() -> None:
    net = Free(lambda m, x: m.lif(m.fc(x)), fc=sg.Linear(6, 8), lif=sg.LIF(10.0))
    with Seen() as seen:
        y, states = net(batch())
    names = [function.name() for function, _ in seen.calls]
    assert any("layer" in name for name in names)
    assert not any("scan" in name for name in names)
    alone, state = sg.Sequential(net.fc, net.lif)(batch())
    assert torch.equal(y, alone)
    assert torch.equal(states["lif"].v, state[1].v)


@native
def test_feedback_runs_in_the_same_call() -> None:
    net = Free(lambda m, x: m.rec(m.fc(x)), fc=sg.Linear(6, 8), rec=sg.Recurrent(sg.LIF(10.0), 8))
    y, _ = net(batch())
    assert torch.equal(y, sg.Sequential(net.fc, net.rec)(batch())[0])


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "plus a number": lambda c: c + 1.0,
    "number minus": lambda c: 2.0 - c,
    "times itself": lambda c: c * c,
    "torch's function": torch.relu,
    "a method": lambda c: c.clamp(min=0.0),
    "an index": lambda c: c[:3],
    "in a list": lambda c: torch.cat([c, c]),
    "its copy in place": lambda c: c.clone().add_(1.0),
    "a comparison": lambda c: (c > 0).float(),
    "the shape": lambda c: torch.full(tuple(c.shape), float(c.dim())),
    "a module of torch": nn.Tanh(),
    "rows": lambda c: torch.stack(list(c)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_any_operation_makes_numbers_of_a_current(name: str) -> None:
    operation, kinds = OPERATIONS[name], []

    def flow(m: Any, x: Tensor) -> Tensor:
        c = m.fc(x)
        kinds.append(type(c))
        return operation(c)

    net, x = Free(flow, fc=sg.Linear(6, 8)), batch()
    assert torch.equal(net(x)[0], operation(net.fc(x)))
    assert kinds == [Current]


def test_numbers_count_once_they_are_made() -> None:
    def flow(m: Any, x: Tensor) -> Tensor:
        c = m.fc(x)
        c.mul_(0.0)
        return m.lif(c)

    net = Free(flow, fc=sg.Linear(6, 8), lif=sg.LIF(10.0))
    with torch.no_grad():
        net.fc.weight.add_(1.0)
        assert net(batch())[0].sum() == 0


def test_a_change_in_place_before_the_product_is_an_error() -> None:
    def flow(m: Any, x: Tensor) -> Tensor:
        x = x.clone()
        c = m.fc(x)
        x.add_(1.0)
        return m.lif(c)

    with pytest.raises(sg.UserError, match="unchanged until neurons"):
        Free(flow, fc=sg.Linear(6, 8), lif=sg.LIF(10.0))(batch())


def test_gradients_are_off_where_they_were_off() -> None:
    def flow(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            c = m.fc(x)
        return m.lif(c)

    net = Free(flow, fc=sg.Linear(6, 8), lif=sg.LIF(10.0, learn="threshold"))
    y, _ = net(batch())
    y.sum().backward()
    assert net.fc.weight.grad is None
    assert all(p.grad is not None for p in net.lif.parameters())


def test_a_current_that_leaves_is_numbers() -> None:
    net = Free(lambda m, x: {"a": [m.fc(x)], "b": (m.fc(x), x)}, fc=sg.Linear(6, 8))
    y, states = net(batch())
    assert type(y["a"][0]) is Tensor
    assert type(y["b"][0]) is Tensor
    assert states == {}


def test_layers_that_see_time_take_currents() -> None:
    net = Free(
        lambda m, x: m.lif(m.norm(m.drop(m.fc(x)))),
        fc=sg.Linear(6, 8),
        norm=sg.BatchNorm(8),
        drop=sg.Dropout(0.5),
        lif=sg.LIF(10.0),
    )
    y, states = net(batch())
    assert y.shape == (12, 4, 8)
    assert list(states) == ["drop", "lif"]


def test_modules_nest_in_containers_and_in_modules() -> None:
    torch.manual_seed(0)
    inner = sg.Residual([sg.Linear(8, 8), sg.LIF(10.0)])
    chain = sg.Sequential(sg.Linear(6, 8), sg.LIF(10.0), inner, sg.Linear(8, 3), sg.LI(10.0))
    y, states = chain(batch())
    outer = Free(lambda m, x: m.chain(x), chain=chain)
    z, named = outer(batch())
    assert torch.equal(y, z)
    assert list(named) == ["chain"]
    assert torch.equal(named["chain"][2]["paths.0"][1].v, states[2]["paths.0"][1].v)
    again, _ = chain(batch(), sg.map_state(torch.zeros_like, states))
    assert torch.equal(again, y)
    cut = sg.cut(states)
    assert not cut[2]["paths.0"][1].v.requires_grad


@pytest.mark.parametrize(
    ("join", "want"),
    [
        ("add", lambda a, b: a + b),
        ("and", lambda a, b: a * b),
        ("iand", lambda a, b: (1 - a) * b),
        ("concat", lambda a, b: torch.cat([a, b], 2)),
    ],
)
def test_joins(join: Any, want: Any) -> None:
    body, skip = sg.Sequential(sg.Linear(6, 8), sg.LIF(10.0)), sg.Sequential(sg.Linear(6, 8))
    y, _ = sg.Residual(body, skip, join=join)(batch())
    assert torch.equal(y, want(body(batch())[0], skip(batch())[0]))


def test_branches_that_do_not_fit_are_named() -> None:
    with pytest.raises(sg.UserError, match=r"\[12, 4, 8\] of path 0 and \[12, 4, 6\] of path 1"):
        sg.Residual(sg.Linear(6, 8))(batch())
    with pytest.raises(sg.UserError, match="two paths"):
        sg.Branch(sg.Linear(6, 8))
    with pytest.raises(sg.UserError, match="a body"):
        sg.Residual(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a path as a layer"):
        sg.Branch(1, 2)  # type: ignore[arg-type]


def twice(m: Any, x: Tensor) -> Tensor:
    return m.lif(m.lif(x))


def sometimes(m: Any, x: Tensor) -> Tensor:
    return m.lif(x) if len(x) > 6 else x


def foreign(m: Any, x: Tensor) -> Tensor:
    return sg.LIF(10.0)(x)


def test_what_cannot_be_threaded_says_so() -> None:
    x = batch(6)
    with pytest.raises(sg.UserError, match=r"once in Free.flow, got lif \(LIF\) twice"):
        Free(twice, lif=sg.LIF(10.0))(x)
    with pytest.raises(sg.UserError, match="no attribute of it"):
        Free(foreign)(x)
    net = Free(sometimes, lif=sg.LIF(10.0))
    _, states = net(x)
    with pytest.raises(sg.UserError, match="a state of lif, which did not run"):
        net(x[:2], states)
    _, none = net(x[:2])
    with pytest.raises(sg.UserError, match="expected a state of lif"):
        net(x, none)
    with pytest.raises(sg.UserError, match="layer of Free among the states 'other'"):
        net(x, {"other": states["lif"]})
    with pytest.raises(TypeError, match="states as a dict"):
        net(x, (states["lif"],))
    with pytest.raises(sg.UserError, match="finite"):
        net(x * float("nan"))
    with pytest.raises(NotImplementedError, match="flow"):
        sg.Module()(x)


def test_an_error_in_flow_leaves_layers_as_they_were() -> None:
    lif = sg.LIF(10.0)
    with pytest.raises(ZeroDivisionError):
        Free(lambda m, x: m.lif(x) / (1 // 0), lif=lif)(batch())
    y, state = lif(batch())
    assert state.v.shape == (4, 6)
    assert y.shape == (12, 4, 6)


def test_copies_and_saved_weights_give_the_same() -> None:
    torch.manual_seed(0)
    net = Net()
    y, _ = net(batch())
    other = Net()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(batch())[0], y)
    assert torch.equal(copy.deepcopy(net)(batch())[0], y)


class Step(torch.autograd.Function):
    """Keeps nothing, so that autograd itself notices nothing."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Tensor:
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def test_a_function_of_autograd_gets_a_tensor_or_says_so() -> None:
    with pytest.raises(sg.UserError, match=r"Function.apply\(self.fc\(x\).clone\(\)\)"):
        Free(lambda m, x: Step.apply(m.fc(x)), fc=sg.Linear(6, 8))(batch())
    known = Free(lambda m, x: Step.apply((lambda c: (c.sum(), c)[1])(m.fc(x))), fc=sg.Linear(6, 8))
    with pytest.raises(sg.UserError, match=r"expected a tensor in a torch\.autograd\.Function"):
        known(batch())
    net = Free(lambda m, x: Step.apply(m.fc(x).clone()), fc=sg.Linear(6, 8))
    net(batch())[0].sum().backward()
    assert net.fc.weight.grad is not None


def test_numbers_may_be_read_without_gradients() -> None:
    seen = []

    def flow(m: Any, x: Tensor) -> Tensor:
        c = m.fc(x)
        with torch.no_grad():
            seen.append(float(c.mean()))
        return m.lif(c)

    net = Free(flow, fc=sg.Linear(6, 8), lif=sg.LIF(10.0))
    net(batch())[0].sum().backward()
    assert len(seen) == 1
    assert net.fc.weight.grad is not None


def test_a_layer_put_in_the_place_of_another_is_found() -> None:
    net = Free(lambda m, x: m.lif(x), lif=sg.LIF(10.0))
    net(batch())
    net.lif = sg.LIF(5.0)
    y, states = net(batch())
    assert torch.equal(y, sg.LIF(5.0)(batch())[0])
    assert list(states) == ["lif"]


def test_a_weight_behind_a_parametrization_must_not_change_either() -> None:
    def flow(m: Any, x: Tensor) -> Tensor:
        c = m.fc(x)
        with torch.no_grad():
            m.fc.parametrizations.weight.original0.add_(1.0)
        return m.lif(c)

    net = Free(flow, fc=sg.Linear(6, 8), lif=sg.LIF(10.0))
    torch.nn.utils.parametrizations.weight_norm(net.fc)
    with pytest.raises(sg.UserError, match="unchanged until neurons"):
        net(batch())


def test_weights_made_in_inference_mode() -> None:
    with torch.inference_mode():
        net = Net()
        y, _ = net(batch())
        assert torch.allclose(y, by_hand(net, batch()), atol=1e-6)


def test_layers_added_later_are_found() -> None:
    net = Free(lambda m, x: m.late(x) if hasattr(m, "late") else x)
    net(batch())
    net.late = sg.LIF(10.0)
    assert list(net(batch())[1]) == ["late"]


def test_recorded_and_measured() -> None:
    torch.manual_seed(0)
    net = Net()
    with sg.record(net) as tapes:
        y, _ = net(batch())
    assert sorted(tapes) == ["lif1", "lif2", "out"]
    assert tapes["lif2"].membrane.shape == (12, 4, 8)
    assert torch.allclose(y, net(batch())[0], atol=1e-6)
    wires = {
        w.name: [type(n).__name__ for n in w.neurons] for w in sg.nn.wiring.wiring(net, batch())
    }
    assert wires == {"fc1": ["LIF"], "fc2": ["LIF"], "skip": ["LIF"], "fc3": ["LI"]}


@native
def test_explain_tells_what_ran_together() -> None:
    torch.manual_seed(0)
    rows = sg.diagnose.explain(Net(), batch())
    assert [row.layers for row in rows] == [
        ("fc1", "lif1"), ("fc2", "skip", "lif2"), ("fc3", "out")
    ]  # fmt: skip
    assert all("in one call" in row.reason for row in rows)
    assert all(row.forward_ms > 0 and row.backward_ms is not None for row in rows)


def test_compiled() -> None:
    torch.manual_seed(0)
    net, x = Net("reference"), batch(steps=3)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x)[0], net(x)[0], atol=1e-6)


def test_trained_by_fit() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 6)
    labels = (x[:, 0] > 0.5).long() + (x[:, 1] > 0.5).long()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=16)
    result = sg.fit(Net(), loader, steps=8, epochs=2, learning_rate=1e-2, progress=False)
    assert len(result.history) == 2
