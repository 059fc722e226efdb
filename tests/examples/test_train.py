"""The training script: learning, checkpoints, exact resumption, export."""

import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from training_harness import (
    SMALL,
    bright_data,
    options_of,
    parameters,
    settings,
    write_cifar10,
)

import train
from bnn_tvm.errors import DeviceError, InputError, ModelError
from bnn_tvm.gluon.baseline import MXNetModel
from bnn_tvm.zoo.mnist import Digits
from training.checkpoints import Progress
from training.datasets import Data, Part, load_data
from training.loop import Training, Watcher, accuracy, load_ahead

SCRIPT = Path(__file__).parents[2] / "examples" / "train.py"


class InterruptedRunError(Exception):
    pass


def interrupt_after(last: int) -> Watcher:
    def on_epoch(progress):
        if progress.finished_epochs == last:
            raise InterruptedRunError

    return Watcher(on_epoch=on_epoch)


def interrupt_at_step(last: int) -> Watcher:
    def on_step(step, loss):
        if step == last:
            raise InterruptedRunError

    return Watcher(on_step=on_step)


def trained(folder, **changes) -> Training:
    training = Training(settings(**changes), bright_data(), folder)
    training.run(Watcher())
    return training


@pytest.mark.parametrize(
    ("optimizer", "watcher"),
    [
        ("adam", interrupt_after(1)),
        ("radam", interrupt_at_step(6)),
        ("sgd", interrupt_at_step(6)),
    ],
)
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, optimizer, watcher):
    unbroken = trained(tmp_path / "a", optimizer=optimizer)
    broken = Training(settings(optimizer=optimizer), bright_data(), tmp_path / "b")
    with pytest.raises(InterruptedRunError):
        broken.run(watcher)
    resumed = Training(settings(optimizer=optimizer), bright_data(), tmp_path / "b")
    resumed.resume()
    assert resumed.progress.finished_epochs == 1
    resumed.run(Watcher())
    expected = parameters(unbroken.net)
    for name, value in parameters(resumed.net).items():
        assert_array_equal(value, expected[name], err_msg=name)
    assert resumed.progress == unbroken.progress
    weight = "densenet_stage1_qconv0_weight"
    assert not np.array_equal(expected[weight], parameters(broken.net)[weight])


def test_training_learns_what_can_be_learned(tmp_path):
    training = Training(settings(epochs=8, lr=0.01), bright_data(), tmp_path)
    training.run(Watcher())
    losses = [epoch["loss"] for epoch in training.progress.history]
    assert losses[-1] < 0.5 * losses[0]
    training.keep_best()
    assert accuracy(training.net, training.data.test, training.devices)[0] > 0.85


def test_other_seeds_give_other_weights(tmp_path):
    first, second = (trained(tmp_path / str(seed), seed=seed, epochs=1).net for seed in (1, 2))
    name = "densenet_stage1_qconv0_weight"
    assert not np.array_equal(parameters(first)[name], parameters(second)[name])


def test_several_devices_learn_the_same(tmp_path):
    one = Training(settings(epochs=1, lr=1e-4), bright_data(), tmp_path / "one")
    two = Training(
        settings(epochs=1, lr=1e-4), bright_data(), tmp_path / "two", [mx.cpu(0), mx.cpu(1)]
    )
    losses = []
    for training in (one, two):
        training.run(Watcher(on_step=lambda step, loss: losses.append(loss)))
    # BatchNorm sees half of a batch on each of two devices, so that losses are close only.
    assert losses[0] == pytest.approx(losses[4], rel=0.3)
    weight = two.net.collect_params()["densenet_dense0_weight"]
    first, second = (value.asnumpy() for value in weight.list_data())
    assert_array_equal(first, second)
    two.resume()
    assert_array_equal(weight.list_data()[1].asnumpy(), second)


def test_the_last_checkpoint_and_the_best_parameters_are_kept(tmp_path):
    training = trained(tmp_path)
    best = training.progress.best_epoch
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"best-{best:04d}.params",
        "checkpoint.json",
        "epoch-0003.params",
        "epoch-0003.states",
    ]


def test_the_best_epoch_is_the_first_with_the_highest_accuracy():
    progress = Progress()
    for value in (0.4, 0.6, 0.6, 0.5):
        progress = progress.with_epoch({"validation": value})
    assert (progress.best_epoch, progress.finished_epochs) == (2, 4)
    assert Progress().with_epoch({"validation": None}).best_epoch == 0


def test_the_best_parameters_come_back(tmp_path, monkeypatch):
    shares = iter((0.1, 0.9, 0.2))
    monkeypatch.setattr("training.loop.accuracy", lambda *args: (next(shares), 1.0))
    training = Training(settings(), bright_data(), tmp_path)
    seen = {}

    def remember(progress):
        seen[progress.finished_epochs] = parameters(training.net)

    training.run(Watcher(on_epoch=remember))
    assert training.keep_best() == 2
    for name, value in parameters(training.net).items():
        assert_array_equal(value, seen[2][name], err_msg=name)
    assert not np.array_equal(seen[2]["densenet_dense0_weight"], seen[3]["densenet_dense0_weight"])


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    data = bright_data()
    empty = Part(data.train.images, np.arange(0))
    data = Data(data.train, empty, data.test, data.classes, data.shape)
    training = Training(settings(), data, tmp_path)
    training.run(Watcher())
    assert training.progress.history[0]["validation"] is None
    assert training.keep_best() == 3
    assert not list(tmp_path.glob("best-*"))


