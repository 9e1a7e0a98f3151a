"""Batches (x, y, lengths): padding counts for nothing, wherever a run looks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import spikegrad as sg
from spikegrad import diagnose
from spikegrad.data import Batches, Split, statistics
from spikegrad.errors import UserError
from spikegrad.report.read import read_samples
from spikegrad.train import evaluate, fit, predict
from spikegrad.train.batch import Batch, batch_of
from spikegrad.train.config import gather
from spikegrad.train.encoder import Encoder
from spikegrad.train.objective import OBJECTIVES, Objective
from spikegrad.train.parallel import make_fabric
from spikegrad.train.running import Place
from spikegrad.train.step import Engine, train_step

LENGTHS = torch.tensor([9, 4, 7, 1, 9])
QUIET = {"progress": False, "preflight": "off", "sequence": True}


def network(dtype=torch.float64, *, spiking=False, seed=0) -> sg.Sequential:
    torch.manual_seed(seed)
    last = sg.LIF(8.0, surrogate="triangle") if spiking else sg.LI(8.0)
    hidden = sg.Recurrent(sg.LIF(10.0, surrogate="triangle"), 12)
    made = sg.Sequential(sg.Linear(6, 12), hidden, sg.Linear(12, 3), last).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(3.0)
    return made


def samples(steps=12, behind=float("nan"), dtype=torch.float64, seed=1):
    """Spikes `[B, T, N]` with something in the padding that nobody must read."""
    x = (torch.rand(5, steps, 6, generator=torch.Generator().manual_seed(seed)) < 0.4).to(dtype)
    for b, n in enumerate(LENGTHS.tolist()):
        x[b, n:] = behind
    return x, torch.arange(5) % 3


def engine(made, objective, dtype=torch.float64) -> Engine:
    fabric = make_fabric(gather({"device": "cpu", "precision": "64"}))
    optimizer = fabric.setup_optimizers(torch.optim.SGD(made.parameters(), lr=0.0))
    encode = Encoder("direct", sequence=True)
    return Engine(fabric, made, optimizer, objective, encode, Place(dtype=dtype))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_are_those_of_the_samples_one_by_one(name):
    spiking = name.startswith(("rate", "count", "first"))
    (x, labels), objective = samples(), Objective(name)
    made, alone = network(spiking=spiking), network(spiking=spiking)
    place = Place(dtype=torch.float64)
    outcome = train_step(engine(made, objective), *place.put(Batch(x, labels, LENGTHS).trimmed()))
    total = sum(
        objective(alone(x[b, None, :n].transpose(0, 1))[0], labels[b : b + 1])
        for b, n in enumerate(LENGTHS.tolist())
    ) / len(labels)
    total.backward()
    assert outcome.loss == pytest.approx(float(total.detach()), rel=1e-6)
    for p, q in zip(made.parameters(), alone.parameters(), strict=True):
        assert q.grad.abs().max() > 0
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-7)


def halves(made: sg.Sequential) -> sg.Sequential:
    """Weights of a few binary digits: every product and sum is exact."""
    with torch.no_grad():
        for p in made.parameters():
            p.copy_((p * 8).round() / 8)
    return made


@pytest.mark.parametrize("feedback", [False, True])
def test_dyadic_gradients_are_equal_bit_for_bit(feedback):
    def make() -> sg.Sequential:
        torch.manual_seed(3)
        lif = sg.LIF(beta=0.5, surrogate="boxcar")
        hidden = sg.Recurrent(lif, 12) if feedback else lif
        return halves(
            sg.Sequential(
                sg.Linear(6, 12), hidden, sg.Linear(12, 3), sg.IF(surrogate="boxcar")
            ).double()
        )

    x, _ = samples()
    together, alone = make(), make()
    y, _ = together(x.transpose(0, 1), lengths=LENGTHS)
    y.sum().backward()
    for b, n in enumerate(LENGTHS.tolist()):
        own, _ = alone(x[b, None, :n].transpose(0, 1))
        assert torch.equal(y[:n, b], own[:, 0])
        own.sum().backward()
    for p, q in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_the_penalty_and_the_rates_are_over_real_steps():
    x, labels = samples()
    made, batch = network(), Batch(x, labels, LENGTHS).trimmed()
    place, wanted = Place(dtype=torch.float64), Objective(rate_lower=0.9, rate_weight=1.0)
    outcome = train_step(engine(made, wanted), *place.put(batch))
    spikes, steps, means = 0.0, 0, 0.0
    for b, n in enumerate(LENGTHS.tolist()):
        with sg.record(made) as tapes:
            y, _ = made(x[b, None, :n].transpose(0, 1))
        spikes = spikes + tapes["1.neuron"].spikes.sum((0, 1))
        steps += n
        means += float(Objective()(y, labels[b : b + 1])) / 5
    rate = spikes / steps
    penalty = float(((0.9 - rate).clamp(min=0) ** 2).mean())
    assert outcome.rates["1.neuron"] == pytest.approx(float(rate.mean()))
    assert outcome.steps == steps
    assert outcome.loss == pytest.approx(means + penalty, rel=1e-5)
    seen = evaluate(made, [(x, labels, LENGTHS)], sequence=True)
    assert seen.firing_rates["1.neuron"] == pytest.approx(float(rate.mean()))
    assert seen.loss == pytest.approx(means, rel=1e-6)


def test_evaluate_and_predict_are_those_of_the_samples_in_any_batches():
    x, labels = samples()
    made = network()
    parts = [(x[:2], labels[:2], LENGTHS[:2]), (x[2:], labels[2:], LENGTHS[2:])]
    whole = evaluate(made, [(x, labels, LENGTHS)], sequence=True)
    split = evaluate(made, parts, sequence=True)
    assert split.loss == pytest.approx(whole.loss)
    assert split.firing_rates["1.neuron"] == pytest.approx(whole.firing_rates["1.neuron"])
    assert torch.equal(split.confusion, whole.confusion)
    _, scores = predict(made, x, lengths=LENGTHS, sequence=True, batch_size=2)
    for b, n in enumerate(LENGTHS.tolist()):
        alone = predict(made, x[b : b + 1, :n], sequence=True).scores
        torch.testing.assert_close(scores[b : b + 1], alone)


def loader(seed=0) -> list:
    parts = [samples(dtype=torch.float32, behind=7.0, seed=seed + k) for k in range(3)]
    return [(x, labels, LENGTHS) for x, labels in parts]


def test_a_run_with_lengths_its_files_and_an_exact_resume(tmp_path):
    batches = loader()
    first = network(torch.float32)
    long = fit(first, batches, test_loader=batches, epochs=3, out=tmp_path / "long", **QUIET)
    cut = network(torch.float32)
    how = {"test_loader": batches, "out": tmp_path / "cut", **QUIET}
    fit(cut, batches, epochs=1, **how)
    fit(cut, batches, epochs=3, resume=True, **how)
    for p, q in zip(first.parameters(), cut.parameters(), strict=True):
        assert torch.equal(p, q)
    clean = [
        (x.masked_fill(~(torch.arange(12) < n[:, None])[..., None], 0.0), y, n)
        for x, y, n in batches
    ]
    other = network(torch.float32)
    same = fit(other, clean, test_loader=clean, epochs=3, **QUIET)
    assert [line["train_loss"] for line in same.history] == [
        line["train_loss"] for line in long.history
    ]
    held = read_samples(tmp_path / "long" / "samples.npz")
    assert held.lengths.tolist() == (LENGTHS.tolist() * 3)[: held.count]
    for layer in held.layers:
        for b in range(held.count):
            assert not layer.spikes[held.lengths[b] :, b].any()
            assert held.steps(b, 99) == held.lengths[b]
    assert not held.input[held.lengths[3] :, 3].any()
    measures = json.loads((tmp_path / "long" / "measures.json").read_text())
    assert measures["notes"] == []
    assert sg.report.raster(held, 3).axes[-1].get_xlim()[1] < 1.5


def test_two_processes_train_as_one():
    batches = loader(4)
    one, two = network(torch.float32), network(torch.float32)
    alone = fit(one, batches, epochs=1, rate_weight=0.5, rate_lower=0.5, device="cpu", **QUIET)
    how = {"processes": 2, "threads": 1, "device": "cpu", **QUIET}
    both = fit(two, batches, epochs=1, rate_weight=0.5, rate_lower=0.5, **how)
    assert both.history[0]["train_loss"] == pytest.approx(alone.history[0]["train_loss"], rel=1e-5)
    rates = [run.history[0]["firing_rates"]["1.neuron"] for run in (alone, both)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-5)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_a_loss_of_ones_own_is_given_the_lengths():
    x, labels = samples(dtype=torch.float32)
    seen = []

    def own(y, target, lengths):
        seen.append(lengths.tolist())
        return sg.functional.membrane_cross_entropy(y, target, lengths=lengths)

    result = fit(network(torch.float32), [(x, labels, LENGTHS)], objective=own, epochs=1, **QUIET)
    named = fit(network(torch.float32), [(x, labels, LENGTHS)], epochs=1, **QUIET)
    assert LENGTHS.tolist() in seen
    assert result.history[0]["train_loss"] == named.history[0]["train_loss"]
    unaware = {"objective": lambda y, target: y.mean(), "epochs": 1, **QUIET}
    with pytest.raises(UserError, match=r"expected an objective that takes lengths="):
        fit(network(torch.float32), [(x, labels, LENGTHS)], **unaware)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((torch.zeros(2, 5, 6), torch.zeros(2), torch.tensor([0, 5])), "lengths from 1 to T=5"),
        ((torch.zeros(2, 5, 6), torch.zeros(2), torch.tensor([6, 5])), "got 6 of sample 0"),
        ((torch.zeros(2, 5, 6), torch.zeros(2), torch.tensor([5])), "lengths of 2 samples"),
        ((torch.zeros(2, 5), torch.zeros(2), torch.tensor([5, 5])), "sequences x"),
        ((torch.zeros(2, 5, 6), 3, torch.tensor([5, 5])), r"expected batches \(x, y\)"),
    ],
)
def test_wrong_batches_are_refused(batch, said):
    with pytest.raises(UserError, match=said):
        batch_of(batch)


def test_what_does_not_go_with_lengths_says_so():
    x, labels = samples(dtype=torch.float32)
    batches = [(x, labels, LENGTHS)]
    with pytest.raises(UserError, match="expected truncate=0 with batches"):
        fit(network(torch.float32), batches, truncate=3, epochs=1, **QUIET)
    with pytest.raises(UserError, match="expected the encoder to keep the T=9 steps"):
        fit(network(torch.float32), batches, epochs=1, progress=False, preflight="off")
    plain = torch.nn.Linear(6, 3)
    with pytest.raises(UserError, match="expected a network that takes lengths="):
        fit(plain, batches, epochs=1, **QUIET)
    with pytest.raises(UserError, match="one length to measure the truth"):
        diagnose.truth(network(), (samples(behind=0.0)[0].transpose(0, 1), labels, LENGTHS))


def test_splits_and_batches_hold_lengths(tmp_path):
    x, labels = samples(dtype=torch.float32, behind=50.0)
    split = Split(x, labels, None, LENGTHS)
    mean, std = statistics(split)
    real = torch.cat([x[b, :n].flatten() for b, n in enumerate(LENGTHS.tolist())])
    assert mean == pytest.approx(float(real.mean()))
    assert std == pytest.approx(float(real.std(correction=0)), rel=1e-5)
    assert split.select(torch.tensor([3, 0])).lengths.tolist() == [1, 9]
    found = list(Batches(split, 2, seed=1).epoch(0))
    assert sorted(int(n) for _, _, lengths in found for n in lengths) == sorted(LENGTHS.tolist())
    assert all(part.shape[1] == int(lengths.max()) for part, _, lengths in found)
    halves_of = [next(Batches(split, 4, rank=r, world_size=2).epoch(0)) for r in (0, 1)]
    (whole, _, lengths), *_ = Batches(split, 4).epoch(0)
    assert torch.equal(torch.cat([part[0] for part in halves_of]), whole)
    assert torch.equal(torch.cat([part[2] for part in halves_of]), lengths)
    path = tmp_path / "mine.npz"
    np.savez(path, x=x.numpy(), y=labels.numpy(), lengths=LENGTHS.numpy(), sequence=True)
    assert torch.equal(sg.data.load_npz(path).train.lengths, LENGTHS)
    with pytest.raises(UserError, match="expected sequences with lengths"):
        sg.data.load_npz(path, sequence=False)
    with pytest.raises(UserError, match="lengths from 1 to T=12"):
        Split(x, labels, None, LENGTHS + 4)


def test_diagnosis_leaves_padding_out():
    x, labels = samples(behind=0.0)
    made = network()
    rows = x.transpose(0, 1)
    health = diagnose.health(made, (rows, labels), lengths=LENGTHS)
    again = diagnose.health(made, (torch.where(rows == 0, 0.0, rows), labels, LENGTHS))
    assert health.data() == again.data()
    spikes, first, steps, total = 0.0, 0.0, int(LENGTHS.sum()), 0.0
    for b, n in enumerate(LENGTHS.tolist()):
        with sg.record(made) as tapes:
            y, _ = made(rows[:n, b : b + 1])
        spikes += float(tapes["1.neuron"].activity.sum())
        first += float(tapes["1.neuron"].activity[0].sum())
        total += float(Objective()(y.detach(), labels[b : b + 1])) / 5
    layer = health.layer("1.neuron")
    assert layer.rate == pytest.approx(spikes / (12 * steps))
    assert layer.rates[0] == pytest.approx(first / (12 * 5))
    assert layer.rates[9:] == (0.0, 0.0, 0.0)
    assert health.loss == pytest.approx(total, rel=1e-6)
    rates = diagnose.firing_rates(made, rows, lengths=LENGTHS)
    assert rates["1.neuron"] == pytest.approx(layer.rate)
    flow = diagnose.gradient_flow(made, rows, labels, loss=Objective(), lengths=LENGTHS)
    assert flow.layer("1.neuron").current[:9] == pytest.approx(layer.gradient[:9], rel=1e-6)
    assert flow.layer("1.neuron").current[9:] == (0.0,) * 3
    table = diagnose.summary(made, rows, lengths=LENGTHS)
    alone = [diagnose.summary(made, rows[:n, b : b + 1]) for b, n in enumerate(LENGTHS.tolist())]
    for k, row in enumerate(table.rows):
        each = [other.rows[k] for other in alone]
        assert row.shape == each[0].shape
        if row.synops is not None:
            assert row.synops == pytest.approx(sum(r.synops for r in each) / 5)
    assert diagnose.preflight(made, rows, labels, loss=Objective(), lengths=LENGTHS) is not None
    fixed = diagnose.fix(made, (rows, labels), loss=Objective(), lengths=LENGTHS)
    assert fixed.after.loss is not None
    explained = diagnose.explain(made, rows, lengths=LENGTHS)
    assert {name for each in explained for name in each.layers} == {"0", "1", "2", "3"}
