"""Train a small classifier on scikit-learn's handwritten digits, as plain PyTorch.

1,797 pictures of 8 x 8 pixels; they come with the package, nothing is downloaded. A run takes a
few seconds on a CPU.

    python docs/examples/digits.py --epochs 12
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.hidden = nn.Linear(16 * 4 * 4, 64)
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = self.dropout(x.flatten(1))
        x = F.relu(self.hidden(x))
        return self.out(x)


def load_data(test_size=360):
    """Training and test data; the split has a seed of its own and never changes."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return (
        TensorDataset(images[test_size:], labels[test_size:]),
        TensorDataset(images[:test_size], labels[:test_size]),
    )


def train(model, loader, optimizer):
    """One pass over the training data; returns its mean loss."""
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


def test(model, loader):
    """Mean loss and accuracy on the test data."""
    model.eval()
    total, correct = 0.0, 0
    with torch.no_grad():
        for images, labels in loader:
            output = model(images)
            total += F.cross_entropy(output, labels, reduction="sum").item()
            correct += (output.argmax(dim=1) == labels).sum().item()
    return total / len(loader.dataset), correct / len(loader.dataset)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Handwritten digits in plain PyTorch")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the data (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures a batch (%(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="learning rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (%(default)s)")
    args = parser.parse_args(argv)

    torch.manual_seed(args.seed)
    train_data, test_data = load_data()
    train_loader = DataLoader(train_data, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=500)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    for epoch in range(args.epochs):
        train_loss = train(model, train_loader, optimizer)
        test_loss, accuracy = test(model, test_loader)
        print(
            f"epoch {epoch + 1:2d}: train loss {train_loss:.4f}, "
            f"test loss {test_loss:.4f}, accuracy {accuracy:.1%}"
        )

    test_loss, accuracy = test(model, test_loader)
    print(f"after training: test loss {test_loss:.4f}, accuracy {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
