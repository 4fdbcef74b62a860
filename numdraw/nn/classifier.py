"""A classifier to `fit` and `predict` with, as in scikit-learn; it needs NumPy alone.

scikit-learn's Pipeline, GridSearchCV, cross_val_score and clone take it for one of theirs: they ask
for methods, not for a base class. docs/scikit-learn.md tells which of their checks it passes.
"""

import inspect
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numdraw.nn.inputs import (
    SCHEDULES,
    RandomState,
    as_classes,
    as_examples,
    as_labels,
    as_seed,
    as_sizes,
    check_parameters,
    sklearn_class,
)
from numdraw.nn.layers import Array, Flatten, Layer, Linear, ReLU, Shape
from numdraw.nn.losses import SoftmaxCrossEntropy, softmax
from numdraw.nn.network import Sequential
from numdraw.nn.optim import SGD, AdamW, Optimizer
from numdraw.nn.parallel import (
    Load,
    ParallelGradient,
    cores,
    micro_batches,
    one_blas_thread,
)
from numdraw.nn.team import Team

WARMUP = 0.25  # the share of a one-cycle schedule's steps over which the learning rate rises
MICRO_BATCH = 64  # examples; what layers keep of 64 rows of 784 numbers fits into 1 MiB

# Each use of random numbers has a stream of its own: a generator is made from the seed, the stream
# and the place in the training. So they do not depend on threads.
SPLIT, PARAMETERS, ORDER, MICRO_BATCHES = range(4)

Record: TypeAlias = dict[str, float]
Callback: TypeAlias = Callable[["Classifier", Record], object]


