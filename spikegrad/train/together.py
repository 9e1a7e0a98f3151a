"""What no field of the config can see alone: fields that exclude or need each other.

A field that nothing reads must be at its default: a value there would be a promise not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikegrad.errors import UserError, message
from spikegrad.stages import per_stage
from spikegrad.train.fields import Option, unmet

__all__ = ["check_together", "not_read", "unread"]


def unread(values: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, dict[str, str]]:
    """The fields that nothing reads, each with what it would need (see `fields.unmet`)."""
    defaults = {name: option.default for name, option in options.items()}
    lacking = {name: unmet(option, values, defaults) for name, option in options.items()}
    return {name: needs for name, needs in lacking.items() if needs}


def not_read(name: str, values: Mapping[str, Any], needs: Mapping[str, str]) -> UserError:
    """The error for a field that was given and that nothing reads."""
    other, words = next(iter(needs.items()))
    got = f"{other} {values[other]}" if values[other] not in (None, "", 0) else f"no {other}"
    return UserError(message(f"expected {words} for {name}", got, f"omit {name}"))


def check_together(values: Mapping[str, Any], options: Mapping[str, Option]) -> None:
    """Check the fields of a whole config against each other.

    Raises:
        UserError: fields that exclude each other, or one that nothing reads.
    """
    for name, needs in unread(values, options).items():
        if values[name] != options[name].default:
            raise not_read(name, values, needs)
    _check_network(values)
    _check_learned(values)
    if values["encoder"] in ("poisson", "latency") and values["normalise"] != "none":
        expected = f"expected normalise none with encoder {values['encoder']}"
        remedy = "these encoders read values in [0, 1]"
        raise UserError(message(expected, values["normalise"], remedy))
    if values["early_stopping"] and not values["validation"]:
        expected = "expected validation above 0 for early_stopping"
        raise UserError(message(expected, "0", "use validation samples, or omit early_stopping"))
    if values["rate_lower"] > values["rate_upper"]:
        got = f"{values['rate_lower']:g} and {values['rate_upper']:g}"
        raise UserError(message("expected rate_lower <= rate_upper", got))
    if values["slope_schedule"] != "constant" and values["slope_end"] is None:
        expected = f"expected slope_end with slope_schedule {values['slope_schedule']}"
        raise UserError(message(expected, "none", "give the slope at the end"))


def _check_network(values: Mapping[str, Any]) -> None:
    article, readout = values["model"] == "article", values["readout"]
    if article and readout not in ("auto", "rate", "li"):
        raise UserError(message("expected readout rate or li for model article", readout))
    if values["model"] == "sew_resnet" and readout not in ("auto", "linear"):
        raise UserError(message("expected readout linear for model sew_resnet", readout))
    if readout == "rate" and not article:
        expected = "expected readout linear, spikes or li"
        raise UserError(message(expected, "rate", "only the article's network has it"))
    sizes = values["hidden"]
    images = values["model"] in ("conv", "sew_resnet")
    if not sizes and not images:
        raise UserError(message("expected at least one hidden layer", "none", "--hidden 256"))
    if article and len(sizes) > 1:
        expected = "expected one hidden layer for model article"
        raise UserError(message(expected, ",".join(map(str, sizes)), f"--hidden {sizes[0]}"))
    if images and not values["channels"]:
        raise UserError(message("expected at least one convolution", "none", "--channels 16,32"))
    if images:
        per_stage("blocks", values["blocks"], len(values["channels"]))
    if values["v_reset"] >= values["threshold"]:
        expected = f"expected v_reset below the threshold of {values['threshold']:g}"
        raise UserError(message(expected, f"{values['v_reset']:g}", "it would fire at every step"))


def _check_learned(values: Mapping[str, Any]) -> None:
    if "slope" in values["learn"] and values["slope_schedule"] != "constant":
        expected = "expected either learn slope or a slope_schedule"
        raise UserError(message(expected, "both", "omit one of them"))
    if "v_reset" in values["learn"] and values["reset"] != "zero":
        expected = "expected reset zero to learn v_reset"
        raise UserError(message(expected, f"reset {values['reset']}", "omit v_reset"))
