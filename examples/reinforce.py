"""REINFORCE (Williams 1992) with a baseline on an environment of its own: a pole to balance on a cart (Barto, Sutton &
Anderson 1983), all episodes of a batch simulated together as tensors.

The policy is a `Categorical` over left and right. Prints a table of mean rewards, and draws the reward curve.

usage: reinforce.py [--quick] [--updates 120] [--seed 1] [--picture reinforce.png]
"""

import argparse
import math
import os
import time

from common import pyplot

import rtorch as torch
import rtorch.nn as nn
from rtorch.distributions import Categorical
from rtorch.utils import progress

EPISODES, LONGEST = 32, 200
DISCOUNT = 0.99


class CartPole:
    """A batch of carts on rails, each with a pole: state (position, speed, angle, turning speed), actions 0 (pushed
    left) and 1 (right). An episode ends where the pole leans 12 degrees or the cart leaves the rails; every step before
    earns 1."""

    GRAVITY, CART, POLE, HALF, FORCE, STEP = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

    def __init__(self, carts):
        self.state = torch.rand(carts, 4) * 0.1 - 0.05
        self.alive = torch.ones(carts, dtype=torch.bool)

    def step(self, action):
        """Moves the carts that still stand; answers their rewards."""
        x, v, angle, turn = self.state.unbind(1)
        push = torch.where(action == 1, self.FORCE, -self.FORCE)
        mass, arm = self.CART + self.POLE, self.POLE * self.HALF
        sine, cosine = angle.sin(), angle.cos()
        inner = (push + arm * turn**2 * sine) / mass
        spin = (self.GRAVITY * sine - cosine * inner) / (self.HALF * (4 / 3 - self.POLE * cosine**2 / mass))
        speed = inner - arm * spin * cosine / mass
        moved = torch.stack([v, speed, turn, spin], 1) * self.STEP
        self.state = torch.where(self.alive[:, None], self.state + moved, self.state)
        reward = self.alive.float()
        self.alive = self.alive & (self.state[:, 0].abs() < 2.4) & (self.state[:, 2].abs() < math.radians(12))
        return reward


def play(policy, longest):
    """One batch of episodes: log-probabilities of the actions, values and rewards, each (steps, episodes)."""
    carts, log_probs, values, rewards = CartPole(EPISODES), [], [], []
    for _ in range(longest):
        if not carts.alive.any():
            break
        out = policy(carts.state)
        choice = Categorical(logits=out[:, :2])
        action = choice.sample()
        log_probs.append(choice.log_prob(action))
        values.append(out[:, 2])
        rewards.append(carts.step(action))
    return torch.stack(log_probs), torch.stack(values), torch.stack(rewards)


def returns(rewards):
    """What each step still earns, discounted."""
    total, out = torch.zeros(rewards.size(1)), []
    for reward in rewards.flip(0):
        total = reward + DISCOUNT * total
        out.append(total)
    return torch.stack(out[::-1])


def main():
    parser = argparse.ArgumentParser(description="REINFORCE balances a pole.")
    parser.add_argument("--quick", action="store_true", help="a few updates")
    parser.add_argument("--updates", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", default="reinforce.png")
    options = parser.parse_args()
    updates = options.updates or (30 if options.quick else 120)
    torch.manual_seed(options.seed)
    policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-2)
    curve, start = [], time.perf_counter()
    bar = progress(range(updates), "playing", disable=False)
    for _ in bar:
        log_probs, values, rewards = play(policy, LONGEST)
        gain = returns(rewards)
        played = rewards  # 1 where the cart still stood: what came after counts for nothing
        advantage = (gain - values.detach()) * played
        advantage = advantage / (advantage.square().sum() / played.sum()).sqrt()
        loss = -(log_probs * advantage * played).sum() + 0.5 * ((values - gain).square() * played / 100).sum()
        optimizer.zero_grad()
        (loss / EPISODES).backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        curve.append(rewards.sum(0).mean().item())
        bar.set_postfix(reward=f"{curve[-1]:.0f}")
    print(f"{updates * EPISODES} episodes in {time.perf_counter() - start:.1f} s")
    print("updates     mean reward")
    tenth = max(1, updates // 10)
    for at in range(0, updates, tenth):
        part = curve[at : at + tenth]
        print(f"{at + 1:4d} - {at + len(part):4d} {sum(part) / len(part):10.1f}")

    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(curve)
    axes.axhline(LONGEST, linestyle="--", color="gray", label="the most that can be earned")
    axes.set(xlabel="update", ylabel="mean reward", title="REINFORCE balances a pole")
    axes.legend()
    figure.savefig(options.picture, dpi=80)
    print(f"picture {os.path.abspath(options.picture)}")
    print(f"reward {sum(curve[:5]) / 5:.1f} in the first five updates")
    print(f"reward {sum(curve[-5:]) / 5:.1f} in the last five updates")


if __name__ == "__main__":
    main()
