"""Random shifts, rotations, sizes, flips and erased rectangles of images, a batch at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F

from spikegrad.errors import UserError, message

__all__ = ["Augment", "Drawn"]

_ERASE_AREA = (0.02, 0.2)  # share of the image; Zhong et al. (2020) go up to 0.4
_ERASE_ASPECT = (0.3, 1 / 0.3)


@dataclass(frozen=True, eq=False)
class Drawn:
    """The random numbers of one batch; an index or slice takes those of some of its samples.

    Args:
        shift: whole pixels, (rows, columns), float32 `[B, 2]`.
        angle: radians, float32 `[B]`; positive turns clockwise (rows count downwards).
        factor: size, 1 leaves it, float32 `[B]`.
        flip: 1 or -1, float32 `[B]`.
        box: top, bottom, left, right of the erased rectangle, float32 `[B, 4]`; empty if equal.
    """

    shift: torch.Tensor
    angle: torch.Tensor
    factor: torch.Tensor
    flip: torch.Tensor
    box: torch.Tensor

    def __getitem__(self, index: slice) -> Drawn:
        return Drawn(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class Augment:
    """Random geometry for images `[B, H, W]` or `[B, *channels, H, W]`, background 0.

    Every sample draws its own numbers, its channels (and time steps) share them. With shifts and
    flips alone pixels are moved, not interpolated; with rotation or size they are interpolated
    bilinearly, once. All zeros is the identity.

    Args:
        shift: largest shift along each axis (pixels); drawn from the integers -shift..shift.
        rotate: largest rotation (degrees); drawn from [-rotate, rotate].
        scale: largest change of size (fraction); the factor is drawn from [1-scale, 1+scale].
        flip: whether half of the samples are mirrored left to right.
        erase: probability (0..1) that a sample loses a rectangle of 2 to 20 % of its area.

    Raises:
        UserError: a value out of range, or `x` without a height and a width.

    Source: Zhong, Zheng, Kang, Li & Yang (2020), random erasing (there the rectangle is filled
    with noise; here with the background, so that it adds no spikes).

    >>> x = torch.arange(9.0).reshape(1, 3, 3)
    >>> bool(torch.equal(Augment()(x, torch.Generator()), x))
    True
    """

    shift: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    flip: bool = False
    erase: float = 0.0

    def __post_init__(self) -> None:
        if self.shift != int(self.shift) or self.shift < 0:
            raise UserError(message("expected shift in whole pixels, >= 0", str(self.shift)))
        if not 0.0 <= self.rotate <= 180.0:
            raise UserError(message("expected rotate in 0..180 degrees", str(self.rotate)))
        if not 0.0 <= self.scale < 1.0:
            raise UserError(message("expected scale in [0, 1)", str(self.scale)))
        if not 0.0 <= self.erase <= 1.0:
            raise UserError(message("expected erase as a probability in 0..1", str(self.erase)))

    def __bool__(self) -> bool:
        """Whether anything is changed at all."""
        return bool(self.shift or self.rotate or self.scale or self.flip or self.erase)

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return a changed copy of `x`, float `[B, *channels, H, W]`, numbers from `generator`."""
        _check_images(x)
        return self.apply(x, self.draw(len(x), x.shape[-2:], generator))

    def draw(self, count: int, size: tuple[int, ...], generator: torch.Generator) -> Drawn:
        """Draw the numbers for `count` images of `size` (H, W); always the same amount of them."""
        u = torch.rand(count, 10, generator=generator, device=generator.device)
        steps = 2 * int(self.shift) + 1
        flip = torch.where((u[:, 4] < 0.5) & self.flip, -1.0, 1.0)
        return Drawn(
            shift=(u[:, :2] * steps).floor().clamp(max=steps - 1) - int(self.shift),
            angle=(2.0 * u[:, 2] - 1.0) * math.radians(self.rotate),
            factor=1.0 + (2.0 * u[:, 3] - 1.0) * self.scale,
            flip=flip,
            box=_boxes(u[:, 5:], self.erase, size),
        )

    def apply(self, x: torch.Tensor, drawn: Drawn) -> torch.Tensor:
        """Change `x`, float `[B, *channels, H, W]`, by numbers that `draw` gave for its samples."""
        _check_images(x)
        if not self or not len(x):
            return x
        drawn = Drawn(*(getattr(drawn, f.name).to(x.device) for f in fields(drawn)))
        images = x.flatten(1, -3) if x.ndim > 3 else x.unsqueeze(1)  # [B, K, H, W]
        if self.rotate or self.scale:
            images = _warp(images, drawn)
        elif self.shift or self.flip:
            images = _move(images, drawn, int(self.shift))
        if self.erase:
            images = images * ~_inside(drawn.box, images.shape[-2:])
        return images.reshape(x.shape)


