"""Between what the settings of a run may be."""

LOWEST = {
    "data.segment": 1,
    "data.batch_size": 1,
    "data.window": 1,
    "data.workers": 0,
    "data.timeout": 0,
    "optimizer.lr": 0,
    "optimizer.eps": 0,
    "optimizer.weight_decay": 0,
    "optimizer.clip": 0,
    "optimizer.unusual": 0,
    "optimizer.muon_scale": 0,
    "optimizer.muon_decay": 0,
    "schedule.warmup": 0,
    "schedule.cooldown": 0,
    "objective.spectral_weight": 0,
    "objective.mel_weight": 0,
    "objective.loudness_weight": 0,
    "objective.phase_weight": 0,
    "objective.own_weight": 0,
    "finetune.rank": 0,
    "train.steps": 1,
    "train.accumulate": 1,
    "train.log_every": 1,
    "train.validate_every": 1,
    "train.validate_clips": 1,
    "train.validate_seconds": 0.1,
    "train.listen": 0,
    "train.save_every": 1,
    "train.keep": 1,
    "train.patience": 0,
}
"""The least that a setting may be."""

RANGES = {
    "data.balance": (0, 1),
    "data.gain_share": (0, 1),
    "schedule.final": (0, 1),
    "objective.spectral_share": (0, 1),
    "train.ema": (0, 1),
    "train.seed": (0, 2**63 - 1),
}
"""The least and the most, both allowed."""
