"""Training: one loop, on one process or as many as torchrun starts."""

from waveflow.training.config import TrainConfig
from waveflow.training.errors import TrainingError
from waveflow.training.loop import Outcome, train

__all__ = ["Outcome", "TrainConfig", "TrainingError", "train"]
