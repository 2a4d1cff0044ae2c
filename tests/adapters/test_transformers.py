import pytest
import torch
from small_models import SMALL

from waveflow.adapters import TransformersVocoder, espnet, speecht5
from waveflow.inference import Vocoder
from waveflow.models import build

transformers = pytest.importorskip("transformers", reason="needs transformers, of the extra waveflow[test]")


def vocoder_of(mel):
    return Vocoder(build("lapglow", mel=mel.to_dict(), **SMALL["lapglow"]))


@pytest.fixture(scope="module")
def speech_t5():
    config = transformers.SpeechT5Config(
        vocab_size=20, hidden_size=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, speech_decoder_prenet_units=8,
        speech_decoder_postnet_units=8, speech_decoder_postnet_layers=2, speaker_embedding_dim=8, reduction_factor=2,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.SpeechT5ForTextToSpeech(config).eval()
    torch.nn.init.constant_(model.speech_decoder_postnet.feat_out.bias, -3.0)
    return model


def test_speecht5_speaks_through_it(speech_t5):
    adapter = TransformersVocoder(vocoder_of(speecht5()), seed=1)
    tokens, speaker = torch.tensor([[4, 5, 6, 2]]), torch.randn(1, 8)
    kwargs = {"maxlenratio": 4.0, "minlenratio": 4.0}
    torch.manual_seed(0)  # the prenet drops out in synthesis too
    mel = speech_t5.generate_speech(tokens, speaker, **kwargs)
    torch.manual_seed(0)
    audio = speech_t5.generate_speech(tokens, speaker, vocoder=adapter, **kwargs)
    assert adapter.sample_rate == 16000
    assert audio.shape == (mel.shape[0] * 256,)
    torch.testing.assert_close(audio, adapter(mel))


def test_a_batch_of_speecht5_is_silent_in_its_padding():
    vocoder = vocoder_of(speecht5())
    mel = torch.randn(2, 9, 80) * 0.3 - 3
    mel[1, 4:] = 0
    audio = TransformersVocoder(vocoder, seed=1)(mel)
    assert audio[1, 4 * 256 :].abs().max() == 0
    torch.testing.assert_close(audio[1, : 4 * 256], vocoder(mel[1, :4].T, seed=1), atol=1e-5, rtol=0)


def test_fastspeech2conformer_speaks_through_it():
    config = transformers.FastSpeech2ConformerConfig(
        vocab_size=20, hidden_size=16, encoder_layers=1, decoder_layers=1, encoder_num_attention_heads=2,
        decoder_num_attention_heads=2, encoder_linear_units=16, decoder_linear_units=16, speech_decoder_postnet_units=8,
        speech_decoder_postnet_layers=2, duration_predictor_channels=8, pitch_predictor_channels=8,
        energy_predictor_channels=8, pitch_predictor_layers=1, energy_predictor_layers=1,
    )  # fmt: skip
    hifigan = transformers.FastSpeech2ConformerHifiGanConfig(
        upsample_rates=[2, 2], upsample_initial_channel=8, upsample_kernel_sizes=[4, 4], resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
    )  # fmt: skip
    both = transformers.FastSpeech2ConformerWithHifiGanConfig(
        model_config=config.to_dict(), vocoder_config=hifigan.to_dict()
    )
    torch.manual_seed(0)
    model = transformers.FastSpeech2ConformerWithHifiGan(both).eval()
    normalised = espnet(mean=[-2.5] * 80, std=[0.5] * 80)
    adapter = TransformersVocoder(vocoder_of(espnet()), normalised, seed=0)
    model.vocoder = adapter
    torch.nn.init.constant_(model.model.duration_predictor.linear.bias, 1.5)
    with torch.no_grad():
        output = model(torch.tensor([[4, 5, 6, 7]]))
    n_frames = output.spectrogram.shape[1]
    assert n_frames > 1
    assert output.waveform.shape == (1, n_frames * 256)
    expected = adapter.vocoder(output.spectrogram.transpose(1, 2) * 0.5 - 2.5, seed=0)
    torch.testing.assert_close(output.waveform, expected, atol=1e-4, rtol=0)


def test_speecht5s_rate_is_refused_by_a_vocoder_of_another():
    with pytest.raises(ValueError, match="sample_rate is 16000, the target has 22050: another sample rate"):
        TransformersVocoder(Vocoder(build("lapglow", **SMALL["lapglow"])), speecht5())
