import pytest
import torch
from torch.nn.functional import one_hot

from waveflow.bijections import DiscreteAutoregressive
from waveflow.bijections.discrete import circular_sum
from waveflow.nn.made import MADE


def test_circular_sum_adds_modulo_the_alphabet():
    for x in range(5):
        for y in range(5):
            total = circular_sum(one_hot(torch.tensor(x), 5).float(), one_hot(torch.tensor(y), 5).float())
            assert total.argmax() == (x + y) % 5
            assert total.sum() == 1


def test_every_word_has_its_own_image():
    flow = DiscreteAutoregressive(MADE(3, 3, n_inputs=3, n_channels=16))
    torch.nn.init.normal_(flow.conditioner.layers[-1].weight)
    words = one_hot(torch.cartesian_prod(*[torch.arange(3)] * 3), 3).float()
    images = flow(words)[0].argmax(-1)
    assert len({tuple(image) for image in images.tolist()}) == 27


def test_latent_is_exactly_one_hot_although_gradients_pass():
    flow = DiscreteAutoregressive(MADE(2, 4, n_inputs=4, n_channels=16))
    torch.nn.init.normal_(flow.conditioner.layers[-1].weight)
    z, log_det = flow(one_hot(torch.randint(4, (50, 2)), 4).float())
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert not log_det.any()
    assert z.requires_grad


def test_symbols_that_are_not_one_hot_vectors_are_refused_with_the_remedy():
    flow = DiscreteAutoregressive(MADE(2, 4, n_inputs=4, n_channels=16))
    with pytest.raises(ValueError, match="one_hot"):
        flow(torch.zeros(3, 2))