def _check_images(x: torch.Tensor) -> None:
    if x.ndim < 3 or not x.dtype.is_floating_point:
        got = f"{list(x.shape)}, {x.dtype}"
        remedy = "augmentation needs images; omit it for other data"
        raise UserError(message("expected float images [B, H, W] or [B, C, H, W]", got, remedy))


def _warp(x: torch.Tensor, drawn: Drawn) -> torch.Tensor:
    """Rotate, size, flip and shift by one bilinear interpolation; x: [B, K, H, W].

    `grid_sample` asks where an output pixel comes from: in pixels from the centre
    `in = F R(-angle)/factor (out - shift)`, F the flip of the column.
    """
    height, width = x.shape[-2:]
    c, s = torch.cos(drawn.angle) / drawn.factor, torch.sin(drawn.angle) / drawn.factor
    inverse = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)  # (x, y)
    inverse = inverse * torch.stack([drawn.flip, torch.ones_like(drawn.flip)], 1)[:, :, None]
    offset = -(inverse @ drawn.shift.flip(1)[:, :, None])
    half = torch.tensor([width / 2, height / 2], device=x.device)  # pixels to [-1, 1]
    theta = torch.cat([inverse * half, offset], 2) / half[:, None]
    grid = F.affine_grid(theta.to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)


def _move(x: torch.Tensor, drawn: Drawn, reach: int) -> torch.Tensor:
    """Flip and shift by whole pixels: a copy of values, exact; x: [B, K, H, W]."""
    height, width = x.shape[-2:]
    shift = drawn.shift.long()
    rows = torch.arange(height, device=x.device) - shift[:, :1]  # [B, H], may lie outside
    columns = torch.arange(width, device=x.device) - shift[:, 1:]
    columns = torch.where(drawn.flip[:, None] < 0, width - 1 - columns, columns)
    padded = F.pad(x, (reach, reach, reach, reach))
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    # Indices beside a slice come first in the result: [B, H, W, K].
    moved = padded[batch, :, (rows + reach)[:, :, None], (columns + reach)[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _boxes(u: torch.Tensor, probability: float, size: tuple[int, ...]) -> torch.Tensor:
    """Rectangles (top, bottom, left, right) [B, 4] from uniform numbers [B, 5]."""
    height, width = size
    low, high = _ERASE_AREA
    area = (low + (high - low) * u[:, 1]) * height * width
    first, last = math.log(_ERASE_ASPECT[0]), math.log(_ERASE_ASPECT[1])
    aspect = torch.exp(first + (last - first) * u[:, 2])
    h = (area * aspect).sqrt().round().clamp(1, height)
    w = (area / aspect).sqrt().round().clamp(1, width)
    top = (u[:, 3] * (height - h + 1)).floor()
    left = (u[:, 4] * (width - w + 1)).floor()
    box = torch.stack([top, top + h, left, left + w], 1)
    return torch.where((u[:, 0] < probability)[:, None], box, torch.zeros_like(box))


def _inside(box: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Which pixels lie in their rectangle: bool [B, 1, H, W]."""
    row = torch.arange(size[0], device=box.device)
    column = torch.arange(size[1], device=box.device)
    rows = (row >= box[:, :1]) & (row < box[:, 1:2])
    columns = (column >= box[:, 2:3]) & (column < box[:, 3:])
    return (rows[:, :, None] & columns[:, None, :])[:, None]
