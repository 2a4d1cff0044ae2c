"""Mel spectrograms, differentiable and in every convention."""

from collections.abc import Callable

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from waveflow.audio.mel_check import check_mel
from waveflow.audio.mel_config import LOG_SCALE, MelConfig
from waveflow.devices import plain_defaults

__all__ = ["MelConfig", "MelSpectrogram", "check_mel"]


class MelSpectrogram(nn.Module):
    """Mel spectrogram of audio under a `MelConfig`.

        X = STFT(audio),   m = fb @ (|X|^2 + epsilon)^(power / 2),   mel = (log(guard(m)) - mean) / std

    Computed in float32, or in float64 for float64 audio, under autocast too. Window and filterbank follow the
    module from device to device and are no part of its state dict.

    Args:
        config: The convention; None is NVIDIA's.
    """

    window: Tensor
    filterbank: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: MelConfig | None = None) -> None:
        super().__init__()
        self.config = config or MelConfig()
        self.config.validate()
        self._build(torch.device("cpu"))

    @plain_defaults()
    def _build(self, device: torch.device) -> None:
        c = self.config
        buffers = {
            "window": torch.hann_window(c.win_length, periodic=c.periodic, dtype=torch.float32),
            "filterbank": torchaudio.functional.melscale_fbanks(
                c.n_fft // 2 + 1,
                c.f_min,
                c.sample_rate / 2 if c.f_max is None else c.f_max,
                c.n_mels,
                c.sample_rate,
                c.norm,
                c.mel_scale,
            ).T.contiguous(),
            "mean": torch.tensor(c.mean or [0.0]).unsqueeze(-1),
            "std": torch.tensor(c.std or [1.0]).unsqueeze(-1),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.to(device, torch.float32), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "MelSpectrogram":
        """Follow the model to another device, but not to half precision, which would change the mel."""
        super()._apply(fn, recurse)
        if self.window.dtype not in (torch.float32, torch.float64):
            self._build(self.window.device)
        return self

    def forward(self, audio: Tensor, *, padded: bool = False) -> Tensor:
        """Compute the mel.

        Args:
            audio: Full scale ±1, shape `(B, T)` or `(T,)`, floating point.
            padded: `audio` carries the samples of `config.margins` already, as a crop out of a longer
                recording can, so nothing is put around it: `1 + (T - n_fft) // hop_length` frames.

        Returns:
            Shape `(B, n_mels, F)` or `(n_mels, F)`, `F = config.frames(T)`.

        Raises:
            ValueError: Not floating point, of another shape, or too short for one frame.
        """
        with torch.autocast(audio.device.type, enabled=False):
            mel = self.compress(self.linear(audio, padded=padded))
        fill = 0 if padded else -mel.shape[-1] % self.config.pad_to
        if not fill:
            return mel
        value = self.config.pad_value
        tail = self.silence(fill, like=mel) if value is None else mel.new_full((mel.shape[-2], fill), value)
        return torch.cat([mel, tail.expand(*mel.shape[:-1], fill)], dim=-1)

    def linear(self, audio: Tensor, *, padded: bool = False) -> Tensor:
        """Mel magnitudes (or powers) before clip and log; arguments and shapes as `forward`, no `pad_to`."""
        magnitude = self.magnitude(self.spectrum(audio, padded=padded))
        return self.filterbank.to(magnitude.dtype) @ magnitude

    def magnitude(self, spectrum: Tensor) -> Tensor:
        """STFT magnitudes `(|X|^2 + epsilon)^(power / 2)` of a complex spectrum, of its shape."""
        c = self.config
        if c.epsilon == 0 and c.power == 1:
            return spectrum.abs()
        power = spectrum.real.square() + spectrum.imag.square() + c.epsilon
        return power if c.power == 2 else power.pow(c.power / 2)

    def spectrum(self, audio: Tensor, *, padded: bool = False) -> Tensor:
        """Complex STFT, shape `(B, n_fft // 2 + 1, F)` or without `B`; arguments as `forward`.

        Raises:
            ValueError: The audio is no floating point, has another shape, or is shorter than one frame.
        """
        c = self.config
        if not audio.is_floating_point():
            raise ValueError(
                f"audio is {audio.dtype}, expected floating point with full scale 1; "
                "divide 16-bit integers by 32768, or read the file with waveflow.audio.io.read"
            )
        if audio.ndim not in (1, 2):
            raise ValueError(f"audio has shape {tuple(audio.shape)}, expected (B, T) or (T,)")
        if audio.dtype != torch.float64:
            audio = audio.float()
        if not padded:
            audio = self.extend(audio)
        if audio.shape[-1] < c.n_fft:
            raise ValueError(
                f"audio of {audio.shape[-1]} samples, margins included, is shorter than one frame of "
                f"n_fft={c.n_fft} samples; give more audio"
            )
        return torch.stft(
            audio,
            c.n_fft,
            c.hop_length,
            c.win_length,
            self.window.to(audio.dtype),
            center=False,
            return_complex=True,
        )

    def inverse_spectrum(self, spectrum: Tensor, n_samples: int) -> Tensor:
        """Inverse STFT under any frame placement: overlap-add over the sum of squared windows, margins cut off.

        Args:
            spectrum: Complex, `(B, n_fft // 2 + 1, F)`, as `spectrum` has it.
            n_samples: Of the audio; zeros where no frame reaches.

        Returns:
            `(B, n_samples)`.
        """
        c = self.config
        left = (c.n_fft - c.win_length) // 2
        window = functional.pad(self.window.to(spectrum.real.dtype), (left, c.n_fft - c.win_length - left))
        frames = torch.fft.irfft(spectrum, c.n_fft, dim=-2) * window[:, None]
        n_frames = spectrum.shape[-1]
        total = (n_frames - 1) * c.hop_length + c.n_fft

        def fold(columns: Tensor) -> Tensor:
            return functional.fold(columns, (1, total), (1, c.n_fft), stride=(1, c.hop_length))[:, 0, 0]

        energy = fold(window.square()[None, :, None].expand(1, -1, n_frames))
        audio = fold(frames) / energy.clamp_min(1e-8)
        start = c.margins[0]
        return functional.pad(audio, (0, max(0, start + n_samples - total)))[:, start : start + n_samples]

    def extend(self, audio: Tensor) -> Tensor:
        """Put around audio `(..., T)` the samples of `config.margins` that its outermost frames see.

        Raises:
            ValueError: The audio is too short for one mel frame.
        """
        left, right = self.config.margins
        length = audio.shape[-1]
        if length < 1 or self.config.frames(length) < 1:
            raise ValueError(
                f"audio has {length} samples, expected at least "
                f"{1 if self.config.padding == 'center' else self.config.hop_length} for one mel frame"
            )
        if self.config.pad_mode == "constant":
            return functional.pad(audio, (left, right))
        if length > max(left, right):
            flat = audio.reshape(-1, 1, length)
            return functional.pad(flat, (left, right), mode="reflect").reshape(*audio.shape[:-1], -1)
        # Shorter than its margins: reflect back and forth, which torch's padding does not do.
        turn = max(2 * (length - 1), 1)
        place = torch.arange(-left, length + right, device=audio.device) % turn
        return audio[..., torch.minimum(place, turn - place) if length > 1 else place]

    def compress(self, linear: Tensor) -> Tensor:
        """Linear mel magnitudes to mel values: guard, log, normalisation."""
        c = self.config
        guarded = linear.clamp(min=c.clip) if c.clip_style == "clamp" else linear + c.clip
        mel = guarded.log() * LOG_SCALE[c.log]
        mel = (mel - self.mean.to(mel.dtype)) / self.std.to(mel.dtype)
        return mel if c.ceiling is None else mel.clamp(max=c.ceiling)

    def decompress(self, mel: Tensor) -> Tensor:
        """Mel values to linear mel magnitudes, the inverse of `compress` above the clip."""
        c = self.config
        linear = ((mel * self.std.to(mel.dtype) + self.mean.to(mel.dtype)) / LOG_SCALE[c.log]).exp()
        return linear if c.clip_style == "clamp" else (linear - c.clip).clamp(min=0)

    def silence(self, n_frames: int, *, like: Tensor | None = None) -> Tensor:
        """The mel of digital silence, shape `(n_mels, n_frames)`, in device and dtype of `like`."""
        like = self.filterbank if like is None else like
        c = self.config
        magnitude = like.new_full((c.n_fft // 2 + 1, 1), c.epsilon ** (c.power / 2))
        mel = self.compress(self.filterbank.to(like.device, like.dtype) @ magnitude)
        return mel.expand(c.n_mels, n_frames)
