"""What can be found wrong before a comparison begins: data, networks, the number of workers."""

from __future__ import annotations

from concurrent.futures import Executor

from spikegrad.compare.plan import Plan
from spikegrad.errors import UserError, message
from spikegrad.train.app import plan_run
from spikegrad.train.build import Inputs, build_encoder, build_network, data_kept
from spikegrad.train.config import DataConfig
from spikegrad.train.launcher import launched
from spikegrad.train.parallel import device_of
from spikegrad.train.seeding import kept

__all__ = ["check_plan", "check_workers"]


def check_plan(plan: Plan) -> None:
    """Load the data and build the network of every variant; nothing is trained or written.

    Raises:
        UserError: what will not do, with the name of the variant.
    """
    known: dict[DataConfig, Inputs] = {}
    with kept(), data_kept():
        for variant in plan.variants:
            config = variant.config
            try:
                if config.data not in known:
                    known[config.data] = plan_run(config).parts.inputs
                build_network(config, known[config.data])
                build_encoder(config, known[config.data])
                device_of(config.run.device)
            except UserError as error:
                several = len(plan.variants) > 1 and variant is not plan.variants[0]
                raise UserError(f"{variant.name}: {error}" if several else str(error)) from None


def check_workers(workers: int | None, executor: Executor | None) -> None:
    """Check what the trials shall run on.

    Raises:
        UserError: both workers and an executor, less than one worker, or torchrun.
        TypeError: something that is no number, or no executor.
    """
    if launched():
        remedy = "start it without torchrun; --workers or an executor runs several trials at a time"
        raise UserError(message("expected one process for a comparison", "torchrun", remedy))
    if executor is not None and workers is not None:
        remedy = "the executor has workers of its own; omit one of them"
        raise UserError(message("expected either workers or an executor", "both", remedy))
    if executor is not None and not callable(getattr(executor, "submit", None)):
        expected = "expected a concurrent.futures.Executor"
        raise TypeError(message(expected, type(executor).__name__))
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int)):
        raise TypeError(message("expected workers as a whole number", repr(workers)))
    if workers is not None and workers < 1:
        raise UserError(message("expected workers >= 1", str(workers)))
