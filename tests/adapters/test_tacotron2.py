import pytest
import soundfile
import torch
import torchaudio
from small_models import small

from waveflow.adapters import tacotron2
from waveflow.adapters.tacotron2 import Speaker
from waveflow.checkpoints import native
from waveflow.inference import Vocoder

SMALL = {
    "decoder_max_step": 6, "encoder_embedding_dim": 16, "attention_rnn_dim": 16, "decoder_rnn_dim": 16,
    "prenet_dim": 8, "postnet_embedding_dim": 8, "encoder_n_convolution": 1, "postnet_n_convolution": 2,
    "attention_location_n_filter": 4, "attention_hidden_dim": 8, "symbol_embedding_dim": 16,
}  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Torch's cache in a folder of its own, and a bundle of a small Tacotron 2."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    params = {**tacotron2.BUNDLE._tacotron2_params, **SMALL}
    monkeypatch.setattr(tacotron2.BUNDLE, "_tacotron2_params", params)
    yield params
    torch.hub.set_dir(before)


@pytest.fixture
def weights(cache):
    torch.manual_seed(0)
    model = torchaudio.models.Tacotron2(**cache)
    torch.nn.init.constant_(model.decoder.linear_projection.bias, -5.0)
    tacotron2.weights_path().parent.mkdir()
    torch.save(model.state_dict(), tacotron2.weights_path())


def test_the_address_is_torchaudios(cache):
    assert tacotron2.URL.endswith("/" + tacotron2.BUNDLE._tacotron2_path)


def test_text_becomes_audio_that_its_seed_decides(weights):
    speaker = Speaker(Vocoder(small("lapglow")))
    state = torch.get_rng_state()
    audio = speaker("The flow runs backwards.", seed=3)
    assert 0 < len(audio) <= 6 * 256
    assert audio.isfinite().all()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(speaker("The flow runs backwards.", seed=3), audio)
    assert not torch.equal(speaker("The flow runs backwards.", seed=4), audio)


def test_sentences_are_spoken_one_after_another_with_pauses(weights):
    speaker = Speaker(Vocoder(small("lapglow")))
    audio = speaker("One.  Two! ...\nThree?", seed=5)
    one, two, three = (speaker(word, seed=5 + i) for i, word in enumerate(("One.", "Two!", "Three?")))
    pause = torch.zeros(round(0.25 * 22050))
    assert torch.equal(audio, torch.cat([one, pause, two, pause, three]))


def test_what_was_not_taught_is_named_and_a_text_without_letters_refused(weights):
    speaker = Speaker(Vocoder(small("lapglow")))
    assert speaker.unspoken("Über 42 words, 24 %") == "%24Ü"
    with pytest.raises(ValueError, match="'42' has no letters to speak"):
        speaker("42")


def test_missing_weights_are_named_with_their_place_and_source(cache):
    with pytest.raises(ValueError, match=r"are not at .*tacotron2_english.*curl .*download.pytorch.org"):
        Speaker(Vocoder(small("lapglow")))


def test_the_command_speaks_and_says_what_it_left_out(weights, tmp_path, monkeypatch, capsys):
    from waveflow.cli.main import main

    native.save(small("lapglow"), tmp_path / "model")
    arguments = ["tts", "Chapter 1.", "-m", str(tmp_path / "model"), "-o", str(tmp_path / "out.wav")]
    monkeypatch.setattr("sys.argv", ["waveflow", *arguments])
    main_returns(main)
    assert soundfile.info(tmp_path / "out.wav").samplerate == 22050
    assert "left out, for Tacotron 2 was not taught them: 1" in capsys.readouterr().err
    tacotron2.weights_path().unlink()
    monkeypatch.setattr("sys.argv", ["waveflow", *arguments, "--overwrite"])
    assert main_returns(main) == 2
    assert "--download" in capsys.readouterr().err


def main_returns(main):
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0
    return 0
