"""Audio before the mel is complete: explicit state, and the offline result for any chunking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from waveflow.audio.mel_check import check_mel

if TYPE_CHECKING:
    from waveflow.inference.vocoder import Vocoder


class Stream:
    """Synthesise one utterance from mel frames as they come.

    Audio of a frame is made once `lookahead` later frames are known, from a window that reaches as far back; frames
    that no later window needs are forgotten. At the default lookahead, the model's receptive field, the audio is what
    `vocoder(mel)` gives of the whole mel; with less it starts sooner and differs by what the missing frames would
    have said.

    Args:
        vocoder: The vocoder.
        sigma: Standard deviation of the latent; the config's unless given.
        seed: Of the noise.
        lookahead: Frames to wait for; the whole receptive field unless given.
        block: Frames to synthesise at a time: more is cheaper, fewer is sooner.

    Raises:
        ValueError: A lookahead below 0 or a block below 1.
        TypeError: The model sees without limit, and no lookahead was given.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        *,
        sigma: float | None = None,
        seed: int = 0,
        lookahead: int | None = None,
        block: int = 32,
    ) -> None:
        self._hop = vocoder.config.mel.hop_length
        self.lookahead = -(-vocoder.model.receptive_field // self._hop) if lookahead is None else lookahead
        if self.lookahead < 0 or block < 1:
            raise ValueError(f"lookahead={lookahead} and block={block}: expected at least 0 and 1 frames")
        self._vocoder, self._sigma, self._seed, self._block = vocoder, sigma, seed, block
        self._mel: Tensor | None = None
        self._first = 0  # index of the first frame still kept
        self._done = 0  # frames whose audio was given out

    @property
    def frames_waiting(self) -> int:
        """Frames received whose audio is still to come."""
        return 0 if self._mel is None else self._first + self._mel.shape[-1] - self._done

    def push(self, mel: Tensor) -> Tensor:
        """Take more frames, `(n_mels, F)`, F may be 0; return the audio that is now certain, `(T,)`, T may be 0."""
        if mel.dim() != 2:
            raise ValueError(f"a stream takes frames of one utterance, (n_mels, F), not shape {tuple(mel.shape)}")
        if mel.shape[-1]:
            check_mel(mel, self._vocoder.config.mel)
            mel = mel.to(self._vocoder.device, torch.float32)
            self._mel = mel if self._mel is None else torch.cat([self._mel, mel], dim=-1)
        ready = (self.frames_waiting - self.lookahead) // self._block * self._block
        return self._emit(ready)

    def finish(self) -> Tensor:
        """Return the audio of all that is left, `(T,)`; the stream is then ready for the next utterance."""
        audio = self._emit(self.frames_waiting)
        self._mel, self._first, self._done = None, 0, 0
        return audio

    def _emit(self, n_frames: int) -> Tensor:
        pieces = [torch.zeros(0, device=self._vocoder.device)]
        while n_frames > 0:
            n = min(n_frames, self._block)
            start, end = self._done - self._first, self._done - self._first + n
            window = self._mel[None, :, : end + self.lookahead]
            audio = self._vocoder.synthesize(window, self._first * self._hop, None, self._sigma, [self._seed])
            pieces.append(audio[0, start * self._hop : end * self._hop])
            self._done += n
            n_frames -= n
            # What lies behind by more than the lookahead can reach no later frame: models see as far back as ahead.
            forget = max(0, self._done - self._first - self.lookahead)
            self._mel, self._first = self._mel[:, forget:], self._first + forget
        return torch.cat(pieces)
