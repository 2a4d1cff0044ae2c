import json
import math

import pytest
import torch
from recipe_modules import load

energies, vae, posteriors, run = load("variational", "energies", "vae", "posteriors", "run")

SHORT = {"batch_size": 64, "learning_rate": 1e-2, "n_test": 2000, "seed": 0}


def test_gap_is_a_divergence_and_closes_with_training():
    _, early = energies.infer("energy_1", "planar", 4, steps=1, **SHORT)
    _, late = energies.infer("energy_1", "planar", 4, steps=150, **SHORT)
    assert -0.05 < late["gap"] < early["gap"] / 2


@pytest.mark.parametrize("family", posteriors.FAMILIES)
def test_posterior_scores_what_it_drew_as_it_would_score_anything(family):
    flow = energies.posterior(family, 2).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        x, log_q = flow.rsample_and_log_prob(50)
        assert (flow.log_prob(x) - log_q).abs().max() < 1e-6


def test_many_draws_tighten_the_bound_of_an_autoencoder():
    torch.manual_seed(0)
    images, _ = vae.digits()
    bound, importance = vae.VAE("planar", 2).score(images[:50], 20)
    assert -math.inf < bound < importance < 0


def test_a_short_autoencoder_codes_held_out_digits_better_than_a_fresh_one():
    short = {"batch_size": 64, "learning_rate": 5e-3, "n_draws": 5, "seed": 0}
    assert vae.train("iaf", 1, steps=60, **short)["bound"] > vae.train("iaf", 1, steps=1, **short)["bound"] + 10


def test_recipe_leaves_tables_and_a_picture(tmp_path):
    config = run.Config(
        targets=["energy_2"],
        families=["planar", "naf"],
        lengths=[4, 8],
        steps=2,
        batch_size=8,
        n_test=100,
        vae_lengths=[0, 4],
        vae_steps=2,
        vae_draws=2,
        vae_seeds=1,
        out=str(tmp_path),
    )
    run.main(config)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["family"], row["length"]) for row in rows["energies"]] == [
        *[("planar", 4), ("planar", 8)],
        *[("naf", 1), ("naf", 2)],
    ]
    assert [row["family"] for row in rows["autoencoders"]] == ["diagonal normal", "planar", "naf"]
    assert (tmp_path / "table.md").read_text().count("\n") == 2 + 4 + 1 + 2 + 3
    assert (tmp_path / "posteriors.png").stat().st_size > 1000
