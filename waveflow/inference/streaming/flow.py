"""A model's inverse, a stretch of time after another, with nothing computed twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.bijections import (
    ActNorm,
    Chain,
    ConditionalScale,
    EarlyOutputs,
    FixedLinear,
    LappedSqueeze,
    MultiScale,
    Permutation,
)
from waveflow.bijections.base import Bijection
from waveflow.bijections.coupling import Coupling
from waveflow.inference.fuse import fuse
from waveflow.inference.streaming.memory import Memory, Part, Queue, Window, name_parts
from waveflow.inference.streaming.nets import STREAMED
from waveflow.models import FloWaveNet, LapGlow, MelFlow, SqueezeWave, WaveGlow
from waveflow.nn.grouping import ungroup_samples
from waveflow.nn.modules import of_kind

Pair = tuple[Tensor, Tensor]


class Step(Part):
    """A bijection's inverse on rows `(L, C)` and their features `(L, K)`, which stay in step.

    Attributes:
        delay: Rows by which its output lags behind its input.
    """

    delay = 0

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Pair:
        """The rows of the output that are certain now, and their features."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


class Pointwise(Step):
    """A map of each row by itself, so that rows can be taken for the items of a batch."""

    def __init__(self, bijection: Bijection) -> None:
        self.bijection = bijection

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Pair:
        return self.bijection.inverse(x), told


class StreamedScale(Step):
    """A gain that the features decide."""

    def __init__(self, scale: ConditionalScale) -> None:
        (to_gain,) = of_kind(scale, nn.Conv1d)
        self.weight, self.bias = to_gain.weight[:, :, 0], to_gain.bias

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Pair:
        return torch.exp(-F.linear(told, self.weight, self.bias)) * x, told


class StreamedCoupling(Step):
    """A coupling whose data wait until its conditioner has seen what lies ahead of them."""

    def __init__(self, coupling: Coupling) -> None:
        self.coupling, self.net = coupling, STREAMED[type(coupling.conditioner)](coupling.conditioner)
        self.data, self.features = Queue(), Queue()
        self.delay = self.net.delay

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Pair:
        parameters = self.net(memory, self.coupling.split(x)[0], told, end)
        n = len(parameters)
        a, b = self.coupling.split(self.data.swap(memory, x, n))
        b, _ = self.coupling.invert(b, parameters)
        return self.coupling.merge(a, b), self.features.swap(memory, told, n)


class StreamedChain(Step):
    """Steps one after another; before some, channels that left early join again, when their turn has come."""

    def __init__(self, chain: Chain) -> None:
        self.early = chain.early if isinstance(chain, EarlyOutputs) else (0,) * len(chain)
        self.steps = [streamed(step) for step in chain]
        self.waiting = [Queue() for _ in self.steps]
        self.delay = sum(step.delay for step in self.steps)

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Pair:
        *left, x = x.split([*filter(None, self.early), x.shape[1] - sum(self.early)], dim=1)
        for n, step, waiting in zip(reversed(self.early), reversed(self.steps), reversed(self.waiting)):
            x, told = step(memory, x, told, end)
            if n:
                x = torch.cat([waiting.swap(memory, left.pop(), len(x)), x], dim=1)
        return x, told


