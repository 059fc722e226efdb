"""The data sets of the training script, from files made here."""

from concurrent.futures import ThreadPoolExecutor

import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from training_harness import bright_images, encode_png, settings, write_cifar10

from bnn_tvm.errors import InputError
from training.datasets import load_data
from training.images import ArrayImages, flip, normalize, shift
from training.photos import AUGMENTATIONS

SIDE = 24


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


def encoded(red: int, height: int = 40, width: int = 30) -> bytes:
    """A photograph of one red, with a black left half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = (red, 0, 0)
    return encode_png(pixels)


REDS = (50, 100, 150, 200)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """ImageNet in folders: two classes of two images in each part."""
    root = tmp_path_factory.mktemp("folders")
    for part in ("train", "val"):
        for number, red in enumerate(REDS):
            file = root / part / f"class{number // 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(red))
    return root


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The same in RecordIO."""
    root = tmp_path_factory.mktemp("records")
    for part in ("train", "val"):
        paths = [str(root / f"{part}{suffix}") for suffix in (".idx", ".rec")]
        file = mx.recordio.MXIndexedRecordIO(*paths, "w")
        for number, red in enumerate(REDS):
            header = mx.recordio.IRHeader(0, float(number // 2), number, 0)
            file.write_idx(number, mx.recordio.pack(header, encoded(red)))
        file.close()
    return root


def imagenet(**changes):
    return settings(
        dataset="imagenet", image_size=SIDE, batch_size=2, **{"validation": 0.0, **changes}
    )


def everything(part, rng=None):
    return part.batch(np.arange(len(part)), rng)


def test_folders_and_records_hold_the_same(folders, records, pool):
    by_folder, by_record = (load_data(imagenet(), root, pool) for root in (folders, records))
    for part in ("train", "test"):
        one, other = (everything(getattr(data, part)) for data in (by_folder, by_record))
        assert_array_equal(one[0], other[0])
        assert one[1].tolist() == other[1].tolist() == [0, 0, 1, 1]
    assert (by_folder.classes, by_record.classes) == (2, 1000)
    assert by_folder.shape == (3, SIDE, SIDE)


def test_photos_are_centred_and_normalized(folders, pool):
    images, _ = everything(load_data(imagenet(), folders, pool).test)
    assert images.shape == (4, 3, SIDE, SIDE)
    assert_allclose(
        images[1, 0, 5, [2, -3]], ((0 - 123.68) / 58.393, (100 - 123.68) / 58.393), rtol=1e-5
    )
    assert_allclose(images[1, 1], (0 - 116.779) / 57.12, rtol=1e-5)


@pytest.mark.parametrize("level", AUGMENTATIONS)
def test_augmentation_varies_and_depends_on_the_generator_alone(folders, pool, level):
    data = load_data(imagenet(augmentation=level), folders, pool)
    with ThreadPoolExecutor(1) as one_thread:
        slow = load_data(imagenet(augmentation=level), folders, one_thread)
        first, again, other = (
            everything(part, np.random.default_rng(seed))[0]
            for part, seed in ((data.train, 1), (slow.train, 1), (data.train, 2))
        )
    assert_array_equal(first, again)
    assert first.shape == (4, 3, SIDE, SIDE) and np.isfinite(first).all()
    assert not np.array_equal(first, other)


def test_strong_augmentation_changes_colours(folders, pool):
    plain, strong = (
        everything(
            load_data(imagenet(augmentation=level), folders, pool).train, np.random.default_rng(0)
        )
        for level in ("medium", "high")
    )
    green = [set(np.round(images[0][:, 1].ravel(), 3)) for images in (plain, strong)]
    assert len(green[0]) == 1 < len(green[1])


def test_cifar10(tmp_path, pool):
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    data = load_data(settings(validation=0.0), tmp_path, pool)
    assert (len(data.train), len(data.validation), len(data.test)) == (80, 0, 16)
    images, labels = everything(data.train)
    expected = np.concatenate([bright_images(16, number)[0] for number in range(5)]) / 255
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    assert_allclose(images, normalize(expected.astype(np.float32), mean, std), rtol=1e-5, atol=1e-5)
    assert_array_equal(labels, np.concatenate([bright_images(16, n)[1] for n in range(5)]))
    assert (data.classes, data.shape) == (10, (3, 32, 32))


def test_cifar100_uses_the_fine_label(tmp_path, pool):
    for name in ("train.bin", "test.bin"):
        records = np.zeros((6, 3074), np.uint8)
        records[:, 0], records[:, 1] = 7, np.arange(94, 100)
        records.tofile(tmp_path / name)
    data = load_data(settings(dataset="cifar100", batch_size=2, validation=0.0), tmp_path, pool)
    assert everything(data.train)[1].tolist() == list(range(94, 100))
    assert data.classes == 100


def test_mnist(pool):
    data = load_data(settings(dataset="mnist", validation=0.1), None, pool)
    assert (len(data.train), len(data.validation), len(data.test)) == (3600, 400, 1000)
    assert data.shape == (1, 28, 28)
    images, _ = everything(data.validation)
    assert (images.min(), images.max()) == (0, 1)


def test_validation_images_are_not_trained_with(tmp_path, pool):
    write_cifar10(tmp_path)
    data = load_data(settings(validation=0.25), tmp_path, pool)
    assert (len(data.train), len(data.validation)) == (60, 20)
    assert set(data.train.indices).isdisjoint(data.validation.indices)
    few = load_data(settings(validation=0.25, limit=30), tmp_path, pool)
    assert_array_equal(few.train.indices, data.train.indices[:30])
    assert_array_equal(few.validation.indices, data.validation.indices)


@pytest.mark.parametrize(
    ("dataset", "change", "message"),
    [
        ("cifar10", None, "folder of the data set is missing"),
        ("imagenet", None, "folder of the data set is missing"),
        ("cifar10", lambda root: None, r"data_batch_1.bin' does not exist\. Unpack"),
        ("imagenet", lambda root: None, "holds no ImageNet"),
        ("imagenet", lambda root: (root / "train.rec").touch(), "holds no ImageNet"),
    ],
)
def test_missing_files_are_named(tmp_path, pool, dataset, change, message):
    folder = None
    if change is not None:
        change(tmp_path)
        folder = tmp_path
    with pytest.raises(InputError, match=message):
        load_data(settings(dataset=dataset), folder, pool)


def test_a_broken_cifar_file_is_an_error(tmp_path, pool):
    write_cifar10(tmp_path)
    file = tmp_path / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"data_batch_3\.bin' is not CIFAR's binary version"):
        load_data(settings(), tmp_path, pool)
    write_cifar10(tmp_path)
    wrong = np.full(3073, 11, np.uint8)
    wrong.tofile(tmp_path / "test_batch.bin")
    with pytest.raises(InputError, match=r"test_batch\.bin' is not CIFAR's"):
        load_data(settings(), tmp_path, pool)


def test_broken_photo_sets_are_errors(folders, records, tmp_path, pool):
    for name in ("train.rec", "val.rec"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"train.idx' does not exist\. Make it"):
        load_data(imagenet(), tmp_path, pool)
    (tmp_path / "train.idx").touch()
    with pytest.raises(InputError, match=r"train\.idx' is empty"):
        load_data(imagenet(), tmp_path, pool)
    for name in ("train.rec", "val.rec"):
        (tmp_path / name).unlink()
    for part in ("train/a", "val/a", "val/b"):
        (tmp_path / part).mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images"):
        load_data(imagenet(), tmp_path, pool)
    for part in ("train/a", "val/a", "val/b"):
        (tmp_path / part / "x.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="have 1 and 2 classes"):
        load_data(imagenet(), tmp_path, pool)
    (tmp_path / "train/b").mkdir()
    (tmp_path / "train/b/x.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="Image number 0 cannot be decoded"):
        load_data(imagenet(), tmp_path, pool).train.batch(np.arange(1))


def test_shifting_moves_whole_images():
    images = np.zeros((50, 1, 9, 9), dtype=np.float32)
    images[:, 0, 4, 4] = 1
    moved = shift(images, np.random.default_rng(0), reach=2)
    assert moved.shape == images.shape
    places = {tuple(np.argwhere(image[0])[0] - 4) for image in moved}
    assert_array_equal(moved.sum(axis=(1, 2, 3)), 1)
    assert {abs(step) for place in places for step in place} == {0, 1, 2}


def test_flipping_mirrors_about_half_of_the_images():
    images = np.arange(3.0).reshape(1, 1, 1, 3).repeat(200, axis=0)
    flipped = flip(images, np.random.default_rng(0))[:, 0, 0].tolist()
    assert 60 < flipped.count([2.0, 1.0, 0.0]) < 140
    assert flipped.count([0.0, 1.0, 2.0]) == 200 - flipped.count([2.0, 1.0, 0.0])


def test_images_are_varied_for_training_only():
    images, labels = bright_images(8, 0)
    held = ArrayImages(images, labels, reach=3, flips=True)
    plain = held.batch(np.arange(8), None)[0]
    assert_allclose(plain, images / np.float32(255), rtol=1e-6)
    assert not np.array_equal(held.batch(np.arange(8), np.random.default_rng(0))[0], plain)
