"""Streaming without state: each block of audio is computed from a window of the mel around it.

For models that know no state, and for GPUs, which compute a window's frames anew sooner than they launch the many small
kernels that would spare it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from waveflow.inference.streaming.memory import Memory

if TYPE_CHECKING:
    from waveflow.inference.vocoder import Vocoder


class WindowedInverse:
    """A vocoder's inverse on windows; frames that no later window needs are forgotten.

    Args:
        vocoder: The vocoder.
        look_ahead: Frames to wait for; as many as can matter unless given. Windows reach back by all that can matter,
            or as far as ahead where the model sees without limit.

    Raises:
        TypeError: The model sees without limit, and no look-ahead was given.
    """

    def __init__(self, vocoder: Vocoder, look_ahead: int | None = None) -> None:
        self._vocoder, self._hop = vocoder, vocoder.config.mel.hop_length
        try:
            self._back, self._ahead = vocoder.reach
        except TypeError:
            if look_ahead is None:
                raise
            self._back = self._ahead = look_ahead
        self.look_ahead = self._ahead if look_ahead is None else min(look_ahead, self._ahead)

    def __call__(self, memory: Memory, mel: Tensor, sigma: float | None, seed: int, end: bool) -> Tensor:
        """The samples that are certain after some more frames `(n_mels, F)`; `memory` is updated."""
        known, first, done = memory.get("mel", (mel[:, :0], 0, 0))
        known = torch.cat([known, mel], dim=1)
        total = first + known.shape[1]
        certain = max(done, total if end else total - self.look_ahead)
        audio = known.new_zeros(0)
        if certain > done:
            window = known[None, :, : certain + self.look_ahead - first]
            if not end:
                # What is missing of the look-ahead is taken for a held last frame.
                window = torch.nn.functional.pad(window, (0, self._ahead - self.look_ahead), mode="replicate")
            made = self._vocoder.synthesize(window, first * self._hop, None, sigma, [seed])[0]
            audio = made[(done - first) * self._hop : (certain - first) * self._hop]
        forget = max(0, certain - self._back - first)
        memory["mel"] = known[:, forget:], first + forget, certain
        return audio
