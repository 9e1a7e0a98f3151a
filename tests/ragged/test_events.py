"""Recordings as events: what they mean, what is refused, and networks that take them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ragged import dyadic

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.nn.base import use_backend


def recording(seed: int, size: int = 70, steps: int = 30, many: int = 80) -> sg.Events:
    source = torch.Generator().manual_seed(seed)
    times = (torch.rand(many, generator=source, dtype=torch.float64) * steps).sort().values
    units = torch.randint(0, size, (many,), generator=source)
    return sg.Events(times, units, size, duration=float(steps))


def network(dtype=torch.float32) -> sg.Sequential:
    torch.manual_seed(2)
    how = {"beta": 0.5, "threshold": 0.25, "surrogate": "triangle"}
    made = sg.Sequential(
        *(sg.Linear(70, 66), sg.Recurrent(sg.LIF(**how), 66)),
        *(sg.Linear(66, 5), sg.LI(beta=0.5)),
    )
    return dyadic(made.to(dtype), 64)


def by_hand(events: sg.Events, times, units, dt) -> torch.Tensor:
    frame = torch.zeros(events.shape)
    for t, unit in zip(times, units, strict=True):
        frame[int(t / dt + 1e-6), 0, unit] = 1.0
    return frame


@pytest.mark.parametrize("dt", [0.1, 0.5, 3.0])
def test_times_in_ms_fall_into_steps(dt):
    times, units = [0.0, 0.3, 0.3, 0.6, 2.9, 5.7], [0, 2, 1, 2, 0, 1]
    events = sg.Events(times, units, 3, dt=dt)
    assert torch.equal(events.dense(), by_hand(events, times, units, dt))
    assert events.lengths.tolist() == [int(5.7 / dt + 1e-6) + 1]
    single = sg.Events(torch.tensor(times), units, 3, dt=dt)  # float32: 5.7 / 0.1 is 56.999998
    assert torch.equal(single.dense(), events.dense())


def test_durations_and_silence():
    assert sg.Events([], [], size=2).lengths.tolist() == [1]
    assert sg.Events([1.5], [0], 2, duration=10.0, dt=3.0).lengths.tolist() == [4]
    assert sg.Events([1], [0], 2, duration=7).lengths.tolist() == [7]
    assert sg.Events([0.3], [0], 2, duration=0.6, dt=0.1).lengths.tolist() == [6]
    silent = sg.Events.batch([sg.Events([], [], 2, duration=4), sg.Events([0], [1], 2)])
    assert silent.lengths.tolist() == [4, 1]
    assert silent.dense().sum() == 1


def test_several_events_of_one_unit_in_one_step():
    once = sg.Events([0.1, 0.2, 0.3], [1, 1, 1], 2)
    counted = sg.Events([0.1, 0.2, 0.3], [1, 1, 1], 2, several="count")
    assert once.dense().tolist() == [[[0.0, 1.0]]]
    assert counted.dense().tolist() == [[[0.0, 3.0]]]
    linear = sg.Sequential(sg.Linear(2, 3), sg.LI(beta=0.5))
    for events in (once, counted):
        torch.testing.assert_close(linear(events)[0], linear(events.dense())[0])
    assert not torch.equal(linear(once)[0], linear(counted)[0])


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_takes_them_as_the_frame(backend, dtype):
    batch = sg.Events.batch([recording(0), recording(1, steps=12), recording(2, steps=30, many=3)])
    made = network(dtype)
    use_backend(made, backend)
    found = []
    for x, how in ((batch, {}), (batch.dense(dtype), {"lengths": batch.lengths})):
        made.zero_grad()
        y, states = made(x, **how)
        (y.square().sum() + states[3].v.sum()).backward()
        found.append((y, states[3].v, [p.grad for p in made.parameters()]))
    assert found[0][0].any()
    for one, other in zip(found[0][:2], found[1][:2], strict=True):
        assert torch.equal(one, other)
    for one, other in zip(found[0][2], found[1][2], strict=True):
        torch.testing.assert_close(one, other)


def test_no_frame_is_made_where_the_first_layers_are_one_call(monkeypatch):
    from spikegrad.kernels import available
    from spikegrad.ragged import EventRows

    if available()["cpu"]:
        pytest.skip("no native kernels")

    def refuse(*args):
        raise AssertionError("a frame of numbers was made")

    batch = sg.Events.batch([recording(0), recording(1, steps=12)])
    expected, _ = network()(batch.dense(), lengths=batch.lengths)
    monkeypatch.setattr(EventRows, "numbers", refuse)
    y, _ = network()(batch)
    assert torch.equal(y, expected)


@pytest.mark.parametrize("several", ["one", "count"])
@pytest.mark.parametrize("again", [False, True])
def test_events_of_one_unit_in_one_step(monkeypatch, several, again):
    from spikegrad.kernels import available
    from spikegrad.ragged import EventRows

    made, numbers = [], EventRows.numbers

    def noted(self, rows):
        made.append(rows)
        return numbers(self, rows)

    monkeypatch.setattr(EventRows, "numbers", noted)
    times = [0.1, 0.2, 4.3, 4.4] if again else [0.1, 0.2, 4.3, 5.4]
    batch = sg.Events.batch(
        [
            sg.Events(times, [3, 66, 69, 69], 70, several=several),
            sg.Events([2], [0], 70, several=several),
        ]
    )
    expected, _ = network()(batch.dense(), lengths=batch.lengths)
    y, _ = network()(batch)
    assert torch.equal(y, expected)
    if not available()["cpu"]:  # a count above 1 alone needs numbers
        assert bool(made) == (again and several == "count")


def test_columns_of_one_array():
    recording = np.array([[0, 69], [3, 2], [3, 69]])
    for whole in (recording, torch.from_numpy(recording)):
        events = sg.Events(whole[:, 0], whole[:, 1], 70)
        expected, _ = network()(events.dense(), lengths=events.lengths)
        assert torch.equal(network()(events)[0], expected)


def test_a_count_is_not_rounded_event_by_event():
    for dtype, many in ((torch.bfloat16, 300), (torch.float16, 3000)):
        events = sg.Events([0] * many, [1] * many, 2, several="count")
        assert events.dense(dtype).max() == many
        linear = sg.Linear(2, 1, bias=False, dtype=dtype)
        with torch.no_grad():
            linear.weight.fill_(1.0)
        assert sg.Sequential(linear)(events)[0].max() == many


def test_they_are_on_the_cpu_under_any_default_device():
    made, given = network(), recording(1, steps=12)
    with torch.device("meta"):
        events = sg.Events.batch([sg.Events([0, 1], [3, 5], 70), given]).part(slice(0, 2))
        y, _ = made(events)
    assert torch.equal(y, made(events.dense(), lengths=events.lengths)[0])


def test_a_function_of_the_parameters():
    made = network(torch.float64)
    batch = sg.Events.batch([recording(0), recording(1, steps=12)])

    def loss(parameters, x):
        return torch.func.functional_call(made, parameters, (x,))[0].square().sum()

    parameters = dict(made.named_parameters())
    found = torch.func.grad(loss)(parameters, batch)
    loss(parameters, batch).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(found[name], parameter.grad)


def test_other_layers_modules_and_classifiers():
    class Net(sg.Module):
        def __init__(self):
            super().__init__()
            self.a, self.lif, self.out = sg.Linear(70, 8), sg.LIF(10.0), sg.Linear(8, 3)

        def flow(self, x):
            return self.out(self.lif(self.a(x)))

    batch = sg.Events.batch([recording(0), recording(1, steps=12)])
    plain = sg.Sequential(torch.nn.Linear(70, 8), sg.LIF(10.0), sg.Linear(8, 3))
    neuron = sg.Sequential(sg.LIF(10.0), sg.Linear(70, 3))
    for made in (Net(), plain, neuron):
        expected, _ = made(batch.dense(), lengths=batch.lengths)
        torch.testing.assert_close(made(batch)[0], expected)
    scores = sg.nn.Classifier(plain)
    torch.testing.assert_close(scores(batch), scores(batch.dense(), lengths=batch.lengths))
    with pytest.raises(UserError, match="expected no lengths beside events"):
        plain(batch, lengths=[30, 12])


@pytest.mark.parametrize(
    ("times", "units", "how", "said"),
    [
        ([3, 1], [0, 0], {}, r"times that rise, got 1 after 3 \(event 1\); sort both"),
        ([-1.0], [0], {}, "times from 0 on"),
        ([float("nan")], [0], {}, "finite times"),
        ([0, 1], [0, 2], {}, r"units from 0 to size - 1 = 1, got 2 \(event 1\)"),
        ([0], [-1], {}, "units from 0"),
        ([0, 1], [0], {}, "as many times as units, got 2 times and 1 units"),
        ([[0]], [0], {}, r"expected times \[E\]"),
        ([5.0], [0], {"duration": 5.0}, "events before the duration of 5"),
        ([0], [0], {"several": "sum"}, "several"),
        ([0], [0], {"dt": 0.0}, "dt"),
        (
            [0, 2**31],
            [0, 1],
            {},
            r"times of less than 2\^31 steps, got \[2147483648\]; times in",
        ),
        ([1e30], [0], {}, r"times of less than 2\^31 steps, got \[1e\+30\]"),
        ([2.0], [0], {"duration": 1e20}, r"a duration of less than 2\^31 steps, got 1e\+20"),
        (np.array([2**64 - 1], np.uint64), [0], {}, r"times below 2\^63"),
    ],
)
def test_wrong_events_are_refused(times, units, how, said):
    with pytest.raises(UserError, match=said):
        sg.Events(times, units, 2, **how)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.uint64, np.int16])
def test_whole_numbers_of_every_kind(kind):
    events = sg.Events(np.array([0, 3], kind), np.array([1, 0], kind), 2)
    assert events.step.tolist() == [0, 3]
    assert events.unit.tolist() == [1, 0]
    assert events.dense().sum() == 2


def test_the_longest_recording():
    assert sg.Events([2**31 - 2], [0], 2).steps == 2**31 - 1
    assert sg.Events([0], [0], 2, duration=2**31 - 1).steps == 2**31 - 1


def test_wrong_kinds_and_batches_are_refused():
    with pytest.raises(TypeError, match="units as whole numbers"):
        sg.Events([0], [0.5], 2)
    with pytest.raises(UserError, match="size >= 1"):
        sg.Events([0], [0], 0)
    with pytest.raises(UserError, match="same size, got 2 and 3"):
        sg.Events.batch([sg.Events([0], [0], 2), sg.Events([0], [0], 3)])
    with pytest.raises(UserError, match="at least one recording"):
        sg.Events.batch([])
    with pytest.raises(TypeError, match="a list of Events, got Tensor"):
        sg.Events.batch([torch.zeros(3, 2)])
    for wrong in (0, [1, 0]):
        with pytest.raises(TypeError, match="a slice of samples"):
            sg.Events([0], [0], 2).part(wrong)
    with pytest.raises(TypeError, match="times as numbers"):
        sg.Events([True], [0], 2)
