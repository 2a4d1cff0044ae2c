import copy
import threading

import pytest
import torch
from small_models import moved, small

import waveflow.inference.cpu.compiled as cpu_compiled
import waveflow.inference.cpu.inverse as cpu
import waveflow.inference.cpu.plan as cpu_plan
from waveflow.decibels import signal_to_error
from waveflow.inference.cpu import region
from waveflow.inference.cpu.compiled import CompiledInverse
from waveflow.inference.cpu.inverse import CpuInverse
from waveflow.models import MelContext, build
from waveflow.ops.processor import bfloat16_products

# Signal to error in decibels: rounding alone gives 120 and 60 on these models.
ENOUGH = {torch.float32: 100, torch.bfloat16: 45}


@pytest.fixture(params=[CpuInverse, CompiledInverse])
def kind(request):
    return request.param


@pytest.fixture
def inverse_of(kind, monkeypatch):
    """Either inverse, with threads that share even a few rows."""
    for module in (cpu, cpu_compiled):
        monkeypatch.setattr(module, "ROWS_PER_WORKER", 1)
    monkeypatch.setattr(cpu, "FRAMES_PER_WORKER", 1)

    def make(model, dtype=torch.float32, n_threads=None):
        if kind is CompiledInverse and dtype == torch.bfloat16 and not bfloat16_products():
            pytest.skip("this processor multiplies no bfloat16")
        return kind(model, dtype, n_threads)

    return make


def test_another_default_precision_changes_nothing(inverse_of):
    model = perturbed("lapglow", n_flows=2, n_channels=16, dilations=[1, 2])
    latent, mel = inputs(9)
    expected = inverse_of(model)(latent, MelContext(mel))
    torch.set_default_dtype(torch.float64)
    try:
        found = inverse_of(model)(latent, MelContext(mel))
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def perturbed(name, **config):
    torch.manual_seed(2)
    return moved(build(name, **config)).eval()


def inputs(n_frames, batch=1):
    return torch.randn(batch, 256 * n_frames), 2 * torch.randn(batch, 80, n_frames) - 5


def reference(model, latent, mel, lengths=None):
    with torch.no_grad():
        return copy.deepcopy(model).double().inverse(latent.double(), MelContext(mel.double(), lengths))


@pytest.mark.parametrize("dtype", sorted(ENOUGH, key=str), ids=str)
@pytest.mark.parametrize("n_frames", [1, 2, 3, 21])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_it_computes_the_model_s_inverse(model, dtype, n_frames, n_threads, inverse_of):
    latent, mel = inputs(n_frames)
    found = inverse_of(model, dtype, n_threads)(latent, MelContext(mel))
    assert signal_to_error(found, reference(model, latent, mel)) > ENOUGH[dtype]


@pytest.mark.parametrize("dtype", sorted(ENOUGH, key=str), ids=str)
@pytest.mark.parametrize(
    "config",
    [
        {"n_channels": 64, "n_layers": 8},
        # Three channels pass after the first early output: an odd number of inputs to more than one panel.
        {"n_channels": 96, "n_layers": 2, "n_early_every": 2},
        {"n_channels": 40, "n_layers": 2, "n_group": 32, "n_early_size": 6},
        {"n_channels": 64, "n_layers": 2, "swap_halves": True, "n_early_every": 2},
        {"n_channels": 24, "n_layers": 3, "upsample_kernel_size": 600},
        {"n_channels": 24, "n_layers": 1, "n_group": 16},
    ],
    ids=str,
)
def test_every_shape_of_waveglow_is_computed(config, dtype, inverse_of):
    model = perturbed("waveglow", n_flows=4, **config)
    latent, mel = inputs(23)
    found = inverse_of(model, dtype, 2)(latent, MelContext(mel))
    assert signal_to_error(found, reference(model, latent, mel)) > ENOUGH[dtype]


@pytest.mark.parametrize("name", ["waveglow", "lapglow"])
def test_layers_are_worked_out_a_few_tiles_at_a_time(name, monkeypatch):
    monkeypatch.setattr(cpu_compiled, "VALUES_BYTES", 0)
    model = perturbed(name, n_flows=2, n_channels=16)
    latent, mel = inputs(40)
    found = CompiledInverse(model, n_threads=2)(latent, MelContext(mel))
    assert signal_to_error(found, reference(model, latent, mel)) > 100


def test_many_tiles_and_much_conditioning_are_worked_out_in_parts(monkeypatch):
    monkeypatch.setattr(cpu_plan, "TILES", 10)
    model = perturbed("waveglow", n_flows=2, n_channels=16, n_layers=5)
    latent, mel = inputs(12)
    for n_bytes in (0, 1 << 17, 1 << 30):
        monkeypatch.setattr(cpu_plan, "TOLD_BYTES", n_bytes)
        found = CpuInverse(model, n_threads=2)(latent, MelContext(mel))
        assert signal_to_error(found, reference(model, latent, mel)) > 100


@pytest.fixture
def rows_alike():
    """Skip where a library's product gives a row other sums beside fewer others, as four are fewer than forty."""
    x, weight = torch.randn(200, 96), torch.randn(96, 192)
    if not all(torch.equal(x[:n] @ weight, (x @ weight)[:n]) for n in range(4, 41)):
        pytest.skip("needs a BLAS that adds up a row in one order, however many rows there are")


