import gzip
import io
import os
import tarfile

import pytest
import torch
import waveglow_files as files

from waveflow import adapters
from waveflow.audio.mel import MelConfig
from waveflow.checkpoints import CheckpointError, convert, load, nemo
from waveflow.checkpoints.nemo import read_mel

TRUTH = {
    "sample_rate": 22050,
    "n_window_size": 1024,
    "n_window_stride": 256,
    "lowfreq": 0,
    "highfreq": None,
    "mag_power": 1.0,
    "log_zero_guard_type": "clamp",
    "log_zero_guard_value": 1e-5,
    "normalize": None,
    "preemph": None,
    "pad_to": 16,
    "pad_value": -11.52,
}


@pytest.fixture
def state():
    return files.small_state()[0]


def refuse(tmp_path, message):
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "source.nemo", tmp_path / "native")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_mel_contract_is_what_the_config_states(tmp_path, state):
    files.write_nemo(tmp_path / "source.nemo", state)
    report = convert(tmp_path / "source.nemo", tmp_path / "native")
    assert report.format == "NeMo archive of a PyTorch zip of a state dict"
    assert load(tmp_path / "native").config.mel == MelConfig.preset("nemo", n_mels=5, f_max=None)


def test_a_mel_that_is_told_goes_before_the_config(tmp_path, state):
    files.write_nemo(tmp_path / "source.nemo", state, yaml=files.NEMO_YAML.replace("preemph: null", "preemph: 0.97"))
    refuse(tmp_path, r"in model_config\.yaml: preemph=0\.97: expected None.*; say which mel")
    convert(tmp_path / "source.nemo", tmp_path / "native", mel="nvidia")
    assert load(tmp_path / "native").config.mel == MelConfig.preset("nvidia", n_mels=5)


def test_settings_may_lie_under_params_or_be_left_out():
    expected = MelConfig.preset("nemo", n_mels=5, f_max=None)
    assert read_mel({"preprocessor": {"params": TRUTH}}, 5, "x") == expected
    assert read_mel({"preprocessor": TRUTH}, 5, "x") == expected
    assert read_mel({}, 5, "x") == MelConfig.preset("nemo", n_mels=5)
    added = read_mel({"preprocessor": {**TRUTH, "log_zero_guard_type": "add", "pad_to": 0}}, 5, "x")
    assert (added.clip_style, added.pad_to) == ("add", 1)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (
            {"n_window_size": None, "n_window_stride": None, "window_size": 0.05, "window_stride": "0.0125"},
            {"n_fft": 2048, "win_length": 1102, "hop_length": 275},
        ),
        ({"exact_pad": True}, {"padding": "same"}),
        ({"mel_norm": None}, {"norm": None}),
        ({"log_zero_guard_value": "eps"}, {"clip": torch.finfo(torch.float32).eps}),
        ({"log_zero_guard_value": "1e-05", "pad_value": "-11.52", "highfreq": "8000"}, {"f_max": 8000.0}),
    ],
)
def test_what_the_preprocessor_says_is_what_the_adapter_reads_but_for_the_ends(setting, expected):
    section = {**TRUTH, **setting}
    found = read_mel({"preprocessor": section}, 5, "x")
    # WaveGlows are taken to be older than NeMo's padding with zeros.
    assert found == adapters.nemo(section, n_mels=5, pad_mode="reflect")
    assert adapters.nemo(section, n_mels=5).pad_mode == "constant"
    assert found == MelConfig.preset("nemo", **{"n_mels": 5, "f_max": None, **expected})


@pytest.mark.parametrize(
    "setting",
    [
        {"sample_rate": "${sample_rate}"},
        {"sample_rate": [22050]},
        {"n_window_size": {}},
        {"n_window_stride": 4096},
        {"highfreq": 1e9},
        {"log_zero_guard_type": ["clamp"]},
        {"log_zero_guard_value": "small"},
        {"log_zero_guard_value": None},
        {"sample_rate": None},
        {"mel_norm": 1},
        {"pad_to": "max"},
        {"window_size": 1e308, "n_window_size": None},
        {"normalize": "per_feature"},
        {"log": False},
        {"window": "hamming"},
    ],
)
def test_a_config_of_another_mel_is_refused(setting):
    with pytest.raises(CheckpointError, match=r"say which mel it is"):
        read_mel({"preprocessor": {**TRUTH, **setting}}, 5, "x.nemo")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("!!python/object/apply:os.system ['touch pwned']", "no plain YAML"),
        ("preprocessor: !!python/name:os.system", "no plain YAML"),
        ("a: [", "no plain YAML"),
        ("[" * 20_000, "no plain YAML"),
        ("\x00", "no plain YAML"),
        ("- a", "a model_config.yaml of list"),
        ("", "a model_config.yaml of NoneType"),
        ("a: " + "x" * (1 << 20), "twice or too large"),
    ],
)
def test_a_config_that_is_no_plain_mapping_is_refused(tmp_path, monkeypatch, state, yaml, message):
    monkeypatch.chdir(tmp_path)
    files.write_nemo(tmp_path / "source.nemo", state, yaml=yaml)
    refuse(tmp_path, message)


