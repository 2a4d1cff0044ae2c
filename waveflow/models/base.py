"""What every mel-conditioned flow over waveforms shares."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.bijections.base import Bijection, Chain
from waveflow.nn.context import Context


class MelContext(NamedTuple):
    """The context of a vocoder: a mel, and how many samples of each item of a padded batch are real.

    mel: `(B, n_mels, F)`.
    lengths: `(B,)` samples, multiples of the model's n_group; None where nothing is padded.
    """

    mel: Tensor
    lengths: Tensor | None = None


class MelFlowConfig(Protocol):
    """What the config of every vocoder has: the mel contract, and the standard deviation of the latent it draws."""

    mel: MelConfig
    sigma: float


class MelFlow(Bijection):
    """A flow between waveforms and noise, told the mel: the base of all vocoders.

    Subclasses set `flow`, a chain that begins with a squeeze from `(B, T)` to `(B, n_group, T // n_group)`, and define
    `features`. Frame `f` of the mel belongs to samples `f * hop_length` onward, and `F` frames make `F * hop_length`
    samples. The latent has the audio's shape, `z.view(B, T // n_group, n_group)` being its channels over time.

    Attributes:
        config: The model's typed config; `config.mel` is the mel contract and `config.sigma` the deviation of z.
        n_group: Samples that become one vector.
        frames_ahead: Mel frames beyond the end of the audio that still reach its features, where they are given.
    """

    config: MelFlowConfig
    n_group: int
    flow: Chain
    frames_ahead: int = 0

    @property
    def mel_config(self) -> MelConfig:
        """The mel contract the model was built for."""
        return self.config.mel

    @property
    def receptive_field(self) -> int:
        """Samples on each side of an output sample that can reach it, through latent or mel.

        Raises:
            TypeError: The model sees without limit.
        """
        raise TypeError(f"{type(self).__name__} has no finite receptive field")

    def features(self, mel: Tensor) -> Tensor:
        """Bring a mel `(B, n_mels, F)` to `(B, C, F * hop_length // n_group)`."""
        raise TypeError(f"{type(self).__name__} does not define features(mel)")

    def features_of_padded(self, mel: Tensor, n_frames: Tensor) -> Tensor:
        """As `features` of a batch of which item `b` has `n_frames[b]` frames: each item gets what it gets alone."""
        return self.features(hold_last_frame(mel, n_frames))

    def forward(self, x: Tensor, context: Tensor | MelContext | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map audio to latent.

        Args:
            x: Audio, full scale ±1, `(B, T)`, T a multiple of n_group.
            context: Mel `(B, n_mels, F)` with `F * hop_length >= T`, or a `MelContext`.

        Returns:
            `z` `(B, T)`, zero in the padding; `log_det` `(B,)`, nats.

        Raises:
            ValueError: No mel or a plain `Context`, too short a mel, wrong bands, or T no multiple of n_group.
        """
        told = self.told(x, context)
        z, log_det = self.flow(x, told)
        return self.to_samples(z, told), log_det

    def inverse(self, z: Tensor, context: Tensor | MelContext | Context | None = None, /) -> Tensor:
        """Map latent `(B, T)` to audio `(B, T)`; arguments as in `forward`."""
        told = self.told(z, context)
        return self._silence_padding(self.flow.inverse(self.to_channels(z), told), told)

    def inverse_and_log_det(
        self, z: Tensor, context: Tensor | MelContext | Context | None = None, /
    ) -> tuple[Tensor, Tensor]:
        told = self.told(z, context)
        x, log_det = self.flow.inverse_and_log_det(self.to_channels(z), told)
        return self._silence_padding(x, told), log_det

    def check(self, x: Tensor, mel: Tensor | None) -> None:
        """Refuse audio or a latent, and a mel, of shapes that do not belong to the model or to each other.

        Raises:
            ValueError: As in `forward`.
        """
        config = self.mel_config
        if mel is None:
            raise ValueError(f"{type(self).__name__} needs a mel as context; compute it with vocoder.mel(audio)")
        if mel.dim() != 3 or mel.shape[1] != config.n_mels:
            raise ValueError(
                f"mel has shape {tuple(mel.shape)}, expected (B, n_mels, F) with n_mels={config.n_mels}; "
                "recompute it with vocoder.mel(audio) or `waveflow mel`"
            )
        if x.dim() != 2 or x.shape[1] % self.n_group:
            raise ValueError(
                f"audio or latent has shape {tuple(x.shape)}, expected (B, T) with T a multiple of "
                f"n_group={self.n_group}; cut or pad it"
            )
        if mel.shape[-1] < -(-x.shape[1] // config.hop_length):
            raise ValueError(
                f"mel has {mel.shape[-1]} frames, which cover {mel.shape[-1] * config.hop_length} samples, "
                f"but {x.shape[1]} samples were given; pass the whole mel or cut the audio"
            )

    def told(self, x: Tensor, context: Tensor | MelContext | Context | None) -> Context:
        """What the steps of `flow` are told: the mel's features at the rate of the vectors, and the mask of a batch.

        Args:
            x: Audio or a latent, `(B, T)`.
            context: As of `forward`.

        Raises:
            ValueError: As in `forward`.
        """
        if isinstance(context, Context):
            raise ValueError(
                "context is a Context, expected a mel, or MelContext(mel, lengths), whose lengths say what is padding"
            )
        mel, lengths = context if isinstance(context, MelContext) else (context, None)
        self.check(x, mel)
        assert mel is not None
        config = self.mel_config
        n_frames = -(-x.shape[1] // config.hop_length)
        n_vectors = x.shape[1] // self.n_group
        if lengths is None:
            return Context(self.features(mel[..., : n_frames + self.frames_ahead])[..., :n_vectors])
        # A GPU would have to be waited for, and a compiler to be left.
        known = lengths.device.type == "cpu" and not torch.compiler.is_compiling()
        if known and (lengths % self.n_group).any():
            raise ValueError(
                f"lengths are {lengths.tolist()}, expected multiples of n_group={self.n_group}; cut or pad the items"
            )
        features = self.features_of_padded(mel[..., :n_frames], -(-lengths // config.hop_length))
        mask = mask_of_lengths(lengths // self.n_group, n_vectors).to(x.dtype)[:, None]
        return Context(features[..., :n_vectors], mask)

    def to_channels(self, z: Tensor) -> Tensor:
        """A latent `(B, T)` as `flow` has it, `(B, n_group, T // n_group)`."""
        return z.view(z.shape[0], z.shape[1] // self.n_group, self.n_group).transpose(1, 2)

    def to_samples(self, z: Tensor, told: Context) -> Tensor:
        """Undo `to_channels`; what is padding, as `told` has it, becomes zero."""
        if told.mask is not None:
            z = z * told.mask
        return z.transpose(1, 2).flatten(1)

    def _silence_padding(self, audio: Tensor, told: Context) -> Tensor:
        return audio if told.mask is None else audio * told.mask[:, 0].repeat_interleave(self.n_group, dim=1)


def mask_of_lengths(lengths: Tensor, n: int) -> Tensor:
    """Boolean `(B, n)`, true before each item's length."""
    return torch.arange(n, device=lengths.device) < lengths[:, None]


def hold_last_frame(mel: Tensor, n_frames: Tensor) -> Tensor:
    """Overwrite the padding of a batch of mels by each item's last frame, which is what it sees beyond its end."""
    last = (n_frames - 1).clamp_min(0)[:, None].to(mel.device)
    index = torch.arange(mel.shape[-1], device=mel.device).minimum(last)
    return mel.gather(2, index[:, None].expand_as(mel))