@pytest.mark.parametrize("n_threads", [1, 2])
def test_each_item_of_a_batch_is_what_it_is_alone_bit_for_bit_whatever_came_before(model, kind, n_threads):
    if kind is CpuInverse and n_threads > 1:
        pytest.skip("depends on the library: see test_threads_do_not_change_a_bit_of_what_a_library_computes")
    inverse = kind(model, n_threads=n_threads)
    latent, mel = inputs(20, batch=3)
    for frames in ([20, 7, 1], [1, 20, 7], [7, 1, 20], [20, 0, 8]):
        lengths = torch.tensor(frames) * 256
        found = inverse(latent, MelContext(mel, lengths))
        for row, z, m, n in zip(found, latent, mel, frames):
            assert row[256 * n :].abs().sum() == 0
            if n:
                alone = inverse(z[None, : 256 * n], MelContext(m[None, :, :n]))
                assert torch.equal(row[: 256 * n], alone[0])
                expected = model.inverse(z[None, : 256 * n], m[None, :, :n])[0].detach()
                assert signal_to_error(alone[0], expected) > 90


def by_threads(make, batch):
    """The same batch by one to four threads."""
    latent, mel = inputs(400, batch)
    lengths = torch.tensor([400, 33, 1, 250, 2])[:batch] * 256
    return [make(n)(latent, MelContext(mel, lengths)) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_threads_do_not_change_a_bit_of_what_a_library_computes(model, batch, rows_alike):
    one, *others = by_threads(lambda n: CpuInverse(model, n_threads=n), batch)
    assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("dtype", sorted(ENOUGH, key=str), ids=str)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_threads_do_not_change_a_bit(model, batch, dtype, monkeypatch):
    if dtype == torch.bfloat16 and not bfloat16_products():
        pytest.skip("this processor multiplies no bfloat16")
    monkeypatch.setattr(cpu_compiled, "ROWS_PER_WORKER", 1)
    one, *others = by_threads(lambda n: CompiledInverse(model, dtype, n), batch)
    assert all(torch.equal(one, other) for other in others)


def test_a_latent_may_end_within_a_frame(inverse_of):
    model = small("waveglow").eval()
    latent, mel = inputs(5)
    latent = latent[:, : 256 * 3 + 72]
    found = inverse_of(model)(latent, MelContext(mel))
    assert signal_to_error(found, reference(model, latent, mel)) > 100


def test_the_result_is_not_overwritten_by_the_next(model, inverse_of):
    inverse = inverse_of(model)
    latent, mel = inputs(6)
    first = inverse(latent, MelContext(mel))
    kept = first.clone()
    inverse(-latent, MelContext(mel))
    assert torch.equal(first, kept)


def test_threads_are_left_as_they_were(model, inverse_of):
    before = torch.get_num_threads()
    latent, mel = inputs(30)
    inverse_of(model, n_threads=2)(latent, MelContext(mel))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("batch", [1, 2])
def test_a_thread_that_begins_meanwhile_is_not_left_with_one_of_pytorchs_threads(model, batch, monkeypatch):
    before, found = torch.get_num_threads(), []
    audio, done = CompiledInverse._audio, threading.Event()
    # In the moment in which another item's thread takes its one, a thread may still be left with it.
    all_have_theirs = threading.Barrier(batch, timeout=30)

    def watched(*args):
        all_have_theirs.wait()
        beginning = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        beginning.start()
        beginning.join()
        return audio(*args)

    monkeypatch.setattr(CompiledInverse, "_audio", watched)
    latent, mel = inputs(30, batch)
    torch.set_num_threads(3)
    # Were the calling thread alone in the process, nobody could begin one.
    threading.Thread(target=done.wait).start()
    try:
        # One item is computed by the calling thread, two by threads of their own.
        CompiledInverse(model, n_threads=batch)(latent, MelContext(mel))
    finally:
        done.set()
        torch.set_num_threads(before)
    assert found == [3] * batch


@pytest.mark.parametrize("worker", [0, 1])
def test_an_error_in_one_thread_is_raised_and_the_next_call_works(model, worker, monkeypatch):
    inverse = CpuInverse(model, n_threads=2)
    latent, mel = inputs(200)
    expected = inverse(latent, MelContext(mel))
    layer = CpuInverse._layer

    def broken(self, plan, i, step, j, w):
        if w == worker and (i, j) == (1, 1):
            raise MemoryError("no room")
        layer(self, plan, i, step, j, w)

    monkeypatch.setattr(CpuInverse, "_layer", broken)
    with pytest.raises(MemoryError, match="no room"):
        inverse(latent, MelContext(mel))
    monkeypatch.undo()
    assert torch.equal(inverse(latent, MelContext(mel)), expected)


@pytest.mark.parametrize("failing", [0, 1])
def test_threads_that_wait_are_let_go_where_one_fails(model, failing, monkeypatch):
    inverse = CompiledInverse(model, n_threads=2)
    latent, mel = inputs(200)
    expected = inverse(latent, MelContext(mel))
    invert = region.invert

    def broken(worker, *arguments):
        if worker == failing:
            raise MemoryError("no room")
        return invert(worker, *arguments)

    monkeypatch.setattr(region, "invert", broken)
    with pytest.raises(MemoryError, match="no room"):
        inverse(latent, MelContext(mel))
    monkeypatch.undo()
    assert torch.equal(inverse(latent, MelContext(mel)), expected)


def test_what_it_does_not_know_is_refused(inverse_of):
    with pytest.raises(ValueError, match="kernel_size is 5"):
        inverse_of(build("lapglow", n_flows=1, n_channels=8, kernel_size=5))
    with pytest.raises(ValueError, match="SqueezeWave cannot be folded"):
        inverse_of(build("squeezewave", n_flows=2, n_channels=8, n_layers=2))
    with pytest.raises(ValueError, match=r"dtype is torch\.float16"):
        inverse_of(small("lapglow"), torch.float16)
