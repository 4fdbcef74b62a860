"""A side: scikit-learn's MLPClassifier."""

import time
import warnings
from collections.abc import Callable

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks.parts import nets
from numdraw.nn.parallel import keep_freed_memory
from numdraw.training import RECIPES

keep_freed_memory()  # as on our side


def training(*, batch: int, steps: int, lr: float, folder: str | None) -> Callable[[], float]:
    """A round is a `fit` of one epoch of so many steps; it returns its seconds."""
    images, labels = nets.batch(folder, batch * steps)
    x = images.reshape(len(images), -1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch is all that is wanted

    def run() -> float:
        classifier = MLPClassifier(
            RECIPES["mlp"].hidden,
            solver="sgd",
            momentum=0.9,
            nesterovs_momentum=False,
            learning_rate_init=lr,
            alpha=0.0,
            batch_size=batch,
            max_iter=1,
            early_stopping=False,
            shuffle=False,
            random_state=0,
        )
        start = time.perf_counter()
        classifier.fit(x, labels)
        return time.perf_counter() - start

    return run