def test_a_target_is_never_instantiated(tmp_path, monkeypatch, state):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    files.write_nemo(
        tmp_path / "source.nemo", state, yaml=files.NEMO_YAML + "  _target_: trap.spring\ntarget: trap.Spring"
    )
    convert(tmp_path / "source.nemo", tmp_path / "native")
    assert load(tmp_path / "native").config.mel.pad_to == 16


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "a/../../escape", ".."])
def test_an_entry_that_points_outside_is_refused(tmp_path, state, name, mode):
    place = tmp_path / "deep"
    place.mkdir()
    members = {"model_config.yaml": b"a: 1", name: b"x", "model_weights.ckpt": files.saved(state)}
    files.write_tar(place / "source.nemo", members, mode)
    refuse(place, "points outside the archive")
    assert os.listdir(tmp_path) == ["deep"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("name", ["model_weights.ckpt", "other"])
def test_an_entry_that_is_no_plain_file_is_refused(tmp_path, kind, name):
    with tarfile.open(tmp_path / "source.nemo", "w") as archive:
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    refuse(tmp_path, "no plain file")


def test_a_missing_doubled_or_damaged_member_is_refused(tmp_path, state):
    config, weights = b"a: 1", files.saved(files.nemo_state(state))
    files.write_tar(tmp_path / "source.nemo", {"model_config.yaml": config})
    refuse(tmp_path, r"without model_weights\.ckpt")
    files.write_tar(tmp_path / "source.nemo", {"model_weights.ckpt": weights})
    refuse(tmp_path, r"without model_config\.yaml")
    files.write_tar(tmp_path / "source.nemo", {"model_config.yaml": config, "./model_config.yaml": config})
    refuse(tmp_path, "twice or too large")
    files.write_tar(tmp_path / "source.nemo", {"model_config.yaml": config, "model_weights.ckpt": weights[:-50]})
    refuse(tmp_path, "truncated")
    files.write_tar(tmp_path / "source.nemo", {"model_config.yaml": config, "model_weights.ckpt": files.saved({})})
    refuse(tmp_path, "is empty")
    torch.save(files.nemo_state(state), tmp_path / "source.nemo")
    refuse(tmp_path, "no WaveGlow|beside")


def test_a_folder_in_place_of_a_member_is_refused(tmp_path, state):
    files.write_tar(tmp_path / "source.nemo", {"model_weights.ckpt": files.saved(files.nemo_state(state))})
    with tarfile.open(tmp_path / "source.nemo", "a") as archive:
        folder = tarfile.TarInfo("model_config.yaml")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    refuse(tmp_path, r"without model_config\.yaml")


def test_a_member_that_declares_more_than_memory_is_refused_unread(tmp_path):
    info = tarfile.TarInfo("model_weights.ckpt")
    info.size = 1 << 50
    (tmp_path / "source.nemo").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    refuse(tmp_path, "too many or too large")


def test_members_that_are_too_much_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(nemo._MAX_BYTES, "model_weights.ckpt", 1000)
    files.write_tar(tmp_path / "source.nemo", {"a": b"0" * 600, "b": b"0" * 600})
    refuse(tmp_path, "too many or too large")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_name_that_declares_more_than_memory_is_refused_unread(tmp_path, kind, zipped):
    info = tarfile.TarInfo("name")
    info.type, info.size = kind, 1 << 50
    data = info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024
    (tmp_path / "source.nemo").write_bytes(gzip.compress(data) if zipped else data)
    refuse(tmp_path, "damaged: it has 1125899906842624 bytes where")


def test_a_name_of_names_without_end_is_refused(tmp_path):
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "source.nemo").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"a" * 512) * 5000)
    refuse(tmp_path, "damaged: maximum recursion")


def test_an_archive_of_endless_members_is_refused(tmp_path):
    files.write_tar(tmp_path / "source.nemo", {f"{i}": b"" for i in range(1001)})
    refuse(tmp_path, "too many or too large")


def test_a_pickle_inside_is_held_to_the_same_list(tmp_path, monkeypatch):
    class Payload:
        def __reduce__(self):
            return os.system, ("touch pwned",)

    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO()
    torch.save({"waveglow.upsample.weight": Payload()}, stream)
    files.write_tar(tmp_path / "source.nemo", {"model_config.yaml": b"a: 1", "model_weights.ckpt": stream.getvalue()})
    refuse(tmp_path, "nothing was executed")
