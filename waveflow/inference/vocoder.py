"""The vocoder: a model with its mel contract, ready for audio.

One class takes the file: what a user can ask of a vocoder is read in one place.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from waveflow import ops
from waveflow.audio.mel import MelSpectrogram
from waveflow.audio.mel_check import check_mel
from waveflow.checkpoints import native
from waveflow.devices import device_of
from waveflow.inference.arguments import batch_of_audio, check_lengths, check_settings, mels_for, require_tensor
from waveflow.inference.backends import inverse_by
from waveflow.inference.deferred import Deferred
from waveflow.inference.denoise import Denoiser
from waveflow.inference.fuse import fuse
from waveflow.inference.likeness import likeness
from waveflow.inference.noise import batch_normal, dequantized, seeds_of
from waveflow.inference.precision import in_own_precision, precision_of
from waveflow.inference.project import project as project_onto
from waveflow.inference.streaming import Stream
from waveflow.inference.streaming.flow import StreamedInverse, streamable
from waveflow.losses import bits_per_sample, log_likelihood
from waveflow.models import MelContext, MelFlow
from waveflow.nn import low_rank
from waveflow.ops.processor import one_thread

CHUNK_SECONDS = 20.0

# What is made of the model, and so made anew of a pickle's.
_MADE = ("model", "config", "transform", "_inverse", "_backend", "_denoiser", "streamed", "reach", "likeness")


class Vocoder:
    """A mel-conditioned flow with everything around it: checks, noise, chunking, denoising, likelihood.

    It computes in its own precision, also where the caller has autocast on. Pickled or deep-copied, it keeps the model,
    the device, the precision, the backend asked for and the name, and makes the rest anew: `auto` chooses again.

    Args:
        model: The trained flow; kept as `model`, a fused copy synthesises.
        device: Where to run; `auto` is a GPU if there is one.
        dtype: Precision of synthesis or its name: float32 unless given, bfloat16, float16 or float64.
        backend: One of `waveflow.inference.backends.BACKENDS`.
        name: What to call it in reports.

    Attributes:
        model: The `MelFlow`, trainable, float32.
        config: Its config; `config.mel` is the mel contract.
    """

    def __init__(
        self,
        model: MelFlow,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str | None = None,
        backend: str = "auto",
        name: str = "",
    ) -> None:
        self.device = device_of(device)
        self.dtype = precision_of(dtype)
        self.name = name
        self._asked = backend
        self._hold(model)

    @in_own_precision
    def _hold(self, model: MelFlow) -> None:
        self.model = model.to(self.device).eval()
        self.config = model.config
        self.transform = MelSpectrogram(model.mel_config).to(self.device)
        self._inverse, self._backend = inverse_by(self.model, self._asked, self.device, self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        # Weight norm cannot be pickled but as a state, nor can what was compiled.
        kept = {name: value for name, value in vars(self).items() if name not in _MADE}
        weights = {name: value.cpu() for name, value in self.model.state_dict().items()}
        updates = {name: value.cpu().clone() for name, value in low_rank.updates(self.model).items()}
        return {**kept, "model": (type(self.model), self.config, updates, weights)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        model_class, config, updates, weights = state.pop("model")
        vars(self).update(state)
        with native.apart():
            model = model_class(config)
        low_rank.attach_updates(model, updates)
        model.load_state_dict(weights)
        self._hold(model)

    @property
    def backend(self) -> str:
        """The backend in use; `auto` on a CPU takes another once preparing it pays."""
        return self._inverse.backend if isinstance(self._inverse, Deferred) else self._backend

    @in_own_precision
    def settle(self) -> None:
        """Let `auto` choose its backend for good: later audio does not depend on how much there was before."""
        if isinstance(self._inverse, Deferred):
            self._inverse.settle()

    @property
    def sample_rate(self) -> int:
        """Hz, of audio in and out."""
        return self.config.mel.sample_rate

    @functools.cached_property
    @in_own_precision
    def streamed(self) -> StreamedInverse | None:
        """The inverse that a stream computes piece by piece; None where windows are faster or the model has none."""
        stateful = streamable(self.model) and self.backend not in ("triton", "cuda")
        return StreamedInverse(self.model, self.dtype) if stateful else None

    @functools.cached_property
    def reach(self) -> tuple[int, int]:
        """Frames before and after one that its audio can depend on.

        Raises:
            TypeError: The model sees without limit.
        """
        back = -(-self.model.receptive_field // self.config.mel.hop_length)
        return back, StreamedInverse(self.model).look_ahead if streamable(self.model) else back

    @functools.cached_property
    def likeness(self) -> str:
        """What tells the model from others, as `waveflow.inference.likeness` has it."""
        return likeness(self.model)

    @functools.cached_property
    def _denoiser(self) -> Denoiser:
        return Denoiser(fuse(self.model))

    @overload
    def __call__(
        self,
        /,
        mel: Tensor,
        lengths: None = None,
        *,
        sigma: float | None = None,
        seed: int | Sequence[int] | None = None,
        denoise: float = 0.0,
        project: int = 0,
    ) -> Tensor: ...

    @overload
    def __call__(
        self,
        /,
        mel: Tensor,
        lengths: Tensor | Sequence[int],
        *,
        sigma: float | None = None,
        seed: int | Sequence[int] | None = None,
        denoise: float = 0.0,
        project: int = 0,
    ) -> tuple[Tensor, Tensor]: ...

    @torch.no_grad()
    @in_own_precision
    def __call__(
        self,
        mel: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        sigma: float | None = None,
        seed: int | Sequence[int] | None = None,
        denoise: float = 0.0,
        project: int = 0,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Turn a mel into audio. Long mels are synthesised in chunks, with the same result.

        Args:
            mel: Under `config.mel`, `(B, n_mels, F)` or `(n_mels, F)`.
            lengths: `(B,)` frames of each item of a padded batch.
            sigma: Standard deviation of the latent; the config's unless given.
            seed: Of the noise, 0 to 2**64 - 1: one for all items, or one each; fresh noise unless given.
            denoise: Strength of the spectral subtraction of the model's bias.
            project: Rounds of projection onto the mel.

        Returns:
            Audio, float32, full scale ±1, `(B, F * hop_length)` or `(F * hop_length,)`; with lengths also `(B,)`
            samples of each item, beyond which its audio is zero.

        Raises:
            ValueError: A mel against the contract, or settings out of range.
        """
        with one_thread(self.backend == "onednn" and not (denoise or project)):
            return self._vocode(mel, lengths, sigma, seed, denoise, project)

    def _vocode(self, mel: Tensor, lengths: Any, sigma: Any, seed: Any, denoise: float, project: int) -> Any:
        check_mel(mel, self.config.mel)
        check_settings(sigma, denoise, project)
        single = mel.dim() == 2
        mel = (mel[None] if single else mel).to(self.device, torch.float32)
        frames = check_lengths(lengths, mel)
        samples = None if frames is None else frames * self.config.mel.hop_length
        seeds = seeds_of(seed, mel.shape[0])
        polish = functools.partial(self._polish, denoise=denoise, project=project)
        audio = mel.new_zeros(mel.shape[0], self.config.mel.samples(mel.shape[-1]))
        if frames is None or not (denoise or project):
            self._fill(audio, mel, samples, sigma, seeds, polish)
        else:
            # Spectra across an item's end would not be those of the item alone.
            for b, n_frames in enumerate(frames.tolist()):
                item = slice(b, b + 1)
                self._fill(audio[item], mel[item, :, :n_frames], None, sigma, seeds[item], polish)
        audio = audio[0] if single else audio
        return audio if lengths is None else (audio, samples)

    def stream(self, mel_chunks: Iterable[Tensor], **settings: Any) -> Iterator[Tensor]:
        """Turn chunks of a mel, `(n_mels, F)` each, into chunks of audio `(T,)` as soon as they are certain.

        Settings are those of `Stream`: `sigma`, `seed` (0 unless given), `look_ahead`, `block`.
        """
        stream = Stream(self, **settings)
        for chunk in mel_chunks:
            yield from filter(len, stream.pieces(chunk))
        yield stream.finish()

    @in_own_precision
    def mel(self, audio: Tensor) -> Tensor:
        """The mel of audio at `sample_rate`, `(B, T)` or `(T,)`, under the model's contract."""
        require_tensor("audio", audio)
        with torch.no_grad():
            return self.transform(audio.to(self.device))

    @torch.no_grad()
    @in_own_precision
    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Map audio to its latent; zeros fill it up to a whole frame.

        Args:
            audio: Full scale ±1, `(B, T)` or `(T,)`.
            mel: What conditions the flow; the audio's own unless given.

        Returns:
            `z`, `(B, T')` or `(T',)`, T' the next multiple of hop_length.

        Raises:
            ValueError: No finite audio, or mels against the contract or of another number.
        """
        batch, target = self._batch(audio, mel)
        missing = -batch.shape[1] % self.config.mel.hop_length
        z, _ = self.model(torch.nn.functional.pad(batch, (0, missing)), target)
        return z if audio.dim() == 2 else z[0]

    @torch.no_grad()
    @in_own_precision
    def decode(self, z: Tensor, mel: Tensor) -> Tensor:
        """Map a latent `(B, T)` or `(T,)` to audio of the same shape; undoes `encode` under the same mel.

        Raises:
            ValueError: Mels against the contract, of another number or too short.
        """
        require_tensor("latent", z)
        latent = torch.atleast_2d(z).to(self.device, torch.float32)
        target = mels_for(latent, mel, self.config.mel)
        self.model.check(latent, target)
        audio = self._inverse(latent, MelContext(target)).float()
        return audio if z.dim() == 2 else audio[0]

    @torch.no_grad()
    @in_own_precision
    def log_prob(self, audio: Tensor, mel: Tensor | None = None, *, dequantize: bool = True) -> Tensor:
        """Log-density of audio under the model, given its mel.

        The prior is standard normal with its constant, the audio full scale ±1. Uniform noise of one 16-bit step,
        keyed by position, makes the density of quantized audio bounded. Whole groups of samples count, what is left
        at the end (fewer than `model.n_group` samples) does not. Recordings over 20 s are scored piece by piece.

        Args:
            audio: `(B, T)` or `(T,)`, at least one group long.
            mel: What conditions the flow; the audio's own unless given.
            dequantize: Add the noise; leave it out for audio that is not quantized.

        Returns:
            Nats, `(B,)`, or a scalar for `(T,)`.

        Raises:
            ValueError: No finite audio, less than a group of it, or mels against the contract or of another number.
        """
        batch, target = self._batch(audio, mel)
        batch = batch[:, : self._whole(batch.shape[1])]
        if dequantize:
            batch = dequantized(batch)
        hop = self.config.mel.hop_length
        piece = self._chunk_frames() * hop
        total = batch.new_zeros(batch.shape[0])
        for start in range(0, batch.shape[1], piece):
            z, log_det = self.model(batch[:, start : start + piece], target[..., start // hop :])
            total = total + log_likelihood(z, log_det)
        return total if audio.dim() == 2 else total[0]

    def nats_per_sample(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Log-density per sample: `log_prob` over the number of samples that count in it."""
        return self.log_prob(audio, mel) / self._whole(audio.shape[-1])

    def bits_per_sample(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Bits that 16-bit audio costs per sample under the model: `15 - nats per sample / log 2`."""
        return bits_per_sample(self.nats_per_sample(audio, mel))

    def save(self, directory: str | os.PathLike[str], **options: Any) -> None:
        """Write `config.json` and `model.safetensors`; options as `checkpoints.native.save`."""
        native.save(self.model, directory, **options)

    def _chunk_frames(self) -> int:
        mel = self.config.mel
        return max(1, round(CHUNK_SECONDS * mel.sample_rate / mel.hop_length))

    def _fill(
        self,
        audio: Tensor,
        mel: Tensor,
        samples: Tensor | None,
        sigma: float | None,
        seeds: Sequence[int],
        polish: functools.partial[Tensor],
    ) -> None:
        """Write the audio of the mel, piece by piece, each computed with all that can reach it on both sides."""
        hop, n_frames, size = self.config.mel.hop_length, mel.shape[-1], self._chunk_frames()
        context = 0
        if n_frames > size:
            spectra = (1 + polish.keywords["project"]) * -(-self.config.mel.n_fft // hop)
            context = -(-self.model.receptive_field // hop) + spectra
        for start in range(0, n_frames, size):
            end = min(n_frames, start + size)
            first = max(0, start - context)
            window = mel[..., first : end + context]
            piece = polish(self.synthesize(window, first * hop, samples, sigma, seeds), window)
            audio[:, start * hop : end * hop] = piece[:, (start - first) * hop : (end - first) * hop]

    def _polish(self, audio: Tensor, mel: Tensor, denoise: float, project: int) -> Tensor:
        audio = self._denoiser(audio, denoise) if denoise else audio
        return project_onto(audio, mel, self.transform, project)

    @torch.no_grad()
    @in_own_precision
    def synthesize(
        self, mel: Tensor, start: int, samples: Tensor | None, sigma: float | None, seeds: Sequence[int]
    ) -> Tensor:
        """Audio of a stretch of mel `(B, n_mels, F)` that begins at sample `start` of its utterances, in one piece.

        The unchecked core of a call: `samples` are the lengths `(B,)` counted from the utterances' beginnings.
        """
        n = mel.shape[-1] * self.config.mel.hop_length
        sigma = self.config.sigma if sigma is None else sigma
        latent = sigma * self.noise(seeds, start, n)
        lengths = None if samples is None else (samples - start).clamp(0, n)
        return self._inverse(latent, MelContext(mel, lengths)).float()

    def noise(self, seeds: Sequence[int], start: int, n: int) -> Tensor:
        """Standard normal noise of each of some seeds from sample `start` on, `(B, n)`, drawn where audio is made."""
        drawn_by = self.backend if self.backend in (*ops.BACKENDS, "onednn") else "reference"
        return batch_normal(seeds, start, n, device=self.device, backend=drawn_by)

    def _batch(self, audio: Tensor, mel: Tensor | None) -> tuple[Tensor, Tensor]:
        batch = batch_of_audio(audio, self.device)
        return batch, self.mel(batch) if mel is None else mels_for(batch, mel, self.config.mel)

    def _whole(self, n_samples: int) -> int:
        whole = n_samples // self.model.n_group * self.model.n_group
        if not whole:
            raise ValueError(f"audio has {n_samples} samples, expected at least one group of {self.model.n_group}")
        return whole
