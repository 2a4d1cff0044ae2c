import io
import os
import struct
import warnings
import zipfile
from contextlib import suppress
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waveglow_files import saved

from waveflow.checkpoints import CheckpointError
from waveflow.checkpoints.stored import StoredTensor
from waveflow.checkpoints.torch_files import read_torch_file

CONTAINERS = {"zip": True, "legacy": False}


def write(value, container):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(value, _use_new_zipfile_serialization=CONTAINERS[container])


def read(data):
    return read_torch_file(io.BytesIO(data), "file.pt")[0]


def rezip(data, edit=None, compression=zipfile.ZIP_STORED, extra=()):
    """The same archive with `edit(name, content)` in place of each content, None to leave it out."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", compression) as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        entries = [(name, old.read(name)) for name in old.namelist()] + list(extra)
        for name, content in entries:
            content = edit(name, content) if edit else content
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_tensors_of_every_kind_come_back(container, dtype):
    value = {
        "a": torch.randn(3, 4).to(dtype),
        "empty": torch.empty(0, dtype=dtype),
        "scalar": torch.tensor(1).to(dtype),
    }
    found = read(write(value, container))
    for key, expected in value.items():
        assert torch.equal(found[key].tensor(), expected)
        assert found[key].tensor().dtype == dtype


@pytest.mark.parametrize("container", CONTAINERS)
def test_views_and_tied_tensors_share_one_storage(container):
    base = torch.arange(12.0)
    value = {"base": base, "part": base[2:8].view(2, 3), "transposed": base.view(3, 4).T, "tied": base}
    found = read(write(value, container))
    for key, expected in value.items():
        assert torch.equal(found[key].tensor(), expected)
    assert found["tied"].tensor().data_ptr() == found["base"].tensor().data_ptr()


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_tag_of_another_device_is_ignored(container, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    data = write(torch.nn.Parameter(torch.arange(3.0)), container)
    assert b"cuda:0" in data
    tensor = read(data).tensor()
    assert tensor.device.type == "cpu"
    assert torch.equal(tensor, torch.arange(3.0))


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_is_not_asked_for_is_not_read(container):
    data = write({"model": torch.ones(3), "optimizer": torch.full((1000,), 7.0)}, container)
    garbled = data.replace(struct.pack("<f", 7.0) * 1000, b"\xff" * 4000)
    assert garbled != data
    found = read(garbled)
    assert torch.equal(found["model"].tensor(), torch.ones(3))
    if container == "zip":
        with pytest.raises(CheckpointError, match="storage '1' cannot be read"):
            found["optimizer"].tensor()


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_cut_off_anywhere_is_refused(container):
    data = write({"weight": torch.randn(50), "more": torch.randn(20)}, container)
    for length in range(0, len(data), 7):
        with pytest.raises(CheckpointError, match=r"file\.pt is"):
            read(data[:length])


@cache
def pristine(container):
    """One file for all examples: the old container holds addresses, so that no two are alike."""
    torch.manual_seed(0)
    return write({"weight": torch.randn(4), "conv": torch.nn.Linear(2, 2)}, container)


@pytest.mark.parametrize("container", CONTAINERS)
@given(st.data())
@settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_flipped_bytes_never_escape_as_another_error(tmp_path, container, data):
    file = bytearray(pristine(container))
    places = st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255))
    for position, byte in data.draw(st.lists(places, min_size=1, max_size=4)):
        file[position] = byte
    with suppress(CheckpointError):
        found = read(bytes(file))
        if isinstance(found, dict):
            [value.tensor() for value in found.values() if isinstance(value, StoredTensor)]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: rezip(d, compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (lambda d: rezip(d, extra=[("archive/data.pkl", b"N.")]), "two of its entries have one name"),
        (lambda d: rezip(d, extra=[("other/data.pkl", b"N.")]), "not one that torch.save writes"),
        (lambda d: rezip(d, lambda n, c: None if n.endswith("data.pkl") else c), "not one that torch.save writes"),
        (lambda d: rezip(d, lambda n, c: None if n.endswith("data/0") else c), "storage '0' cannot be read"),
        (lambda d: rezip(d, lambda n, c: c[:-4] if n.endswith("data/0") else c), "196 bytes for 50 of torch.float32"),
        (lambda d: rezip(d, lambda n, c: b"big" if n.endswith("byteorder") else c), "big-endian"),
        (lambda d: rezip(d, extra=[("archive/constants.pkl", b"N.")]), "TorchScript"),
    ],
)
def test_an_archive_that_torch_would_not_write_is_refused(edit, message):
    with pytest.raises(CheckpointError, match=message):
        read(edit(saved({"weight": torch.randn(50)})))["weight"].tensor()


def test_an_entry_that_declares_more_than_there_is_is_refused():
    data = saved({"weight": torch.randn(50)})
    claimed = data.replace(struct.pack("<II", 200, 200), struct.pack("<II", 2**31, 2**31))
    assert claimed != data
    with pytest.raises(CheckpointError, match=r"declares more data than its \d+ bytes"):
        read(claimed)


def tensor_pickle(shape, stride, offset=0, numel=4, key="0", storage="FloatStorage"):
    """A zip whose one tensor is declared so."""

    def declare(name, content):
        if not name.endswith("data.pkl"):
            return content
        reference = f"(X\x07\0\0\0storagectorch\n{storage}\nX\x01\0\0\0{key}X\x03\0\0\0cpuI{numel}\ntQ"
        sizes = ["(" + "".join(f"I{n}\n" for n in numbers) + "t" for numbers in (shape, stride)]
        body = f"ctorch._utils\n_rebuild_tensor_v2\n({reference}I{offset}\n{sizes[0]}{sizes[1]}I00\nNtR."
        return b"\x80\x02" + body.encode("latin1")

    return rezip(saved(torch.arange(4.0)), declare)


def test_a_tensor_as_declared_is_read():
    assert read(tensor_pickle((2, 2), (1, 2))).tensor().tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "declaration",
    [
        {"shape": (5,), "stride": (1,)},
        {"shape": (4,), "stride": (1,), "offset": 1},
        {"shape": (2, 2), "stride": (3, 1)},
        {"shape": (4,), "stride": (-1,), "offset": 3},
        {"shape": (-4,), "stride": (1,)},
        {"shape": (4,), "stride": (1,), "offset": -1},
        {"shape": (2**40,), "stride": (0,)},
        {"shape": (2, 2), "stride": (1,)},
        {"shape": (4,), "stride": (1,), "numel": 2**50},
        {"shape": (4,), "stride": (1,), "numel": 2**80},
        {"shape": (4,), "stride": (1,), "numel": -4},
        {"shape": (4,), "stride": (1,), "key": "9"},
        {"shape": (4,), "stride": (1,), "storage": "DoubleStorage"},
    ],
)
def test_a_tensor_that_reaches_outside_its_file_is_refused(declaration):
    with pytest.raises(CheckpointError, match="damaged"):
        read(tensor_pickle(**declaration)).tensor()


def test_a_legacy_file_with_other_storages_than_its_tensors_is_refused():
    data = write({"weight": torch.randn(50)}, "legacy")
    assert data.count(struct.pack("<q", 50)) == 1
    for changed in (
        data.replace(struct.pack("<q", 50), struct.pack("<q", 2**40)),
        data.replace(struct.pack("<q", 50), struct.pack("<q", -1)),
        data.replace(b"little_endian", b"little_endiam"),
        b"\x80\x02K\x01." + data,
    ):
        with pytest.raises(CheckpointError, match=r"file\.pt"):
            read(changed)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P",
        b"<!DOCTYPE html><html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"RIFF\0\0\0\0WAVE",
        b"\0" * 99,
    ],
)
def test_what_is_no_torch_file_is_said_so(data):
    with pytest.raises(CheckpointError, match=r"file\.pt is no PyTorch file: it begins with"):
        read(data)


def test_a_zip_bomb_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N" * (100 << 20) + b".")
    assert os.path.getsize(path) < 1 << 20
    with path.open("rb") as stream, pytest.raises(CheckpointError, match="is compressed"):
        read_torch_file(stream, str(path))
