"""What a run's page shows of the network while it trains: samples and measures, now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from spikegrad.errors import RunError
from spikegrad.train.behind import Behind
from spikegrad.train.measure import Evaluation
from spikegrad.train.measures import write_measures
from spikegrad.train.samples import write_samples

if TYPE_CHECKING:
    from spikegrad.train.loop import Trainer

__all__ = ["Glimpses"]

FIRST = 10.0
"""Seconds of training before the first look: a shorter run has none before its end."""
SHARE = 0.01
"""Of the time of training, what looking may take."""


class Glimpses:
    """Writes `samples.npz` and `measures.json` after an epoch, where enough time has passed.

    Nothing that is trained depends on it: every step and every evaluation draws from its own seed.
    """

    def __init__(self) -> None:
        self.since, self.took, self.on = time.perf_counter(), FIRST * SHARE, True

    def due(self, trainer: Trainer) -> bool:
        """Whether to look after this epoch: in one process, with a folder, and if it is cheap."""
        alone = trainer.place.world == 1 and trainer.folder is not None
        return self.on and alone and time.perf_counter() - self.since > self.took / SHARE

    def take(self, trainer: Trainer, seen: Evaluation | None, behind: Behind) -> None:
        """Look at the network as it is after an epoch; seen: the validation, behind: its samples.

        A network that cannot be looked at is trained all the same; a disk that is full is an error.
        """
        job, folder = trainer.job, trainer.folder
        if seen is None or folder is None or job.val_loader is None:
            return
        begin = time.perf_counter()
        classes = 0 if seen.confusion is None else len(seen.confusion)
        how: dict[str, Any] = {"objective": trainer.objective, "encode": job.encode}
        how["seed"] = job.config.run.seed
        try:
            samples = write_samples(
                folder.samples,
                trainer.network,
                job.val_loader,
                seen.confusion,
                place=trainer.place,
                class_names=job.class_names or [str(c) for c in range(classes)],
                **how,
            )
            write_measures(
                folder.measures,
                trainer.network,
                samples,
                behind=behind,
                epoch=trainer.state.epoch + 1,
                **how,
            )
        except RunError:
            raise
        except Exception as error:  # whatever a network of the user's own does when recorded
            self.on = False
            trainer.watcher.say(f"no figures of layers while it trains: {error}", "yellow")
        self.since = time.perf_counter()
        self.took = self.since - begin
