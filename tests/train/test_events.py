"""Batches of `Events`: what a padded frame with lengths gives, without the frame."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.data import DataLoader

import spikegrad as sg
from spikegrad import diagnose
from spikegrad.errors import UserError
from spikegrad.report.read import read_samples
from spikegrad.train import evaluate, fit, predict
from spikegrad.train import shares as shares_module
from spikegrad.train.batch import Batch, batch_of
from spikegrad.train.running import Place
from spikegrad.train.shares import shares

SIZE = 6
QUIET = {"progress": False, "epochs": 2}


def network() -> sg.Sequential:
    torch.manual_seed(0)
    hidden = sg.Recurrent(sg.LIF(10.0, surrogate="triangle"), 12)
    made = sg.Sequential(sg.Linear(SIZE, 12), hidden, sg.Linear(12, 3), sg.LI(8.0))
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(3.0)
    return made


def recordings(count: int = 8) -> list[tuple[sg.Events, int]]:
    """Of class k mostly units 2k and 2k + 1."""
    source = torch.Generator().manual_seed(1)
    made = []
    for k in range(count):
        steps = 4 + int(torch.randint(9, (1,), generator=source))
        spikes = torch.rand(steps, SIZE, generator=source) < 0.15
        spikes[:, 2 * (k % 3) : 2 * (k % 3) + 2] |= torch.rand(steps, 2, generator=source) < 0.5
        step, unit = spikes.nonzero(as_tuple=True)
        made.append((sg.Events(step, unit, size=SIZE, duration=steps), k % 3))
    return made


def loader(**how) -> DataLoader:
    return DataLoader(recordings(), batch_size=4, collate_fn=sg.Events.collate, **how)


def frames() -> list[tuple[torch.Tensor, ...]]:
    """The same batches as padded frames with lengths."""
    return [(x.dense().transpose(0, 1), y, x.lengths) for x, y in loader()]


def test_part_and_padding_are_those_of_the_frame() -> None:
    events = sg.Events.batch([events for events, _ in recordings()])
    whole = events.dense()
    part = events.part(slice(2, 5))
    assert part.shape == (int(part.lengths.max()), 3, SIZE)
    assert torch.equal(part.dense(), whole[: part.steps, 2:5])
    assert torch.equal(
        events.part(slice(-1, None)).dense()[:, 0], recordings()[-1][0].dense()[:, 0]
    )
    longer = part.padded_to(part.steps + 3)
    assert longer.dense().shape == (part.steps + 3, 3, SIZE)
    y, _ = network()(longer)
    assert torch.equal(y[: part.steps], network()(part)[0])
    assert not y[part.steps :].any()
    with pytest.raises(UserError, match="expected steps >= "):
        part.padded_to(1)


def test_training_equals_that_on_padded_frames_to_the_last_bit(tmp_path) -> None:
    made, framed = network(), network()
    out = tmp_path / "events"
    result = fit(made, loader(), val_loader=loader(), test_loader=loader(), out=out, **QUIET)
    same = fit(framed, frames(), val_loader=frames(), test_loader=frames(), sequence=True, **QUIET)
    for p, q in zip(made.parameters(), framed.parameters(), strict=True):
        assert torch.equal(p, q)
    for name in ("train_loss", "val_loss", "test_loss"):
        if name in result.history[-1]:
            assert result.history[-1][name] == same.history[-1][name]
    assert result.test_accuracy == same.test_accuracy
    assert result.firing_rates == same.firing_rates
    seen = read_samples(out / "samples.npz")
    assert seen.lengths is not None
    measures = json.loads((out / "measures.json").read_text())
    assert measures["notes"] == []
    assert measures["cells"]

    scored, expected = evaluate(made, loader()), evaluate(framed, frames(), sequence=True)
    assert scored.loss == expected.loss
    assert torch.equal(scored.confusion, expected.confusion)
    x = sg.Events.batch([events for events, _ in recordings()])
    found = predict(made, x, batch_size=3)
    batches = predict(framed, x.dense().transpose(0, 1), lengths=x.lengths, sequence=True)
    torch.testing.assert_close(found.scores, batches.scores)


def test_a_run_on_events_resumes(tmp_path) -> None:
    whole, parts = network(), network()
    fit(whole, loader(), **{**QUIET, "epochs": 3})
    fit(parts, loader(), out=tmp_path / "run", **QUIET)
    fit(parts, loader(), out=tmp_path / "run", resume=True, **{**QUIET, "epochs": 3})
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_step_makes_no_frame(monkeypatch) -> None:
    """Neither training nor evaluation asks for one; preflight looks at a few recordings."""
    seen: list[int] = []
    dense = sg.Events.dense
    monkeypatch.setattr(
        sg.Events, "dense", lambda self, *a: seen.append(len(self.lengths)) or dense(self, *a)
    )
    fit(network(), loader(), val_loader=loader(), preflight="off", **QUIET)
    assert seen == []


def test_diagnosis_takes_events() -> None:
    made = network()
    events, labels = next(iter(loader()))
    how = {"lengths": events.lengths}
    x, loss = events.dense(), sg.functional.membrane_cross_entropy
    assert diagnose.firing_rates(made, events) == diagnose.firing_rates(made, x, **how)
    assert diagnose.spike_counts(made, events) == diagnose.spike_counts(made, x, **how)
    assert diagnose.summary(made, events).data() == diagnose.summary(made, x, **how).data()
    one = diagnose.health(made, (events, labels)).data()
    assert one == diagnose.health(made, (x, labels), **how).data()
    flow = diagnose.gradient_flow(made, events, labels, loss=loss)
    assert flow.parameters == diagnose.gradient_flow(made, x, labels, loss=loss, **how).parameters
    found = diagnose.preflight(made, events, labels, loss=loss)
    expected = diagnose.preflight(made, x, labels, loss=loss, **how)
    assert [f.line() for f in found] == [f.line() for f in expected]
    assert len(diagnose.explain(made, events)) == len(diagnose.explain(made, x, **how))
    a, b = network(), network()
    sg.nn.calibrate(a, events, rate=0.1)
    sg.nn.calibrate(b, x, rate=0.1, **how)
    assert torch.equal(a[0].weight, b[0].weight)
    double = network().double()
    assert diagnose.firing_rates(double, events).keys() == {"1.neuron"}


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (lambda e, y: (e, y, e.lengths), "expected no lengths beside events"),
        (lambda e, y: (e, y[:-1]), "expected labels y .* one for each recording"),
        (lambda e, y: (e, y.tolist()), "expected labels as a tensor"),
    ],
)
def test_wrong_batches_are_refused(batch, words) -> None:
    given = batch(*next(iter(loader())))
    with pytest.raises(UserError, match=words):
        fit(network(), [given], **QUIET)


def test_an_encoder_beside_events_is_refused() -> None:
    for encoder in ("poisson", lambda x: x):
        with pytest.raises(UserError, match="expected no encoder for events"):
            fit(network(), loader(), encoder=encoder, **QUIET)
    with pytest.raises(UserError, match=r"expected no steps for events, .* got steps=25"):
        fit(network(), loader(), steps=25, **QUIET)
    with pytest.raises(UserError, match="expected truncate=0"):
        fit(network(), loader(), truncate=2, **QUIET)
    with pytest.raises(UserError, match="expected no lengths beside events"):
        diagnose.firing_rates(network(), next(iter(loader()))[0], lengths=[1] * 4)


def test_collate_names_what_is_no_pair() -> None:
    events, _ = recordings()[0]
    with pytest.raises(TypeError, match="Events without a label"):
        sg.Events.collate([events])
    with pytest.raises(TypeError, match="got Tensor and int"):
        sg.Events.collate([(torch.zeros(3), 1)])


def test_batches_of_events_join() -> None:
    both = [batch_of(given) for given in loader()]
    joined = Batch.joined(both)
    assert joined.samples == 8
    assert joined.lengths.tolist() == [int(e.lengths) for e, _ in recordings()]
    with pytest.raises(UserError, match="expected events in all batches"):
        Batch.joined([both[0], batch_of(frames()[0])])
    silent = both[0].standing_in(9)
    assert silent.x.shape == (9, 1, SIZE)
    assert not silent.x.dense().any()


def test_shares_of_a_batch_of_events_have_its_steps(monkeypatch) -> None:
    """Outputs of all processes are put together, so each runs as many steps as the longest."""
    given = batch_of(next(iter(loader())))
    monkeypatch.setattr(shares_module, "_exchange", lambda *a, **k: ((4, 4), 0))
    for rank in (0, 1, 4):
        place = Place(rank=rank, world=5)
        ((batch, share),) = shares([given], place)
        assert batch.x.shape[0] == given.longest
        if rank < 4:
            assert torch.equal(batch.x.dense()[:, 0], given.x.dense()[:, rank])
        else:  # it stands in
            assert not share.weight
            assert len(batch.x) == 0


def test_batches_of_other_events_are_told_apart() -> None:
    one = sg.Events([0, 2, 5], [1, 0, 1], size=3)
    other = sg.Events([0, 3, 5], [1, 0, 1], size=3)
    assert shares_module._fingerprint(one) != shares_module._fingerprint(other)


def test_own_losses_read_events_whichever_is_the_longest() -> None:
    def last(y, labels, lengths):
        return torch.nn.functional.cross_entropy(y[lengths - 1, torch.arange(len(labels))], labels)

    for objective in (torch.nn.CrossEntropyLoss(), last):
        for order in (False, True):
            data = sorted(recordings(), key=lambda pair: int(pair[0].lengths), reverse=order)
            fit(network(), [sg.Events.collate(data)], objective=objective, **QUIET)


def test_a_repair_and_the_truth_take_events() -> None:
    events, labels = next(iter(loader()))
    x, how = events.dense(), {"lengths": events.lengths}
    fixed, expected = (
        diagnose.fix(network(), batch, **more)
        for batch, more in (((events, labels), {}), ((x, labels), how))
    )
    assert fixed.options == expected.options
    assert fixed.after.data() == expected.after.data()
    made = sg.Sequential(sg.Linear(SIZE, 2), sg.LIF(10.0), sg.Linear(2, 2))
    alike = sg.Events.batch([sg.Events([0, 3], [k, 1], size=SIZE) for k in range(3)])
    assert diagnose.truth(made, (alike, torch.tensor([0, 1, 0]))).units > 0


def test_a_network_that_takes_no_events_says_so() -> None:
    with pytest.raises(UserError, match="expected a network that takes events"):
        fit(torch.nn.Sequential(torch.nn.Linear(SIZE, 3)), loader(), **QUIET)
    with pytest.raises(UserError, match="in the order of the batch"):
        next(iter(loader()))[0].part(slice(None, None, -1))
