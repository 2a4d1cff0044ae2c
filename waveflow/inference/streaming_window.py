"""Streaming for models that know no state: each block of audio is computed from a window of the mel around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from waveflow.inference.streaming_memory import Memory

if TYPE_CHECKING:
    from waveflow.inference.vocoder import Vocoder


class WindowedInverse:
    """A vocoder's inverse on windows that reach as far back as ahead; frames that no later window needs are forgotten.

    Args:
        vocoder: The vocoder.
        look_ahead: Frames to wait for; the whole receptive field unless given.

    Raises:
        TypeError: The model sees without limit, and no look-ahead was given.
    """

    def __init__(self, vocoder: Vocoder, look_ahead: int | None = None) -> None:
        self._vocoder, self._hop = vocoder, vocoder.config.mel.hop_length
        self.look_ahead = -(-vocoder.model.receptive_field // self._hop) if look_ahead is None else look_ahead

    def __call__(self, memory: Memory, mel: Tensor, sigma: float | None, seed: int, end: bool) -> Tensor:
        """The samples that are certain after some more frames `(n_mels, F)`; `memory` is updated."""
        known, first, done = memory.get("mel", (mel[:, :0], 0, 0))
        known = torch.cat([known, mel], dim=1)
        total = first + known.shape[1]
        certain = max(done, total if end else total - self.look_ahead)
        audio = known.new_zeros(0)
        if certain > done:
            window = known[None, :, : certain + self.look_ahead - first]
            made = self._vocoder.synthesize(window, first * self._hop, None, sigma, [seed])[0]
            audio = made[(done - first) * self._hop : (certain - first) * self._hop]
        # What lies behind by more than the look-ahead can reach no later frame: models see as far back as ahead.
        forget = max(0, certain - self.look_ahead - first)
        memory["mel"] = known[:, forget:], first + forget, certain
        return audio
