"""Where a loop validates, and how carelessly."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

SHAPES = {
    "inline": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                history = []
                for epoch in range(n):
                    model.train()
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    model.eval()
                    val_loss = 0.0
                    with torch.no_grad():
                        for x, y in loader(4):
                            val_loss += F.cross_entropy(model(x), y).item()
                    history.append(val_loss)
                return history, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( 4*[v] )V )E] )T R",
    },
    "on several sets": {
        "source": """
            @torch.no_grad()
            def evaluate(model, data):
                model.eval()
                return sum([F.cross_entropy(model(x), y).item() for x, y in data])

            def train(n):
                model = make(); optimizer = sgd(model)
                history = []
                for epoch in range(n):
                    model.train()
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    train_loss = evaluate(model, loader())
                    val_loss = evaluate(model, loader(4))
                    history.append((train_loss, val_loss))
                return history, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( 2*[v] )V V( 4*[v] )V )E] )T R",
    },
    "on several sets, in a loop over their names": {
        "source": """
            def evaluate(model, data):
                model.eval()
                total = 0.0
                with torch.no_grad():
                    for x, y in data:
                        total += F.cross_entropy(model(x), y).item()
                return total

            def train(n):
                model = make(); optimizer = sgd(model)
                history = []
                for epoch in range(n):
                    model.train()
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    for name in ("seen", "unseen"):
                        history.append(evaluate(model, loader()))
                return history, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] 2*[V( 2*[v] )V] )E] )T R",
    },
    "every other batch, inside the batch loop": {
        "source": """
            @torch.no_grad()
            def evaluate(model):
                model.eval()
                losses = [F.cross_entropy(model(x), y).item() for x, y in loader()]
                model.train()
                return sum(losses)

            def train(n):
                model = make(); optimizer = sgd(model)
                history = []
                for epoch in range(n):
                    for i, (x, y) in enumerate(loader(4)):
                        update(model, optimizer, x, y)
                        if i % 2 == 1:
                            history.append(evaluate(model))
                return history, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s . b s V( 2*[v] )V .] )E] )T R",
    },
    "every other step of a loop without epochs": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                history = []
                for step in range(2 * n):
                    model.train()
                    update(model, optimizer)
                    if step % 2:
                        model.eval()
                        with torch.no_grad():
                            history.append(F.cross_entropy(model(X), Y).item())
                return history, weights(model)
        """,
        "story": "T( 3*[b s . b s V( v )V .] )T R",
        "stops": False,
    },
    "before the first epoch, and after each": {
        "source": """
            @torch.no_grad()
            def evaluate(model):
                model.eval()
                return sum([F.cross_entropy(model(x), y).item() for x, y in loader()])

            def train(n):
                model = make(); optimizer = sgd(model)
                history = [evaluate(model)]
                for epoch in range(n):
                    model.train()
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    history.append(evaluate(model))
                return history, weights(model)
        """,
        # What comes before the first step cannot be known to belong to a training.
        "story": "T( 3*[E( 2*[b s .] V( 2*[v] )V )E] )T R",
    },
    "at the beginning of each epoch": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                history = []
                for epoch in range(n):
                    model.eval()
                    with torch.no_grad():
                        history.append(F.cross_entropy(model(X), Y).item())
                    model.train()
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return history, weights(model)
        """,
        "story": "T( E( 2*[b s .] )E 2*[E( V( v )V 2*[b s .] )E] )T R",
    },
    "without any loop": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    model.train()
                    loss = update(model, optimizer)
                    model.eval()
                    output = model(X)
                    accuracy = (output.argmax(1) == Y).float().mean().item()
                return loss, accuracy, weights(model)
        """,
        "story": "T( 3*[E( b s V( v )V . )E] )T R",
    },
    "without eval()": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    with torch.no_grad():
                        for x, y in loader():
                            val_loss = F.cross_entropy(model(x), y)
                return val_loss.item(), weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( 2*[v] )V )E] )T R",
    },
    "without no_grad": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    model.train()
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    model.eval()
                    for x, y in loader():
                        val_loss = F.cross_entropy(model(x), y)
                return val_loss.item(), weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( 2*[v] )V )E] )T R",
    },
    "eval() and never train() again": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    model.eval()
                    with torch.no_grad():
                        for x, y in loader():
                            val_loss = F.cross_entropy(model(x), y)
                return val_loss.item(), weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( 2*[v] )V )E] )T R",
    },
    "eval() for a sample": {
        "source": """
            def train(n):
                model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2)); optimizer = sgd(model)
                samples = []
                for epoch in range(n):
                    for x, _ in loader():
                        optimizer.zero_grad()
                        F.mse_loss(model(x), x).backward()
                        optimizer.step()
                    model.eval()
                    samples.append(model[0].weight.detach().sum().item())
                    model.train()
                return samples, weights(model)
        """,
        # The model is not called: nothing was evaluated.
        "story": "T( 3*[E( 2*[b s .] )E] )T R",
    },
    "eval() for a trace": {
        "source": """
            def train(n):
                import warnings
                warnings.simplefilter("ignore")
                model = make(); optimizer = sgd(model)
                model.eval()
                traced = torch.jit.trace(model, X)
                model.train()
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return traced(X).shape, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] )E] )T R",
    },
    "actions drawn without gradients by the trained model": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                seen = []
                for epoch in range(n):
                    for i in range(2):
                        with torch.no_grad():
                            seen.append(torch.distributions.Categorical(logits=model(X[i])).sample().item())
                        update(model, optimizer)
                return seen, weights(model)
        """,
        # The same model, called without gradients: a part of the step that follows.
        "story": "T( 3*[E( 2*[b s .] )E] )T R",
    },
    "an ensemble member at a time": {
        "source": """
            def train(n):
                models = nn.ModuleList([make(), make()]); optimizer = sgd(models)
                for epoch in range(n):
                    models.train()
                    for x, y in loader():
                        optimizer.zero_grad()
                        sum(F.cross_entropy(m(x), y) for m in models).backward()
                        optimizer.step()
                    models.eval()
                    with torch.no_grad():
                        for x, y in loader():
                            val_loss = sum(F.cross_entropy(m(x), y) for m in models)
                return val_loss.item(), weights(models)
        """,
        "story": "T( 3*[E( 2*[b s .] V( 2*[v] )V )E] )T R",
        "models": "ModuleList",
    },
    "by the model's own method": {
        "source": """
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = make()

                def forward(self, x, y=None):
                    out = self.layers(x)
                    return out if y is None else F.cross_entropy(out, y)

                def validate(self, data):
                    self.eval()
                    with torch.no_grad():
                        total = sum([self(x, y).item() for x, y in data])
                    self.train()
                    return total

            def train(n):
                model = Net(); optimizer = sgd(model)
                history = []
                for epoch in range(n):
                    for x, y in loader():
                        optimizer.zero_grad()
                        model(x, y).backward()
                        optimizer.step()
                    history.append(model.validate(loader()))
                return history, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( 2*[v] )V )E] )T R",
        "models": "Net",
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_validations(inquire, shape):
    """Told from training by what happens, wherever it stands."""
    inquire(**shape)
