import json
import math
import shutil
import sys

import numpy as np
import pytest
import torch
from small_models import moved, small

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.decibels import signal_to_error
from waveflow.extras import MissingExtra
from waveflow.inference import Vocoder, export
from waveflow.inference.export import export as export_model
from waveflow.inference.exported import ConvolvedMel, Graph, context_frames, keyed_noise
from waveflow.inference.noise import batch_normal
from waveflow.models import build

onnx = pytest.importorskip("onnx", reason="needs the extra waveflow[export]")
pytest.importorskip("onnxscript", reason="needs the extra waveflow[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra waveflow[export]")

# Those of ONNX Runtime Web's WebGPU backend that the graphs use; its WebAssembly backend has all of opset 20.
WEB_OPERATORS = {
    *("Add", "Cast", "Concat", "Conv", "Div", "Exp", "Expand", "Gather", "MatMul", "Mul", "Neg", "Pad", "Reshape"),
    *(
        "Gelu",
        "LayerNormalization",
        "Shape",
        "Sigmoid",
        "Slice",
        "Split",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
    ),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A LapGlow exported to ONNX, its weights those of a half-precision checkpoint."""
    directory = tmp_path_factory.mktemp("exports") / "lapglow"
    model = small("lapglow").half().float()
    files = export_model(model, directory, metadata={"licence": "CC0 1.0"})
    return model, directory, files


def session(directory):
    return onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])


def snr(found, expected):
    return signal_to_error(torch.as_tensor(found), expected).item()


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "n_frames"), [(1, 3), (5, 11), (2, 200)])
def test_onnx_gives_what_the_vocoder_gives_at_any_batch_and_length(exported, batch, n_frames):
    model, directory, _ = exported
    mel, seeds = torch.randn(batch, 80, n_frames) - 5, list(range(batch))
    noise = batch_normal(seeds, 0, n_frames * 256)
    inputs = {"mel": mel.numpy(), "noise": noise.numpy(), "sigma": np.array(0.7, dtype=np.float32)}
    (found,) = session(directory).run(["audio"], inputs)
    assert snr(found, Vocoder(model)(mel, sigma=0.7, seed=seeds)) > 90


@pytest.mark.slow
def test_lapglows_onnx_is_made_of_what_a_browser_runs(exported):
    _, directory, _ = exported
    graph = onnx.load(directory / "model.onnx").graph
    assert {node.op_type for node in graph.node} <= WEB_OPERATORS
    assert {node.domain for node in graph.node} == {""}


@pytest.mark.slow
def test_an_export_describes_itself_and_names_no_folder_of_its_maker(exported):
    model, directory, files = exported
    facts = json.loads((directory / "export.json").read_text())
    assert facts["inputs"] == {"mel": ["batch", 80, "frames"], "noise": ["batch", "samples"], "sigma": []}
    assert MelConfig.from_dict(facts["config"]["mel"]) == MelConfig()
    assert facts["min_frames"] == files[0].min_frames == 3
    assert facts["context_frames"] == model.receptive_field // 256
    assert facts["metadata"] == {"licence": "CC0 1.0"}
    assert facts["files"][0]["snr"] == files[0].snr >= 60
    assert files[0].size == (directory / "model.onnx").stat().st_size
    content = (directory / "model.onnx").read_bytes()
    assert b".py" not in content
    stored = {entry.key: entry.value for entry in onnx.load(directory / "model.onnx").metadata_props}
    assert json.loads(stored["waveflow"]) == {key: value for key, value in facts.items() if key != "files"}
    assert [i.name for i in session(directory).get_inputs()] == ["mel", "noise", "sigma"]


@pytest.mark.slow
def test_weights_of_half_precision_cost_half_the_bytes(exported):
    model, directory, _ = exported
    stored = onnx.load(directory / "model.onnx").graph.initializer
    in_half = sum(math.prod(w.dims) for w in stored if w.data_type == onnx.TensorProto.FLOAT16)
    # A matrix that mixes channels is stored as its inverse, which half precision does not hold.
    large = [(name, p) for name, p in model.named_parameters() if p.dim() > 1 and p.numel() >= 1024]
    assert in_half == sum(p.numel() for name, p in large if p.dim() == 3 or name.startswith("encoder."))


@pytest.mark.slow
def test_a_program_from_audio_with_noise_drawn_inside_resynthesises(tmp_path):
    model = small("lapglow")
    files = export_model(model, tmp_path / "out", formats=["torch", "onnx"], from_audio=True, draw_noise=True)
    assert [file.file for file in files] == ["model.pt2", "model.onnx"]
    assert min(file.snr for file in files) > 90
    assert min(file.x_real_time for file in files) > 0
    used = {node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node}
    assert json.loads((tmp_path / "out" / "export.json").read_text())["inputs"].keys() == {"recording", "seed", "sigma"}
    assert "STFT" not in used
    assert "RandomNormalLike" not in used
    audio = 0.1 * torch.randn(1, 40 * 256)
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    vocoder = Vocoder(model)
    expected = vocoder.model.inverse(0.8 * batch_normal([2**63 + 5], 0, 40 * 256), vocoder.mel(audio))
    seed = torch.tensor([2**63 + 5 - 2**64])
    assert snr(program(audio, seed, torch.tensor(0.8)), expected) > 90
    told = {"export.json": ""}
    torch.export.load(tmp_path / "out" / "model.pt2", extra_files=told)
    assert json.loads(told["export.json"])["min_frames"] == files[0].min_frames == 3


@pytest.mark.slow
def test_a_compiled_package_is_proved_at_other_lengths_than_its_examples(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    model = moved(build("lapglow", n_flows=1, n_channels=8, dilations=[1]))
    (file,) = export_model(model, tmp_path / "out", formats=["aoti"])
    assert file.snr > 90
    mel, noise, sigma = torch.randn(2, 80, 31) - 5, torch.randn(2, 31 * 256), torch.tensor(0.8)
    package = torch._inductor.aoti_load_package(str(tmp_path / "out" / "model.aoti.pt2"))
    assert snr(package(mel, noise, sigma), model.inverse(sigma * noise, mel).detach()) > 90
    # The package itself checks nothing: what it takes must be told.
    assert json.loads(package.get_metadata()["waveflow"])["min_frames"] == file.min_frames == 3


def test_audio_that_is_not_finite_is_no_proof():
    model = small("lapglow")
    graph = Graph(model)

    def run(mel, noise, sigma):
        return graph(mel, noise, sigma) + (torch.nan if len(mel) > 1 else 0)

    with torch.no_grad(), pytest.raises(ValueError, match="torch gives audio nan dB like the model's"):
        export._proven("torch", run, graph, model)


@pytest.mark.slow
def test_nothing_is_written_where_audio_differs(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write_torch", lambda *_: lambda mel, *_: torch.zeros(len(mel), mel.shape[-1] * 256))
    with pytest.raises(ValueError, match=r"torch gives audio 0.0 dB like the model's.*nothing was written"):
        export_model(small("lapglow"), tmp_path / "out", formats=["torch"])
    assert not list(tmp_path.iterdir())


def test_unknown_formats_and_folders_of_other_things_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no format is called 'tflite', expected some of onnx, torch, aoti"):
        export_model(small("lapglow"), tmp_path / "out", formats=["tflite"])
    with pytest.raises(ValueError, match="no format was given, expected some of onnx, torch, aoti"):
        export_model(small("lapglow"), tmp_path / "out", formats=[])
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis.txt, which an export would delete"):
        export_model(small("lapglow"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_is_exported_in_float32_and_stays_as_it_was(tmp_path, dtype):
    model = small("lapglow").to(dtype).train()
    (file,) = export_model(model, tmp_path / "out", formats=["torch"])
    assert file.snr > 90
    assert model.training
    assert {p.dtype for p in model.parameters()} == {dtype}
    inputs = torch.randn(1, 80, 9) - 5, torch.randn(1, 9 * 256), torch.tensor(0.8)
    assert torch.export.load(tmp_path / "out" / "model.pt2").module()(*inputs).dtype == torch.float32


@pytest.mark.slow
def test_a_model_that_cannot_be_traced_is_refused_in_one_line(tmp_path, capfd):
    model = build("wavenode", factors=[8, 2], n_blocks_per_split=1, n_channels=8, n_layers=1)
    with pytest.raises(ValueError, match="WaveNODE cannot be exported with a dynamic length"):
        export_model(model, tmp_path / "out", formats=["torch"])
    assert capfd.readouterr().err == ""  # PyTorch prints the graph, a megabyte of a whole model
    assert not list(tmp_path.iterdir())


def test_a_compiler_or_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export.shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler"):
        export_model(small("lapglow"), tmp_path / "out", formats=["aoti"])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"onnx is not installed; .* pip install 'waveflow\[export\]'"):
        export_model(small("lapglow"), tmp_path / "out")


@pytest.mark.parametrize("preset", ["nvidia", "hifigan", "vocos", "parallelwavegan_24khz", "flowavenet", "nemo"])
def test_the_convolved_mel_is_the_mel(preset):
    transform = MelSpectrogram(MelConfig.preset(preset))
    audio = 0.1 * torch.randn(2, 40 * transform.config.hop_length)
    found, expected = ConvolvedMel(transform)(audio), transform(audio)
    torch.testing.assert_close(found, expected[..., : found.shape[-1]], atol=1e-4, rtol=1e-4)
    assert found.shape[-1] >= 40


@pytest.mark.parametrize("n", [1, 4, 1026])
def test_noise_of_the_graph_is_the_vocoders(n):
    seeds = [0, 7, 2**63 + 11]
    signed = torch.tensor([0, 7, 2**63 + 11 - 2**64])
    assert torch.equal(keyed_noise(signed, n), batch_normal(seeds, 0, n))


@pytest.mark.parametrize(("name", "from_audio"), [("lapglow", False), ("lapglow", True), ("waveglow", False)])
def test_stretches_with_as_much_context_as_an_export_tells_join_to_the_whole(name, from_audio):
    graph = Graph(small(name), from_audio=from_audio)
    context, n_frames, sigma = context_frames(graph), 90, torch.tensor(0.5)
    told, noise, _ = export.example(graph, 1, n_frames)
    step = 256 if from_audio else 1
    pieces = []
    for start in range(0, n_frames, 13):
        first, last = max(0, start - context), min(n_frames, start + 13 + context)
        piece = graph(told[..., first * step : last * step], noise[:, first * 256 : last * 256], sigma)
        pieces.append(piece[:, (start - first) * 256 :][:, : 13 * 256])
    assert first > 0, "the last stretch saw everything"
    assert snr(torch.cat(pieces, dim=1), graph(told, noise, sigma)) > 100


@pytest.mark.parametrize("name", ["lapglow", "waveglow"])
def test_the_graph_is_the_models_inverse(name):
    model = small(name)
    mel, noise = torch.randn(2, 80, 9) - 5, torch.randn(2, 9 * 256)
    found = Graph(model)(mel, noise, torch.tensor(0.5))
    assert snr(found, model.inverse(0.5 * noise, mel)) > 100
