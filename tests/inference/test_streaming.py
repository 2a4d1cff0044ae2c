import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import SMALL, small

from waveflow.inference import Stream, Vocoder

VOCODERS = {name: Vocoder(small(name)) for name in SMALL}


def random_mel(n_frames):
    return torch.randn(80, n_frames, generator=torch.Generator().manual_seed(n_frames)) - 5


@pytest.mark.parametrize("name", sorted(VOCODERS))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(0, 25), min_size=1, max_size=6), block=st.sampled_from([4, 32]))
def test_any_chunking_gives_the_offline_audio(name, cuts, block):
    vocoder = VOCODERS[name]
    mel = random_mel(sum(cuts) + 1)
    whole = vocoder(mel, seed=7)
    chunks = mel.split([*cuts, 1], dim=1)
    streamed = torch.cat(list(vocoder.stream(chunks, seed=7, block=block)))
    assert streamed.shape == whole.shape
    assert (streamed - whole).abs().max() < 1e-5 * whole.abs().max()


def test_audio_comes_before_the_mel_is_complete_and_memory_stays_bounded():
    vocoder = VOCODERS["lapglow"]
    stream = Stream(vocoder, block=4)
    mel, given_out = random_mel(200), 0
    for frame in mel.split(1, dim=1):
        given_out += len(stream.push(frame))
        assert stream._mel.shape[-1] <= 2 * stream.lookahead + 4
        assert stream.frames_waiting <= stream.lookahead + 4
    assert given_out >= (200 - stream.lookahead - 4) * 256
    assert given_out + len(stream.finish()) == 200 * 256


def test_less_lookahead_starts_sooner_and_errs_more():
    vocoder = VOCODERS["lapglow"]
    mel = random_mel(120)
    whole = vocoder(mel, seed=1)

    def error(lookahead):
        streamed = torch.cat(list(vocoder.stream(mel.split(10, dim=1), seed=1, lookahead=lookahead, block=8)))
        return (streamed - whole).square().mean()

    full = -(-vocoder.model.receptive_field // 256)
    assert error(full) < 1e-10
    assert error(1) > error(full - 2) > error(full)


def test_a_finished_stream_begins_anew():
    vocoder = VOCODERS["lapglow"]
    stream = Stream(vocoder, seed=2)
    mel = random_mel(30)
    first = torch.cat([stream.push(mel), stream.finish()])
    again = torch.cat([stream.push(mel), stream.finish()])
    assert torch.equal(first, again)


def test_wrong_frames_are_refused_and_the_stream_goes_on():
    stream = Stream(VOCODERS["lapglow"])
    stream.push(random_mel(5))
    with pytest.raises(ValueError, match="79 bands"):
        stream.push(torch.zeros(79, 3))
    with pytest.raises(ValueError, match="one utterance"):
        stream.push(torch.zeros(1, 80, 3))
    stream.push(random_mel(5))
    assert len(stream.finish()) == 10 * 256
    with pytest.raises(ValueError, match="lookahead=-1"):
        Stream(VOCODERS["lapglow"], lookahead=-1)
