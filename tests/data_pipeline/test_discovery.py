import pytest

from waveflow.data.discovery import find_recordings


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folder_name_is_the_speaker_of_what_lies_in_it(tmp_path):
    folder = tmp_path / "anna"
    touch(folder, "2.wav", "1.FLAC", "wavs/3.mp3", "readme.txt", ".hidden/4.wav", ".5.wav")
    ids = [r.id for r in find_recordings(folder)]
    assert ids == ["anna/1", "anna/2", "anna/3"]
    assert {r.speaker for r in find_recordings(folder)} == {"anna"}


def test_first_folder_inside_is_the_speaker(tmp_path):
    touch(tmp_path, "p225/wav/p225_001.wav", "p226/mic1/p226_001.wav")
    assert [(r.id, r.speaker) for r in find_recordings(tmp_path)] == [
        ("p225/p225_001", "p225"),
        ("p226/mic1/p226_001", "p226"),
    ]


def test_speaker_can_be_named(tmp_path):
    touch(tmp_path, "x/1.wav")
    assert [(r.id, r.speaker) for r in find_recordings(tmp_path, speaker="bo")] == [("bo/x/1", "bo")]
    with pytest.raises(ValueError, match=r"speaker is '\.\./bo'"):
        find_recordings(tmp_path, speaker="../bo")


def test_metadata_decides_what_is_read_and_brings_the_text(tmp_path):
    folder = tmp_path / "LJSpeech-1.1"
    touch(folder, "wavs/LJ001-0001.wav", "wavs/LJ001-0002.flac", "wavs/unlisted.wav")
    lines = [
        "\ufeffLJ001-0001|Printing, in 1455|Printing, in fourteen fifty five",
        "LJ001-0002|pl\u2028ain",
        "",
        "LJ001-0003|gone",
    ]
    (folder / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    expected = [
        ("LJSpeech-1.1/LJ001-0001", "wavs/LJ001-0001.wav", "Printing, in fourteen fifty five"),
        ("LJSpeech-1.1/LJ001-0002", "wavs/LJ001-0002.flac", "pl\u2028ain"),
        ("LJSpeech-1.1/LJ001-0003", None, "gone"),
    ]
    for source in (folder, folder / "metadata.csv"):
        got = [(r.id, r.path and str(r.path.relative_to(folder)), r.text) for r in find_recordings(source)]
        assert got == expected


def test_lists_with_paths_are_read(tmp_path):
    touch(tmp_path / "c", "wavs/1.wav", "2.wav")
    (tmp_path / "c/filelist.txt").write_text("wavs/1.wav|one\n2|two\n")
    assert [r.id for r in find_recordings(tmp_path / "c/filelist.txt")] == ["c/1", "c/2"]


@pytest.mark.parametrize("name", ["../1", "/etc/1", "a/../../1"])
def test_lists_cannot_name_files_elsewhere(tmp_path, name):
    (tmp_path / "metadata.csv").write_text(f"{name}|text\n")
    with pytest.raises(ValueError, match="expected recordings beside it"):
        find_recordings(tmp_path)


def test_the_corpus_itself_is_not_searched(tmp_path):
    touch(tmp_path, "1.wav", "out/audio/2.flac")
    assert len(find_recordings(tmp_path, skip=tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "does not exist"),
        ("empty", "holds no recordings"),
        ("1.wav", "is a file, expected a folder"),
        ("latin.csv", "cannot be read as UTF-8 text"),
    ],
)
def test_source_without_recordings_is_refused(tmp_path, name, reason):
    touch(tmp_path, "1.wav")
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.csv").write_bytes("1|schön".encode("latin-1"))
    with pytest.raises(ValueError, match=reason):
        find_recordings(tmp_path / name)
