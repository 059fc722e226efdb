"""The training script: an interrupted and resumed run equals an unbroken one."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.testing import assert_array_equal

from bnn_tvm.errors import InputError
from bnn_tvm.gluon.baseline import MXNetModel
from bnn_tvm.zoo.mnist import Digits, load_digits

SCRIPT = Path(__file__).parents[2] / "examples" / "train_mnist.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_mnist", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_mnist"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_mnist"]


@pytest.fixture(scope="module")
def few():
    train, held_out = load_digits()
    return tuple(Digits(d.images[:60], d.labels[:60]) for d in (train, held_out))


def settings(script, **changes):
    return script.Settings(**{"epochs": 3, "batch_size": 20, **changes})


def ignore(epoch, loss):
    pass


def parameters(training):
    return {name: p.data().asnumpy() for name, p in training.net.collect_params().items()}


class InterruptedRunError(Exception):
    pass


def interrupt_after(last):
    def on_epoch(epoch, loss):
        if epoch == last:
            raise InterruptedRunError

    return on_epoch


def test_a_resumed_run_equals_an_unbroken_one(script, few, tmp_path):
    unbroken = script.Training(settings(script), few[0], tmp_path / "a")
    unbroken.run(ignore)
    broken = script.Training(settings(script), few[0], tmp_path / "b")
    with pytest.raises(InterruptedRunError):
        broken.run(interrupt_after(1))
    resumed = script.Training(settings(script), few[0], tmp_path / "b")
    resumed.resume()
    assert resumed.finished_epochs == 1
    resumed.run(ignore)
    expected = parameters(unbroken)
    for name, value in parameters(resumed).items():
        assert_array_equal(value, expected[name], err_msg=name)
    assert not np.array_equal(
        expected["lenet_qconv0_weight"], parameters(broken)["lenet_qconv0_weight"]
    )


def test_training_lowers_the_loss(script, few, tmp_path):
    losses = []
    training = script.Training(settings(script, epochs=6), few[0], tmp_path)
    training.run(lambda epoch, loss: losses.append(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_only_the_last_checkpoint_is_kept(script, few, tmp_path):
    script.Training(settings(script, epochs=2), few[0], tmp_path).run(ignore)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "checkpoint.json",
        "epoch-0002.params",
        "epoch-0002.states",
    ]


def test_resuming_needs_a_checkpoint_of_the_same_settings(script, few, tmp_path):
    training = script.Training(settings(script), few[0], tmp_path)
    with pytest.raises(InputError, match=r"does not exist\. Start without --resume"):
        training.resume()
    training.save()
    other = script.Training(settings(script, seed=1), few[0], tmp_path)
    with pytest.raises(InputError, match="made with other settings"):
        other.resume()


def test_the_command_exports_a_model_and_a_record(script, few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "load_digits", lambda: few)
    script.main(bits=1, epochs=1, batch_size=20, output=tmp_path)
    record = json.loads((tmp_path / "lenet-1bit.json").read_text())
    assert record["settings"]["clip_threshold"] == 1.3
    model = MXNetModel(tmp_path / "lenet-1bit-symbol.json", tmp_path / "lenet-1bit-0000.params")
    predictions = model(few[1].images).argmax(axis=1)
    assert record["held_out_accuracy"] == (predictions == few[1].labels).mean()
    assert "held-out accuracy" in capsys.readouterr().out


def test_the_command_ends_with_the_errors_exit_code(script, tmp_path, monkeypatch, few, capsys):
    monkeypatch.setattr(script, "load_digits", lambda: few)
    with pytest.raises(typer.Exit) as exit_info:
        script.main(output=tmp_path, resume=True)
    assert exit_info.value.exit_code == InputError.exit_code
    assert "Start without --resume" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.iterdir())


def test_an_interrupt_says_how_to_go_on(script, few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "load_digits", lambda: few)
    step = script.Training._run_epoch

    def interrupted(training, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return step(training, epoch)

    monkeypatch.setattr(script.Training, "_run_epoch", interrupted)
    with pytest.raises(typer.Exit) as exit_info:
        script.main(epochs=2, batch_size=20, output=tmp_path)
    assert exit_info.value.exit_code == 130
    assert "--resume" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(script, "load_digits", lambda: few)
    script.main(epochs=2, batch_size=20, output=tmp_path, resume=True)
    assert (tmp_path / "lenet-1bit-symbol.json").is_file()


def test_shifting_moves_whole_images(script):
    images = np.zeros((50, 1, 9, 9), dtype=np.float32)
    images[:, 0, 4, 4] = 1
    moved = script.shift(images, np.random.default_rng(0))
    assert moved.shape == images.shape
    places = {tuple(np.argwhere(image[0])[0] - 4) for image in moved}
    assert_array_equal(moved.sum(axis=(1, 2, 3)), 1)
    assert {abs(step) for place in places for step in place} == {0, 1, 2}
