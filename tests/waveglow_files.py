"""Small WaveGlows written as other projects write them, without those projects."""

import io
import pickle
import sys
import tarfile
import types
import warnings
from contextlib import contextmanager

import torch
import torch.nn.backends.thnn
from torch import nn

from waveflow.audio.mel import MelConfig
from waveflow.bijections import InvertibleConv1x1
from waveflow.checkpoints.nvidia import to_nvidia_state_dict
from waveflow.models import WaveGlow, WaveGlowConfig

SMALL = {"n_flows": 3, "n_group": 4, "n_early_every": 2, "n_early_size": 2, "n_channels": 4, "n_layers": 2}


def random_waveglow(mel=None, **config):
    """A model with nothing special: `end` is not zero, no matrix orthogonal, g and v both matter."""
    mel = mel or MelConfig.preset("nvidia", n_mels=5)
    config = {**SMALL, "upsample_kernel_size": 4 * mel.hop_length, **config}
    model = WaveGlow(WaveGlowConfig(mel=mel, **config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, InvertibleConv1x1):
                module.weight.add_(0.2 * torch.randn_like(module.weight))
    return model


def plain(state):
    """The state dict after remove_weight_norm."""
    out = dict(state)
    for key in [key for key in state if key.endswith("weight_g")]:
        g, v = out.pop(key), out.pop(key.replace("weight_g", "weight_v"))
        out[key.replace("weight_g", "weight")] = torch._weight_norm(v, g, 0)
    return out


def parametrized(state):
    """The state dict under the names of torch.nn.utils.parametrizations.weight_norm."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {key.replace(leaf, names.get(leaf, leaf)): v for key, v in state.items() for leaf in [key.split(".")[-1]]}


def by_layer(state, n_layers):
    """Generation 2: `cond_layers.i` in place of `cond_layer`."""
    out = {}
    for key, value in state.items():
        if ".cond_layer." in key:
            for i, part in enumerate(value.chunk(n_layers)):
                out[key.replace(".cond_layer.", f".cond_layers.{i}.")] = part.clone()
        else:
            out[key] = value
    return out


def first_generation(state, n_layers):
    """Generation 1: `res_layers.i` and `skip_layers.i` in place of `res_skip_layers.i`, too."""
    out = {}
    for key, value in by_layer(state, n_layers).items():
        if ".res_skip_layers." not in key:
            out[key] = value
        elif f".res_skip_layers.{n_layers - 1}." in key:
            out[key.replace("res_skip_layers", "skip_layers")] = value
        else:
            residual, skip = value.chunk(2)
            out[key.replace("res_skip_layers", "res_layers")] = residual.clone()
            out[key.replace("res_skip_layers", "skip_layers")] = skip.clone()
    return out


@contextmanager
def fake_glow():
    """A module `glow` with NVIDIA's class names, for as long as something is pickled."""
    module = types.ModuleType("glow")
    for name in ("WaveGlow", "WN", "Invertible1x1Conv"):
        setattr(module, name, type(name, (nn.Module,), {"__module__": "glow"}))
    sys.modules["glow"] = module
    try:
        yield module
    finally:
        del sys.modules["glow"]


def as_object(state, glow):
    """A `glow.WaveGlow` with these weights, and stale weights and inverses about, as the originals have."""

    def conv(prefix):
        names = {key.removeprefix(f"{prefix}.") for key in state if key.startswith(f"{prefix}.")}
        weight = state[f"{prefix}.{'weight_v' if 'weight_v' in names else 'weight'}"]
        kind = nn.ConvTranspose1d if prefix == "upsample" else nn.Conv1d
        made = kind(weight.shape[1], weight.shape[0], weight.shape[2], bias="bias" in names)
        if "weight_v" in names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = nn.utils.weight_norm(made)
        made.load_state_dict({name: state[f"{prefix}.{name}"] for name in names})
        return made

    model = glow.WaveGlow()
    model.upsample = conv("upsample")
    model.convinv, model.WN = nn.ModuleList(), nn.ModuleList()
    for k in range(sum(key.startswith("convinv.") for key in state)):
        invertible = glow.Invertible1x1Conv()
        invertible.conv = conv(f"convinv.{k}.conv")
        invertible.W_inverse = torch.randn_like(state[f"convinv.{k}.conv.weight"])
        model.convinv.append(invertible)
        wn = glow.WN()
        for key in [key for key in state if key.startswith(f"WN.{k}.")]:
            _, _, name, *index, _ = key.split(".")
            if not index:
                setattr(wn, name, conv(f"WN.{k}.{name}"))
            else:
                layers = getattr(wn, name, None) or nn.ModuleList()
                setattr(wn, name, layers)
                if len(layers) == int(index[0]):
                    layers.append(conv(f"WN.{k}.{name}.{index[0]}"))
        model.WN.append(wn)
    return model


def write_object(path, state, *, legacy=False):
    """`torch.save({'model': object, ...})` as NVIDIA's train.py does."""
    with fake_glow() as glow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = {"model": as_object(state, glow), "iteration": 7, "learning_rate": 1e-4}
        torch.save(saved, path, _use_new_zipfile_serialization=not legacy)


class _Pickler(pickle.Pickler):
    """Parameters as torch 0.4 pickled them."""

    def reducer_override(self, value):
        if type(value) is nn.Parameter:
            return nn.Parameter, (value.data, value.requires_grad)
        return NotImplemented


class _Backend:
    """What every module of torch before 1.3 has as `_backend`."""

    def __reduce__(self):
        return torch.nn.backends.thnn._get_thnn_function_backend, ()


def write_old_object(path, state):
    """The object as torch of 2018 and 2019 pickled it, when the published checkpoints were made."""
    with fake_glow() as glow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = as_object(state, glow)
        for module in model.modules():
            module._backend = _Backend()
        old_pickle = types.SimpleNamespace(__name__="pickle", Pickler=_Pickler, dump=pickle.dump)
        torch.save({"model": model}, path, old_pickle, _use_new_zipfile_serialization=False)


def write_wrapped_object(path, state):
    """The object within `DataParallel`, as it is where there are GPUs."""
    with fake_glow() as glow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = nn.DataParallel(as_object(state, glow))
        wrapped.device_ids, wrapped.output_device, wrapped.src_device_obj = [0, 1], 0, torch.device("cuda", 0)
        torch.save({"model": wrapped}, path)


NEMO_YAML = """
target: nemo.collections.tts.models.waveglow.WaveGlowModel
preprocessor:
  _target_: nemo.collections.asr.parts.preprocessing.features.FilterbankFeatures
  sample_rate: 22050
  n_window_size: 1024
  n_window_stride: 256
  n_fft: 1024
  nfilt: 5
  lowfreq: 0
  highfreq: null
  mag_power: 1.0
  log: true
  log_zero_guard_type: clamp
  log_zero_guard_value: 1e-05
  normalize: null
  preemph: null
  window: hann
  pad_to: 16
  pad_value: -11.52
waveglow:
  _target_: nemo.collections.tts.modules.waveglow.WaveGlowModule
"""


def nemo_state(state):
    """NeMo's names, with what else its checkpoints hold."""
    renamed = {f"waveglow.{key.replace('WN.', 'wavenet.', 1)}": value for key, value in state.items()}
    inverses = {key.replace("conv.weight", "inv_conv.weight"): v for key, v in renamed.items() if ".convinv." in key}
    return {"audio_to_melspec_precessor.fb": torch.rand(3), **renamed, **inverses}


def write_tar(path, members, mode="w"):
    """A tar archive of `name: bytes`, or of `TarInfo`s made by the caller."""
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def saved(value, **options):
    """What `torch.save` writes, as bytes."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def write_nemo(path, state, yaml=NEMO_YAML, mode="w:gz"):
    members = {"./model_config.yaml": yaml.encode(), "./model_weights.ckpt": saved(nemo_state(state))}
    write_tar(path, members, mode)


def small_state(**config):
    """NVIDIA's state dict of a random model, and the model."""
    model = random_waveglow(**config)
    return {key: value.detach().clone().contiguous() for key, value in to_nvidia_state_dict(model).items()}, model
