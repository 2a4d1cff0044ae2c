import pytest
import torch
from torch.nn import functional

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_files import write_mel
from waveflow.data.alignment import check_alignment, frame_offset
from waveflow.data.recordings import Recordings

NVIDIA = MelConfig()


def shifted(mel: torch.Tensor, n: int) -> torch.Tensor:
    """The mel with its frames `n` later."""
    return functional.pad(mel[None], (max(n, 0), max(-n, 0)), "replicate")[0][:, max(-n, 0) :][:, : mel.shape[1]]


def predicted(mel: torch.Tensor) -> torch.Tensor:
    """As an acoustic model makes it: smoother, and off in level."""
    smooth = functional.avg_pool1d(functional.pad(mel[None], (1, 1), "replicate"), 3, 1)[0]
    return (0.5 * (mel + smooth) + 0.2 + 0.2 * torch.randn_like(mel)).clamp(-11.5, 1)


@pytest.fixture
def mels_of(corpus, tmp_path):
    """`mels_of(make)`: the recordings of the corpus, paired with `make(audio, mel)` of each."""

    def make_all(make) -> Recordings:
        plain = Recordings(corpus, NVIDIA)
        for index, entry in enumerate(corpus.entries):
            path = tmp_path / f"{entry.id}.npy"
            path.parent.mkdir(exist_ok=True)
            audio = plain.audio(index)
            write_mel(path, make(audio, MelSpectrogram(NVIDIA)(audio)))
        return Recordings(corpus, NVIDIA, tmp_path)

    return make_all


@pytest.mark.parametrize("n", [-4, -1, 0, 1, 3])
def test_an_offset_is_found_in_a_smooth_and_noisy_prediction(corpus, n):
    own = MelSpectrogram(NVIDIA)(Recordings(corpus, NVIDIA).audio(0))
    assert frame_offset(shifted(predicted(own), n), own).half_frames == 2 * n


def test_aligned_mels_pass_even_a_frame_short(mels_of):
    check_alignment(mels_of(lambda audio, mel: predicted(mel)[:, :-1]))


@pytest.mark.parametrize(
    ("n", "message"),
    [(1, r"1 frame late.*drop the first 1 of every mel"), (-2, r"2 frames early.*repeat the first frame .* 2 times")],
)
def test_mels_that_all_lie_off_are_refused_with_the_remedy(mels_of, n, message):
    with pytest.raises(ValueError, match=message):
        check_alignment(mels_of(lambda audio, mel: shifted(predicted(mel), n)))


def test_half_a_frame_is_told_from_the_padding(mels_of):
    other = MelSpectrogram(MelConfig(padding="same"))
    with pytest.raises(ValueError, match=r"0\.5 frame (late|early).*padding='same'"):
        check_alignment(mels_of(lambda audio, mel: other(audio)))


def test_mels_that_disagree_pass(mels_of):
    turns = iter((-2, -1, 0, 1, 2, 3))
    check_alignment(mels_of(lambda audio, mel: shifted(mel, next(turns))))


def test_noise_has_no_offset(mels_of):
    check_alignment(mels_of(lambda audio, mel: -5 + torch.randn_like(mel)))
