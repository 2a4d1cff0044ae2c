import dataclasses
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_files import write_mel
from waveflow.data.dataset import SegmentDataset, UtteranceDataset
from waveflow.data.manifest import Manifest
from waveflow.data.sampling import StepSampler

NVIDIA = MelConfig()
SEGMENT = 8192


@pytest.fixture
def dataset(corpus):
    return SegmentDataset(corpus, "train", SEGMENT, NVIDIA)


def recording(corpus, id):
    return next(io.read(corpus.path(entry))[0] for entry in corpus.entries if entry.id == id)


def place_of(audio, segment):
    """Where the segment lies in the recording, samples."""
    begins = (audio[: len(audio) - len(segment) + 1] == segment[0]).nonzero().flatten().tolist()
    return [begin for begin in begins if torch.equal(audio[begin : begin + len(segment)], segment)]


@pytest.mark.parametrize("preset", ["nvidia", "hifigan", "vocos", "flowavenet", "nemo"])
@pytest.mark.parametrize(("segment", "frames_ahead"), [(8192, 0), (8192, 3), (8000, 1), (100, 0)])
def test_mel_of_a_segment_is_a_piece_of_the_mel_of_the_recording(corpus, preset, segment, frames_ahead):
    config = MelConfig.preset(preset, sample_rate=22050)
    dataset = SegmentDataset(corpus, "train", segment, config, frames_ahead=frames_ahead)
    n_frames = -(-segment // 256) + frames_ahead
    for number in range(12):
        item = dataset[number]
        assert item.audio.shape == (segment,)
        assert item.mel.shape == (config.n_mels, n_frames)
        audio = recording(corpus, item.id)
        first = next(p for p in place_of(audio, item.audio) if p % 256 == 0) // 256
        whole = MelSpectrogram(config)(audio)[:, first : first + n_frames]
        torch.testing.assert_close(item.mel, whole, atol=1e-5, rtol=0)


def test_segments_reach_both_ends_of_a_recording(corpus):
    one = dataclasses.replace(corpus, entries=corpus.entries[:1])
    audio = recording(corpus, one.entries[0].id)
    dataset = SegmentDataset(one, "train", 48000, NVIDIA)
    begins = {p for number in range(150) for p in place_of(audio, dataset[number].audio)}
    assert min(begins) == 0
    assert max(begins) == (len(audio) - 48000) // 256 * 256


def test_unaligned_segments_begin_anywhere(corpus):
    dataset = SegmentDataset(corpus, "train", SEGMENT, NVIDIA, aligned=False)
    begins = [place_of(recording(corpus, item.id), item.audio)[0] for item in map(dataset.__getitem__, range(20))]
    assert len({begin % 256 for begin in begins}) > 10
    audio = recording(corpus, dataset[0].id)
    shifted = MelSpectrogram()(audio[begins[0] % 256 :])[:, begins[0] // 256 :][:, 3:30]
    torch.testing.assert_close(dataset[0].mel[:, 3:30], shifted, atol=1e-4, rtol=0)


def test_items_do_not_depend_on_what_was_read_before(corpus, dataset):
    small = SegmentDataset(corpus, "train", SEGMENT, NVIDIA, cache_bytes=300_000)
    for number in (500, 3, 500, 77, 3):
        assert torch.equal(dataset[number].audio, small[number].audio)
        assert torch.equal(dataset[number].mel, small[number].mel)
        assert small.recordings.kept.bytes <= 300_000
    assert not torch.equal(dataset[0].audio, SegmentDataset(corpus, "train", SEGMENT, NVIDIA, seed=1)[0].audio)


def test_recordings_are_decoded_once(dataset, monkeypatch):
    for number in range(40):
        dataset[number]
    monkeypatch.setattr("waveflow.data.recordings.read", None)
    for number in range(40):
        dataset[number]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_resumes_with_the_batches_that_were_left(dataset, workers):
    def batches(start, stop):
        sampler = StepSampler(4, start, stop)
        return list(DataLoader(dataset, batch_sampler=sampler, collate_fn=dataset.collate, num_workers=workers))

    whole = batches(0, 5)
    resumed = batches(3, 5)
    assert whole[0].audio.shape == (4, SEGMENT)
    assert whole[0].mel.shape == (4, 80, SEGMENT // 256)
    for a, b in zip(whole[3:], resumed, strict=True):
        assert torch.equal(a.audio, b.audio)
        assert torch.equal(a.mel, b.mel)
        assert a.ids == b.ids


def test_speakers_are_balanced(corpus):
    dataset = SegmentDataset(corpus, "train", SEGMENT, NVIDIA, balance=0.0)
    found = [dataset[number].speaker for number in range(200)]
    assert dataset.speakers == ["kathleen", "ljspeech"]
    assert found.count(0) == pytest.approx(100, abs=5)


def test_level_changes_audio_and_mel_together_and_never_clips(corpus, dataset):
    louder = SegmentDataset(corpus, "train", SEGMENT, NVIDIA, gain_db=(-12, 40), gain_share=0.5)
    gains = []
    for number in range(60):
        plain, changed = dataset[number], louder[number]
        gain = float(changed.audio.abs().max() / plain.audio.abs().max())
        gains.append(gain)
        torch.testing.assert_close(changed.audio, gain * plain.audio, atol=1e-5, rtol=0)
        loud = (plain.mel > -8) & (changed.mel > -8)
        shift = (changed.mel - plain.mel)[loud]
        torch.testing.assert_close(shift, torch.full_like(shift, gain).log(), atol=1e-2, rtol=0)
        assert changed.audio.abs().max() <= 1 + 1e-6
    assert 20 < sum(abs(gain - 1) < 1e-6 for gain in gains) < 40
    assert min(gains) < 0.6
    assert max(gains) > 1.5


def test_short_recordings_are_left_out_by_name(corpus):
    dataset = SegmentDataset(corpus, "train", 50000, NVIDIA)
    assert dataset.left_out
    assert set(dataset.left_out) == {entry.id for entry in corpus.entries if entry.n_samples < 50000}
    assert not {dataset[number].id for number in range(30)} & set(dataset.left_out)
    with pytest.raises(
        ValueError, match=r"no recording of the train .* has \d+; shorten the segment, by data\.segment"
    ):
        SegmentDataset(corpus, "train", 10**6, NVIDIA)


def test_recording_of_exactly_one_segment_serves(corpus):
    shortest = min(corpus.entries, key=lambda entry: entry.n_samples)
    one = Manifest(corpus.folder, (shortest,))
    item = SegmentDataset(one, "train", shortest.n_samples, NVIDIA)[3]
    assert torch.equal(item.audio, recording(corpus, shortest.id))


def test_other_rate_than_the_contract_is_refused(corpus):
    with pytest.raises(ValueError, match=r"at \[22050\] Hz, the mel contract asks for 24000 Hz"):
        SegmentDataset(corpus, "train", SEGMENT, MelConfig.preset("vocos"))


def test_file_that_changed_since_preprocessing_is_named(corpus, tmp_path):
    entry = dataclasses.replace(corpus.entries[0], n_samples=corpus.entries[0].n_samples + 1)
    dataset = SegmentDataset(Manifest(corpus.folder, (entry,)), "train", SEGMENT, NVIDIA)
    with pytest.raises(ValueError, match=f"{entry.path}.*run `waveflow preprocess` again"):
        dataset[0]


@pytest.fixture
def paired(corpus, tmp_path):
    """Mels of an acoustic model: the recordings' own, marked, and one of them a frame short."""
    for index, entry in enumerate(corpus.entries):
        mel = MelSpectrogram()(recording(corpus, entry.id)).clamp(max=-0.5)
        target = tmp_path / f"{entry.id}.npy"
        target.parent.mkdir(exist_ok=True)
        write_mel(target, mel[:, :-1] if index == 0 else mel)
    return tmp_path


def test_paired_mels_are_cut_where_the_audio_is(corpus, paired):
    dataset = SegmentDataset(corpus, "train", SEGMENT, NVIDIA, mels=paired)
    for number in range(30):
        item = dataset[number]
        assert item.mel.shape == (80, 32)
        first = place_of(recording(corpus, item.id), item.audio)[0] // 256
        whole = MelSpectrogram()(recording(corpus, item.id)).clamp(max=-0.5)
        torch.testing.assert_close(item.mel, whole[:, first : first + 32], atol=1e-6, rtol=0)


def test_missing_paired_mel_is_named_before_training(corpus, paired):
    (paired / f"{corpus.entries[2].id}.npy").unlink()
    with pytest.raises(ValueError, match=f"{corpus.entries[2].id} has no mel file"):
        SegmentDataset(corpus, "train", SEGMENT, NVIDIA, mels=paired)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda mel: mel[:, :-4], "make the mel with the durations of the recording"),
        (lambda mel: mel.T, "transposed"),
        (lambda mel: mel.exp(), "linear"),
    ],
)
def test_paired_mel_that_does_not_fit_is_named(corpus, paired, spoil, reason):
    for entry in corpus.entries:
        write_mel(paired / f"{entry.id}.npy", spoil(MelSpectrogram()(recording(corpus, entry.id))))
    with pytest.raises(ValueError, match=reason) as error:
        SegmentDataset(corpus, "train", SEGMENT, NVIDIA, mels=paired)[0]
    assert str(paired) in str(error.value)


