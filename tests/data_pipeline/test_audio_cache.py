import torch

from waveflow.data.audio_cache import AudioCache


def test_what_was_used_longest_ago_makes_room():
    cache = AudioCache(3 * 400)
    audio = [torch.full((100,), float(k)) for k in range(4)]
    for k in range(3):
        assert cache.put(k, audio[k]) is audio[k]
    assert cache.get(0) is audio[0]
    cache.put(3, audio[3])
    assert [k for k in range(4) if cache.get(k) is not None] == [0, 2, 3]
    assert cache.bytes == 3 * 400


def test_what_is_larger_than_the_room_is_handed_back_and_not_kept():
    cache = AudioCache(100)
    assert len(cache.put("long", torch.zeros(1000))) == 1000
    assert cache.get("long") is None
    assert cache.bytes == 0
