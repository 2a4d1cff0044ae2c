import torch

from waveflow.training.ema import WeightAverage


def test_the_average_is_the_recursion_written_out():
    model = torch.nn.Linear(3, 2)
    average = WeightAverage(model, decay=0.9)
    expected = model.weight.detach().clone()
    for n in range(200):
        with torch.no_grad():
            model.weight.normal_()
        average.update(model)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert torch.allclose(average.model.weight, expected, atol=1e-6)
    assert average.n_updates == 200


def test_the_first_update_lets_go_of_nine_tenths_of_the_random_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.999)
    before = average.model.weight.item()
    with torch.no_grad():
        model.weight.add_(1)
    average.update(model)
    assert abs(average.model.weight.item() - before - 0.9) < 1e-6


def test_buffers_are_copied_and_the_copy_does_not_train():
    model = torch.nn.BatchNorm1d(2)
    average = WeightAverage(model, decay=0.999)
    model(torch.randn(8, 2))
    average.update(model)
    assert torch.equal(average.model.running_mean, model.running_mean)
    assert average.model.num_batches_tracked == 1
    assert not any(p.requires_grad for p in average.model.parameters())
    assert not average.model.training
