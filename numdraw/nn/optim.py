"""Optimisers, which turn gradients into steps, and schedules, which say how long a step is.

An optimiser is a formula applied to every parameter alike, so it works on the one vector that
a `Sequential` keeps them in, in parts that stay in the processor's cache and can go to the workers
of a `Team`: the parts do not touch one another, and the result is the same, bit for bit, whoever
does them.
"""

import math
from abc import ABC, abstractmethod

import numpy as np

from numdraw.nn.layers import Array
from numdraw.nn.team import Team


class Optimizer(ABC):
    """Moves a vector of parameters against its gradient, and remembers what its formula needs.

    Attributes:
        values: (P,), the parameters, changed in place by `step`.
        grads: (P,), the gradient that `step` reads.
        steps: how many steps were taken.
    """

    def __init__(self, values: Array, grads: Array, *, team: Team | None = None) -> None:
        """Stand at step 0.

        Args:
            values: (P,), `Sequential.values`.
            grads: (P,), `Sequential.grads`.
            team: takes the steps together; None is the caller alone.

        Raises:
            ValueError: the team does not share the vectors' memory.
        """
        self._team = Team(1) if team is None else team
        for vector in (values, grads):
            self._team.expect_shared(vector, type(self).__name__)
        self.values = values
        self.grads = grads
        self.steps = 0
        self._update = self._team.vector_job(values.size, self._update_parts)

    def step(self, lr: float) -> None:
        """Take one step of learning rate `lr`.

        Raises:
            WorkerError: a process of the team has come to its end.
        """
        self.steps += 1
        self._update(lr, self.steps)

    @abstractmethod
    def update(self, part: slice, lr: float) -> None:
        """Apply the formula to one part of the vector."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The vectors that the formula remembers, by name: what a checkpoint must hold."""

    def load_state(self, arrays: dict[str, Array], steps: int) -> None:
        """Go on from a checkpoint's `state()` and `steps`."""
        for name, array in self.state().items():
            array[...] = arrays[name]
        self.steps = steps

    def _zeros(self) -> Array:
        """A vector for the formula to remember something in, (P,)."""
        return self._team.zeros(self.values.size, self.values.dtype)

    def _update_parts(self, parts: list[slice], lr: float, steps: int) -> None:
        self.steps = steps  # in another process it stood still
        for part in parts:
            self.update(part, lr)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

        velocity = momentum * velocity + (grad + weight_decay * value)
        value    = value - lr * velocity

    Source: Sutskever et al., "On the importance of initialization and momentum", 2013,
    section 2, in the form in which PyTorch writes it.
    """

    def __init__(
        self,
        values: Array,
        grads: Array,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        team: Team | None = None,
    ) -> None:
        """Start at rest.

        Args:
            values: (P,).
            grads: (P,).
            momentum: in [0, 1); 0 is plain gradient descent.
            weight_decay: the factor of the L2 penalty's gradient.
            team: see `Optimizer`.
        """
        super().__init__(values, grads, team=team)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.velocity = self._zeros()

    def update(self, part: slice, lr: float) -> None:
        """See the class."""
        value, grad, velocity = self.values[part], self.grads[part], self.velocity[part]
        velocity *= self.momentum
        velocity += grad
        if self.weight_decay:
            velocity += self.weight_decay * value
        value -= lr * velocity

    def state(self) -> dict[str, Array]:
        """The velocity."""
        return {"velocity": self.velocity}


class AdamW(Optimizer):
    """Adam with decoupled weight decay; at step t, counted from 1:

        mean     = beta1 * mean     + (1 - beta1) * grad
        variance = beta2 * variance + (1 - beta2) * grad**2
        value    = value - lr * weight_decay * value
        value    = value - lr * (mean / (1 - beta1**t)) / (sqrt(variance / (1 - beta2**t)) + eps)

    mean and variance start at 0; the divisors undo that bias.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2, in
    the form in which PyTorch writes it: the decay has a factor of lr.
    """

    def __init__(
        self,
        values: Array,
        grads: Array,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        team: Team | None = None,
    ) -> None:
        """Start with nothing remembered.

        Args:
            values: (P,).
            grads: (P,).
            betas: how slowly mean and variance forget, each in [0, 1).
            eps: keeps the division finite.
            weight_decay: the share of a parameter that a step of lr 1 would take off it.
            team: see `Optimizer`.
        """
        super().__init__(values, grads, team=team)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.mean = self._zeros()
        self.variance = self._zeros()

    def update(self, part: slice, lr: float) -> None:
        """See the class."""
        beta1, beta2 = self.betas
        value, grad = self.values[part], self.grads[part]
        mean, variance = self.mean[part], self.variance[part]
        # mean + (1 - beta1) * (grad - mean) is beta1 * mean + (1 - beta1) * grad in fewer passes
        scratch = grad - mean
        scratch *= 1.0 - beta1
        mean += scratch
        np.multiply(grad, grad, out=scratch)
        scratch -= variance
        scratch *= 1.0 - beta2
        variance += scratch
        if self.weight_decay:
            value *= 1.0 - lr * self.weight_decay
        # sqrt(variance / c2) + eps = (sqrt(variance) + eps * sqrt(c2)) / sqrt(c2): one pass less
        root_c2 = math.sqrt(1.0 - beta2**self.steps)
        np.sqrt(variance, out=scratch)
        scratch += self.eps * root_c2
        np.divide(mean, scratch, out=scratch)
        scratch *= lr * root_c2 / (1.0 - beta1**self.steps)
        value -= scratch

    def state(self) -> dict[str, Array]:
        """The running mean and variance of the gradient."""
        return {"mean": self.mean, "variance": self.variance}


class Schedule(ABC):
    """The learning rate of each step.

    During the first `warmup` steps it rises in a straight line towards `lr`, for the first
    gradients are the least to be trusted; after that `after_warmup` says what it does.
    """

    def __init__(self, lr: float, total_steps: int, warmup: int = 0) -> None:
        """Keep the measures of the schedule.

        Args:
            lr: the highest learning rate.
            total_steps: how many steps the training has.
            warmup: how many of them the rise takes.

        Raises:
            ValueError: not 0 <= warmup <= total_steps.
        """
        if not 0 <= warmup <= total_steps:
            raise ValueError(
                f"{type(self).__name__} expected warmup in [0, {total_steps}], got {warmup}"
            )
        self.lr = lr
        self.total_steps = total_steps
        self.warmup = warmup

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        rest = max(self.total_steps - self.warmup, 1)
        return self.lr * self.after_warmup(min((step - self.warmup) / rest, 1.0))

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """The factor of `lr` when the share `progress`, in [0, 1], of the rest is done."""


class Constant(Schedule):
    """Always `lr`, once warm."""

    def after_warmup(self, progress: float) -> float:
        """1."""
        return 1.0


class Cosine(Schedule):
    """Down from `lr` to 0 along half a cosine.

    Source: Loshchilov and Hutter, "SGDR", 2017, section 3, without restarts.
    """

    def after_warmup(self, progress: float) -> float:
        """From 1 to 0."""
        return 0.5 * (1.0 + math.cos(math.pi * progress))


class OneCycle(Schedule):
    """Up from lr/25 to `lr` over the warm-up, then down to lr/10,000, both along half a cosine.

    The long rise lets the highest rate be higher than could be borne from the start.

    Source: Smith and Topin, "Super-Convergence", 2018, section 3, with cosines for lines.
    """

    START = 1 / 25
    END = 1 / 10_000

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * _half_cosine(self.START, 1.0, step / self.warmup)
        return super().__call__(step)

    def after_warmup(self, progress: float) -> float:
        """From 1 to 1/10,000."""
        return _half_cosine(1.0, self.END, progress)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
