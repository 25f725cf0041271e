"""The tricks in a plain PyTorch loop: handwritten digits of 8 by 8 pixels, which come with scikit-learn.

    python examples/own_loop.py

Each trick is one or two lines, and all come from `titrant.loop` and `titrant.surgery`; leave out what you do not want.
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from titrant import loop
from titrant.surgery import operate


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures uint8 [n, 1, 8, 8] to learn from and to be judged on, and their labels."""
    x, y = load_digits(return_X_y=True)
    pictures = torch.as_tensor(x.reshape(-1, 1, 8, 8) * 15.9375).to(torch.uint8)
    train, test = train_test_split(range(len(y)), test_size=0.25, stratify=y, random_state=0)
    labels = torch.as_tensor(y)
    return pictures[train], labels[train], pictures[test], labels[test]


def network() -> nn.Module:
    """A small convolutional network, written without a thought of Titrant."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def main(epochs: int = 15, batch: int = 64) -> float:
    """Trains, and returns the accuracy on rows that were not learned from."""
    torch.manual_seed(0)
    x, y, x_test, y_test = digits()
    model = network()

    # normalisation, activation, dropout and first weights: one call, which says what it did
    print(operate(model, activation="gelu", dropout={"kind": "bernoulli", "p": 0.1}, initialize="he_normal"))
    # optimizer, schedule, clipping, decay and averaging: one object
    optimizer = loop.Optimizer(
        model,
        epochs * (len(x) // batch),
        optimizer="adamw",
        learning_rate={"peak": 0.003, "warmup": 0.05, "schedule": "cosine"},
        clip={"kind": "norm", "max_norm": 5.0},
        average={"kind": "ema", "decay": 0.99},
    )
    augment = loop.Augment(shift={"kind": "shift", "share": 0.125})
    mix = loop.Mix({"kind": "cutmix", "alpha": 0.5})

    for _ in range(epochs):
        order = torch.randperm(len(x))
        for rows in order[: len(x) // batch * batch].view(-1, batch):
            inputs, mixed = mix(augment(x[rows]))
            loss = mixed(loop.loss, model(inputs), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    model.eval()
    with torch.no_grad(), optimizer.averaged():
        accuracy = (model(x_test / 255).argmax(1) == y_test).float().mean().item()
    print(f"accuracy {accuracy:.3f} on {len(y_test)} held-out digits")
    for trick, (acted, steps) in optimizer.receipts().items():
        print(f"  {trick} acted in {acted:.0f} of {steps:.0f} steps")
    return accuracy


if __name__ == "__main__":
    main()