def test_paired_mels_refuse_what_would_unpair_them(corpus, paired):
    for options in ({"aligned": False}, {"gain_share": 0.5}):
        with pytest.raises(ValueError, match="paired mels fit the recording as it is"):
            SegmentDataset(corpus, "train", SEGMENT, NVIDIA, mels=paired, **options)
    with pytest.raises(ValueError, match="leave out `seconds`"):
        UtteranceDataset(corpus, "train", NVIDIA, mels=paired, seconds=1)


def test_utterances_are_whole_and_padded_with_silence(corpus):
    dataset = UtteranceDataset(corpus, "train", NVIDIA, multiple=8)
    batch = dataset.collate([dataset[index] for index in range(len(dataset))])
    assert batch.ids == [entry.id for entry in corpus.entries]
    assert batch.lengths.tolist() == [entry.n_samples // 8 * 8 for entry in corpus.entries]
    for row, (id, length, n_frames) in enumerate(zip(batch.ids, batch.lengths, batch.n_frames, strict=True)):
        audio = recording(corpus, id)[:length]
        mel = MelSpectrogram()(audio)
        assert torch.equal(batch.audio[row, :length], audio)
        assert n_frames == mel.shape[-1]
        assert torch.equal(batch.mel[row, :, :n_frames], mel)
        assert (batch.audio[row, length:] == 0).all()
        rest = batch.mel[row, :, n_frames:]
        torch.testing.assert_close(rest, torch.full_like(rest, NVIDIA.floor))


def test_clips_are_chosen_once_and_cut(corpus):
    dataset = UtteranceDataset(corpus, "train", NVIDIA, clips=3, seconds=1.0, multiple=256)
    assert [len(dataset[index].audio) for index in range(3)] == [22050 // 256 * 256] * 3
    again = UtteranceDataset(corpus, "train", NVIDIA, clips=3)
    assert [item.id for item in map(dataset.__getitem__, range(3))] == [again[index].id for index in range(3)]


def test_dataset_is_made_from_a_path_and_travels_to_other_processes(corpus, dataset):
    copy = pickle.loads(pickle.dumps(SegmentDataset(corpus.folder, "train", SEGMENT, NVIDIA)))
    assert torch.equal(copy[5].mel, dataset[5].mel)


def test_batch_moves_to_a_device(dataset):
    batch = dataset.collate([dataset[0], dataset[1]]).to("meta")
    assert batch.audio.device.type == batch.speakers.device.type == "meta"
    assert batch.ids == [dataset[0].id, dataset[1].id]
