import html
import io
import json
import re

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save

from waveflow.serve.page import page

from .conftest import heard, npy, wav

# Of audio computed piece by piece or by another backend, relative to its peak: float32 sums in another order.
ROUNDING = 1e-4


def same(found, expected):
    # On a CPU, bit for bit, whatever it was computed with.
    assert torch.equal(found, expected)


def close(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= ROUNDING * expected.abs().max()


@pytest.mark.parametrize("settings", [{}, {"sigma": 0.3}, {"project": 1}, {"denoise": 0.1}])
def test_a_mel_gives_the_offline_audio_of_its_seed(client, vocoder, mel, settings):
    response = client.post("/v1/vocode", params={"seed": 2**64 - 1, "format": "f32", **settings}, content=npy(mel))
    same(heard(response), vocoder(mel, seed=2**64 - 1, **settings))
    assert response.headers["x-seed"] == str(2**64 - 1)


def test_every_way_to_send_a_mel_gives_the_same_audio(client, mel):
    as_json = json.dumps({"mel": mel.tolist()})
    bare = json.dumps(mel.tolist())
    fortran = npy(np.asfortranarray(mel.numpy()))
    bodies = [npy(mel), npy(mel[None]), npy(mel.double()), fortran, save({"mel": mel}), save({"x": mel[None]})]
    answers = [client.post("/v1/vocode?seed=1&format=f32", content=body) for body in [*bodies, as_json, bare]]
    first, *others = map(heard, answers)
    assert all(torch.equal(first, other) for other in others)


def test_a_recording_comes_back_at_its_own_length(client, vocoder, audio):
    odd = audio[:20001]
    response = client.post("/v1/vocode?seed=5&format=f32", content=wav(odd, subtype="FLOAT"))
    same(heard(response), vocoder(vocoder.mel(odd), seed=5)[:20001])


@pytest.mark.parametrize(("name", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_compressed_recordings_of_any_rate_are_read(client, audio, name, subtype):
    stereo = torch.stack([audio, audio], dim=1)[:16000]
    response = client.post("/v1/vocode", content=wav(stereo, rate=16000, format=name, subtype=subtype))
    assert response.status_code == 200, response.text
    assert abs(int(response.headers["x-samples"]) - 22050) < 3000


@pytest.mark.parametrize(
    ("file_format", "found_as", "rate"), [("wav", "WAV", 22050), ("flac", "FLAC", 22050), ("opus", "OGG", 24000)]
)
def test_sound_files_hold_the_offline_audio(client, vocoder, mel, file_format, found_as, rate):
    quiet = mel - 4
    expected = vocoder(quiet, seed=3)
    response = client.post("/v1/vocode", params={"seed": 3, "format": file_format}, content=npy(quiet))
    with soundfile.SoundFile(io.BytesIO(response.content)) as file:
        assert (file.format, file.samplerate) == (found_as, rate)
        found = torch.from_numpy(file.read(dtype="float32"))
    assert response.headers["x-sample-rate"] == str(rate)
    if file_format == "opus":
        assert abs(len(found) - len(expected) * rate / 22050) < 2000
        return
    assert (found - expected.clamp(-1, 1)).abs().max() < 1.01 / 32768


def test_bare_samples_have_the_length_told(client, mel):
    for file_format, width in (("pcm", 2), ("f32", 4)):
        response = client.post("/v1/vocode", params={"format": file_format}, content=npy(mel))
        assert len(response.content) == width * int(response.headers["x-samples"])


def test_streamed_answers_are_the_whole_ones(client, vocoder, mel, audio):
    response = client.post("/v1/vocode?seed=8&format=f32&stream=true", content=npy(mel))
    close(heard(response), vocoder(mel, seed=8))
    response = client.post("/v1/vocode?seed=8&format=f32&stream=true", content=wav(audio[:9999], subtype="FLOAT"))
    close(heard(response), vocoder(vocoder.mel(audio[:9999]), seed=8)[:9999])


def test_a_fresh_seed_is_told_and_can_be_used_again(client, mel):
    first = client.post("/v1/vocode?format=f32", content=npy(mel))
    second = client.post("/v1/vocode?format=f32", content=npy(mel))
    assert first.headers["x-seed"] != second.headers["x-seed"]
    again = client.post("/v1/vocode", params={"format": "f32", "seed": first.headers["x-seed"]}, content=npy(mel))
    assert torch.equal(heard(again), heard(first))


def test_the_model_is_described(client, vocoder):
    facts = client.get("/v1/model").json()
    assert facts["sample_rate"] == 22050
    assert facts["backend"] == "reference"
    assert facts["mel"]["n_mels"] == 80
    assert facts["limits"]["max_seconds"] == 4.0
    assert "token" not in facts["limits"]


def test_the_schema_documents_bodies_answers_and_settings(client):
    operation = client.get("/openapi.json").json()["paths"]["/v1/vocode"]["post"]
    assert {item["name"] for item in operation["parameters"]} == {
        "format", "stream", "seed", "sigma", "denoise", "project",
    }  # fmt: skip
    assert "application/x-npy" in operation["requestBody"]["content"]
    assert {"200", "400", "413", "429", "503"} <= set(operation["responses"])


def plain(text):
    """The words alone, without code's backticks."""
    return " ".join(text.replace("`", " ").split()).rstrip(".")


def test_the_page_for_people_names_all_that_the_schema_does_and_loads_nothing(client):
    answer = client.get("/docs")
    schema = client.get("/openapi.json").json()
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|@import|url\(|\bsrc=|https?:", answer.text)
    text = plain(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)))
    for path, methods in schema["paths"].items():
        assert path in text
        for operation in methods.values():
            for item in operation.get("parameters", []):
                assert f" {item['name']} " in text
                assert plain(item["schema"].get("description") or item["description"]) in text
    for name in ("/v1/stream", "look_ahead", "block", "429"):
        assert name in text


def test_the_page_makes_no_markup_of_what_it_is_told():
    schema = {"info": {"title": "<b>&", "version": "1"}, "paths": {}}
    found = page(schema, {"properties": {"<i>": {"type": "integer", "description": "`<u>` <s>"}}}, "<em>")
    assert "&lt;b&gt;&amp;" in found
    assert not re.search("<(i|u|s|em)>", found)
