import http.server
import importlib.util
import sys
import threading
import warnings
from functools import partial

import pytest
import torch

from waveflow.audio.mel import MelConfig
from waveflow.data import shard_store
from waveflow.data.dataset import SegmentDataset
from waveflow.data.shards import ShardList, write_shards
from waveflow.data.streaming import ShardDataset

NVIDIA = MelConfig()
SEGMENT = 8192


@pytest.fixture(scope="module")
def shards(corpus, tmp_path_factory):
    found, _ = write_shards(corpus, tmp_path_factory.mktemp("shards"), megabytes=0.1)
    assert len(found.shards) >= 3
    return found


@pytest.fixture
def copied(shards, tmp_path):
    """The same shards in a folder that a test may spoil."""
    for path in shards.folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return ShardList.read(tmp_path)


def dataset(shards, **options):
    return ShardDataset(shards, SEGMENT, NVIDIA, **{"window": 2, "seed": 3, **options})


def ids(items):
    return [item.id for item in items]


def test_an_epoch_shows_every_recording_and_the_next_in_another_order(corpus, shards):
    data = dataset(shards, window=len(shards.shards))
    n = len(data)
    first, second = ([data[k] for k in range(e * n, (e + 1) * n)] for e in (0, 1))
    assert set(ids(first)) == {entry.id for entry in corpus.entries}
    assert ids(first) != ids(second)


def test_an_item_is_the_same_in_every_process_and_from_anywhere(shards):
    one, other = dataset(shards), dataset(shards)
    numbers = [len(one) + 5, 3, 0, len(one) - 1, 3]
    for number in numbers:
        a, b = one[number], other[number]
        assert torch.equal(a.audio, b.audio)
        assert torch.equal(a.mel, b.mel)
    assert torch.equal(dataset(shards)[3].audio, one[3].audio)


def test_another_seed_deals_anew(shards):
    numbers = range(12)
    assert ids(dataset(shards)[k] for k in numbers) != ids(dataset(shards, seed=4)[k] for k in numbers)


def test_items_are_those_that_files_would_give(corpus, shards):
    files = SegmentDataset(corpus, "train", SEGMENT, NVIDIA)
    for number in range(6):
        item = dataset(shards)[number]
        entry = next(entry for entry in corpus.entries if entry.id == item.id)
        audio = files.recordings.audio(corpus.entries.index(entry))
        starts = [k for k in range(0, len(audio) - SEGMENT + 1, 256) if torch.equal(audio[k : k + SEGMENT], item.audio)]
        assert starts
        whole = files.transform(audio)
        first = starts[0] // 256
        torch.testing.assert_close(item.mel, whole[:, first : first + SEGMENT // 256], atol=1e-5, rtol=0)


def test_few_shards_are_open_at_a_time(shards):
    data = dataset(shards, window=1)
    n = len(data)
    order = []
    for number in range(n):
        index = next(i for i, end in enumerate(data._plan(0)[1]) if number < end)
        found = data[number].id
        names = {place.entry.id for _, place in data._windows(0, index).places}
        assert found in names
        order.append(index)
    assert order == sorted(order)


def test_a_speaker_can_be_balanced(shards):
    data = dataset(shards, window=len(shards.shards), balance=0.0)
    speakers = [data[k].speaker for k in range(8 * len(data))]
    assert 0.4 < sum(speakers) / len(speakers) < 0.6


def test_a_damaged_recording_is_skipped_and_reported_once(copied):
    shard = copied.shards[0]
    entry, offset, _ = copied.places(shard)[0]
    path = copied.folder / shard.name
    data = bytearray(path.read_bytes())
    data[offset + 500] ^= 1
    path.write_bytes(data)
    stream = dataset(copied, window=len(copied.shards))
    with pytest.warns(UserWarning, match=f"{entry.id} in {shard.name} is skipped") as told:
        found = ids(stream[k] for k in range(2 * len(stream)))
    assert len(told) == 1
    assert entry.id not in found


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_shard_is_skipped_and_reported(copied, how):
    shard = copied.shards[1]
    lost = {place.entry.id for place in copied.places(shard)}
    path = copied.folder / shard.name
    path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:600])
    stream = dataset(copied, window=len(copied.shards))
    with pytest.warns(UserWarning, match=rf"{shard.name}.*is skipped"):
        found = set(ids(stream[k] for k in range(2 * len(stream))))
    assert found
    assert not found & lost


def test_a_corpus_without_a_readable_shard_is_an_error(copied):
    for shard in copied.shards:
        (copied.folder / shard.name).unlink()
    with pytest.warns(UserWarning, match="is skipped"), pytest.raises(ValueError, match="can be read"):
        dataset(copied)[0]


class Server:
    def __init__(self, folder):
        self.asked = []
        owner = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                owner.asked.append(self.path.strip("/"))

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(copied):
    server = Server(copied.folder)
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_shards_behind_an_address_are_fetched_once_and_given_up_again(shards, server, tmp_path):
    stream = dataset(shards, window=1, source=server.address, cache=tmp_path / "cache")
    local = dataset(shards, window=1)
    for number in range(len(stream)):
        assert torch.equal(stream[number].audio, local[number].audio)
        assert len(list((tmp_path / "cache").glob("*.tar"))) <= 2
    assert sorted(server.asked) == sorted(shard.name for shard in shards.shards)


def test_a_shard_that_arrives_damaged_is_skipped(shards, copied, server, tmp_path, monkeypatch):
    monkeypatch.setattr("waveflow.data.shard_store.time.sleep", lambda _: None)
    name = shards.shards[0].name
    (copied.folder / name).write_bytes(b"something else")
    stream = dataset(shards, window=len(shards.shards), source=server.address, cache=tmp_path / "cache")
    with pytest.warns(UserWarning, match=f"the shard {name} is skipped.*SHA-256"):
        assert {stream[k].id for k in range(len(stream))}
    assert server.asked.count(name) == 3


def test_sources_that_cannot_be_are_refused(shards):
    with pytest.raises(ValueError, match=r"give data\.cache=FOLDER"):
        dataset(shards, source="https://example.org/shards")
    with pytest.raises(ValueError, match="does not exist"):
        dataset(shards, source="/nowhere/at/all")
    with pytest.raises(ValueError, match=r"22050.*24000"):
        ShardDataset(shards, SEGMENT, MelConfig(sample_rate=24000))


def test_nothing_is_reported_where_nothing_is_damaged(shards):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = dataset(shards)
        assert [stream[k].audio.shape for k in range(4)] == [(SEGMENT,)] * 4


def test_a_system_without_locks_reads_shards_from_a_folder_only(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)
        spec = importlib.util.spec_from_file_location("without_locks", shard_store.__file__)
        without = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(without)
    assert without.store_of(tmp_path, None, None, 2).folder == tmp_path
    with pytest.raises(ValueError, match=r"give data\.source=FOLDER"):
        without.store_of(tmp_path, "https://example.org/shards", tmp_path, 2)


def test_a_window_of_recordings_shorter_than_a_segment_names_the_setting(shards):
    with pytest.raises(ValueError, match=r"as long as a segment of \d+ samples; shorten the segment, by data\.segment"):
        ShardDataset(shards, 1 << 24, NVIDIA, window=2, seed=3)[0]