def test_a_failed_checkpoint_leaves_the_one_before_in_force(tmp_path, monkeypatch):
    training = trained(tmp_path, epochs=2)
    before = training.checkpoints._read()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("training.checkpoints.write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        training.checkpoints.save(training.net, training.trainer, Progress(3, (), 0))
    again = Training(settings(epochs=2), bright_data(), tmp_path)
    again.resume()
    assert again.progress.finished_epochs == before["finished_epochs"] == 2


def test_resuming_needs_a_checkpoint_of_the_same_settings(tmp_path):
    training = Training(settings(), bright_data(), tmp_path)
    with pytest.raises(InputError, match=r"does not exist\. Start without --resume"):
        training.resume()
    training.checkpoints.save(training.net, training.trainer, Progress())
    other = Training(settings(seed=1), bright_data(), tmp_path)
    with pytest.raises(InputError, match="other settings: seed 123 and not 1"):
        other.resume()
    (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(InputError, match="is broken"):
        training.resume()


def test_batches_are_loaded_in_order():
    assert list(load_ahead(lambda step: (step, step), 4)) == [(i, i) for i in range(4)]


def test_weight_decay_spares_binary_weights_and_normalization(tmp_path):
    training = Training(settings(wd=0.1), bright_data(), tmp_path)
    factors = {name: p.wd_mult for name, p in training.net.collect_params().items()}
    assert {factors[name] for name in factors if "qconv" in name or "batchnorm" in name} == {0.0}
    assert factors["densenet_dense0_weight"] == 1.0


def command(folder, *words):
    options = options_of({**SMALL, "data_dir": folder / "data", "output": folder / "out"})
    return [*options, *words]


def run_in_process(folder, *words) -> int:
    return train.main(command(folder, *words))


def start(folder, *words) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *command(folder, *words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_command_exports_a_model_and_a_record(tmp_path, capsys):
    write_cifar10(tmp_path / "data")
    assert run_in_process(tmp_path) == 0
    name = tmp_path / "out" / "densenet_flex-1bit"
    record = json.loads(Path(f"{name}.json").read_text())
    assert record["settings"]["clip_threshold"] == 1.3
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2, 3]
    model = MXNetModel(f"{name}-symbol.json", f"{name}-0000.params")
    test = load_data(settings(), tmp_path / "data", None).test
    images, labels = test.batch(np.arange(len(test)))
    assert record["held_out_accuracy"] == (model(images).argmax(axis=1) == labels).mean()
    assert record["held_out_accuracy_of_first_five"] >= record["held_out_accuracy"]
    shown = capsys.readouterr().out
    assert "held-out accuracy" in shown and "1-bit parameters" in shown and "epoch 3/3" in shown


def test_a_dry_run_shows_the_layers_and_writes_nothing(tmp_path, capsys):
    write_cifar10(tmp_path / "data")
    assert run_in_process(tmp_path, "--dry-run") == 0
    assert "equivalent FLOPs" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["--resume"], InputError, "Start without --resume"),
        (["--gpus=7"], DeviceError, "GPU '7' cannot be used"),
        (["--gpus=a"], DeviceError, "GPU 'a' cannot be used"),
        (["--batch-size=500"], InputError, "--batch-size=500 is more than the 64 images"),
        (["--validation=1"], InputError, "--validation=1.0 is not possible"),
        (["--epochs=0"], InputError, "--epochs=0 is not possible"),
        (["--model=alexnet"], ModelError, "'alexnet' is unknown"),
        (["--slices=2"], ModelError, "no option 'slices'"),
        (["--data-dir=nowhere"], InputError, "data_batch_1.bin' does not exist"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(tmp_path, capsys, words, error, text):
    write_cifar10(tmp_path / "data")
    assert run_in_process(tmp_path, *words) == error.exit_code
    shown = " ".join(capsys.readouterr().out.split())
    assert text in shown and "Traceback" not in shown
    assert not (tmp_path / "out").exists()


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    write_cifar10(tmp_path / "data")

    def interrupted(training, console):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_with_progress", interrupted)
    assert run_in_process(tmp_path) == 130
    assert "--resume" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_command_resumes_to_the_same_bits(tmp_path):
    write_cifar10(tmp_path / "data", count=24)
    more = ("--epochs=5", "--batch-size=16")
    broken = start(tmp_path, *more, f"--checkpoints={tmp_path / 'broken'}")
    state = tmp_path / "broken" / "checkpoint.json"
    deadline = time.monotonic() + 60
    while not state.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    done = json.loads(state.read_text())["finished_epochs"]
    assert broken.returncode == -signal.SIGKILL and 1 <= done < 5
    words = (f"--checkpoints={tmp_path / 'broken'}", "--resume", f"--output={tmp_path / 'resumed'}")
    assert run_in_process(tmp_path, *more, *words) == 0
    assert run_in_process(tmp_path, *more) == 0
    resumed, unbroken = (
        mx.nd.load(str(tmp_path / folder / "densenet_flex-1bit-0000.params"))
        for folder in ("resumed", "out")
    )
    assert set(resumed) == set(unbroken)
    for name, value in resumed.items():
        assert value.asnumpy().tobytes() == unbroken[name].asnumpy().tobytes(), name


def test_lenet_has_a_command_of_its_own(monkeypatch, capsys):
    digits = Digits(np.zeros((60, 1, 28, 28), np.float32), np.zeros(60, np.int64))
    monkeypatch.setattr("training.datasets.load_digits", lambda: (digits, digits))
    script = SCRIPT.with_name("train_mnist.py")
    monkeypatch.setattr(sys, "argv", [str(script), "--dry-run", "--bits=32"])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(script), run_name="__main__")
    assert exit_info.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1-bit parameters 0, 32-bit parameters 1,140,330" in shown
