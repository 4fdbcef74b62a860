"""The whole network against PyTorch: outputs, gradients, ten training steps of each optimiser."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from numdraw.models import build, mlp_architecture
from numdraw.nn.losses import SoftmaxCrossEntropy
from numdraw.nn.optim import SGD, AdamW, Optimizer

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'numdraw[torch]' to compare with it"
)

N = 32
RNG = np.random.default_rng(0)
IMAGES = RNG.random((N, 28, 28)).astype(np.float32)
LABELS = RNG.integers(0, 10, N)
SMOOTHING = 0.1


def pair() -> tuple[Any, Any]:
    """Our MLP, and PyTorch's with the same parameters."""
    ours = build(mlp_architecture([48, 32], 0.0), rng=np.random.default_rng(1))
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    theirs = torch.nn.Sequential(
        torch.nn.Flatten(), linear(784, 48), relu(), linear(48, 32), relu(), linear(32, 10)
    )
    with torch.no_grad():
        for mine, its in zip(ours.parameters().values(), theirs.parameters(), strict=True):
            its.copy_(torch.tensor(mine.value))
    return ours, theirs


def flat(theirs: Any, attribute: str = "data") -> np.ndarray:
    return np.concatenate([getattr(p, attribute).numpy().ravel() for p in theirs.parameters()])


def their_loss(theirs: Any) -> Any:
    logits = theirs(torch.tensor(IMAGES))
    return torch.nn.functional.cross_entropy(
        logits, torch.tensor(LABELS), label_smoothing=SMOOTHING
    )


def our_step(ours: Any) -> float:
    x = ours.to_batch_last(IMAGES)
    loss, dlogits = SoftmaxCrossEntropy(SMOOTHING)(ours.forward(x, train=True), LABELS)
    ours.backward(dlogits)
    return loss


def test_outputs_are_equal() -> None:
    ours, theirs = pair()
    with torch.no_grad():
        assert ours(IMAGES) == pytest.approx(theirs(torch.tensor(IMAGES)).numpy(), abs=1e-5)


def test_loss_and_gradients_are_equal() -> None:
    ours, theirs = pair()
    loss = their_loss(theirs)
    loss.backward()
    assert our_step(ours) == pytest.approx(loss.item(), rel=1e-6)
    expected = flat(theirs, "grad")
    assert ours.grads == pytest.approx(expected, abs=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("our_kind", "their_kind", "lr"),
    [
        (
            lambda values, grads: SGD(values, grads, momentum=0.9, weight_decay=0.01),
            lambda parameters: torch.optim.SGD(
                parameters, lr=0.05, momentum=0.9, weight_decay=0.01
            ),
            0.05,
        ),
        (
            lambda values, grads: AdamW(values, grads, betas=(0.9, 0.99), weight_decay=0.05),
            lambda parameters: torch.optim.AdamW(
                parameters, lr=0.002, betas=(0.9, 0.99), weight_decay=0.05
            ),
            0.002,
        ),
    ],
    ids=["SGD", "AdamW"],
)
def test_ten_training_steps_are_equal(
    our_kind: Callable[..., Optimizer], their_kind: Callable[..., Any], lr: float
) -> None:
    ours, theirs = pair()
    start = ours.values.copy()
    our_optimizer, their_optimizer = (
        our_kind(ours.values, ours.grads),
        their_kind(theirs.parameters()),
    )
    for _ in range(10):
        our_loss = our_step(ours)
        our_optimizer.step(lr)
        their_optimizer.zero_grad()
        loss = their_loss(theirs)
        loss.backward()
        their_optimizer.step()
        assert our_loss == pytest.approx(loss.item(), rel=1e-4)
    moved = np.abs(ours.values - start).max()
    assert moved > 0.005
    assert np.abs(ours.values - flat(theirs)).max() < 0.01 * moved
