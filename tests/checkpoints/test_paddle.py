"""PaddleSpeech's WaveFlow: pickles of arrays, read without executing them."""

import io
import pickle
import re

import numpy as np
import pytest
import torch
from foreign_states import l0sg
from goldens import distance, golden
from tolerances import GOLDEN_WAVEFLOW

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints import CheckpointError
from waveflow.checkpoints.foreign import read_foreign
from waveflow.checkpoints.l0sg import read_l0sg
from waveflow.checkpoints.paddle import is_paddle, read_paddle, read_pdparams
from waveflow.models import build
from waveflow.models.waveflow import row_permutations

HEIGHT, N_FLOWS = 8, 4
TINY = {"n_group": HEIGHT, "n_flows": N_FLOWS, "n_channels": 4, "n_layers": 2}
THEIRS = (
    (r"upsample_conv\.0\.", "encoder.0."),
    (r"upsample_conv\.2\.", "encoder.1."),
    (r"flows\.(\d)\.coupling\.net\.front_conv\.0\.conv\.", r"decoder.\1.input_proj."),
    (r"flows\.(\d)\.coupling\.net\.res_blocks\.(\d)\.filter_gate_conv\.conv\.", r"decoder.\1.resnet.\2.conv."),
    (r"flows\.(\d)\.coupling\.net\.res_blocks\.(\d)\.filter_gate_conv_c\.", r"decoder.\1.resnet.\2.condition_proj."),
    (r"flows\.(\d)\.coupling\.net\.res_blocks\.(\d)\.res_skip_conv\.", r"decoder.\1.resnet.\2.out_proj."),
    (r"flows\.(\d)\.coupling\.proj_log_s_t\.conv\.", r"decoder.\1.output_proj."),
)


def as_paddle(l0sg, permutations=True):
    """L0SG's state dict under PaddleSpeech's names, lengths of one dimension, with its permutations as buffers."""
    arrays = {}
    for key, value in l0sg.items():
        for ours, theirs in THEIRS:
            key = re.sub(f"^{ours}", theirs, key)
        arrays[key] = value.numpy().ravel() if key.endswith("weight_g") else value.numpy()
    if permutations:
        for k, order in enumerate(row_permutations("bipartite", N_FLOWS, HEIGHT)):
            arrays[f"decoder.generated_tensor_{k}"] = np.array(order)
    return arrays


def read(value, **options):
    return read_pdparams(io.BytesIO(pickle.dumps(value, **options)), "a.pdparams")


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_whatever_the_protocol_type_and_order(protocol, dtype, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=dtype, order=order)
    found = read({"a": array, "b": np.zeros((0, 3), dtype)}, protocol=protocol)
    assert torch.equal(found["a"], torch.from_numpy(np.ascontiguousarray(array)))
    assert found["b"].shape == (0, 3)


def test_pairs_of_a_name_and_an_array_and_the_table_of_names_are_known():
    class Saved:
        """A tensor as paddle.save writes it: a call of tuple."""

        def __init__(self, name, array):
            self.name, self.array = name, array

        def __reduce__(self):
            return tuple, ((self.name, self.array),)

    table = {"StructuredToParameterName@@": {"a": "conv2d_0.w_0"}}
    found = read({"a": Saved("conv2d_0.w_0", np.ones(3)), **table})
    assert [*found] == ["a"]
    assert torch.equal(found["a"], torch.ones(3, dtype=torch.float64))


def test_anything_but_arrays_is_refused_unexecuted(capsys):
    for value in (Evil(), {"a": Evil()}, {"a": np.array([Evil()], dtype=object)}, {"a": 3}, [np.ones(3)]):
        with pytest.raises(CheckpointError):
            read(value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("cut", [1, 10, 100, 200])
def test_damaged_file_is_refused(cut):
    data = pickle.dumps({"a": np.arange(100.0)})
    with pytest.raises(CheckpointError, match=r"a\.pdparams"):
        read_pdparams(io.BytesIO(data[:-cut]), "a.pdparams")


def test_an_array_that_claims_more_than_it_has_is_refused():
    data = pickle.dumps({"a": np.arange(100, dtype="float32")}, protocol=4)
    assert b"Kd\x85" in data
    with pytest.raises(CheckpointError, match="damaged"):
        read_pdparams(io.BytesIO(data.replace(b"Kd\x85", b"K\xff\x85")), "a.pdparams")


@pytest.mark.parametrize("protocol", [2, 4])
def test_file_makes_the_model_that_l0sg_s_names_make(tmp_path, protocol):
    state = l0sg()
    path = tmp_path / "step-100.pdparams"
    path.write_bytes(pickle.dumps(as_paddle(state), protocol=protocol))
    tensors = read_foreign(path).tensors
    assert is_paddle(tensors)
    found, expected = read_paddle(tensors, "file"), read_l0sg(state, "state", n_group=HEIGHT)
    assert found.config == expected.config
    assert found.assumed == ()
    mel = MelConfig.preset("nvidia", n_mels=5)
    z, features = torch.randn(1, 512), torch.randn(1, 5, 2)
    assert torch.equal(found.build(mel).inverse(z, features), expected.build(mel).inverse(z, features))


def test_without_its_permutations_the_height_is_assumed_and_said_so():
    tensors = {key: torch.from_numpy(value) for key, value in as_paddle(l0sg(), permutations=False).items()}
    found = read_paddle(tensors, "file")
    assert (found.config["n_group"], found.assumed) == (16, ("n_group",))
    assert read_paddle(tensors, "file", n_group=8).config["n_group"] == 8


def test_dilations_over_the_rows_follow_from_the_height():
    tensors = {key: torch.from_numpy(value) for key, value in as_paddle(l0sg(), permutations=False).items()}
    published = {16: (1,) * 8, 32: (1, 2, 4, 1, 2, 4, 1, 2), 64: (1, 2, 4, 8, 16, 1, 2, 4)}
    for n_group, dilations in published.items():
        cycle = read_paddle(tensors, "file", n_group=n_group).config["n_layers_per_cycle"]
        net = build("waveflow", **{**TINY, "n_group": n_group, "n_layers": 8, "n_layers_per_cycle": cycle})
        assert net.flow.steps[1].conditioner.height_dilations == dilations


def test_contradictions_are_refused():
    arrays = as_paddle(l0sg())
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    with pytest.raises(CheckpointError, match="permutes 8 rows, but n_group=16"):
        read_paddle(tensors, "file", n_group=16)
    with pytest.raises(CheckpointError, match="another way"):
        read_paddle({**tensors, "decoder.generated_tensor_0": torch.arange(8)}, "file")
    with pytest.raises(CheckpointError, match=r"decoder\.9\.strange"):
        read_paddle({**tensors, "decoder.9.strange.weight": torch.ones(3)}, "file")


def test_golden_under_paddle_s_names_gives_the_reference_s_audio():
    state, tensors, metadata = golden("waveflow_small_h8_bipartize")
    theirs = {key: torch.from_numpy(value) for key, value in as_paddle(state).items()}
    model = read_paddle(theirs, "golden").build(MelConfig.preset("nvidia", n_mels=20))
    z = float(metadata["temp"]) * tensors["reverse.noise.0"][:, 0].transpose(1, 2).flatten(1)
    audio = model.inverse(z, tensors["reverse.mel"])
    assert distance(audio, tensors["reverse.audio"]) < GOLDEN_WAVEFLOW["audio"]
