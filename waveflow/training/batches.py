"""The batches of a run: item `k` and its noise are functions of the seed and of `k`, so any step can be resumed."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from waveflow.data.alignment import check_alignment
from waveflow.data.dataset import Item, SegmentDataset
from waveflow.data.sampling import StepSampler, seed_of
from waveflow.data.shards import is_sharded
from waveflow.data.streaming import ShardDataset
from waveflow.losses import LOUDNESS_SCALES, RESOLUTIONS
from waveflow.models import MelFlow
from waveflow.training.config import TrainConfig, n_chosen
from waveflow.training.errors import TrainingError
from waveflow.training.objective import Part
from waveflow.training.team import Team

NoisyItem = tuple[Item, Tensor, Tensor | None]


def segments(config: TrainConfig, model: MelFlow) -> SegmentDataset | ShardDataset:
    """The training items of a corpus, cut for a model.

    Raises:
        ValueError: The corpus does not fit the model, its recordings are shorter than a segment, or the mels made for
            them lie some frames off.
    """
    data, unit = config.data, math.lcm(model.mel_config.hop_length, model.n_group)
    shortest = max(unit, sum(model.mel_config.margins) // 2 + 1)
    if n_chosen(config):
        widest = max(LOUDNESS_SCALES) * model.mel_config.n_fft if config.objective.loudness_weight else 0
        shortest = max(shortest, int(max(widest, *RESOLUTIONS)) // 2 + 1)
    segment = data.segment // unit * unit
    if segment < shortest:
        raise ValueError(
            f"data.segment={data.segment} is shorter than the spectra and frames of it; give at least "
            f"{-(-shortest // unit) * unit}, several times that to learn from"
        )
    how: dict[str, Any] = {
        "seed": config.train.seed,
        "balance": data.balance,
        "aligned": data.mels is not None,
        "frames_ahead": model.frames_ahead,
        "gain_db": data.gain_db,
        "gain_share": 0.0 if data.mels else data.gain_share,
    }
    if is_sharded(data.manifest):
        if data.mels is not None:
            raise ValueError(f"{data.manifest} is in shards, which hold no predicted mels; train on them with files")
        places: dict[str, Any] = {"window": data.window, "source": data.source, "cache": data.cache}
        return ShardDataset(data.manifest, segment, model.mel_config, **places, **how)
    dataset = SegmentDataset(data.manifest, "train", segment, model.mel_config, mels=data.mels, **how)
    if data.mels is not None:
        check_alignment(dataset.recordings)
    return dataset


def batches(dataset: Dataset[Item], config: TrainConfig, team: Team, first_step: int = 0) -> Iterator[list[Part]]:
    """This process's share of each step's batch, split into `train.accumulate` parts.

    Raises:
        ValueError: The batch cannot be shared out evenly.
        TrainingError: A reading process hangs or died.
    """
    data, n_parts = config.data, config.train.accumulate
    if data.batch_size % (team.size * n_parts):
        raise ValueError(
            f"data.batch_size={data.batch_size} cannot be shared out to {team.size} processes with "
            f"train.accumulate={n_parts}; make it a multiple of {team.size * n_parts}"
        )
    loader = DataLoader(
        _Noisy(dataset, config),
        batch_sampler=StepSampler(data.batch_size, first_step, config.train.steps, team.rank, team.size),
        num_workers=data.workers,
        collate_fn=_Collate(n_parts),
        pin_memory=team.device.type == "cuda",
        timeout=data.timeout if data.workers else 0,
        worker_init_fn=_leave_stopping_to_parent,
        prefetch_factor=4 if data.workers else None,
    )
    # The reading processes start here, before this process has threads of its own, which a fork does not survive well.
    return _watched(iter(loader), config)


class _Noisy(Dataset[NoisyItem]):
    """Items with their noise: uniform for dequantization, and normal for those that are synthesised."""

    def __init__(self, dataset: Dataset[Item], config: TrainConfig) -> None:
        self.dataset, self.seed = dataset, config.train.seed
        self.batch_size, self.n_chosen = config.data.batch_size, n_chosen(config)

    def __getitem__(self, index: int) -> NoisyItem:
        item = self.dataset[index]
        generator = torch.Generator().manual_seed(seed_of(self.seed, index))
        uniform = torch.rand(item.audio.shape, generator=generator)
        chosen = index % self.batch_size < self.n_chosen
        return item, uniform, torch.randn(item.audio.shape, generator=generator) if chosen else None


class _Collate:
    """Deals items like cards into parts, so that each part has its share of the synthesised ones, at the front."""

    def __init__(self, n_parts: int) -> None:
        self.n_parts = n_parts

    def __call__(self, items: Sequence[NoisyItem]) -> list[Part]:
        return [self._part(items[i :: self.n_parts]) for i in range(self.n_parts)]

    def _part(self, items: Sequence[NoisyItem]) -> Part:
        segments, uniform, latents = zip(*items)
        latent = [noise for noise in latents if noise is not None]
        audio = torch.stack([item.audio for item in segments])
        return Part(
            audio,
            torch.stack([item.mel for item in segments]),
            torch.stack(uniform),
            torch.tensor([i for i, noise in enumerate(latents) if noise is not None], dtype=torch.int64),
            torch.stack(latent) if latent else audio.new_empty(0, audio.shape[1]),
        )


def _watched(stream: Iterator[list[Part]], config: TrainConfig) -> Iterator[list[Part]]:
    while True:
        try:
            parts = next(stream, None)
        except RuntimeError as error:
            if "DataLoader" not in str(error):
                raise
            hung = "timed out" in str(error)
            what = f"gave nothing for {config.data.timeout:g} s" if hung else "died"
            raise TrainingError(
                f"a reading process {what}; look at the storage of {config.data.manifest} and at the memory, "
                "or read with fewer (data.workers)"
            ) from error
        if parts is None:
            return
        yield parts


def _leave_stopping_to_parent(_: int) -> None:
    # Ctrl-C reaches every process of the terminal, and SIGTERM by torchrun or `timeout` every process of a group; the
    # training process alone decides when to stop, and ends its readers by a SIGTERM of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()


def _end_when_told_by(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
