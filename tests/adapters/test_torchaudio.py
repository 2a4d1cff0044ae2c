import pytest
import torch
import torchaudio
from small_models import small

from waveflow.adapters import TorchaudioVocoder
from waveflow.audio.mel import MelConfig
from waveflow.inference import Vocoder


@pytest.fixture(scope="module")
def vocoder():
    return Vocoder(small("lapglow"))


def tacotron2():
    model = torchaudio.models.Tacotron2(
        decoder_max_step=12, encoder_embedding_dim=16, attention_rnn_dim=16, decoder_rnn_dim=16, prenet_dim=8,
        postnet_embedding_dim=8, encoder_n_convolution=1, postnet_n_convolution=2,
        attention_location_n_filter=4, attention_hidden_dim=8, symbol_embedding_dim=16,
    )  # fmt: skip
    torch.nn.init.constant_(model.decoder.linear_projection.bias, -5.0)
    return model.eval()


def test_tacotron2s_mels_become_waveforms_with_lengths(vocoder):
    adapter = TorchaudioVocoder(vocoder, seed=3)
    assert isinstance(adapter, torchaudio.pipelines.Tacotron2TTSBundle.Vocoder)
    assert adapter.sample_rate == 22050
    with torch.no_grad():
        mel, lengths, _ = tacotron2().infer(torch.randint(0, 30, (2, 9)), torch.tensor([9, 5]))
    lengths = torch.tensor([mel.shape[-1], 5])
    waveforms, samples = adapter(mel, lengths)
    assert waveforms.shape == (2, mel.shape[-1] * 256)
    assert samples.tolist() == [256 * n for n in lengths]
    torch.testing.assert_close(waveforms[1, : 5 * 256], vocoder(mel[1, :, :5], seed=3), atol=1e-4, rtol=1e-3)
    assert waveforms[1, 5 * 256 :].abs().max() == 0
    alone, none = adapter(mel)
    assert alone.shape == waveforms.shape
    assert none is None


def test_mels_of_another_convention_are_converted_or_refused_at_once(vocoder):
    mel = torch.randn(1, 80, 9, generator=torch.Generator().manual_seed(0)) - 5
    log10 = TorchaudioVocoder(vocoder, MelConfig(log="log10"), seed=0)(mel / 2.302585)[0]
    expected = vocoder(mel, seed=0)
    torch.testing.assert_close(log10, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)
    with pytest.raises(ValueError, match="n_mels is 100, the target has 80"):
        TorchaudioVocoder(vocoder, MelConfig.preset("vocos"))
