"""Tensors and NumPy arrays share memory: what is a view, what is a copy, and how the two libraries mix.

usage: numpy_bridge.py
"""

import numpy as np

import rtorch as torch


def main():
    # from_numpy shares the array's memory, both ways.
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = torch.from_numpy(array)
    tensor[0, 0] = 100
    array[1, 2] = -1
    print("shared, written from both sides:")
    print(tensor)

    # .numpy() shares it as well; torch.tensor() and .clone() copy.
    view, copy = tensor.numpy(), torch.tensor(array)
    tensor.mul_(2)
    print("view:", view[0].tolist(), " copy:", copy[0].tolist())

    # NumPy's functions take tensors, and tensors take arrays.
    print("np.linalg.norm of a tensor:", float(np.linalg.norm(tensor)))
    print("np.asarray:", np.asarray(tensor).dtype, np.asarray(tensor).shape)

    # DLPack: the protocol that other array libraries speak, without a copy.
    exchanged = np.from_dlpack(tensor)
    print("DLPack shares memory:", np.shares_memory(exchanged, tensor.numpy()))

    # A gradient through a computation, checked against NumPy's finite difference.
    x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
    (x.sin() * x.exp()).sum().backward()
    step, at = 1e-6, x.detach().numpy()
    numeric = ((np.sin(at + step) * np.exp(at + step)) - (np.sin(at - step) * np.exp(at - step))) / (2 * step)
    print("gradient agrees with NumPy:", np.allclose(x.grad.numpy(), numeric, atol=1e-8))

    # A least-squares fit: data made by NumPy, fitted by gradient descent, checked by np.linalg.lstsq.
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 3))
    b = a @ np.array([1.0, -2.0, 0.5]) + 0.01 * rng.normal(size=200)
    matrix, target = torch.from_numpy(a), torch.from_numpy(b)
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        ((matrix @ weights - target) ** 2).mean().backward()
        optimizer.step()
    exact = np.linalg.lstsq(a, b, rcond=None)[0]
    print("fitted:", [round(v, 4) for v in weights.tolist()], " exact:", exact.round(4).tolist())


if __name__ == "__main__":
    main()
