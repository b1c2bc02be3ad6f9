"""The forecast of an observer, against torch's own scheduler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore_lr.forecast import PlateauForecast

pytestmark = pytest.mark.torch

VALUES = st.lists(
    st.one_of(st.floats(-10, 10), st.sampled_from([0.0, 1.0, float("nan"), float("inf")])),
    max_size=40,
)


@given(
    values=VALUES,
    mode=st.sampled_from(["min", "max"]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    threshold=st.sampled_from([0.0, 1e-4, 0.5]),
    factor=st.sampled_from([0.1, 0.5]),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    low=st.sampled_from([0.0, 0.01]),
)
def test_the_forecast_is_what_torch_does(low, **options):
    """After any values the forecast's rates are those of ReduceLROnPlateau, bit for bit."""
    import torch

    values = options.pop("values")
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.02)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, min_lr=[low, 0.0], eps=1e-8, **options
    )
    forecast = PlateauForecast(lrs=[0.1, 0.02], min_lr=[low, 0.0], eps=1e-8, **options)

    for value in values:
        scheduler.step(value)
        forecast.advance(value)

        assert [group["lr"] for group in optimizer.param_groups] == forecast.lrs


def test_observing_makes_no_optimizer():
    """With policy observe no optimizer and no scheduler but the loop's own is ever made."""
    import torch

    import hookcore
    from hookcore_lr import LR

    made = []
    handle = torch.optim.Optimizer.__init__

    def watched(optimizer, *args, **kwargs):
        made.append(type(optimizer).__name__)
        handle(optimizer, *args, **kwargs)

    torch.optim.Optimizer.__init__ = watched
    try:
        with hookcore.run(only=[], plugins=[LR(patience=0)], quiet=True, strict=True):
            weight = torch.zeros(2, requires_grad=True)
            optimizer = torch.optim.SGD([weight], lr=0.1)
            for _ in hookcore.epochs(range(4)):
                for _ in hookcore.batches(range(2)):
                    optimizer.zero_grad()
                    (weight - 1).square().sum().backward()
                    optimizer.step()
                with hookcore.validation():
                    hookcore.log(val_loss=1.0)
    finally:
        torch.optim.Optimizer.__init__ = handle

    assert made == ["SGD"]