class StreamedScales(Step):
    """Blocks at ever higher rates; what each is told waits for what the lower ones make."""

    def __init__(self, bijection: MultiScale) -> None:
        self.bijection = bijection
        self.factors = [scale.factor for scale in bijection.scales]
        self.steps = [streamed(scale.steps) for scale in bijection.scales]
        self.priors = [None if scale.prior is None else streamed(scale.prior) for scale in bijection.scales]
        self.early = [Queue() for _ in self.steps]
        self.told = [Queue() for _ in self.steps]
        # In samples: each block's own rows are as long as all factors up to it.
        samples, rate = 0, 1
        for factor, steps, prior in zip(self.factors, self.steps, self.priors):
            rate *= factor
            samples += rate * (steps.delay + (prior.delay if prior else 0))
        self.delay = -(-samples // bijection.n_group)

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Pair:
        lasting, early = self._split(x)
        contexts = [each[0].mT for each, _ in self.bijection.contexts(told.mT[None]) if each is not None]
        x = lasting
        for k in reversed(range(len(self.steps))):
            features = self.told[k].swap(memory, contexts[k], len(x))
            if (prior := self.priors[k]) is not None:
                x = torch.cat([x, self.early[k].swap(memory, early[k], len(x))], dim=1)
                x, features = prior(memory, x, features, end)
            x, _ = self.steps[k](memory, x, features, end)
            x = ungroup_samples(x.mT[None], self.factors[k])[0].mT
        return x, told[:0]

    def _split(self, z: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """The latent of the lowest block, and what joins each other block, at its own rate."""
        early, x = {}, z.reshape(-1, 1)
        for k, factor in enumerate(self.factors):
            x = x.view(-1, factor, x.shape[1]).transpose(1, 2).flatten(1)
            if self.priors[k] is not None:
                x, early[k] = x.chunk(2, dim=1)
        return x, early


def streamed(bijection: Bijection) -> Step:
    """The streaming form of a bijection's inverse.

    Raises:
        TypeError: It has none.
    """
    if isinstance(bijection, (FixedLinear, ActNorm, Permutation)):
        return Pointwise(bijection)
    if isinstance(bijection, ConditionalScale):
        return StreamedScale(bijection)
    if isinstance(bijection, Coupling) and type(bijection.conditioner) in STREAMED:
        return StreamedCoupling(bijection)
    if isinstance(bijection, Chain):
        return StreamedChain(bijection)
    if isinstance(bijection, MultiScale):
        return StreamedScales(bijection)
    raise TypeError(f"{type(bijection).__name__} has no streaming form")


def streamable(model: MelFlow) -> bool:
    """Whether `StreamedInverse` knows the model."""
    return isinstance(model, (LapGlow, WaveGlow, SqueezeWave, FloWaveNet))


class StreamedInverse(Part):
    """A model's inverse as a function of what it remembers and of the next frames.

    Args:
        model: The model; later changes of its weights do not reach the result.
        dtype: Of all that is computed.

    Attributes:
        look_ahead: Frames that must be known beyond one before all of its audio is certain.

    Raises:
        TypeError: The model has no streaming form; `WaveFlow`, each row of which waits for all columns of the row
            before that it sees, and `WaveNODE` have none.
    """

    def __init__(self, model: MelFlow, dtype: torch.dtype = torch.float32) -> None:
        if not streamable(model):
            raise TypeError(f"{type(model).__name__} has no streaming form")
        self.model, self.dtype = fuse(model).to(dtype), dtype
        squeeze, *steps = self.model.flow
        self._flow = streamed(Chain(steps))
        self._n_group, self._hop = model.n_group, model.mel_config.hop_length
        rows = self._hop // self._n_group
        before, after = self._reach()
        self._features, self._latent = Window(self._tell, before, after, rows), Queue()
        lapped = isinstance(squeeze, LappedSqueeze)
        self._unsqueeze = Window(lambda x: squeeze.inverse(x.mT[None])[0].view(x.shape), 1, 1) if lapped else None
        self.look_ahead = after + -(-self._flow.delay // rows) + lapped
        name_parts(self)

    @torch.no_grad()
    def __call__(self, memory: Memory, mel: Tensor, latent: Tensor, end: bool) -> Tensor:
        """The samples that are certain after some more frames.

        Args:
            memory: What the stream remembers, empty at its beginning; updated.
            mel: `(n_mels, F)`, F may be 0 but for the first call.
            latent: Of these frames, `(F * hop_length,)`.
            end: No more frames come: all samples that are left are certain.

        Returns:
            `(T,)`, float32; T may be 0.
        """
        told = self._features(memory, mel.to(self.dtype).mT, end)
        rows = self._latent.swap(memory, latent.to(self.dtype).view(-1, self._n_group), len(told))
        x, _ = self._flow(memory, rows, told, end)
        if self._unsqueeze is not None:
            x = self._unsqueeze(memory, x, end)
        return x.flatten().float()

    def _tell(self, mel: Tensor) -> Tensor:
        features = self.model.features(mel.mT[None])[0].mT
        # SqueezeWave leaves its features at the frame rate.
        return features.repeat_interleave(self._hop // self._n_group * len(mel) // len(features), dim=0)

    def _reach(self) -> tuple[int, int]:
        """Frames before and after one that its features depend on."""
        if isinstance(self.model, LapGlow):
            return 1, 2
        if isinstance(self.model, WaveGlow):
            return -(-self.model.upsample.conv.kernel_size[0] // self._hop) - 1, 0
        return (2, 2) if isinstance(self.model, FloWaveNet) else (0, 0)
