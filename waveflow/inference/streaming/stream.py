"""Audio before the mel is complete: explicit state, and the offline result for any chunking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from waveflow.audio.mel_check import ENOUGH_FRAMES, check_mel
from waveflow.decibels import signal_to_error
from waveflow.inference.noise import seed_of
from waveflow.inference.precision import in_own_precision
from waveflow.inference.streaming.flow import StreamedInverse
from waveflow.inference.streaming.memory import Memory, map_rows
from waveflow.inference.streaming.window import WindowedInverse

if TYPE_CHECKING:
    from waveflow.inference.vocoder import Vocoder

# Frames that a model with state takes at a time: fewer cost as much, more come late.
FEWEST, MOST = 4, 32


@dataclass
class StreamState:
    """All that a stream remembers. A copy is a snapshot: it can be pickled, and another stream can go on from it.

    Attributes:
        model: The vocoder's `likeness`, with the precision and whether layers keep rows; empty before a stream has it.
        waiting: Frames that do not fill a block yet, `(n_mels, F)`; None before the first.
        last: The last frame that was taken into account, `(n_mels, 1)`.
        first: The first frames, as long as they are too few to tell the mel's logarithm; None once it was judged.
        n_frames: Frames taken into account.
        n_samples: Samples given out.
        n_certain: Samples that layers with memory have computed for good.
        memory: What each layer keeps, by its name.
    """

    model: str = ""
    waiting: Tensor | None = None
    last: Tensor | None = None
    first: Tensor | None = None
    n_frames: int = 0
    n_samples: int = 0
    n_certain: int = 0
    memory: Memory = field(default_factory=dict)

    @property
    def n_waiting(self) -> int:
        """Frames that wait."""
        return 0 if self.waiting is None else self.waiting.shape[1]

    def copy(self) -> StreamState:
        """A snapshot, from which a stream can go on: `stream.state = snapshot`."""
        return self._changed(lambda rows: rows)

    def to(self, device: torch.device | str) -> StreamState:
        """A copy on a device."""
        return self._changed(lambda rows: rows.to(device))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> StreamState:
        return StreamState(**map_rows(vars(self), change))

    def __getstate__(self) -> dict[str, Any]:
        # Rows are views of what came with them, all of which would be written.
        return vars(self._changed(Tensor.clone))


class Stream:
    """Synthesise one utterance from mel frames as they come.

    A frame's audio is certain once the frames that can reach it are known, `look_ahead` of them beyond it. LapGlow,
    WaveGlow, SqueezeWave and FloWaveNet then compute nothing twice: each layer keeps the past that it reaches. Other
    models, and a GPU's kernels, compute each block from a window of the mel. The audio differs from `vocoder(mel)` by
    rounding, and with `block` given it is the same to the bit for any chunking.

    With less look-ahead the audio starts sooner. What is missing is then taken for a held last frame, computed for
    each block on a copy of the state, and `look_ahead_error` tells what that costs.

    Args:
        vocoder: The vocoder.
        sigma: Standard deviation of the latent; the config's unless given.
        seed: Of the noise. Not fresh unless given, as that of `vocoder(mel)` is: another stream that goes on from a
            snapshot needs the same.
        look_ahead: Frames to wait for; as many as can matter unless given.
        block: Frames to take at a time: more is cheaper, fewer is sooner. Unless given, models with state and GPUs take
            what has come, 4 to 32 frames, and all that the first audio needs at once; others take 32.

    Attributes:
        device: The vocoder's.
        look_ahead: Frames it waits for.
        stateful: Whether nothing is computed twice at full look-ahead.

    Raises:
        ValueError: A look-ahead below 0, a block below 1, or a seed that is none.
        TypeError: The model sees without limit, and no look-ahead was given.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        *,
        sigma: float | None = None,
        seed: int = 0,
        look_ahead: int | None = None,
        block: int | None = None,
    ) -> None:
        streamed = vocoder.streamed
        self.stateful = streamed is not None
        # Windows that a CPU computes are dear.
        self._block = block or (None if self.stateful or vocoder.device.type == "cuda" else MOST)
        if (look_ahead is not None and look_ahead < 0) or (block is not None and block < 1):
            raise ValueError(f"look_ahead={look_ahead} and block={block}: expected at least 0 and 1 frames")
        self._vocoder, self._seed, self.device = vocoder, seed_of(seed), vocoder.device
        self._sigma = vocoder.config.sigma if sigma is None else sigma
        self._hop = vocoder.config.mel.hop_length
        self._inverse: StreamedInverse | WindowedInverse = streamed or WindowedInverse(vocoder, look_ahead)
        whole = self._inverse.look_ahead
        self.look_ahead = whole if look_ahead is None else min(look_ahead, whole)
        self._held = whole - self.look_ahead
        self._model = f"{vocoder.likeness}, {vocoder.dtype}, {'layers' if self.stateful else 'windows'}"
        self._state = StreamState(self._model)

    @property
    def state(self) -> StreamState:
        """What the stream remembers; `state.copy()` is a snapshot."""
        return self._state

    @state.setter
    def state(self, state: StreamState) -> None:
        """Go on from a copy of a state.

        That of another stream with the same settings, of the same vocoder or of an equal one in another process, gives
        the same audio to the bit.

        Raises:
            ValueError: The state is of another model, precision, or kind of stream.
        """
        if state.model not in ("", self._model):
            raise ValueError(
                f"the state is of a stream of {state.model!r}, expected {self._model!r}; "
                "let a stream of the vocoder that it was taken from go on"
            )
        self._state = state.to(self.device)
        self._state.model = self._model

    @property
    def frames_waiting(self) -> int:
        """Frames received whose audio is still to come."""
        state = self.state
        return state.n_frames + state.n_waiting - state.n_samples // self._hop

    def push(self, mel: Tensor) -> Tensor:
        """Take more frames, `(n_mels, F)`, F may be 0; return the audio that is now certain, `(T,)`, T may be 0."""
        return torch.cat([self._nothing(), *self.pieces(mel)])

    def pieces(self, mel: Tensor) -> Iterator[Tensor]:
        """As `push`, but each block's audio as soon as it is made; pieces may be empty.

        Raises:
            ValueError: The mel is not of shape `(n_mels, F)`, or does not follow the model's contract.
        """
        if not isinstance(mel, Tensor):
            check_mel(mel, self._vocoder.config.mel)
        if mel.dim() != 2:
            raise ValueError(f"a stream takes frames of one utterance, (n_mels, F), not shape {tuple(mel.shape)}")
        if not mel.shape[1]:
            return
        self._take(mel)
        while n := self._ready():
            waiting = self.state.waiting
            assert waiting is not None
            self.state.waiting = waiting[:, n:]
            yield self._advance(waiting[:, :n], end=False)

    def finish(self) -> Tensor:
        """Return the audio of all that is left, `(T,)`; the stream is then ready for the next utterance."""
        waiting = self.state.waiting
        audio = self._nothing() if waiting is None else self._advance(waiting, end=True)
        self._state = StreamState(self._model)
        return audio

    def _take(self, mel: Tensor) -> None:
        """Let frames wait, once they are checked; of chunks, the logarithm is told when enough have come."""
        state, config = self.state, self._vocoder.config.mel
        check_mel(mel, config)
        mel = mel.to(self.device, torch.float32)
        n_before = state.n_frames + state.n_waiting
        if n_before < ENOUGH_FRAMES:
            first = mel if state.first is None else torch.cat([state.first, mel], dim=1)
            enough = first.shape[1] >= ENOUGH_FRAMES
            if enough and n_before:
                check_mel(first, config)
            state.first = None if enough else first
        state.waiting = mel if state.waiting is None else torch.cat([state.waiting, mel], dim=1)

    def _ready(self) -> int:
        """How many of the frames that wait to take now."""
        n = self.state.n_waiting
        if self._block:
            return self._block if n >= self._block else 0
        most = max(MOST, self.look_ahead + FEWEST - self.state.n_frames)
        return min(n, most) if n >= FEWEST else 0

    def _nothing(self) -> Tensor:
        return torch.zeros(0, device=self.device)

    @in_own_precision
    def _advance(self, frames: Tensor, end: bool) -> Tensor:
        state = self.state
        if isinstance(self._inverse, WindowedInverse):
            audio = self._inverse(state.memory, frames, self._sigma, self._seed, end)
        else:
            audio = self._stateful(self._inverse, frames, end)
        state.n_frames += frames.shape[1]
        state.n_samples += len(audio)
        return audio

    def _stateful(self, inverse: StreamedInverse, frames: Tensor, end: bool) -> Tensor:
        state = self.state
        # With less than the whole look-ahead, samples were given out before they were certain.
        certain = state.n_certain
        audio = inverse(state.memory, frames, self._latent(state.n_frames, frames.shape[1]), end)
        state.n_certain += len(audio)
        if frames.shape[1]:
            state.last = frames[:, -1:]
        if self._held and not end:
            total = state.n_frames + frames.shape[1]
            assert state.last is not None
            supposed = state.last.expand(-1, self._held)
            more = inverse(dict(state.memory), supposed, self._latent(total, self._held), False)
            audio = torch.cat([audio, more])[: max(0, (total - self.look_ahead) * self._hop - certain)]
        return audio[max(0, state.n_samples - certain) :]

    def _latent(self, start: int, n_frames: int) -> Tensor:
        return self._sigma * self._vocoder.noise([self._seed], start * self._hop, n_frames * self._hop)[0]


def look_ahead_error(
    vocoder: Vocoder, mel: Tensor, look_ahead: int, *, seed: int = 0, block: int | None = None
) -> float:
    """How far a stream with less look-ahead is from the whole mel's audio, as signal to error in decibels.

    Args:
        vocoder: The vocoder.
        mel: `(n_mels, F)`.
        look_ahead: Frames.
        seed: Of the noise.
        block: As `Stream`'s.
    """
    stream = Stream(vocoder, seed=seed, look_ahead=look_ahead, block=block)
    found = torch.cat([stream.push(mel), stream.finish()])
    return signal_to_error(found, vocoder(mel, seed=seed)).item()
