import json
import math

import pytest
import torch
from recipe_modules import load

digits, run = load("images", "digits", "run")


@pytest.fixture(scope="module")
def data():
    return digits.load()


def test_noise_keeps_the_level_and_pixels_stay_inside(data):
    images = data[0][:100]
    noisy = digits.dequantize(images)
    assert 0 <= noisy.min() < noisy.max() <= 1
    assert torch.equal(digits.levels(noisy), images)
    unbounded = digits.pixels().inv(noisy)
    assert unbounded.abs().max() < 4
    assert (digits.pixels()(unbounded) - noisy).abs().max() < 1e-5


def test_a_uniform_density_costs_the_logarithm_of_the_levels():
    assert digits.bits_per_dimension(torch.zeros(3)).tolist() == pytest.approx([math.log2(17)] * 3)


def test_pixels_coded_by_themselves_cost_fewer_bits_than_uniform_ones(data):
    images, told = data
    bits = digits.baseline((images[:1500], told[:1500]), (images[1500:], told[1500:]))
    assert 1 < bits < math.log2(17)


@pytest.mark.parametrize("name", run.FLOWS)
def test_training_lowers_the_bits_of_held_out_digits(name, data):
    images, told = data
    bits = []
    for steps in (1, 40):
        config = run.Config(width=8, steps=steps, batch_size=32, learning_rate=1e-2)
        flow, _ = run.train(name, images[:1500], told[:1500], config)
        bits.append(run.evaluate(flow, images[-100:], told[-100:], 1)["bits"])
    assert bits[1] < bits[0] - 0.3


def test_recipe_leaves_a_table_and_a_picture(tmp_path):
    run.main(run.Config(flows=["glow"], width=4, steps=2, batch_size=8, n_noise=1, out=str(tmp_path)))
    assert [row["flow"] for row in json.loads((tmp_path / "rows.json").read_text())] == ["each pixel by itself", "glow"]
    assert (tmp_path / "digits.png").stat().st_size > 1000
