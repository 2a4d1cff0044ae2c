"""How good a synthesis is: spectral, pitch, cepstral and perceptual figures, and the baseline to beat."""

from waveflow.metrics.errors import UndefinedMetric
from waveflow.metrics.evaluate import (
    Clip,
    Evaluation,
    Scores,
    evaluate_clips,
    evaluate_pair,
    evaluation_mel,
    summaries_to_dict,
)
from waveflow.metrics.folder import find_recordings, match_recordings, vocode_recordings
from waveflow.metrics.griffin_lim import griffin_lim
from waveflow.metrics.mcd import dtw_path, mel_cepstral_distortion, mel_cepstrum
from waveflow.metrics.perceptual import pesq, stoi
from waveflow.metrics.pictures import save_comparison
from waveflow.metrics.pitch import Pitch, f0_rmse_cents, f0_rmse_hz, periodicity_rmse, track_pitch, vuv_f1
from waveflow.metrics.spectral import log_mel_l1, multi_resolution_stft
from waveflow.metrics.summary import Summary, bootstrap_mean, summarize

__all__ = [
    "Clip",
    "Evaluation",
    "Pitch",
    "Scores",
    "Summary",
    "UndefinedMetric",
    "bootstrap_mean",
    "dtw_path",
    "evaluate_clips",
    "evaluate_pair",
    "evaluation_mel",
    "f0_rmse_cents",
    "f0_rmse_hz",
    "find_recordings",
    "griffin_lim",
    "log_mel_l1",
    "match_recordings",
    "mel_cepstral_distortion",
    "mel_cepstrum",
    "multi_resolution_stft",
    "periodicity_rmse",
    "pesq",
    "save_comparison",
    "stoi",
    "summaries_to_dict",
    "summarize",
    "track_pitch",
    "vocode_recordings",
    "vuv_f1",
]
