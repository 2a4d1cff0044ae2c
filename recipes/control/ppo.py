"""Proximal policy optimisation (arXiv:1707.06347), for any policy that draws actions and scores them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from waveflow import Flow
from waveflow.nn.mlp import MLP

CLIP = 0.2
TRACE = 0.95
N_EPOCHS = 8
MINIBATCH = 256
"""As the paper has it for MuJoCo, but for epochs, 10 there, and minibatches, 64."""


@dataclass
class Experience:
    """What some environments went through, `(T, N, ...)` steps by environments.

    Attributes:
        observed: Before each action.
        actions: Taken.
        log_probs: Of the actions when they were taken.
        values: Expected of what was observed.
        advantages: How much better than expected it went after each action.
        returns: Of the episodes that ended.
    """

    observed: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: list[float]


class Learner:
    """A policy, its expectations, and the environments it acts in.

    Args:
        make: Makes an environment.
        policy: Makes a policy, from the numbers of an observation and the lowest and highest actions.
        n_envs: Environments side by side.
        discount: Of a reward one step later.
        scale: Rewards are multiplied by this, for values of about 1.
        learning_rate: Of Adam.
        seed: Of everything.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        policy: Callable[[int, Tensor, Tensor], Flow],
        *,
        n_envs: int,
        discount: float,
        scale: float,
        learning_rate: float,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.envs = [make() for _ in range(n_envs)]
        observed = [env.reset(seed=1000 * seed + k)[0] for k, env in enumerate(self.envs)]
        self.observed = torch.as_tensor(np.stack(observed), dtype=torch.float32)
        space = self.envs[0].action_space
        self.low, self.high = space.low, space.high
        n_observed = self.observed.shape[1]
        self.policy = policy(n_observed, torch.as_tensor(self.low), torch.as_tensor(self.high))
        self.value = MLP(n_observed, 1, activation=nn.Tanh)
        parameters = [*self.policy.parameters(), *self.value.parameters()]
        self.optimizer = torch.optim.Adam(parameters, learning_rate)
        self.discount, self.scale = discount, scale
        self.gathered = np.zeros(n_envs)

    @torch.no_grad()
    def experience(self, n_steps: int) -> Experience:
        """Act for so many steps in all environments; an episode that ends is followed by the next."""
        steps, returns = [], []
        for _ in range(n_steps):
            observed = self.observed
            actions = self.policy.sample(len(observed), observed)
            rewards, last, going = self._step(
                actions.clamp(torch.as_tensor(self.low), torch.as_tensor(self.high)), returns
            )
            after = self.value(last)[:, 0]
            steps.append(
                {
                    "observed": observed,
                    "actions": actions,
                    "log_probs": self.policy.log_prob(actions, observed),
                    "values": self.value(observed)[:, 0],
                    # An episode that only ran out of time would have gone on.
                    "surprise": self.scale * rewards + self.discount * after * going[0],
                    "going": going[1],
                }
            )
        stacked = {key: torch.stack([step[key] for step in steps]) for key in steps[0]}
        surprise, going = stacked.pop("surprise") - stacked["values"], stacked.pop("going")
        advantages, later = torch.zeros_like(surprise), torch.zeros(len(self.envs))
        for t in reversed(range(n_steps)):
            later = surprise[t] + self.discount * TRACE * going[t] * later
            advantages[t] = later
        return Experience(**stacked, advantages=advantages, returns=returns)

    def _step(self, actions: Tensor, returns: list[float]) -> tuple[Tensor, Tensor, Tensor]:
        """Rewards; what was observed last; whether there is a future to expect, and whether the episode goes on."""
        rewards, last, observed, going = [], [], [], []
        for k, (env, action) in enumerate(zip(self.envs, actions.numpy())):
            seen, reward, ended, out_of_time, _ = env.step(action)
            rewards.append(float(reward))
            last.append(seen)
            going.append((not ended, not (ended or out_of_time)))
            self.gathered[k] += float(reward)
            if ended or out_of_time:
                returns.append(self.gathered[k])
                self.gathered[k] = 0
                seen, _ = env.reset()
            observed.append(seen)
        self.observed = torch.as_tensor(np.stack(observed), dtype=torch.float32)
        future = torch.tensor(going, dtype=torch.float32).T
        return torch.tensor(rewards), torch.as_tensor(np.stack(last), dtype=torch.float32), future

    def improve(self, experience: Experience) -> None:
        """Take several passes over what was gone through, none of which changes the policy by much."""
        names = ("observed", "actions", "log_probs", "values", "advantages")
        observed, actions, log_probs, values, advantages = (getattr(experience, n).flatten(0, 1) for n in names)
        targets = values + advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        for _ in range(N_EPOCHS):
            for chosen in torch.randperm(len(observed)).split(MINIBATCH):
                ratio = (self.policy.log_prob(actions[chosen], observed[chosen]) - log_probs[chosen]).exp()
                gain = torch.minimum(
                    ratio * advantages[chosen], ratio.clamp(1 - CLIP, 1 + CLIP) * advantages[chosen]
                ).mean()
                error = (self.value(observed[chosen])[:, 0] - targets[chosen]).square().mean()
                self.optimizer.zero_grad()
                (0.5 * error - gain).backward()
                parameters = self.optimizer.param_groups[0]["params"]
                if nn.utils.clip_grad_norm_(parameters, 0.5).isfinite():
                    self.optimizer.step()
