"""A fast inverse whose preparation would take longer than it saves, put off until it does not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from torch import Tensor

from waveflow.models import MelContext, MelFlow
from waveflow.models.cost import count_parameters

Inverse = Callable[[Tensor, MelContext], Tensor]

# Multiply-accumulates a second of the plain inverse on one thread of a processor with 512-bit vectors. A slower
# processor prepares more slowly, too.
PLAIN_RATE = 30e9
# Seconds: compilers are loaded, weights are folded and packed, and the two are compared.
PREPARATION, PREPARATION_OF_A_PARAMETER = 1.0, 1e-7

_log = logging.getLogger("waveflow")


class Deferred:
    """The plain inverse, until as much time has gone, or is about to go, into it as preparing the fast one takes.

    So no caller waits more than twice as long as had the future been known. While one thread prepares the fast inverse,
    others that synthesise go on by the plain one.

    Args:
        model: The flow; its parameters tell roughly what it costs.
        plain: Its inverse as it is.
        prepare: Makes the fast inverse and tells its backend, or gives the plain one back.
        n_threads: That share the work of the plain inverse.

    Attributes:
        backend: The backend in use.
    """

    def __init__(
        self, model: MelFlow, plain: Inverse, prepare: Callable[[], tuple[Inverse, str]], n_threads: int
    ) -> None:
        n_parameters = count_parameters(model)
        self._seconds_a_sample = n_parameters / model.n_group / (PLAIN_RATE * n_threads)
        self._left = PREPARATION + PREPARATION_OF_A_PARAMETER * n_parameters
        self._inverse, self._prepare = plain, prepare
        self._ready, self._preparing = False, threading.Lock()
        self.backend = "reference"
        _log.info("backend: reference, until preparing another takes less time than it saves")

    def __call__(self, latent: Tensor, context: MelContext) -> Tensor:
        """As `MelFlow.inverse`."""
        if not self._ready:
            self._left -= latent.numel() * self._seconds_a_sample
            if self._left <= 0 and self._preparing.acquire(blocking=False):
                try:
                    self._take_fast()
                finally:
                    self._preparing.release()
        return self._inverse(latent, context)

    def settle(self) -> None:
        """Take the fast inverse now; where another thread is preparing it, wait for that."""
        with self._preparing:
            self._take_fast()

    def _take_fast(self) -> None:
        if not self._ready:
            self._inverse, self.backend = self._prepare()
            self._ready = True
