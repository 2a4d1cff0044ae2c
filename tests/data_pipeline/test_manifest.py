import dataclasses

import pytest

from waveflow.data.manifest import Entry, Manifest, deal, split_of

ENTRY = Entry("a/1", "audio/a/1.flac", "a", 'héllo | "x"', 22050, 44100, 2.0, "00", "train")


def test_split_has_its_share_and_depends_on_the_id_alone():
    ids = [f"clip{i}" for i in range(20000)]
    splits = {id: split_of(id, 0.1, 0.05) for id in ids}
    counts = {name: sum(split == name for split in splits.values()) / len(ids) for name in set(splits.values())}
    assert counts["validation"] == pytest.approx(0.1, abs=0.01)
    assert counts["test"] == pytest.approx(0.05, abs=0.01)
    assert split_of("LJ001-0001", 0.1, 0.05) == split_of("LJ001-0001", 0.1, 0.05)
    assert any(split_of(id, 0.1, 0.05, seed=1) != splits[id] for id in ids)


def test_split_is_the_same_on_every_machine_and_in_every_version():
    # sha256sum of 0:clip0 to 0:clip5 begins with 3f7e, 207b, fd1b, 64fc, fc4a, 25f4
    expected = ["test", "test", "train", "validation", "train", "test"]
    assert [split_of(f"clip{i}", 0.3, 0.3) for i in range(6)] == expected


@pytest.mark.parametrize(("validation", "test"), [(0.05, 0.05), (0.3, 0.0), (0.001, 0.9), (0.98, 0.01), (0, 0.99)])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_smallest_corpora_have_something_to_train_on_and_to_validate(n, validation, test):
    for seed in range(100):
        ids = [f"clip{i}" for i in range(n)]
        parts = deal(ids, validation, test, seed)
        assert list(parts) == ids
        assert "train" in parts.values()
        assert ("validation" in parts.values()) == (validation > 0)


def test_a_corpus_of_some_size_is_dealt_by_ids_alone():
    for n in (100, 1000):
        ids = [f"clip{i}" for i in range(n)]
        assert deal(ids, 0.05, 0.05) == {id: split_of(id, 0.05, 0.05) for id in ids}
    assert deal(["a"], 0.5, 0) == {"a": split_of("a", 0.5, 0)}


def test_a_larger_test_share_keeps_the_old_test_recordings():
    ids = [f"clip{i}" for i in range(500)]
    small = {id for id in ids if split_of(id, 0, 0.1) == "test"}
    assert small < {id for id in ids if split_of(id, 0, 0.2) == "test"}


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0), (0, 1)])
def test_shares_that_leave_no_training_are_refused(validation, test):
    with pytest.raises(ValueError, match="together below 1"):
        split_of("a", validation, test)


def test_manifest_comes_back_from_its_file(tmp_path):
    other = dataclasses.replace(ENTRY, id="b/1", speaker="b", split="test")
    manifest = Manifest(tmp_path, (ENTRY, other))
    path = manifest.write()
    assert Manifest.read(path) == Manifest.read(tmp_path) == manifest
    assert manifest.split("test").entries == (other,)
    assert manifest.speakers == ["a", "b"]
    assert manifest.path(ENTRY) == tmp_path / "audio/a/1.flac"
    assert manifest.hours == 4 / 3600


def test_a_name_or_a_text_may_hold_what_ends_a_line_in_text(tmp_path):
    manifest = Manifest(tmp_path, (dataclasses.replace(ENTRY, id="a/\u2028\n1", text="\x85one\u2029two\r\x0bthree"),))
    assert Manifest.read(manifest.write()) == manifest


def test_what_editors_add_to_a_manifest_does_no_harm(tmp_path):
    path = Manifest(tmp_path, (ENTRY,)).write()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert Manifest.read(path).entries == (ENTRY,)


def test_a_manifest_in_another_encoding_is_named(tmp_path):
    path = Manifest(tmp_path, (ENTRY,)).write()
    path.write_bytes(path.read_bytes().decode().encode("latin-1"))
    with pytest.raises(ValueError, match="line 1: 'utf-8' codec"):
        Manifest.read(path)


def test_missing_and_empty_manifests_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"manifest.jsonl does not exist; make it with `waveflow preprocess`"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.jsonl").touch()
    with pytest.raises(ValueError, match="lists no recordings"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"split"', '"part"', r"\['part', 'split'\] are missing or unknown"),
        ('"train"', '"dev"', "impossible"),
        ("44100", "0", "impossible"),
        ("44100", '"44100"', "n_samples is '44100', expected int"),
        ('"00"', "null", "sha256 is None, expected str"),
        ('"train"', '["train"]', r"split is \['train'\], expected str"),
        ("}", "", "line 1"),
    ],
)
def test_damaged_line_is_named_with_its_number(tmp_path, old, new, reason):
    path = Manifest(tmp_path, (ENTRY,)).write()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=reason) as error:
        Manifest.read(path)
    assert f"{path}, line 1" in str(error.value)


def test_a_duration_may_be_whole(tmp_path):
    path = Manifest(tmp_path, (ENTRY,)).write()
    path.write_text(path.read_text().replace("2.0", "2"))
    assert Manifest.read(path).entries == (ENTRY,)


def test_empty_split_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="is in the validation split; raise its share"):
        Manifest(tmp_path, (ENTRY,)).split("validation")
    with pytest.raises(ValueError, match="split is 'dev'"):
        Manifest(tmp_path, (ENTRY,)).split("dev")