class Classifier:
    """A network that learns which class an example is of.

    Names are those of scikit-learn's MLPClassifier where they mean the same. Where they do not:
    `weight_decay` and not alpha, for AdamW takes the decay off the parameters and alpha is a
    penalty in the loss; `threads` and not n_jobs, for they work on one training and not on
    several, and change nothing but its time.

    The same `random_state` gives the same bits, whatever the number of threads, on the same
    processor and NumPy, while BLAS itself uses one thread (`parallel.one_blas_thread`).

    Attributes:
        classes_: (K,), the labels, sorted.
        network_: the `Sequential`, as trained so far.
        n_features_in_: numbers in an example.
        n_iter_: epochs done, counted on by `warm_start` and `partial_fit`.
        loss_, loss_curve_: nats; the last epoch's mean cross-entropy, and every epoch's.
        best_loss_: the lowest of them; None with `early_stopping`.
        validation_scores_, best_validation_score_: accuracies; None without `early_stopping`.
        seed_: of all random numbers; a new one where `random_state` is None.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        network: Callable[..., Sequential] | None = None,
        solver: str = "adamw",
        weight_decay: float = 0.01,
        momentum: float = 0.9,
        batch_size: int = 128,
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: RandomState = None,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
        threads: int | None = None,
    ) -> None:
        """Keep the parameters; `fit` looks at them.

        Args:
            hidden_layer_sizes: units of each hidden layer, ReLU after each.
            network: makes another network: called as `network(input_shape, classes, rng=rng)`,
                with one example's shape, K and a generator for the first weights, it returns
                a `Sequential`. A classifier can be pickled if this is a function of a module.
            solver: "adamw" or "sgd"; weight_decay is its own, and momentum that of "sgd".
            batch_size: examples a step, or all of them where they are fewer.
            learning_rate: "constant"; "cosine", down to 0 at the end of max_iter epochs; or
                "onecycle", up over a quarter of them and then down.
            learning_rate_init: the highest learning rate.
            max_iter: epochs at most.
            shuffle: whether each epoch has an order of its own.
            random_state: the seed, or what draws it at each `fit`.
            tol: an epoch is better if it is so by at least this much, in nats or accuracy.
            n_iter_no_change: so many epochs in a row, none better, end the training.
            early_stopping: better by the accuracy on examples held out, not by the loss, and at
                the end the parameters of the most accurate epoch come back.
            validation_fraction: the share of each class that is held out.
            warm_start: whether `fit` goes on from the last `fit`.
            verbose: whether each epoch writes a line.
            callbacks: each is called after every epoch with the classifier and the epoch's record,
                {"epoch", "loss"}, and "validation_score" with `early_stopping`. If one returns
                True, the training ends there.
            threads: how many work at once; None is one a core. Where several trainings run beside
                each other, as in GridSearchCV(n_jobs=...), 1 is best.
        """
        self.hidden_layer_sizes = hidden_layer_sizes
        self.network = network
        self.solver = solver
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.verbose = verbose
        self.callbacks = callbacks
        self.threads = threads

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> "Classifier":
        """Train a new network, or with `warm_start` the last one further.

        Args:
            X: (N, D), or examples of another shape that the network takes: (N, 28, 28). Networks
                learn best from numbers around 0, of size 1; nothing is scaled here.
            y: (N,), labels of one type: numbers, strings, whatever can be sorted.

        Raises:
            ValueError: a parameter, X or y is not as it should be, or the loss is not finite.
        """
        check_parameters(self.get_params())
        goes_on = self.warm_start and self._is_fitted()
        examples = as_examples(X, self.network_.input_shape if goes_on else None)
        y = as_labels(y, len(examples))
        if not goes_on:
            self._start(examples.shape[1:], as_classes(y))
        self._steps = 0  # the solver begins anew
        self._train(examples, y, self.max_iter)
        return self

    def partial_fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, classes: npt.ArrayLike | None = None
    ) -> "Classifier":
        """Train for one epoch, going on from the last call with all that the solver remembers.

        Five calls with the same examples are a `fit` with max_iter=5, to the last bit.

        Args:
            X: as in `fit`.
            y: as in `fit`.
            classes: every label that there will be; the first call needs it.

        Raises:
            ValueError: as in `fit`; or an option is set that needs to know the end.
        """
        check_parameters(self.get_params())
        if self.early_stopping or self.learning_rate != "constant":
            raise ValueError(
                "Classifier.partial_fit expected early_stopping=False and learning_rate="
                "'constant', as it knows no last epoch, "
                f"got {self.early_stopping} and {self.learning_rate!r}"
            )
        examples = as_examples(X, self.network_.input_shape if self._is_fitted() else None)
        y = as_labels(y, len(examples))
        if not self._is_fitted():
            if classes is None:
                raise ValueError("Classifier.partial_fit expected classes at first, got None")
            self._start(examples.shape[1:], as_classes(classes))
        elif classes is not None and not np.array_equal(as_classes(classes), self.classes_):
            raise ValueError(
                f"Classifier.partial_fit expected the classes of its first call, {self.classes_}, "
                f"got {as_classes(classes)}"
            )
        self._train(examples, y, 1)
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """The most probable label of each example, (N,)."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """The probability of each class, (N, K), in the order of `classes_`.

        Raises:
            ValueError: there was no `fit`, or X is not like the examples that it had.
        """
        if not self._is_fitted():
            not_fitted = sklearn_class("NotFittedError", ValueError)
            raise not_fitted("Classifier expected to be fitted before it predicts; call fit")
        examples = as_examples(X, self.network_.input_shape)
        probabilities: Array = softmax(self.network_(examples).T).T
        return probabilities

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """The accuracy: the share of the examples whose label is predicted."""
        predicted = self.predict(X)
        return float(np.mean(predicted == as_labels(y, len(predicted))))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of `__init__`, by name; `deep` changes nothing, for none has its own."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> "Classifier":
        """Change parameters by name.

        Raises:
            ValueError: there is none of such a name.
        """
        known = self.get_params()
        if unknown := sorted(params.keys() - known.keys()):
            raise ValueError(f"Classifier expected parameters among {sorted(known)}, got {unknown}")
        vars(self).update(params)
        return self

    def __repr__(self) -> str:
        """The call that makes it, the defaults left out."""
        given = [
            f"{name}={getattr(self, name)!r}"
            for name, parameter in inspect.signature(type(self)).parameters.items()
            if repr(getattr(self, name)) != repr(parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn, which alone calls this, wants to know of a classifier."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(three_d_array=True),
        )

    def _is_fitted(self) -> bool:
        return hasattr(self, "network_")

    def _start(self, input_shape: Shape, classes: Array) -> None:
        """Draw the first parameters, and forget what was learnt before."""
        self.seed_ = as_seed(self.random_state)
        build = self.network or partial(_perceptron, hidden=as_sizes(self.hidden_layer_sizes))
        network = build(input_shape, len(classes), rng=self._rng(PARAMETERS))
        if not isinstance(network, Sequential):
            raise ValueError(f"Classifier expected network to return a Sequential, got {network!r}")
        if (network.input_shape, network.shapes[-1]) != (input_shape, (len(classes),)):
            raise ValueError(
                f"Classifier expected a network from {input_shape} to ({len(classes)},), "
                f"got one from {network.input_shape} to {network.shapes[-1]}"
            )
        self.network_ = network
        self.classes_ = classes
        self.n_features_in_ = math.prod(input_shape)
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []
        self.best_loss_: float | None = None
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self._steps = 0
        self._solver_state: dict[str, Array] = {}  # the solver's after so many steps

    def _train(self, examples: Array, y: Array, epochs: int) -> None:
        """Train `network_` until there is a reason to stop; its threads end with the call."""
        labels = self._as_indices(y)
        train, valid = self._split(labels)
        best, best_state, since_better = -math.inf, self.network_.state.copy(), 0
        batch_size = min(self.batch_size, len(train))
        workers = min(
            cores() if self.threads is None else self.threads,
            micro_batches(batch_size, MICRO_BATCH),
        )
        # Threads: the calling program may have some too, and must not be forked then.
        with one_blas_thread(), Team(workers) as team:
            optimizer, rates = self._optimizer(team), self._rates(epochs, len(train))
            gradient = ParallelGradient(
                self.network_,
                SoftmaxCrossEntropy(),
                self._loader(examples, labels),
                batch_size=batch_size,
                micro_batch=MICRO_BATCH,
                team=team,
            )
            for _ in range(epochs):
                loss = 0.0
                for number, batch in enumerate(self._batches(train)):
                    loss += gradient(len(batch), batch, number) * len(batch) / len(train)
                    optimizer.step(next(rates))
                record = self._note(loss, examples[valid], labels[valid])
                merit = record.get("validation_score", -loss)
                since_better = 0 if merit >= best + self.tol else since_better + 1
                if merit > best:
                    best, best_state = merit, self.network_.state.copy()
                stops = [callback(self, record) for callback in self.callbacks]
                if any(stops) or since_better >= self.n_iter_no_change:
                    break
        if self.early_stopping:
            self.network_.state[:] = best_state
        self._steps, self._solver_state = optimizer.steps, optimizer.state()

    def _batches(self, train: Array) -> list[Array]:
        """The indices of the examples in each batch of the next epoch."""
        order = self._rng(ORDER, self.n_iter_).permutation(train) if self.shuffle else train
        size = self.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _loader(self, examples: Array, labels: Array) -> Load:
        """What loads the micro-batches of a batch, each with random numbers of its own."""

        def load(
            k: int, part: slice, batch: Array, number: int
        ) -> tuple[Array, Array, np.random.Generator]:
            rng = self._rng(MICRO_BATCHES, self.n_iter_, number, k)
            return examples[batch[part]], labels[batch[part]], rng

        return load

    def _note(self, loss: float, examples: Array, labels: Array) -> Record:
        """Count an epoch, and return its record; the examples are those held out."""
        self.n_iter_ += 1
        if not (math.isfinite(loss) and np.isfinite(self.network_.state).all()):
            del self.network_  # it can only say NaN
            raise ValueError(
                "Classifier expected a finite loss and finite parameters, got others in epoch "
                f"{self.n_iter_}; lower learning_rate_init from {self.learning_rate_init}, "
                "or scale X to numbers around 0, of size 1"
            )
        record: Record = {"epoch": self.n_iter_, "loss": loss}
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if self.early_stopping:
            score = float(np.mean(self.network_(examples).argmax(axis=1) == labels))
            record["validation_score"] = score
            self.validation_scores_ = [*(self.validation_scores_ or []), score]
            self.best_validation_score_ = max(self.validation_scores_)
        else:
            self.best_loss_ = min(self.loss_curve_)
        if self.verbose:
            sys.stdout.write(", ".join(f"{k} {v:.6g}" for k, v in record.items()) + "\n")
        return record

    def _split(self, labels: Array) -> tuple[Array, Array]:
        """Indices to learn from, and those held out: none, or every class's share."""
        everything = np.arange(len(labels))
        if not self.early_stopping:
            return everything, everything[:0]
        shuffled = self._rng(SPLIT).permutation(everything)
        by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
        count = min(max(round(self.validation_fraction * len(labels)), 1), len(labels) - 1)
        valid = by_class[np.arange(count) * len(labels) // count]
        return np.setdiff1d(everything, valid), valid

    def _as_indices(self, y: Array) -> Array:
        """Each label's place in `classes_`, which is what the loss takes."""
        if (unknown := np.setdiff1d(y, self.classes_)).size:
            raise ValueError(
                f"Classifier expected labels among {self.classes_} in y, got {unknown} too"
            )
        return np.searchsorted(self.classes_, y)

    def _optimizer(self, team: Team) -> Optimizer:
        """The solver, remembering what it did in the last `partial_fit`."""
        network = self.network_
        kind = partial(SGD, momentum=self.momentum) if self.solver == "sgd" else AdamW
        optimizer = kind(network.values, network.grads, weight_decay=self.weight_decay, team=team)
        # unless another solver left it
        if self._steps and self._solver_state.keys() == optimizer.state().keys():
            optimizer.load_state(self._solver_state, self._steps)
        return optimizer

    def _rates(self, epochs: int, examples: int) -> Iterator[float]:
        """The learning rate of each step."""
        steps = epochs * math.ceil(examples / self.batch_size)
        warmup = int(WARMUP * steps) if self.learning_rate == "onecycle" else 0
        schedule = SCHEDULES[self.learning_rate](self.learning_rate_init, steps, warmup)
        return map(schedule, range(steps))

    def _rng(self, stream: int, *where: int) -> np.random.Generator:
        """The random numbers of one use at one place of the training."""
        return np.random.default_rng([self.seed_, stream, *where])


def _perceptron(
    input_shape: Shape, classes: int, *, hidden: Sequence[int], rng: np.random.Generator
) -> Sequential:
    """The network where the user gives none: each hidden layer a Linear and a ReLU."""
    layers: list[Layer] = [Flatten()]
    for sizes in itertools.pairwise([math.prod(input_shape), *hidden, classes]):
        layers += [Linear(*sizes, rng=rng), ReLU()]
    return Sequential(layers[:-1], input_shape)
