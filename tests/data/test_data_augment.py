"""Augmentation against plain array operations: slices, flips, quarter turns."""

from __future__ import annotations

import math

import pytest
import torch

from spikegrad.data import Augment
from spikegrad.data.augment import Drawn
from spikegrad.errors import UserError


def _images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _drawn(shift=(0, 0), angle=0.0, factor=1.0, flip=1.0, box=(0, 0, 0, 0)) -> Drawn:
    rows = ([shift], [angle], [factor], [flip], [box])
    return Drawn(*(torch.tensor(row, dtype=torch.float32) for row in rows))


def _shifted(x: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """The slow twin: shift one image by slices, background 0."""
    out = torch.zeros_like(x)
    h, w = x.shape[-2:]
    rows = range(max(0, down), min(h, h + down))
    for r in rows:
        for c in range(max(0, right), min(w, w + right)):
            out[..., r, c] = x[..., r - down, c - right]
    return out


WARP = Augment(shift=3, rotate=90.0, scale=0.5)
MOVE = Augment(shift=3, flip=True)


@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 2, 5, 7), (3, 4, 2, 5, 7)])
def test_all_zeros_is_the_identity(shape):
    x = _images(*shape)
    assert torch.equal(Augment()(x, _generator()), x)
    assert not Augment()


@pytest.mark.parametrize("augment", [WARP, MOVE])
def test_drawing_nothing_is_the_identity(augment):
    x = _images(1, 5, 7)
    # grid_sample's coordinates round in float32.
    torch.testing.assert_close(augment.apply(x, _drawn()), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shift", [(0, 1), (2, 0), (-1, 3), (-3, -3)])
def test_shift_moves_pixels(shift):
    x = _images(1, 2, 5, 7)
    want = _shifted(x, *shift)
    assert torch.equal(MOVE.apply(x, _drawn(shift)), want)
    torch.testing.assert_close(WARP.apply(x, _drawn(shift)), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("augment", [WARP, MOVE])
def test_flip_comes_before_the_shift(augment):
    x = _images(1, 5, 7)
    want = _shifted(x.flip(-1), 1, 2)
    got = augment.apply(x, _drawn((1, 2), flip=-1.0))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_a_quarter_turn_is_clockwise():
    x = _images(1, 6, 6)
    got = WARP.apply(x, _drawn(angle=math.pi / 2))
    torch.testing.assert_close(got, torch.rot90(x, -1, (-2, -1)), rtol=0, atol=1e-5)


def test_a_half_turn_of_an_image_that_is_not_square():
    x = _images(1, 4, 7)
    got = WARP.apply(x, _drawn(angle=math.pi))
    torch.testing.assert_close(got, x.flip(-1, -2), rtol=0, atol=1e-5)


def test_a_quarter_turn_does_not_stretch():
    x = torch.zeros(1, 7, 3)
    x[0, 3] = 1.0  # a bar across the middle: three pixels
    want = torch.zeros(1, 7, 3)
    want[0, 2:5, 1] = 1.0  # three pixels down the middle
    torch.testing.assert_close(WARP.apply(x, _drawn(angle=math.pi / 2)), want, rtol=0, atol=1e-5)


def test_size_keeps_the_centre_and_moves_the_rest():
    ramp = torch.arange(9.0).expand(1, 9, 9) - 4.0  # the column, from the centre
    got = WARP.apply(ramp, _drawn(factor=2.0))
    torch.testing.assert_close(got, ramp / 2.0, rtol=0, atol=1e-5)


def test_erase_sets_the_rectangle_to_the_background():
    x = _images(1, 2, 5, 7) + 1.0
    got = Augment(erase=1.0).apply(x, _drawn(box=(1, 3, 2, 6)))
    want = x.clone()
    want[..., 1:3, 2:6] = 0.0
    assert torch.equal(got, want)


def test_erased_share_and_probability():
    x = torch.ones(4000, 28, 28)
    lost = 1.0 - Augment(erase=0.25)(x, _generator()).mean((1, 2))
    # 4 standard deviations of a binomial share: 4 sqrt(0.25*0.75/4000) = 0.027
    assert abs(float((lost > 0).float().mean()) - 0.25) < 0.027
    hit = lost[lost > 0]
    assert 0.01 < hit.min() < 0.03  # whole pixels round 0.02 and 0.2 by less than 15 %
    assert 0.18 < hit.max() < 0.23


def test_numbers_span_their_ranges():
    drawn = Augment(shift=2, rotate=10.0, scale=0.3, flip=True).draw(4000, (8, 8), _generator())
    for axis in (0, 1):
        steps, counts = drawn.shift[:, axis].unique(return_counts=True)
        assert steps.tolist() == [-2, -1, 0, 1, 2]
        assert counts.min() > 4000 / 5 * 0.85  # 4 standard deviations are 13 %
    limit = math.radians(10.0)
    assert -limit <= drawn.angle.min() < -0.98 * limit
    assert 0.98 * limit < drawn.angle.max() <= limit
    assert 0.7 <= drawn.factor.min() < 0.71
    assert 1.29 < drawn.factor.max() <= 1.3
    assert abs(float(drawn.flip.mean())) < 0.064  # 4/sqrt(4000)


FULL = Augment(shift=2, rotate=15.0, scale=0.2, flip=True, erase=0.5)


def test_the_same_generator_gives_the_same_images():
    x = _images(6, 9, 8)
    first, again, other = (FULL(x, _generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x, _images(6, 9, 8))  # x itself is left as it was


def test_channels_share_and_samples_differ():
    x = _images(1, 1, 9, 8).expand(6, 3, 9, 8)
    out = FULL(x, _generator())
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])
    assert not torch.equal(out[0], out[1])
    assert torch.equal(out[:, 0], FULL(x[:, 0], _generator()))


def test_values_stay_in_range_and_dtype():
    out = FULL(_images(50, 9, 8).double(), _generator())
    assert out.dtype == torch.float64
    assert 0.0 <= out.min() <= out.max() <= 1.0


def test_a_part_of_the_numbers_changes_a_part_of_the_batch():
    x = _images(6, 9, 8)
    drawn = FULL.draw(6, (9, 8), _generator())
    whole = FULL.apply(x, drawn)
    torch.testing.assert_close(FULL.apply(x[2:4], drawn[2:4]), whole[2:4], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": -1},
        {"shift": 1.5},
        {"rotate": -1.0},
        {"rotate": 181.0},
        {"scale": 1.0},
        {"scale": -0.1},
        {"erase": 1.1},
        {"erase": math.nan},
        {"rotate": math.nan},
    ],
)
def test_refuses_values_out_of_range(wrong):
    with pytest.raises(UserError, match=f"expected {next(iter(wrong))} "):
        Augment(**wrong)


@pytest.mark.parametrize("x", [torch.zeros(4, 5), torch.zeros(4, 5, 5, dtype=torch.uint8)])
def test_refuses_what_is_no_image(x):
    with pytest.raises(UserError, match="float images"):
        FULL(x, _generator())
