import collections
import copyreg
import io
import os
import pickle
import struct
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch

from waveflow.checkpoints import CheckpointError, unpickle
from waveflow.checkpoints.stored import Record
from waveflow.checkpoints.unpickle import read_pickle

SHARED_LIST = [1, 2]
VALUES = [
    None,
    True,
    False,
    0,
    -1,
    255,
    65536,
    -(2**40),
    2**200,
    1.5,
    float("inf"),
    "text",
    "häßlich \u2028 \U0001f600\n",
    "x" * 300,
    b"bytes \x00\xff",
    b"y" * 300,
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
    [],
    [1, [2, [3]]],
    {},
    {"a": 1, 2: "b", None: [1.5]},
    set(),
    {"a", "b"},
    [SHARED_LIST, SHARED_LIST],
    {"lr": 1e-4, "betas": (0.9, 0.999), "params": list(range(300))},
    collections.OrderedDict([("b", 1), ("a", 2)]),
]


def read(data):
    return read_pickle(io.BytesIO(data), "file.pt")


class Payload:
    """Pickles as a call of whatever it is given."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_plain_values_are_what_pickle_makes_of_them(value, protocol):
    found = read(pickle.dumps(value, protocol))
    assert found == value
    assert type(found) is (dict if isinstance(value, dict) else type(value))


def test_shared_values_stay_shared_and_order_is_kept():
    first, second = read(pickle.dumps([SHARED_LIST, SHARED_LIST], 2))
    assert first is second
    assert list(read(pickle.dumps(collections.OrderedDict([("b", 1), ("a", 2)]), 2))) == ["b", "a"]


def test_attributes_of_an_ordered_dict_are_left_out():
    state = collections.OrderedDict(weight=1)
    state._metadata = {"version": 1}
    assert read(pickle.dumps(state, 2)) == {"weight": 1}


@pytest.mark.parametrize("protocol", range(5))
def test_a_module_becomes_a_record_of_its_attributes(protocol):
    record = read(pickle.dumps(torch.nn.Sequential(torch.nn.ReLU()), protocol))
    assert (type(record), record.name) == (Record, "torch.nn.modules.container.Sequential")
    assert record.state["_modules"]["0"].name == "torch.nn.modules.activation.ReLU"
    assert record.state["training"] is True


def test_a_class_that_does_not_exist_here_becomes_a_record_unimported():
    sys.modules.pop("glow", None)
    record = read(b"\x80\x02cglow\nWaveGlow\n)\x81}(X\x01\x00\x00\x00aK\x01ub.")
    assert (record.name, record.state) == ("glow.WaveGlow", {"a": 1})
    assert "glow" not in sys.modules


MALICIOUS = {
    "os.system": Payload(os.system, "touch pwned"),
    "subprocess": Payload(subprocess.Popen, ["touch", "pwned"]),
    "eval": Payload(eval, "open('pwned', 'w')"),
    "exec": Payload(exec, "open('pwned', 'w')"),
    "getattr": Payload(getattr, torch.nn.Module, "__init__"),
    "open": Payload(open, "pwned", "w"),
    "import": Payload(__import__, "antigravity"),
    "torch.load": Payload(torch.load, "pwned"),
    "torch.hub": Payload(torch.hub.load, "pwned", "pwned"),
    "add_extension": Payload(copyreg.add_extension, "os", "system", 77),
    "registry": Payload(copyreg.pickle, dict, os.system),
    "numpy": np.float64(1.5),
    "numpy array": np.ones(3),
    "partial": Payload(__import__("functools").partial, os.system),
    "set_printoptions": Payload(torch.set_num_threads, 1),
    "cpp_extension": Payload(torch.Tensor.__setattr__, 1),
    "weight_norm function": Payload(torch.nn.utils.weight_norm, 1),
    "dtype": torch.float32,
    "defaultdict": collections.defaultdict(os.getcwd),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("payload", MALICIOUS.values(), ids=MALICIOUS.keys())
def test_whatever_is_not_in_the_list_is_refused_by_name(tmp_path, monkeypatch, payload, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"file\.pt asks for '[\w.]+', which no checkpoint needs.*nothing was executed"
    ):
        read(pickle.dumps({"model": [payload]}, protocol))
    assert os.listdir() == []


HAND_WRITTEN = {
    "global": b"cos\nsystem\n(S'touch pwned'\ntR.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0btouch pwned\x85R.",
    "instance": b"(S'touch pwned'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'touch pwned'\no.",
    "old-style instance of a known class": b"(iglow\nWaveGlow\n.",
    "dotted way out of a known module": b"\x80\x04\x8c\x19torch.nn.modules.conv.os.\x8c\x06system\x93)R.",
    "function of a known module": b"ctorch.nn.modules.module\nregister_module_forward_hook\n)R.",
    "call of a known class": b"ctorch.nn.modules.conv\nConv1d\n(K\x01K\x01K\x01tR.",
    "arguments for a known class": b"\x80\x02cglow\nWaveGlow\nK\x01\x85\x81.",
    "keyword arguments": b"\x80\x04cglow\nWaveGlow\n)}\x92.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"Pstorage\n.",
    "binary persistent id": b"K\x01Q.",
    "call of a number": b"K\x01)R.",
    "call of a storage type": b"ctorch\nFloatStorage\n)R.",
    "state for a number": b"K\x01}b.",
    "state of another kind": b"\x80\x02cglow\nWaveGlow\n)\x81K\x01b.",
    "items for a number": b"K\x01K\x02K\x03s.",
    "items for a tuple": b")K\x03a.",
    "items for a record": b"\x80\x02cglow\nWaveGlow\n)\x81K\x01K\x02s.",
    "bytes of another encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
    "list as a key": b"}]K\x01s.",
    "odd number of items": b"}(K\x01u.",
    "nothing": b".",
    "two values": b"K\x01K\x02.",
    "empty": b"",
    "no stop": b"K\x01",
    "memo that was never put": b"h\x05.",
    "pop of nothing": b"0.",
    "mark that was never set": b"t.",
    "tuple of too few": b"K\x01\x87.",
    "negative length": b"\x80\x02T\xff\xff\xff\xffabc.",
    "length beyond the end": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "unknown opcode": b"\xff.",
    "bad number": b"Ix\n.",
    "bad text": b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "tensor without storage": b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00)))tR.",
    "parameter without tensor": b"ctorch._utils\n_rebuild_parameter\n(K\x01I01\nNtR.",
}


@pytest.mark.parametrize("data", HAND_WRITTEN.values(), ids=HAND_WRITTEN.keys())
def test_a_malformed_or_hand_written_pickle_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"file\.pt"):
        read(data)
    assert os.listdir() == []


def test_a_pickle_that_would_take_for_ever_is_refused_at_once():
    # A tuple of a tuple twice, a hundred deep: hashing it visits 2^100 leaves.
    doubling = b")" + b"2\x86" * 100
    with pytest.raises(CheckpointError, match="a key that is no plain value"):
        read(b"}" + doubling + b"K\x01s.")
    with pytest.raises(CheckpointError, match="a key that is no plain value"):
        read(b"\x80\x02c__builtin__\nset\n](" + doubling + b"e\x85R.")


def test_a_pickle_of_endless_steps_is_refused(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_OPCODES", 1000)
    assert read(b"N0" * 499 + b"N.") is None
    with pytest.raises(CheckpointError, match="over 1000 steps"):
        read(b"N0" * 501 + b"N.")


def test_deep_nesting_is_read_without_recursion():
    value = read(b"]" * 100_001 + b"a" * 100_000 + b".")
    assert isinstance(value, list)
    while value:
        (value,) = value


def test_a_huge_memo_index_costs_nothing():
    assert read(b"K\x07r\xfe\xff\xff\xff0j\xfe\xff\xff\xff.") == 7


def test_nothing_that_a_pickle_names_is_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert read(b"\x80\x02ctrap\nWaveGlow\n)\x81.").name == "trap.WaveGlow"
    with pytest.raises(CheckpointError, match=r"trap\.spring"):
        read(b"\x80\x02ctrap\nspring\n)R.")
    assert "trap" not in sys.modules


def test_random_damage_never_escapes_as_another_error():
    source = pickle.dumps({"model": torch.nn.Sequential(torch.nn.ReLU()), "lr": [1e-4, "x", (1, 2)]}, 2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2000):
        data = bytearray(source)
        for _ in range(int(torch.randint(1, 4, (), generator=generator))):
            position = int(torch.randint(len(data), (), generator=generator))
            data[position] = int(torch.randint(256, (), generator=generator))
        with suppress(CheckpointError):
            read(bytes(data))
