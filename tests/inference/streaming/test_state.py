import copy
import io
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from small_models import small
from streamed_models import FINITE, random_mel, random_model, rest, rest_elsewhere

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.inference import Stream, Vocoder
from waveflow.inference.streaming import StreamState
from waveflow.models import build

VOCODERS = {name: Vocoder(random_model(name), backend="reference") for name in FINITE}
OPTIONS = [{}, {"look_ahead": 2}, {"block": 3}]


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def begun(vocoder, mel, **options):
    """A snapshot in the middle of a mel, and the audio from there on."""
    stream = Stream(vocoder, seed=2, **options)
    stream.push(mel[:, :23])
    return stream.state.copy(), rest(stream, mel)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", sorted(VOCODERS))
def test_a_stream_goes_on_from_a_snapshot_of_its_own_or_of_another_stream(name, options):
    mel = random_mel(40)
    state, expected = begun(VOCODERS[name], mel, **options)
    own = Stream(VOCODERS[name], seed=2, **options)
    # An equal model's, with layers of its own.
    other = Stream(Vocoder(random_model(name), backend="reference"), seed=2, **options)
    other.push(random_mel(7))
    for stream in (own, other, own):
        stream.state = state
        assert torch.equal(rest(stream, mel), expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["lapglow", "flowavenet", "waveflow"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s)), saved])
def test_a_snapshot_can_be_copied_and_written(name, copied, options):
    mel = random_mel(40)
    state, expected = begun(VOCODERS[name], mel, **options)
    stream = Stream(VOCODERS[name], seed=2, **options)
    stream.state = copied(state)
    assert torch.equal(rest(stream, mel), expected)


def test_another_process_goes_on_from_a_pickled_snapshot_with_a_pickled_vocoder():
    mel = random_mel(40)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for name, options in (("waveglow", {}), ("lapglow", {"look_ahead": 2}), ("waveflow", {})):
            state, expected = begun(VOCODERS[name], mel, **options)
            found = pool.submit(rest_elsewhere, VOCODERS[name], state, mel, options).result()
            assert (found == expected.numpy()).all()


def test_a_pickled_snapshot_holds_what_is_needed_and_not_the_mel_that_it_was_cut_from():
    stream = Stream(VOCODERS["lapglow"], block=8)
    stream.push(random_mel(160))
    n_bytes = len(pickle.dumps(stream.state))
    stream.push(random_mel(8000))
    # Counts have more digits by now.
    assert len(pickle.dumps(stream.state)) < n_bytes + 100


def test_a_snapshot_of_another_model_precision_or_kind_is_refused_and_the_stream_goes_on():
    mel = random_mel(40)
    state, expected = begun(VOCODERS["lapglow"], mel)
    tuned = random_model("lapglow")
    next(tuned.parameters()).data += 1e-3
    for vocoder in (
        VOCODERS["waveglow"],
        VOCODERS["waveflow"],
        Vocoder(tuned, backend="reference"),
        Vocoder(random_model("lapglow"), dtype=torch.bfloat16, backend="reference"),
    ):
        stream = Stream(vocoder)
        with pytest.raises(ValueError, match=r"the state is of a stream of 'LapGlow .*, torch.float32, layers', exp"):
            stream.state = state
        assert len(stream.push(mel)) + len(stream.finish()) == 40 * 256
    stream = Stream(VOCODERS["lapglow"], seed=2)
    stream.push(mel)
    stream.state = StreamState()
    stream.push(mel[:, :23])
    assert torch.equal(rest(stream, mel), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are interpreted, on the CPU, where no GPU is")
def test_a_stream_of_kernels_goes_on_from_a_pickled_snapshot_and_from_none_of_layers():
    pytest.importorskip("triton", reason="Triton is part of PyTorch's builds for Linux alone")
    config = MelConfig(n_fft=128, win_length=128, hop_length=32, n_mels=8)
    model = build("lapglow", mel=config, n_flows=2, n_channels=8, dilations=[1, 2])
    kernels, layers = (Vocoder(model, backend=backend) for backend in ("triton", "reference"))
    mel = random_mel(40)[:8]
    state, expected = begun(kernels, mel, block=8)
    assert (rest_elsewhere(kernels, pickle.loads(pickle.dumps(state)), mel, {"block": 8}) == expected.numpy()).all()
    with pytest.raises(ValueError, match=r"windows', expected .*layers'"):
        Stream(layers).state = state


@pytest.fixture(scope="module")
def speech_like():
    """A mel of which `check_mel` tells the logarithm: noise whose level changes as that of speech does."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(4 * 22050) / 22050
    noise = torch.randn(len(t), generator=generator)
    return MelSpectrogram(MelConfig())(0.1 * noise * torch.exp(2.5 * torch.sin(2 * torch.pi * 2 * t) - 2.5))


@pytest.mark.parametrize("size", [1, 10, 60])
def test_a_mel_of_another_logarithm_is_refused_once_enough_frames_have_come(size, speech_like):
    vocoder = Vocoder(small("lapglow"), backend="reference")
    other = speech_like / torch.log(torch.tensor(10.0))
    with pytest.raises(ValueError, match="look like log 'log10'") as whole:
        vocoder(other[:, : -(-86 // size) * size])
    stream, n_taken = Stream(vocoder, look_ahead=0), 0
    chunks = iter(other.split(size, dim=1))
    while n_taken + size < 86:
        stream.push(next(chunks))
        n_taken += size
        # From a pickle, too, what came before is known.
        state, stream = pickle.loads(pickle.dumps(stream.state)), Stream(vocoder, look_ahead=0)
        stream.state = state
    with pytest.raises(ValueError, match="look like log 'log10'") as told:
        stream.push(next(chunks))
    assert str(told.value) == str(whole.value)


def test_the_first_frames_are_forgotten_once_they_were_judged(speech_like):
    stream = Stream(Vocoder(small("lapglow"), backend="reference"))
    for chunk in speech_like[:, :85].split(17, dim=1):
        stream.push(chunk)
    assert stream.state.first.shape[1] == 85
    stream.push(speech_like[:, 85:90])
    assert stream.state.first is None
    stream.push(speech_like[:, 90:95])
    assert stream.state.first is None
    stream.finish()
    # Too few to be judged, as they are for a whole mel.
    stream.push(speech_like[:, :60] / torch.log(torch.tensor(10.0)))
    assert len(stream.finish())
