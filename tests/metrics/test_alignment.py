import pytest
import torch

from waveflow.metrics import UndefinedMetric
from waveflow.metrics.alignment import gain_db, offset_ms, trim_pair, warnings


def test_twice_the_amplitude_is_6_decibels(speech):
    audio, _ = speech
    assert gain_db(audio, 2 * audio) == pytest.approx(6.0206, abs=1e-3)
    assert gain_db(2 * audio, audio) == pytest.approx(-6.0206, abs=1e-3)


@pytest.mark.parametrize("lag", [-150, -20, 0, 7, 200])
def test_a_shift_is_found_to_the_millisecond(speech, lag):
    audio, rate = speech
    shifted = torch.roll(audio, round(lag * rate / 1000))
    assert offset_ms(audio, shifted, rate) == pytest.approx(lag, abs=1.0)


def test_a_shift_is_found_under_other_phases(speech, generator):
    audio, rate = speech
    # The same envelope carried by noise.
    carried = audio.abs() * torch.randn(audio.shape, generator=generator)
    assert offset_ms(audio, torch.roll(carried, rate // 20), rate) == pytest.approx(50, abs=5.0)


def test_without_level_or_common_shape_there_is_a_reason(speech, generator):
    audio, rate = speech
    silence = torch.zeros_like(audio)
    with pytest.raises(UndefinedMetric, match="the synthesis is silent"):
        gain_db(audio, silence)
    with pytest.raises(UndefinedMetric, match="the reference is silent"):
        gain_db(silence, audio)
    noise = torch.randn(audio.shape, generator=generator)
    for other in (silence, noise):
        with pytest.raises(UndefinedMetric, match="nothing in common"):
            offset_ms(audio, other, rate)
    with pytest.raises(UndefinedMetric, match="less than 20 ms"):
        offset_ms(audio[:400], audio[:400], rate)


def test_the_longer_one_is_trimmed_at_its_end(speech):
    audio, rate = speech
    for x, y in ((audio, audio[:-300]), (audio[:-300].numpy(), audio.double())):
        first, second = trim_pair(x, y, rate)
        assert torch.equal(first, audio[:-300])
        assert torch.equal(second, audio[:-300])


def test_grossly_different_lengths_are_refused(speech):
    audio, rate = speech
    trim_pair(audio, audio[: -(rate // 4)], rate)
    with pytest.raises(ValueError, match=r"lasts 1.900 s and synthesis 1.649 s, expected lengths within 0.25 s"):
        trim_pair(audio, audio[: -(rate // 4) - 20], rate)


@pytest.mark.parametrize(
    ("audio", "problem"),
    [
        (torch.zeros(0), "at least one sample"),
        (torch.zeros(1, 500), r"shape \(1, 500\)"),
        (torch.zeros(500, dtype=torch.int16), "torch.int16"),
        (torch.tensor([0.0, torch.nan, torch.inf]), "has 2 NaN or infinite samples"),
        (torch.zeros(301 * 500), "lasts 301 s, expected at most 300 s; cut both into utterances"),
    ],
)
def test_what_is_no_clip_is_refused(audio, problem):
    with pytest.raises(ValueError, match=problem):
        trim_pair(audio, audio, 500)


def test_only_an_unusual_level_or_delay_is_mentioned():
    assert warnings({"gain_db": -2.9, "offset_ms": 9.0}) == {}
    assert warnings({"pesq": 3.0}) == {}
    found = warnings({"gain_db": -6.02, "offset_ms": 40.0})
    assert "6.0 dB quieter" in found["gain_db"]
    assert "40 ms late" in found["offset_ms"]
