import dataclasses
import hashlib
import json
import tarfile

import pytest
import torch
from conftest import DATA

from waveflow.audio import io
from waveflow.data.manifest import Manifest
from waveflow.data.preprocess import preprocess
from waveflow.data.shards import ShardList, is_sharded, key_of, write_shards

SMALL = 0.1  # megabytes: several shards of the test clips


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def split_corpus(tmp_path):
    """Four recordings to train on and two for the rest."""
    return preprocess([DATA / "ljspeech", DATA / "kathleen"], tmp_path / "corpus", validation=0.3, test=0).manifest


def test_a_shard_holds_a_sound_file_and_its_facts_for_each_recording(corpus, tmp_path):
    shards, left_out = write_shards(corpus, tmp_path, megabytes=SMALL)
    assert len(shards.shards) > 1
    assert not left_out
    found = {}
    for shard in shards.shards:
        with tarfile.open(tmp_path / shard.name) as tar:
            names = tar.getnames()
            assert [name.rpartition(".")[2] for name in names] == ["flac", "json"] * shard.recordings
            for flac, facts in zip(names[::2], names[1::2]):
                assert flac.removesuffix(".flac") == facts.removesuffix(".json")
                entry = json.load(tar.extractfile(facts))
                found[entry["id"]] = hashlib.sha256(tar.extractfile(flac).read()).hexdigest() == entry["sha256"]
    assert found == dict.fromkeys([entry.id for entry in corpus.entries], True)


def test_lists_say_where_each_recording_is(corpus, tmp_path):
    odd = dataclasses.replace(corpus.entries[0], text="one\u2028two")
    corpus = dataclasses.replace(corpus, entries=(odd, *corpus.entries[1:]))
    shards, _ = write_shards(corpus, tmp_path, megabytes=SMALL)
    again = ShardList.read(tmp_path)
    assert again == shards
    for shard in again.shards:
        data = (tmp_path / shard.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
        for entry, offset, n in again.places(shard):
            assert data[offset : offset + n] == corpus.path(entry).read_bytes()


def test_shards_are_the_same_bytes_every_time_and_of_another_seed_others(corpus, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        write_shards(corpus, tmp_path / name, megabytes=SMALL, seed=seed)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two != other


def test_an_interrupted_packing_goes_on_to_the_same_bytes(corpus, tmp_path):
    write_shards(corpus, tmp_path / "whole", megabytes=SMALL)
    shards, _ = write_shards(corpus, tmp_path / "parts", megabytes=SMALL)
    first, second = (tmp_path / "parts" / shard.name for shard in shards.shards[:2])
    (tmp_path / "parts/shards.json").unlink()
    second.write_bytes(second.read_bytes()[:1000])
    before = first.stat().st_mtime_ns
    write_shards(corpus, tmp_path / "parts", megabytes=SMALL)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert first.stat().st_mtime_ns == before


def test_other_splits_are_copied_as_files(split_corpus, tmp_path):
    write_shards(split_corpus, tmp_path / "shards")
    others = [entry for entry in split_corpus.entries if entry.split != "train"]
    assert others
    copied = Manifest.read(tmp_path / "shards")
    assert list(copied.entries) == others
    assert all(copied.path(e).read_bytes() == split_corpus.path(e).read_bytes() for e in others)


def test_a_damaged_or_missing_recording_is_left_out_and_named(split_corpus, tmp_path):
    first, second, *_ = split_corpus.split("train").entries
    split_corpus.path(first).unlink()
    io.write(split_corpus.path(second), torch.zeros(4000), 22050)
    shards, left_out = write_shards(split_corpus, tmp_path / "shards")
    assert sorted(sentence.partition(" ")[0] for sentence in left_out) == sorted([first.id, second.id])
    assert sum(shard.recordings for shard in shards.shards) == len(split_corpus.split("train").entries) - 2


def test_dots_do_not_cut_a_name_short(corpus):
    import dataclasses

    entry = dataclasses.replace(corpus.entries[0], id="anna/take.2")
    assert key_of(entry) == f"anna/take_2_{entry.sha256[:8]}"
    assert key_of(corpus.entries[0]) == corpus.entries[0].id


def test_what_is_no_list_of_shards_is_refused(corpus, tmp_path):
    assert not is_sharded(tmp_path)
    with pytest.raises(ValueError, match="write it with `waveflow preprocess --shards`"):
        ShardList.read(tmp_path)
    with pytest.raises(ValueError, match="give the shards one of their own"):
        write_shards(corpus, corpus.folder)
