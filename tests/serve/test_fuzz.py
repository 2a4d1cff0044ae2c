"""Garbage, and almost what was asked for, never make the server fail."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from .conftest import npy, wav

DAMAGED = 1200


@pytest.fixture(scope="session")
def seeds(mel, audio):
    """Bodies that are right, small."""
    mel, audio = mel[:, :4].contiguous(), audio[:1200].numpy()
    header = json.dumps({"mel": {"dtype": "F32", "shape": [80, 1 << 40], "data_offsets": [0, 8]}}).encode()
    return [
        npy(mel),
        npy(mel.half()),
        save({"mel": mel}),
        json.dumps({"mel": mel.tolist()}).encode(),
        wav(audio),
        wav(audio, subtype="FLOAT"),
        wav(audio, format="FLAC"),
        wav(audio, format="OGG", subtype="VORBIS"),
        wav(audio, format="MP3", subtype="MPEG_LAYER_III"),
        wav(audio, format="AIFF"),
        wav(audio, format="CAF"),
        wav(audio, format="W64"),
        wav(audio, subtype="MS_ADPCM"),
        struct.pack("<Q", len(header)) + header + bytes(8),
    ]


def damaged(body, random):
    """A body with bytes changed, cut, doubled or moved, most often in its header."""
    body = bytearray(body)
    for _ in range(random.integers(1, 6)):
        if not body:
            break
        at = int(random.integers(0, min(len(body), random.choice([16, 128, len(body)])) or 1))
        change = random.integers(0, 6)
        if change == 0:
            body[at] = random.integers(0, 256)
        elif change == 1:
            body[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif change == 2:
            del body[at : at + int(random.integers(1, 64))]
        elif change == 3:
            body[at:at] = random.bytes(random.integers(1, 16))
        elif change == 4:
            body = body[: max(1, at)]
        else:
            body[at : at + 4] = struct.pack("<I", int(random.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20])))
    return bytes(body)


# libsndfile seeks before the beginning of some damaged files, and soundfile says so on its way.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_bodies_are_answered_and_never_by_an_error_of_the_server(client, seeds):
    random = np.random.default_rng(0)
    found = {}
    for i in range(DAMAGED):
        body = damaged(seeds[i % len(seeds)], random)
        response = client.post("/v1/vocode?format=pcm&sigma=0.5", content=body)
        found[response.status_code] = found.get(response.status_code, 0) + 1
        assert response.status_code in (200, 400, 413), (response.text, body[:200])
        assert response.status_code == 200 or response.json()["error"]
    assert found[400] > DAMAGED / 4
    assert found[200] > 20


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mel", "a"]), inner),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    query=st.dictionaries(
        st.sampled_from(["seed", "sigma", "format", "project", "denoise", "stream", "x"]), st.text(max_size=4)
    ),
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "Authorization", "Accept", "Range"]),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    ),
)
def test_anything_at_all_is_refused_politely(client, body, query, headers):
    response = client.post("/v1/vocode", params=query, headers=headers, content=body)
    assert 400 <= response.status_code < 500
    assert response.json()["error"]
