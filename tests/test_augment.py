import numpy as np
import pytest

from numdraw.augment import Augmentation, augment

STILL = Augmentation(rotation=0, shear=0, scale=0, translation=0, elastic=0)


def images(n: int = 1) -> np.ndarray:
    """A bright block off the centre, so that turning and slanting it shows."""
    block = np.zeros((n, 28, 28), np.uint8)
    block[:, 6:12, 8:20] = 255
    return block


def warped(how: Augmentation, n: int = 200, seed: int = 0) -> np.ndarray:
    return augment(images(n), how, rng=np.random.default_rng(seed))


def centres(batch: np.ndarray) -> np.ndarray:
    """Each image's centre of mass, (N, 2) x and y in px."""
    weights = batch / batch.sum(axis=(1, 2), keepdims=True)
    x, y = np.meshgrid(np.arange(28), np.arange(28))
    return np.stack([(weights * x).sum(axis=(1, 2)), (weights * y).sum(axis=(1, 2))], axis=1)


def test_no_warp_changes_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    out = augment(noise, STILL, rng=np.random.default_rng(0))
    assert out.dtype == np.float32
    assert out == pytest.approx(noise / 255, abs=1e-4)


def test_same_rng_same_images_and_another_others() -> None:
    assert (warped(Augmentation(), seed=1) == warped(Augmentation(), seed=1)).all()
    assert (warped(Augmentation(), seed=1) != warped(Augmentation(), seed=2)).any()


def test_each_image_has_a_warp_of_its_own_in_range() -> None:
    out = warped(Augmentation())
    assert len(np.unique(out.reshape(len(out), -1), axis=0)) == len(out)
    assert out.min() >= 0
    assert out.max() <= 1


def test_translation_moves_up_to_its_limit() -> None:
    moved = centres(warped(Augmentation(0, 0, 0, translation=2, elastic=0)))
    distance = np.abs(moved - centres(images() / 255))
    assert distance.max() <= 2.001
    assert distance.max() > 1.8


def test_rotation_turns_about_the_frame_centre_up_to_its_limit() -> None:
    turned = centres(warped(Augmentation(30, 0, 0, 0, 0))) - 13.5
    start = centres(images() / 255)[0] - 13.5
    angles = np.degrees(np.arctan2(turned[:, 1], turned[:, 0]) - np.arctan2(start[1], start[0]))
    assert np.abs(angles).max() <= 30.5
    assert np.abs(angles).max() > 28
    assert np.hypot(*turned.T) == pytest.approx(np.full(200, np.hypot(*start)), abs=0.1)


def test_scale_changes_the_ink_by_its_square_at_the_most() -> None:
    ink = warped(Augmentation(0, 0, scale=0.2, translation=0, elastic=0)).sum(axis=(1, 2)) / 72
    assert ink.min() >= 1 / 1.2**2 - 0.05
    assert ink.max() <= 1 / 0.8**2 + 0.05
    assert ink.max() - ink.min() > 0.4


def test_shear_moves_rows_against_each_other_and_keeps_them_level() -> None:
    out = warped(Augmentation(0, shear=0.5, scale=0, translation=0, elastic=0))
    assert np.flatnonzero(out.max(axis=(0, 2)) > 0.01).tolist() == list(range(6, 12))
    columns = (out * np.arange(28)).sum(axis=2)[:, 6:12] / out.sum(axis=2)[:, 6:12]
    slants = (columns[:, -1] - columns[:, 0]) / 5
    assert np.abs(slants).max() == pytest.approx(0.5, abs=0.03)


def test_elastic_displacement_has_the_stated_deviation() -> None:
    # A ramp's value at a displaced point is the displacement, in units of its slope.
    ramp = np.tile(np.arange(28, dtype=np.uint8) * 9, (500, 1)).reshape(500, 1, 28)
    out = augment(
        np.broadcast_to(ramp, (500, 28, 28)).astype(np.uint8),
        Augmentation(0, 0, 0, 0, elastic=0.7),
        rng=np.random.default_rng(0),
    )
    displacement = (out * 255 / 9 - np.arange(28))[:, 4:24, 4:24]
    assert displacement.std() == pytest.approx(0.7, rel=0.15)


def test_what_leaves_the_frame_is_paper() -> None:
    out = warped(Augmentation(0, 0, 0, translation=40, elastic=0))
    assert (out.sum(axis=(1, 2)) == 0).any()


def test_no_images_give_no_images() -> None:
    assert augment(images(0), Augmentation(), rng=np.random.default_rng(0)).shape == (0, 28, 28)
