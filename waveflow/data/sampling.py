"""Which piece of a corpus each training item is: a pure function of the seed and the item's number."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


def seed_of(*key: int) -> int:
    """A seed for each key, unrelated to those of the keys beside it."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


class SegmentSampling:
    """Deal a corpus into random segments, evenly, and for ever.

    The recordings are laid end to end on a line, each as long as its weight. An epoch cuts the line into as many equal
    pieces as the corpus has segments, draws one point in each piece, and shuffles the points: so every part of the
    corpus comes about as often as its weight says, in every epoch. Item `k` is point `k % epoch_length` of epoch
    `k // epoch_length`, and depends on nothing else but the seed.

    Args:
        lengths: Samples of each recording, each at least `segment`.
        segment: Samples of an item.
        speakers: Speaker of each recording.
        balance: A speaker with `s` samples has a share proportional to `s ** balance`: 1 leaves the corpus as
            it is, 0 gives all speakers the same.
        seed: Another number deals anew.
        epoch_length: Items of an epoch; as many as segments fit into the corpus unless given.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        segment: int,
        speakers: Sequence[str],
        balance: float = 1.0,
        seed: int = 0,
        epoch_length: int | None = None,
    ) -> None:
        samples = np.asarray(lengths, dtype=np.float64)
        _, speaker = np.unique(np.asarray(speakers), return_inverse=True)
        total = np.bincount(speaker, weights=samples)
        weights = samples * (total ** (balance - 1.0))[speaker]
        self.ends = np.cumsum(weights / weights.sum())
        self.weights = weights / weights.sum()
        self.epoch_length = epoch_length or max(1, int(samples.sum()) // segment)
        self.seed = seed

    def __call__(self, item: int) -> tuple[int, float, float, float]:
        """The recording of an item, the place in it (0 to 1), and two more uniform numbers."""
        epoch, index = divmod(item, self.epoch_length)
        order, jitter, first, second = _draws(self.seed, epoch, self.epoch_length)
        point = (order[index] + jitter[index]) / self.epoch_length
        recording = min(int(np.searchsorted(self.ends, point, side="right")), len(self.ends) - 1)
        place = (point - self.ends[recording]) / self.weights[recording] + 1
        return (
            recording,
            float(np.clip(place, 0, np.nextafter(1, 0))),
            float(first[index]),
            float(second[index]),
        )


@functools.lru_cache(maxsize=4)
def _draws(seed: int, epoch: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # Raw Philox words, as numpy keeps those the same between versions, and its permutations not.
    raw = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(4 * length).reshape(4, length)
    uniform = (raw[1:] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.argsort(raw[0], kind="stable"), uniform[0], uniform[1], uniform[2]


class StepSampler(Sampler[list[int]]):
    """The item numbers of each step's batch, for this process: `batch_sampler` of a DataLoader over a
    SegmentDataset.

    Step `s` of all processes together takes items `s * batch_size` to `(s + 1) * batch_size`, so a run that
    resumes at step `s` sees the batches that it would have seen, on any number of processes.

    Args:
        batch_size: Items of a step, over all processes.
        start: First step.
        stop: Step after the last; None goes on for ever.
        rank: This process.
        world_size: Number of processes.

    Raises:
        ValueError: The batch cannot be shared out evenly.
    """

    def __init__(
        self, batch_size: int, start: int = 0, stop: int | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size < 1 or batch_size % world_size or not 0 <= rank < world_size:
            raise ValueError(
                f"batch_size {batch_size} cannot be shared out to {world_size} processes; make it a multiple of that"
            )
        self.batch_size, self.start, self.stop = batch_size, start, stop
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start
        while self.stop is None or step < self.stop:
            yield list(range(step * self.batch_size + self.rank, (step + 1) * self.batch_size, self.world_size))
            step += 1

    def __len__(self) -> int:
        if self.stop is None:
            raise TypeError("this sampler has no end; give it `stop`")
        return max(0, self.stop - self.start)
