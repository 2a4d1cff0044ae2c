"""Training runs over combinations of settings, by Hydra.

python recipes/sweep/sweep.py --multirun data.manifest=corpora/ljspeech optimizer.lr=5e-4,1e-3
python recipes/sweep/sweep.py --best runs/sweep
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from waveflow.training import TrainConfig, train
from waveflow.training.recipe import SCHEMA

ConfigStore.instance().store(SCHEMA, TrainConfig)


@hydra.main(config_path=".", config_name="config", version_base="1.3")
def main(settings: DictConfig) -> float:
    """Train, and give Hydra the fewest held-out bits per sample, which its sweepers minimise."""
    return train(TrainConfig.from_dict(OmegaConf.to_container(settings, resolve=True))).bits


def rank(folder: Path) -> list[tuple[float, Path]]:
    """Fewest held-out bits per sample of every run in a folder, best first."""
    found = []
    for log in folder.rglob("log.jsonl"):
        lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
        if bits := [line["bits"] for line in lines if line["section"] == "held-out"]:
            found.append((min(bits), log.parent))
    return sorted(found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--best"]:
        for bits, run in rank(Path(sys.argv[2])):
            print(f"{bits:.4f}  {run}")
    else:
        main()
