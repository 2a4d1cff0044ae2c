"""A small variational autoencoder of handwritten digits, whose posterior is a flow."""

from __future__ import annotations

from typing import Any

import torch
from common import fit
from posteriors import FAMILIES, AffineNormal
from torch import Tensor, nn
from torch.distributions import Binomial, Independent

from waveflow import Flow
from waveflow.bijections import Chain
from waveflow.distributions import StandardNormal

N_LEVELS = 16
N_PIXELS = 64
N_TRAIN = 1500


def digits() -> tuple[Tensor, Tensor]:
    """The digits of scikit-learn, 8 x 8 with values 0 to 16, shuffled: 1500 to train on, 297 to test on."""
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().data, dtype=torch.float32)
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    return images[:N_TRAIN], images[N_TRAIN:]


class VAE(nn.Module):
    """Digits as binomial pixels under a decoded normal latent, inferred by a flow that the encoder tells.

        log p(x) >= E_q(z|x) [log p(x | z) + log p(z) - log q(z | x)]

    Source: Kingma and Welling (arXiv:1312.6114); a flow as the posterior, Rezende and Mohamed (arXiv:1505.05770).

    Args:
        family: Of the posterior, a name of posteriors.py.
        length: Of the flow; 0 leaves a diagonal normal.
        n_latent: Numbers in the latent.
        n_hidden: Width of the encoder and the decoder.
        n_features: Numbers that the encoder tells the flow.
    """

    def __init__(self, family: str, length: int, n_latent: int = 2, n_hidden: int = 128, n_features: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(N_PIXELS, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_features), nn.Tanh()
        )
        self.decoder = nn.Sequential(nn.Linear(n_latent, n_hidden), nn.SiLU(), nn.Linear(n_hidden, N_PIXELS))
        bijection = FAMILIES[family](n_latent, length, n_features) if length else Chain([])
        self.posterior = Flow(AffineNormal(n_latent, n_features), bijection)
        self.prior = StandardNormal(n_latent)

    def bound(self, images: Tensor, weight: float = 1.0) -> Tensor:
        """One draw of the bound for each image `(B, 64)`, nats, `(B,)`.

        Args:
            images: Values 0 to 16.
            weight: Of the divergence from the prior, less than 1 at the beginning of training.
        """
        told = self.encoder(images / (N_LEVELS / 2) - 1)
        z, log_q = self.posterior.rsample_and_log_prob(len(images), told)
        pixels = Independent(Binomial(N_LEVELS, logits=self.decoder(z)), 1)
        return pixels.log_prob(images) + weight * (self.prior().log_prob(z) - log_q)

    @torch.no_grad()
    def score(self, images: Tensor, n_draws: int) -> tuple[float, float]:
        """The mean bound, and the tighter one that many draws together give (arXiv:1509.00519), nats an image."""
        bounds = torch.stack([self.bound(images) for _ in range(n_draws)])
        importance = bounds.logsumexp(0) - torch.tensor(float(n_draws)).log()
        return bounds.mean().item(), importance.mean().item()


def train(
    family: str, length: int, *, steps: int, batch_size: int, learning_rate: float, n_draws: int, seed: int
) -> dict[str, Any]:
    """Fit an autoencoder to the digits; its bound on those held out."""
    torch.manual_seed(seed)
    train_images, test_images = digits()
    vae = VAE(family, length)

    def loss(step: int) -> Tensor:
        batch = train_images[torch.randint(len(train_images), (batch_size,))]
        return -vae.bound(batch, min(1.0, 0.1 + 4 * step / steps)).mean()

    seconds = fit(vae.parameters(), loss, steps, learning_rate)
    vae.eval()
    bound, importance = vae.score(test_images, n_draws)
    seen, _ = vae.score(train_images, 10)
    return {
        **{"family": family, "length": length, "bound": bound, "importance": importance},
        **{"train_bound": seen, "seconds": seconds},
    }
