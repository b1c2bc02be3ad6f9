"""The digits again, as a loop over steps: no epochs, an evaluation every so often.

A batch is drawn with replacement; gradients of several batches can be gathered for one update.

    python docs/examples/digits_steps.py --steps 400 --accumulate 2
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


def load_data(test_size=360):
    """Training and test tensors; the split has a seed of its own and never changes."""
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return (images[test_size:], labels[test_size:]), (images[:test_size], labels[:test_size])


def get_batch(data, size):
    """A batch drawn with replacement."""
    images, labels = data
    picked = torch.randint(len(labels), (size,))
    return images[picked], labels[picked]


@torch.no_grad()
def evaluate(model, data):
    """Mean loss and accuracy on the test data."""
    model.eval()
    images, labels = data
    output = model(images)
    model.train()
    return (
        F.cross_entropy(output, labels).item(),
        (output.argmax(dim=1) == labels).float().mean().item(),
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description="Handwritten digits, counted in steps")
    parser.add_argument("--steps", type=int, default=400, help="optimizer updates (%(default)s)")
    parser.add_argument("--accumulate", type=int, default=1, help="batches an update (%(default)s)")
    parser.add_argument("--eval-every", type=int, default=100, help="updates apart (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures a batch (%(default)s)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (%(default)s)")
    args = parser.parse_args(argv)

    torch.manual_seed(args.seed)
    train_data, test_data = load_data()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)

    step = 0
    while step < args.steps:
        optimizer.zero_grad()
        for _ in range(args.accumulate):
            images, labels = get_batch(train_data, args.batch_size)
            loss = F.cross_entropy(model(images), labels) / args.accumulate
            loss.backward()
        optimizer.step()
        step += 1

        if step % args.eval_every == 0:
            val_loss, accuracy = evaluate(model, test_data)
            print(
                f"step {step:4d}: loss {loss.item() * args.accumulate:.4f}, "
                f"test loss {val_loss:.4f}, accuracy {accuracy:.1%}"
            )

    val_loss, accuracy = evaluate(model, test_data)
    print(f"after {step} steps: test loss {val_loss:.4f}, accuracy {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
