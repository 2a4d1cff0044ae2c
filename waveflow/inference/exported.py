"""The graph that leaves Python: mel or audio in, audio out, nothing but convolutions, products and elementwise maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.audio.mel import MelSpectrogram
from waveflow.inference.fuse import fuse
from waveflow.models import MelFlow
from waveflow.nn.context import Context
from waveflow.ops.keyed_normal.reference import box_muller, philox


class Graph(nn.Module):
    """A model's inverse as one function of tensors, of any batch and length.

        audio = inverse(sigma * noise, mel)

    Args:
        model: As trained or fused; a fused float32 copy is kept.
        from_audio: Take recordings and compute their mel in the graph, instead of taking mels.
        draw_noise: Take a seed for each item and draw the vocoder's keyed noise in the graph, instead of taking noise.
    """

    def __init__(self, model: MelFlow, *, from_audio: bool = False, draw_noise: bool = False) -> None:
        super().__init__()
        self.model = fuse(model.cpu()).float()
        self.mel = ConvolvedMel(MelSpectrogram(model.mel_config)) if from_audio else None
        self.draw_noise = draw_noise

    def forward(self, told: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Synthesise.

        Args:
            told: Mel `(B, n_mels, F)`; or audio `(B, F * hop_length)`, full scale ±1.
            noise: Standard normal, `(B, F * hop_length)`; or seeds, int64 `(B,)`.
            sigma: Standard deviation of the latent, a scalar.

        Returns:
            `(B, F * hop_length)`.
        """
        hop = self.model.mel_config.hop_length
        if self.mel is None:
            mel, n_samples = told, told.shape[-1] * hop
        else:
            n_samples = told.shape[-1]
            mel = self.mel(told)[..., : n_samples // hop + self.model.frames_ahead]
        if self.draw_noise:
            noise = keyed_noise(noise, n_samples)
        z = self.model.to_channels(sigma * noise)
        features = self.model.features(mel)
        if self.mel is not None and self.model.frames_ahead:
            features = features[..., : z.shape[-1]]
        return self.model.flow.inverse(z, Context(features))


def context_frames(graph: Graph) -> int | None:
    """Frames on each side of a stretch without which its audio would be other than in the whole; None: all of them."""
    config = graph.model.mel_config
    try:
        samples = graph.model.receptive_field
    except TypeError:
        return None
    return math.ceil((samples + (max(config.margins) if graph.mel is not None else 0)) / config.hop_length)


class ConvolvedMel(nn.Module):
    """A mel transform of which the STFT is products with windowed sines and cosines, one for each hop of a frame.

    As one strided convolution over single samples, runtimes in a browser take far longer for it than for all the rest.
    Frequencies that reach no band are left out. `pad_to` is ignored.

    Args:
        transform: The transform to copy.
    """

    basis: Tensor
    bands: Tensor

    def __init__(self, transform: MelSpectrogram) -> None:
        super().__init__()
        self.transform, config = transform, transform.config
        used = torch.nonzero(transform.filterbank.any(dim=0))[:, 0]
        n = torch.arange(config.n_fft, dtype=torch.float64)
        left = (config.n_fft - config.win_length) // 2
        window = F.pad(transform.window.double(), (left, config.n_fft - config.win_length - left))
        angle = 2 * math.pi / config.n_fft * (used[:, None] * n).remainder(config.n_fft)
        basis = torch.cat([torch.cos(angle), -torch.sin(angle)]) * window
        self.n_taps = -(-config.n_fft // config.hop_length)
        basis = F.pad(basis, (0, self.n_taps * config.hop_length - config.n_fft))
        taps = basis.unflatten(1, (self.n_taps, config.hop_length)).permute(1, 2, 0)
        self.register_buffer("basis", taps.contiguous().float(), persistent=False)
        self.register_buffer("bands", transform.filterbank[:, used].contiguous(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Mel `(B, n_mels, F)` of audio `(B, T)`, T a multiple of hop_length and longer than the margins."""
        config = self.transform.config
        extended = F.pad(audio[:, None], config.margins, mode=config.pad_mode)
        hop, margin = config.hop_length, sum(config.margins)
        # Up to where the last frame ends, its filled-up taps included.
        missing = ((margin - config.n_fft) // hop + self.n_taps) * hop - margin
        vectors = F.pad(extended[:, 0], (0, missing)).unflatten(1, (-1, hop))
        n_frames = vectors.shape[1] - self.n_taps + 1
        products = [vectors[:, i : i + n_frames] @ taps for i, taps in enumerate(self.basis)]
        real, imaginary = sum(products).transpose(1, 2).chunk(2, dim=1)
        power = real.square() + imaginary.square() + config.epsilon
        magnitude = power if config.power == 2 else power.sqrt() if config.power == 1 else power.pow(config.power / 2)
        return self.transform.compress(self.bands @ magnitude)


def keyed_noise(seeds: Tensor, n: int) -> Tensor:
    """The first n samples of each utterance's keyed noise: the bits of its seed, int64 `(B,)`, to `(B, n)`."""
    counter = torch.arange((n + 3) // 4, device=seeds.device)
    return box_muller(philox(counter, seeds[:, None])).permute(1, 2, 0).flatten(1)[:, :n]
