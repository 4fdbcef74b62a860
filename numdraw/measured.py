"""What was answered to digits, to drawings of no digit and to numbers, and how good that was."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from numdraw.drawings import LOOKALIKES
from numdraw.metrics import (
    auroc,
    bootstrap_interval,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    false_positive_rate,
    negative_log_likelihood,
    scores,
    wilson_interval,
)
from numdraw.nn.layers import Array
from numdraw.predictor import NumberPrediction, Prediction, Predictions

MACRO = "macro-average"


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Answers:
    """What was answered to one set of digits.

    Attributes:
        source: what they are, for people.
        images: (N, 28, 28), bytes 0..255 or [0, 1] floats; the most is ink.
        labels: (N,) int64.
        predictions: of the N.
        numbers: of drawings, what each was read as where it might have been several digits.
    """

    source: str
    images: Array
    labels: Array
    predictions: Predictions
    numbers: Sequence[str] | None = None

    @property
    def probabilities(self) -> Array:
        """(N, 10) float64."""
        return self.predictions.probabilities

    @property
    def digits(self) -> Array:
        """(N,) int64, what was answered."""
        return self.predictions.digits

    @property
    def confidences(self) -> Array:
        """(N,) float64, the probability of each answer."""
        return self.predictions.confidences

    @property
    def correct(self) -> Array:
        """(N,) booleans."""
        correct: Array = self.digits == self.labels
        return correct

    @cached_property
    def scores(self) -> dict[str, Any]:
        """See `metrics.scores`; and what is refused, and wrong among the rest."""
        refused = ~self.predictions.is_digit
        accepted = max(1, int((~refused).sum()))
        values: dict[str, Any] = {
            **scores(self.probabilities, self.labels),
            "brier": brier_score(self.probabilities, self.labels),
            "refused": float(refused.mean()),
            "error_of_accepted": float((~self.correct & ~refused).sum() / accepted),
        }
        if self.numbers is not None:
            as_number = np.array([str(label) for label in self.labels]) == np.array(self.numbers)
            values["split"] = float((self.correct & ~as_number).mean())
        return values

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95% intervals of some of the scores: Wilson's of shares, else by bootstrap."""
        total = len(self.labels)
        labelled = (self.probabilities, self.labels)
        return {
            "error": wilson_interval(int((~self.correct).sum()), total),
            "refused": wilson_interval(int((~self.predictions.is_digit).sum()), total),
            "nll": bootstrap_interval(negative_log_likelihood, *labelled),
            "brier": bootstrap_interval(brier_score, *labelled),
            "ece": bootstrap_interval(expected_calibration_error, self.confidences, self.correct),
        }

    @property
    def confusion(self) -> Array:
        """(10, 10) counts: row = label, column = answer."""
        return confusion_matrix(self.digits, self.labels)

    def mistakes(self) -> Array:
        """The places of the wrong answers, the surest first."""
        return _surest_first(~self.correct, self.confidences)


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Others:
    """What was answered to one set of drawings of no digit.

    Attributes:
        source: what they are, for people.
        images: (N, 28, 28), [0, 1] floats; the most is ink.
        labels: what each shows.
        predictions: of the N.
    """

    source: str
    images: Array
    labels: Sequence[str]
    predictions: Predictions

    @property
    def alike(self) -> Array:
        """(N,) booleans: whether a person could read it as a digit."""
        return np.array([label in LOOKALIKES for label in self.labels])

    def scores(self, digits: Array, *, intervals: bool = False) -> dict[str, Any]:
        """How well these are told from digits, those that look like digits apart.

        Args:
            digits: (M,) the scores (`Predictions.looks`) of digits.
            intervals: whether with the 95% intervals, which take far longer.
        """
        values: dict[str, Any] = {}
        for name, chosen in ("strict", ~self.alike), ("lookalikes", self.alike):
            if not chosen.any():
                continue
            looks, taken = self.predictions.looks[chosen], self.predictions.is_digit[chosen]
            confidences = self.predictions.confidences[chosen]
            values[name] = {
                "images": int(chosen.sum()),
                "auroc": auroc(digits, looks),
                "fpr95": false_positive_rate(digits, looks),
                "confidence": float(confidences.mean()),
                "taken": float(taken.mean()),
            }
            if intervals:
                values[name]["intervals"] = {
                    "auroc": bootstrap_interval(lambda part: auroc(digits, part), looks),
                    "fpr95": bootstrap_interval(
                        lambda part: false_positive_rate(digits, part), looks
                    ),
                    "confidence": bootstrap_interval(np.mean, confidences),
                    "taken": wilson_interval(int(taken.sum()), len(taken)),
                }
        return values

    def mistakes(self) -> Array:
        """The places of what was taken for a digit and cannot be, the surest first."""
        return _surest_first(self.predictions.is_digit & ~self.alike, self.predictions.confidences)


@dataclass(frozen=True, eq=False)
class Numbers:
    """What was answered to one set of whole numbers.

    Attributes:
        source: what they are, for people.
        drawings: the strokes or pixels of each.
        labels: the digits of each, "2026".
        predictions: of each.
    """

    source: str
    drawings: Sequence[dict[str, Any]]
    labels: Sequence[str]
    predictions: Sequence[NumberPrediction] = field(repr=False)

    @property
    def correct(self) -> Array:
        """(N,) booleans: whether all digits are right, and none is missing or too many."""
        pairs = zip(self.labels, self.predictions, strict=True)
        return np.array([label == answer.number for label, answer in pairs])

    @property
    def confidences(self) -> Array:
        """(N,) float64."""
        return np.array([answer.confidence for answer in self.predictions])

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Accuracy, the share with too many or few digits, and ECE."""
        pairs = zip(self.labels, self.predictions, strict=True)
        miscounted = [len(label) != len(answer.number) for label, answer in pairs]
        return {
            "images": len(self.labels),
            "accuracy": float(self.correct.mean()),
            "miscounted": float(np.mean(miscounted)),
            "ece": expected_calibration_error(self.confidences, self.correct),
            "intervals": {
                "accuracy": wilson_interval(int(self.correct.sum()), len(self.labels)),
            },
        }

    def mistakes(self) -> Array:
        """The places of the wrong answers, the surest first."""
        return _surest_first(~self.correct, self.confidences)


def _surest_first(wrong: Array, confidences: Array) -> Array:
    """The places where `wrong`, the most confident first; both are (N,)."""
    places = np.flatnonzero(wrong)
    ordered: Array = places[np.argsort(-confidences[places], kind="stable")]
    return ordered


def stacked(answers: Sequence[Prediction]) -> Predictions:
    """Several answers as one."""
    return Predictions(
        digits=np.array([answer.digit for answer in answers]),
        confidences=np.array([answer.confidence for answer in answers]),
        is_digit=np.array([answer.is_digit for answer in answers]),
        looks=np.array([answer.looks for answer in answers]),
        probabilities=np.array([answer.probabilities for answer in answers]),
    )


def macro_average(values: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean over sources of each score that all of them have, whatever their sizes."""
    common = [
        name
        for name, value in values[0].items()
        if isinstance(value, float) and all(name in each for each in values)
    ]
    return {name: float(np.mean([each[name] for each in values])) for name in common}
