"""DQN on a small environment: a plain PyTorch script, run under rtorch by tests/test_scripts.py."""

import argparse
import math
import random
from collections import deque, namedtuple
from itertools import count

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

parser = argparse.ArgumentParser()
parser.add_argument("--episodes", type=int, default=400)
args = parser.parse_args()

random.seed(0)
torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class Corridor:
    """Seven places; the goal is at the right end, the left end stops the episode, the wind blows left sometimes."""

    def reset(self):
        self.place, self.steps = 3, 0
        return self.observation()

    def observation(self):
        return [self.place / 6 - 0.5, math.sin(self.place), math.cos(self.place)]

    def step(self, action):
        self.steps += 1
        self.place += 1 if action == 1 else -1
        if random.random() < 0.1:
            self.place -= 1
        self.place = max(0, self.place)
        done = self.place in (0, 6, 7) or self.steps >= 30
        return self.observation(), 1.0 if self.place >= 6 else -1.0 if self.place == 0 else -0.02, done


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return random.sample(self.memory, batch_size)

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 32)
        self.layer2 = nn.Linear(32, 32)
        self.layer3 = nn.Linear(32, n_actions)

    def forward(self, x):
        x = F.relu(self.layer1(x))
        x = F.relu(self.layer2(x))
        return self.layer3(x)


BATCH_SIZE, GAMMA, EPS_START, EPS_END, EPS_DECAY, TAU, LR = 32, 0.95, 0.9, 0.05, 200, 0.02, 3e-3
policy_net, target_net = DQN(3, 2).to(device), DQN(3, 2).to(device)
target_net.load_state_dict(policy_net.state_dict())
optimizer = optim.AdamW(policy_net.parameters(), lr=LR, amsgrad=True)
memory = ReplayMemory(2000)
steps_done = 0


def select_action(state):
    global steps_done
    eps_threshold = EPS_END + (EPS_START - EPS_END) * math.exp(-1.0 * steps_done / EPS_DECAY)
    steps_done += 1
    if random.random() > eps_threshold:
        with torch.no_grad():
            return policy_net(state).max(1).indices.view(1, 1)
    return torch.tensor([[random.randrange(2)]], device=device, dtype=torch.long)


def optimize_model():
    if len(memory) < BATCH_SIZE:
        return
    batch = Transition(*zip(*memory.sample(BATCH_SIZE)))
    non_final_mask = torch.tensor(tuple(s is not None for s in batch.next_state), device=device, dtype=torch.bool)
    non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
    state_batch, action_batch, reward_batch = torch.cat(batch.state), torch.cat(batch.action), torch.cat(batch.reward)
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(BATCH_SIZE, device=device)
    with torch.no_grad():
        next_state_values[non_final_mask] = target_net(non_final_next_states).max(1).values
    expected = (next_state_values * GAMMA) + reward_batch
    loss = nn.SmoothL1Loss()(state_action_values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()


def main():
    env, rewards = Corridor(), []
    for _ in range(args.episodes):
        state = torch.tensor(env.reset(), dtype=torch.float32, device=device).unsqueeze(0)
        total = 0.0
        for _t in count():
            action = select_action(state)
            observation, reward, done = env.step(action.item())
            total += reward
            next_state = None
            if not done:
                next_state = torch.tensor(observation, dtype=torch.float32, device=device).unsqueeze(0)
            memory.push(state, action, next_state, torch.tensor([reward], device=device))
            state = next_state
            optimize_model()
            target, policy = target_net.state_dict(), policy_net.state_dict()
            for key in policy:
                target[key] = policy[key] * TAU + target[key] * (1 - TAU)
            target_net.load_state_dict(target)
            if done:
                break
        rewards.append(total)
    last = torch.tensor(rewards[-20:])
    print(f"first 20: {torch.tensor(rewards[:20]).mean().item():.3f}")
    print(f"final {last.mean().item():.3f}")


if __name__ == "__main__":
    main()
