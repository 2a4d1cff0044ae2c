import copy
import io
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from small_models import small

from waveflow.inference import Vocoder
from waveflow.inference.backends import bfloat16_products
from waveflow.nn import low_rank


def pickled(vocoder):
    return pickle.loads(pickle.dumps(vocoder))


def saved(vocoder):
    file = io.BytesIO()
    torch.save(vocoder, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled, saved], ids=lambda f: f.__name__)
def test_a_vocoder_that_was_used_can_be_copied_and_pickled(vocoder, audio, copied):
    vocoder.name = "voice"
    mel = vocoder.mel(audio)
    expected, nats = vocoder(mel, seed=1, denoise=0.05), vocoder.log_prob(audio)
    list(vocoder.stream([mel]))
    random_state = torch.get_rng_state()
    again = copied(vocoder)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (again.name, again.backend, again.device, again.dtype) == (
        "voice",
        vocoder.backend,
        vocoder.device,
        torch.float32,
    )
    assert again.config == vocoder.config
    assert torch.equal(again(mel, seed=1, denoise=0.05), expected)
    assert torch.equal(again.log_prob(audio), nats)
    next(again.model.parameters()).data.zero_()
    assert torch.equal(vocoder.log_prob(audio), nats)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled], ids=lambda f: f.__name__)
def test_low_rank_updates_are_kept_apart_from_the_weights(copied):
    model, mel = small("waveglow"), torch.full((80, 9), -5.0)
    low_rank.attach(model, 1)
    for value in low_rank.updates(model).values():
        value.add_(0.01 * torch.randn_like(value))
    vocoder = Vocoder(model, backend="reference")
    again = copied(vocoder)
    assert torch.equal(again(mel, seed=1), vocoder(mel, seed=1))
    assert not torch.equal(again(mel, seed=1), Vocoder(small("waveglow"), backend="reference")(mel, seed=1))
    updates = low_rank.updates(again.model)
    next(iter(updates.values())).zero_()
    assert low_rank.updates(model).keys() == updates.keys()
    assert next(iter(low_rank.updates(model).values())).any()
    low_rank.detach(again.model)
    assert all(map(torch.equal, again.model.state_dict().values(), small("waveglow").state_dict().values()))


def test_auto_chooses_again_in_what_was_pickled():
    vocoder = Vocoder(small("lapglow"))
    vocoder.settle()
    again = pickled(vocoder)
    assert (vocoder.backend, again.backend) == ("onednn", "reference")
    again.settle()
    mel = torch.full((80, 9), -5.0)
    assert torch.equal(again(mel, seed=1), vocoder(mel, seed=1))


def test_the_precision_of_synthesis_is_kept():
    vocoder = Vocoder(small("lapglow"), dtype=torch.bfloat16, backend="reference")
    mel = torch.full((80, 9), -5.0)
    assert torch.equal(pickled(vocoder)(mel, seed=1), vocoder(mel, seed=1))
    if bfloat16_products():
        vocoder = Vocoder(small("lapglow"), dtype=torch.bfloat16, backend="onednn")
        assert torch.equal(pickled(vocoder)(mel, seed=1), vocoder(mel, seed=1))


def test_another_process_gives_the_same_audio():
    mel = torch.full((80, 9), -5.0)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for name, backend in (("waveglow", "reference"), ("lapglow", "onednn")):
            vocoder = Vocoder(small(name), backend=backend)
            assert torch.equal(pool.submit(vocoder, mel, seed=1).result(), vocoder(mel, seed=1))
