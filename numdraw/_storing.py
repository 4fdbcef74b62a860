"""Keeps a correction for the application, and says in HTTP's terms what hinders it."""

import errno
from collections.abc import Mapping
from typing import Any

from numdraw._log import ERROR, FAULT, WARNING, log
from numdraw.corrections import (
    MAX_LABEL,
    BusyError,
    Corrections,
    FullError,
    TooManyError,
    is_label,
)
from numdraw.predictor import NumberPrediction
from numdraw.wsgi import HTTPError, kind, shown

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DISK_RETRY = "60"  # s; somebody has to mend it
LOCK_RETRY = "1"  # s


def label_in(body: dict[str, Any]) -> str:
    """The label, taken out of the body; what is none is a 422."""
    wanted = f'"label" expected 1 to {MAX_LABEL} digits in a string, or "" for no digit'
    if "label" not in body:
        raise HTTPError(422, f"{wanted}, got none")
    label = body.pop("label")
    if not isinstance(label, str):
        raise HTTPError(422, f"{wanted}, got {kind(label)}")
    if not is_label(label):
        raise HTTPError(422, f"{wanted}, got {shown(label)}")
    return label


def enabled(corrections: Corrections | None) -> Corrections:
    """The corrections of a server that keeps them; of another one a 403."""
    if corrections is None:
        raise HTTPError(
            403,
            "the server expected to be started with --corrections FOLDER to keep drawings, "
            "got no folder; ask whoever runs it",
        )
    return corrections


def keep(
    corrections: Corrections,
    drawing: Mapping[str, Any],
    label: str,
    prediction: NumberPrediction,
    model: str,
    request_id: str,
) -> None:
    """Keep a drawing that was read as `prediction` and is `label`.

    Raises:
        HTTPError: 429, 503 or 507; it is not kept.
    """
    try:
        late = corrections.add(
            drawing,
            label,
            read=prediction.number,
            confidence=prediction.confidence,
            model=model,
        )
    except TooManyError as error:
        raise HTTPError(429, str(error), [("Retry-After", str(error.seconds))]) from None
    except BusyError as error:
        raise HTTPError(503, str(error), [("Retry-After", LOCK_RETRY)]) from None
    except FullError as error:
        log(ERROR, WARNING, "corrections full", request_id=request_id, error=str(error))
        raise HTTPError(507, str(error)) from None
    except OSError as error:
        log(ERROR, FAULT, "correction not kept", request_id=request_id, error=str(error))
        detail = f"the corrections expected a disk to write to, got: {error.strerror or error}"
        if error.errno in NO_ROOM:
            raise HTTPError(507, detail) from None
        raise HTTPError(503, detail, [("Retry-After", DISK_RETRY)]) from None
    if late is not None:
        log(ERROR, FAULT, "corrections not paired", request_id=request_id, error=str(late))
