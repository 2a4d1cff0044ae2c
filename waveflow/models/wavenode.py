"""WaveNODE: the waveform carried to noise by differential equations that are told the mel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as weight_normed

from waveflow.audio.mel import MelConfig
from waveflow.bijections import (
    ActNorm,
    Bijection,
    Chain,
    Continuous,
    MultiScale,
    NormalizingCoupling,
    ProjectedContext,
    Scale,
    Squeeze,
)
from waveflow.bijections.continuous import require_solver
from waveflow.models.base import MelContext, MelFlow
from waveflow.models.settings import checked
from waveflow.nn import Context, MelUpsample, WaveNet
from waveflow.nn.grouping import group_samples
from waveflow.nn.modules import of_kind
from waveflow.nn.timed_wavenet import TimedWaveNet

STAGES = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
"""Evaluations of the velocity in one step of each fixed solver."""

PRIOR_LAYERS = 2


@dataclass
class WaveNODEConfig:
    """The paper's model unless told otherwise, but for synthesis in steps of one size.

    Attributes:
        mel: The mel contract.
        factors: Neighbouring vectors that become one before each block; their product divides `mel.hop_length`.
        n_blocks_per_split: After so many blocks, half of the channels leave for the latent; 0 for never.
        n_channels: Width of each WaveNet.
        n_layers: Layers of each WaveNet.
        dilation_base: Dilations are its powers, from 1.
        kernel_size: Taps of each dilated convolution.
        upsample_kernel_size: Taps of the mel upsampling, in samples; four hops unless given.
        solver: Of likelihoods, any of torchdiffeq's.
        n_steps: Its steps, if it is a fixed one.
        tolerance: Absolute and relative, of an adaptive solver.
        synthesis_solver: Of synthesis; None for that of likelihoods, with which inverse undoes forward to the
            tolerance.
        synthesis_steps: Its steps, if it is a fixed one.
        exact_trace: Whether log_det is exact rather than Hutchinson's estimate, at as many passes as a block has
            numbers; None for exact where an item has up to 16.
        adjoint: Train by a second equation backwards, in memory that does not grow with the steps.
        sigma: Standard deviation of the latent drawn for synthesis.
    """

    mel: MelConfig = field(default_factory=lambda: MelConfig.preset("nvidia"))
    factors: list[int] = field(default_factory=lambda: [8, 2, 2, 2])
    n_blocks_per_split: int = 2
    n_channels: int = 128
    n_layers: int = 4
    dilation_base: int = 3
    kernel_size: int = 3
    upsample_kernel_size: int | None = None
    solver: str = "dopri5"
    n_steps: int | None = None
    tolerance: float = 1e-5
    synthesis_solver: str | None = "rk4"
    synthesis_steps: int | None = 4
    exact_trace: bool | None = None
    adjoint: bool = False
    sigma: float = 0.7


class WaveNODE(MelFlow):
    """Blocks of activation normalisation and a continuous flow, over several rates.

    Trains by likelihood like any flow, through the solver; or by `flow_matching_loss`, without solving anything, after
    which likelihoods are to be had all the same.

    Source: WaveNODE (arXiv:2006.04598) and its authors' code. The context is not halved with the channels, time enters
    by a small network rather than a linear map, and the prior is as wide as the velocities, its dilations doubling.

    Raises:
        ValueError: The hop is no multiple of the group that the factors make; a fixed solver without its steps.
    """

    config: WaveNODEConfig

    def __init__(self, config: WaveNODEConfig | None = None) -> None:
        super().__init__()
        self.config = config = checked(config or WaveNODEConfig(), zero=("n_blocks_per_split",))
        if config.synthesis_solver is not None:
            require_solver(synthesis_solver=config.synthesis_solver, synthesis_steps=config.synthesis_steps)
        self.n_group = math.prod(config.factors)
        mel = config.mel
        self.upsample = MelUpsample(mel.n_mels, mel.hop_length, self.n_group, config.upsample_kernel_size)
        dilations = [config.dilation_base**i for i in range(config.n_layers)]
        scales, channels, context_channels = [], 1, mel.n_mels
        for block, factor in enumerate(config.factors, start=1):
            channels, context_channels = factor * channels, factor * context_channels
            velocity = TimedWaveNet(
                channels, n_channels=config.n_channels, dilations=dilations, kernel_size=config.kernel_size
            )
            flow = Continuous(
                velocity,
                solver=config.solver,
                n_steps=config.n_steps,
                rtol=config.tolerance,
                atol=config.tolerance,
                exact=config.exact_trace,
                adjoint=config.adjoint,
                inverse_solver=config.synthesis_solver,
                inverse_steps=config.synthesis_steps,
            )
            projection = weight_normed(nn.Conv1d(context_channels, velocity.context_channels, 1))
            prior = None
            splits = config.n_blocks_per_split and block % config.n_blocks_per_split == 0
            if splits and block < len(config.factors):
                net = WaveNet(
                    channels // 2,
                    channels,
                    context_channels=context_channels,
                    n_channels=config.n_channels,
                    n_layers=PRIOR_LAYERS,
                    kernel_size=config.kernel_size,
                )
                prior = NormalizingCoupling(net)
            scales.append(Scale(factor, Chain([ActNorm(channels), ProjectedContext(flow, projection)]), prior))
            channels = channels if prior is None else channels // 2
        self.flow = Chain([Squeeze(self.n_group), MultiScale(scales)])

    @property
    def receptive_field(self) -> int:
        """Samples on each side that can reach a sample of synthesis: every evaluation of a velocity adds its WaveNet's.

        Raises:
            TypeError: The solver of synthesis takes as many steps as it sees fit.
        """
        samples, rate = 0, 1
        for scale in of_kind(self.flow, Scale):
            (flow,), (velocity,) = of_kind(scale, Continuous), of_kind(scale, TimedWaveNet)
            if flow.inverse_solver not in STAGES or flow.inverse_steps is None:
                raise TypeError(
                    f"WaveNODE solved by {flow.inverse_solver!r} has no finite receptive field; "
                    f"choose a synthesis_solver of {[*STAGES]} and synthesis_steps"
                )
            rate *= scale.factor
            evaluations = STAGES[flow.inverse_solver] * flow.inverse_steps
            samples += rate * evaluations * velocity.receptive_field
            samples += rate * sum(net.receptive_field for net in of_kind(scale, WaveNet))
        return samples + self.n_group + self.upsample.conv.kernel_size[0]

    def features(self, mel: Tensor) -> Tensor:
        """Upsampled, a vector for each group of samples: `(B, n_mels * n_group, F * hop_length // n_group)`."""
        return self.upsample(mel)

    def flow_matching_loss(
        self, audio: Tensor, context: Tensor | MelContext, generator: torch.Generator | None = None
    ) -> Tensor:
        """Distance of the velocities from those of straight paths between audio and noise; nothing is solved.

            x_t = (1 - t) x + t e,   e ~ N(0, 1)
            loss = sum_k E |v_k(s, (1 - s) y_0 + s y_1) - (y_1 - y_0)|^2 - E log p_k

        Block k of K carries `y_0`, the normalised `x_t` at `t = k / K`, to `y_1`, which is `x_t` at `t = (k + 1) / K`.
        Where channels leave, the log-density `log p_k` of theirs under the learned prior is trained beside it. The
        normalisation is set by the first batch and then left alone.

        Source: flow matching (arXiv:2210.02747), here one velocity for each stretch of time.

        Args:
            audio: Full scale ±1, `(B, T)`.
            context: As of `forward`.
            generator: Of noise and times.

        Returns:
            A scalar.
        """
        told = self.told(audio, context)
        multiscale = self.flow.steps[1]
        assert isinstance(multiscale, MultiScale)
        n_blocks = len(multiscale.scales)
        x = audio[:, None]
        e = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        loss = x.new_zeros(())
        for k, (scale, context_k) in enumerate(zip(multiscale.scales, multiscale.contexts(told))):
            x, e = group_samples(x, scale.factor), group_samples(e, scale.factor)
            before, after = (x.lerp(e, (k + i) / n_blocks) for i in (0, 1))
            s = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
            loss = loss + _matching(scale.steps, before, after, s, context_k)
            if scale.prior is not None:
                z, log_det = scale.prior(after, context_k)
                loss = loss - _mean_log_density(z, log_det, context_k)
                x, e = x.chunk(2, dim=1)[0], e.chunk(2, dim=1)[0]
        return loss


def _matching(steps: Bijection, before: Tensor, after: Tensor, s: Tensor, context: Context) -> Tensor:
    assert isinstance(steps, Chain)
    norm, flow = steps
    assert isinstance(norm, ActNorm)
    assert isinstance(flow, ProjectedContext)
    assert isinstance(flow.bijection, Continuous)
    if norm.training and not norm.initialized:
        norm.initialize(before, context)
    # Gradients would shrink what is to be matched.
    with torch.no_grad():
        start = norm(before, context)[0]
    target = after - start
    velocity = flow.bijection.velocity(s, start + s[:, None, None] * target, flow.told(context))
    error = (velocity - target).square()
    if context.mask is None:
        return error.mean()
    return (error * context.mask).sum() / (context.mask.sum() * error.shape[1])


def _mean_log_density(z: Tensor, log_det: Tensor, context: Context) -> Tensor:
    left = z.chunk(2, dim=1)[1]
    count: Tensor | int = left.numel()
    if context.mask is not None:
        left, count = left * context.mask, context.mask.sum() * left.shape[1]
    return (log_det.sum() - 0.5 * left.square().sum()) / count - 0.5 * math.log(2 * math.pi)
