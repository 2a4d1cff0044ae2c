import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import moved
from streamed_models import FINITE, random_mel, random_model

from waveflow.audio.mel import MelConfig
from waveflow.inference import Stream, Vocoder
from waveflow.inference.streaming import look_ahead_error
from waveflow.models import build

STATELESS = {"waveflow", "wavenode"}
VOCODERS = {name: Vocoder(random_model(name), backend="reference") for name in FINITE}


def streamed(vocoder, chunks, **options):
    return torch.cat(list(vocoder.stream(chunks, **options)))


@pytest.mark.parametrize("name", sorted(VOCODERS))
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(0, 11), min_size=1, max_size=4), block=st.sampled_from([None, 1, 5]))
def test_any_chunking_gives_the_offline_audio(name, cuts, block):
    vocoder = VOCODERS[name]
    mel = random_mel(sum(cuts) + 1)
    whole = vocoder(mel, seed=7)
    found = streamed(vocoder, mel.split([*cuts, 1], dim=1), seed=7, block=block)
    assert found.shape == whole.shape
    assert (found - whole).abs().max() < 1e-5 * whole.abs().max()


@pytest.mark.parametrize("name", sorted(VOCODERS))
def test_with_a_block_given_the_audio_is_the_same_to_the_bit_for_any_chunking(name):
    mel = random_mel(17)
    once, pairs = (streamed(VOCODERS[name], mel.split(size, dim=1), seed=3, block=6) for size in (17, 2))
    assert torch.equal(once, pairs)


@pytest.mark.parametrize("name", sorted({*VOCODERS} - STATELESS))
def test_the_look_ahead_is_what_the_first_audio_needs(name):
    stream = Stream(VOCODERS[name], block=1)
    assert stream.stateful
    mel = random_mel(stream.look_ahead + 4)
    given_out = [len(stream.push(frame)) for frame in mel.split(1, dim=1)]
    # Of models with several positions a frame, a part of one may come sooner.
    assert sum(given_out[: stream.look_ahead]) < 256
    assert sum(given_out) >= 4 * 256


def test_models_without_a_streaming_form_are_computed_from_windows():
    assert {name for name in VOCODERS if not Stream(VOCODERS[name]).stateful} == STATELESS


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are interpreted, on the CPU, where no GPU is")
@pytest.mark.parametrize("look_ahead", [None, 1])
@pytest.mark.parametrize("name", ["lapglow", "waveglow"])
def test_kernels_stream_from_windows_what_layers_with_memory_stream(name, look_ahead):
    pytest.importorskip("triton", reason="Triton is part of PyTorch's builds for Linux alone")
    torch.manual_seed(2)
    config = MelConfig(n_fft=128, win_length=128, hop_length=32, n_mels=8)
    more = {"lapglow": {"n_channels": 8, "dilations": [1, 2]}, "waveglow": {"n_channels": 8, "n_layers": 2}}
    model = moved(build(name, mel=config, n_flows=2, **more[name]))
    kernels, layers = Vocoder(model, backend="triton"), Vocoder(model, backend="reference")
    mel = random_mel(40)[:8]
    streams = [Stream(vocoder, seed=3, look_ahead=look_ahead, block=8) for vocoder in (kernels, layers)]
    assert [stream.stateful for stream in streams] == [False, True]
    assert streams[0].look_ahead == streams[1].look_ahead
    found, expected = (torch.cat([stream.push(mel), stream.finish()]) for stream in streams)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_audio_comes_before_the_mel_is_complete_and_memory_stays_bounded():
    stream = Stream(VOCODERS["lapglow"], block=4)
    mel, given_out, sizes = random_mel(80), 0, []
    for frame in mel.split(1, dim=1):
        given_out += len(stream.push(frame))
        assert stream.frames_waiting < stream.look_ahead + 4
        tensors = [value[0] if isinstance(value, tuple) else value for value in stream.state.memory.values()]
        sizes.append(sum(t.untyped_storage().nbytes() for t in tensors if isinstance(t, torch.Tensor)))
    assert given_out >= (80 - stream.look_ahead - 4) * 256
    assert max(sizes[50:]) == max(sizes[20:50])
    assert given_out + len(stream.finish()) == 80 * 256


def test_each_frame_is_computed_once(monkeypatch):
    vocoder = Vocoder(random_model("lapglow"), backend="reference")
    seen, features = [], vocoder.streamed.model.features
    monkeypatch.setattr(vocoder.streamed.model, "features", lambda mel: seen.append(mel.shape[-1]) or features(mel))
    streamed(vocoder, random_mel(80).split(4, dim=1))
    # Each push brings four frames and sees again the three around them that tell their features.
    assert len(seen) == 21
    assert sum(seen) <= 80 + 21 * 3


def test_a_whole_mel_starts_with_one_piece_and_goes_on_in_small_ones():
    vocoder = VOCODERS["lapglow"]
    pieces = [len(piece) for piece in vocoder.stream([random_mel(200)])]
    assert len(pieces) == 8
    assert max(pieces) == 32 * 256


@pytest.mark.parametrize("name", ["lapglow", "waveflow"])
def test_less_look_ahead_starts_sooner(name):
    stream = Stream(VOCODERS[name], look_ahead=1, block=4)
    assert [len(stream.push(random_mel(4))) for _ in range(3)] == [3 * 256, 4 * 256, 4 * 256]
    assert len(stream.finish()) == 256


def test_less_look_ahead_errs_more():
    vocoder, mel = VOCODERS["lapglow"], random_mel(24)
    full = Stream(vocoder).look_ahead
    none, some, all_of_it, more = (look_ahead_error(vocoder, mel, n, seed=1, block=4) for n in (0, 3, full, full + 7))
    assert none + 3 < some < all_of_it == more
    assert all_of_it > 110


def test_a_finished_stream_begins_anew():
    stream, mel = Stream(VOCODERS["lapglow"], seed=2), random_mel(30)
    first = torch.cat([stream.push(mel), stream.finish()])
    again = torch.cat([stream.push(mel), stream.finish()])
    assert torch.equal(first, again)
    assert len(stream.finish()) == 0


def test_half_precision_streams_what_it_gives_offline():
    vocoder = Vocoder(random_model("lapglow"), dtype=torch.bfloat16, backend="reference")
    mel = random_mel(30)
    whole = vocoder(mel, seed=1)
    error = streamed(vocoder, mel.split(7, dim=1), seed=1) - whole
    assert error.square().sum() < 1e-2 * whole.square().sum()


def test_wrong_frames_are_refused_and_the_stream_goes_on():
    stream = Stream(VOCODERS["lapglow"])
    stream.push(random_mel(5))
    with pytest.raises(ValueError, match=r"ndarray, expected a torch tensor; use torch\.as_tensor"):
        stream.push(torch.zeros(80, 3).numpy())
    with pytest.raises(ValueError, match="79 bands"):
        stream.push(torch.zeros(79, 3))
    with pytest.raises(ValueError, match="one utterance"):
        stream.push(torch.zeros(1, 80, 3))
    done = len(stream.push(random_mel(5)))
    assert done + len(stream.finish()) == 10 * 256
    with pytest.raises(ValueError, match="look_ahead=-1"):
        Stream(VOCODERS["lapglow"], look_ahead=-1)
    with pytest.raises(ValueError, match=r"seed is 1.5"):
        Stream(VOCODERS["lapglow"], seed=1.5)
