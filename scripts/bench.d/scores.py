"""Compares ways to tell digits from what is none, with one network: how well, and in what time.

    scripts/bench scores --weights FILE --drawings FILE... --not-digits FILE...

What is compared, each from the network's last features or its logits z of the digits and r of "no
digit":

    confidence        the probability of the likeliest digit, "no digit" included
    likeliest of ten  the same among the digits alone
    energy            log(sum of exp(z))
    no digit          -r
    log odds          log(sum of exp(z)) - r: what numdraw uses
    distance          the least squared Mahalanobis distance to a digit's mean features, times -1
    relative          the same, plus the squared distance to the mean of all digits

The distances need the training images: MNIST's and the ink beside them (--data), digits only. The
drawings should be of sources that took no part in training.

Sources: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution
Examples", 2017; Liu et al., "Energy-based Out-of-distribution Detection", 2020; Hendrycks, Mazeika
and Dietterich, "Deep Anomaly Detection with Outlier Exposure", 2019; Lee et al., "A Simple Unified
Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", 2018; Ren et al., "A
Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.parts.report import Report, table
from numdraw.calibrate import digit_scores, temper
from numdraw.data import data_folder, find_ink, join, read_ink, read_split
from numdraw.evaluate import answers_to_drawings, answers_to_others
from numdraw.measured import Answers, macro_average
from numdraw.metrics import detection_scores
from numdraw.models import CLASSES, NO_DIGIT, as_images
from numdraw.nn.layers import Array
from numdraw.nn.network import Sequential
from numdraw.predictor import Predictor

FITTED = 20_000  # training digits at most, for the distances
SHRINKAGE = 1e-3  # of a covariance towards the identity, as a share of its mean variance
CALLS = 200  # of each score, for its time

Score = Callable[[Array, Array], Array]  # of features (N, F) and logits (N, 11): (N,)


def main() -> int:
    """Measure and report; 0, or 1 where something is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--weights", type=Path, help="the weights file (the shipped one)")
    parser.add_argument("--data", help="folder of the training images (NUMDRAW_DATA, or data/)")
    parser.add_argument("--drawings", type=Path, nargs="+", required=True, help="digits")
    parser.add_argument("--not-digits", type=Path, nargs="+", required=True, help="no digits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    report = Report("scores")
    try:
        predictor = Predictor.load(args.weights)
        if predictor.meta["architecture"].get("outputs") != NO_DIGIT + 1:
            raise ValueError("expected weights with an output for no digit, got none")
        folder = data_folder(args.data)
        training = join([read_split(folder, "train"), read_ink(find_ink(folder, "train"))])
        digits, others = [], []
        for path in args.drawings:
            answers = answers_to_drawings(predictor, path, path.name)
            if not isinstance(answers, Answers):
                raise ValueError(f"{path} expected digits, got numbers")
            digits.append(answers.images)
        for path in args.not_digits:
            unlike = answers_to_others(predictor, path, path.name)
            others.append(unlike.images[~unlike.alike])
    except (OSError, ValueError) as error:
        sys.stderr.write(f"bench scores: {error}\n")
        return 1
    network = predictor.network
    features = Sequential(network.layers[:-1], network.input_shape)
    last = Sequential(network.layers[-1:], features.shapes[-1])
    chosen = np.flatnonzero(training.labels < CLASSES)
    chosen = np.random.default_rng(0).permutation(chosen)[:FITTED]
    known = features(as_images(training.images[chosen]))
    scores = _scores(predictor, known, training.labels[chosen])

    def outputs(images: Array) -> tuple[Array, Array]:
        part = features(images)
        return part, last(part)

    of_digits, of_others = [*map(outputs, digits)], [*map(outputs, others)]
    rows = []
    for name, score in scores.items():
        positives = np.concatenate([score(*pair) for pair in of_digits])
        each = [detection_scores(positives, score(*pair)) for pair in of_others]
        means = macro_average(each)
        means["us"] = 1e6 * _seconds(score, [part[:1] for part in of_digits[0]])
        report.figures[name] = means
        rows.append([name, f"{means['auroc']:.2%}", f"{means['fpr95']:.2%}", f"{means['us']:.1f}"])
    count = sum(map(len, digits)), sum(map(len, others))
    report.say(f"{predictor.version}: {count[0]:,} digits, {count[1]:,} that are none")
    report.say(table(["score", "AUROC", "FPR at 95% TPR", "us a drawing"], rows))
    report.write(args.json)
    return 0


def _scores(predictor: Predictor, known: Array, labels: Array) -> dict[str, Score]:
    """Each way by its name; the higher, the more like a digit.

    Args:
        predictor: gives the temperature.
        known: (N, F) features of digits, for the distances.
        labels: (N,) which they are.
    """
    temperature = predictor.calibration.temperature
    means = np.stack([known[labels == digit].mean(axis=0) for digit in range(CLASSES)])
    within = _whitening(known - means[labels])
    overall = known.mean(axis=0)
    around = _whitening(known - overall)
    white_means = means @ within

    def distance(features: Array) -> Array:
        white = features @ within
        squares: Array = ((white[:, None] - white_means) ** 2).sum(axis=2).min(axis=1)
        return squares

    def background(features: Array) -> Array:
        squares: Array = (((features - overall) @ around) ** 2).sum(axis=1)
        return squares

    return {
        "confidence": lambda _, z: temper(z, temperature)[:, :CLASSES].max(axis=1),
        "likeliest of ten": lambda _, z: temper(z[:, :CLASSES], temperature).max(axis=1),
        "energy": lambda _, z: digit_scores(z[:, :CLASSES]),
        "no digit": lambda _, z: -z[:, NO_DIGIT],
        "log odds": lambda _, z: digit_scores(z),
        "distance": lambda f, _: -distance(f),
        "relative": lambda f, _: background(f) - distance(f),
    }


def _whitening(centred: Array) -> Array:
    """(F, F): features times it have the identity as their covariance, nearly."""
    covariance = centred.T.astype(np.float64) @ centred / len(centred)
    covariance += SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    inverse: Array = np.linalg.inv(np.linalg.cholesky(covariance)).T.astype(np.float32)
    return inverse


def _seconds(score: Score, pair: Sequence[Array]) -> float:
    """One drawing's score, the median of some calls."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        score(*pair)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    sys.exit(main())
