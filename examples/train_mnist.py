"""Train LeNet, binary or in full precision, on 4,000 real MNIST digits and export it.

    python examples/train_mnist.py --bits 1

The model of the last epoch is exported; the 1,000 held-out digits are looked at once, at the end.
After each epoch a checkpoint is written, from which ``--resume`` goes on.
"""

from __future__ import annotations

import json
import math
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import mxnet as mx
import numpy as np
import typer
from mxnet import autograd
from mxnet.gluon import HybridBlock, Trainer
from mxnet.gluon.loss import SoftmaxCrossEntropyLoss
from rich.console import Console
from rich.progress import Progress

from bnn_tvm.errors import InputError, UserError
from bnn_tvm.gluon import nn
from bnn_tvm.zoo import get_model
from bnn_tvm.zoo.mnist import Digits, load_digits

_MAX_SHIFT = 2  # pixels
_STATE_FILE = "checkpoint.json"
_INTERRUPTED = 130  # what shells give for an interrupt


@dataclass(frozen=True)
class Settings:
    """All that decides the result of a training.

    Attributes
    ----------
    clip_threshold : float
        Threshold of ``|x|`` above which the sign's gradient is cancelled.
    learning_rate : float
        Of Adam at the start; it follows a cosine to zero.
    """

    bits: int = 1
    epochs: int = 40
    batch_size: int = 50
    learning_rate: float = 2e-3
    clip_threshold: float = 1.3
    seed: int = 0


class Training:
    """A network, its optimizer and the number of finished epochs."""

    def __init__(self, settings: Settings, digits: Digits, checkpoints: Path) -> None:
        self.settings = settings
        self.digits = digits
        self.checkpoints = checkpoints
        self.finished_epochs = 0
        self.net = build_network(settings)
        self.trainer = Trainer(self.net.collect_params(), "adam", kvstore=None)
        self._loss = SoftmaxCrossEntropyLoss()

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches; the rest of the digits waits for another shuffle."""
        return len(self.digits.labels) // self.settings.batch_size

    def run(self, on_epoch: Callable[[int, float], None]) -> None:
        """Train what is left; ``on_epoch`` gets the epoch and its mean loss."""
        while self.finished_epochs < self.settings.epochs:
            loss = self._run_epoch(self.finished_epochs)
            self.finished_epochs += 1
            self.save()
            on_epoch(self.finished_epochs, loss)

    def _run_epoch(self, epoch: int) -> float:
        # A generator of its own for each epoch: a resumed run needs no generator state.
        rng = np.random.default_rng([self.settings.seed, epoch])
        order = rng.permutation(len(self.digits.labels))
        total = 0.0
        for step in range(self.steps_per_epoch):
            size = self.settings.batch_size
            indices = order[step * size : (step + 1) * size]
            self.trainer.set_learning_rate(self._learning_rate(epoch, step))
            images = shift(self.digits.images[indices], rng)
            total += self._run_step(images, self.digits.labels[indices])
        return total / self.steps_per_epoch

    def _run_step(self, images: np.ndarray, labels: np.ndarray) -> float:
        with autograd.record():
            loss = self._loss(self.net(mx.nd.array(images)), mx.nd.array(labels))
        loss.backward()
        self.trainer.step(len(labels))
        return float(loss.mean().asscalar())

    def _learning_rate(self, epoch: int, step: int) -> float:
        done = (epoch + step / self.steps_per_epoch) / self.settings.epochs
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def save(self) -> None:
        """Write a checkpoint; an interruption leaves the one before in force."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        stem = self.checkpoints / f"epoch-{self.finished_epochs:04d}"
        self.net.save_parameters(f"{stem}.params")
        self.trainer.save_states(f"{stem}.states")
        state = {"finished_epochs": self.finished_epochs, "settings": asdict(self.settings)}
        write_and_rename(self.checkpoints / _STATE_FILE, json.dumps(state, indent=2))
        for file in self.checkpoints.glob("epoch-*"):
            if file.stem != stem.name:
                file.unlink()

    def resume(self) -> None:
        """Go back to the last checkpoint.

        Raises
        ------
        InputError
            There is none, or it was made with other settings.
        """
        file = self.checkpoints / _STATE_FILE
        if not file.is_file():
            raise InputError(f"Checkpoint '{file}' does not exist. Start without --resume.")
        state = json.loads(file.read_text())
        if state["settings"] != asdict(self.settings):
            raise InputError(
                f"Checkpoint '{file}' was made with other settings: {state['settings']}. "
                "Give the same, or start without --resume."
            )
        self.finished_epochs = state["finished_epochs"]
        stem = self.checkpoints / f"epoch-{self.finished_epochs:04d}"
        self.net.load_parameters(f"{stem}.params")
        self.trainer.load_states(f"{stem}.states")


def build_network(settings: Settings) -> HybridBlock:
    """Return an initialized, hybridized LeNet."""
    mx.random.seed(settings.seed)
    with nn.set_binary_layer_config(grad_cancel=settings.clip_threshold):
        net = get_model("lenet", bits=settings.bits)
    net.initialize(mx.init.Xavier(magnitude=2.24))
    net.hybridize()
    return net


def shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each image by up to two pixels along both axes; the border is black.

    Parameters
    ----------
    images : numpy.ndarray
        (N, 1, H, W).
    rng : numpy.random.Generator
        Source of the moves.
    """
    height, width = images.shape[2:]
    border = (_MAX_SHIFT, _MAX_SHIFT)
    padded = np.pad(images, ((0, 0), (0, 0), border, border))
    corners = rng.integers(0, 2 * _MAX_SHIFT + 1, size=(len(images), 2))
    return np.stack(
        [
            image[:, y : y + height, x : x + width]
            for image, (y, x) in zip(padded, corners, strict=True)
        ]
    )


def accuracy(net: HybridBlock, digits: Digits) -> float:
    """Share of digits that the network classifies correctly."""
    logits = net(mx.nd.array(digits.images)).asnumpy()
    return float((logits.argmax(axis=1) == digits.labels).mean())


def write_and_rename(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text)
    beside.replace(path)


def export(net: HybridBlock, directory: Path, name: str, record: dict[str, object]) -> None:
    """Write ``name-symbol.json``, ``name-0000.params`` and the record ``name.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as beside:
        net.export(str(Path(beside) / name))
        for file in Path(beside).iterdir():
            file.replace(directory / file.name)
    write_and_rename(directory / f"{name}.json", json.dumps(record, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Versions of what the numbers of a training depend on."""
    return {
        "python": platform.python_version(),
        "mxnet": mx.__version__,
        "numpy": np.__version__,
    }


def train_with_progress(training: Training, console: Console) -> None:
    """Train with a progress bar that shows the loss."""
    with Progress(console=console) as progress:
        total = training.settings.epochs
        task = progress.add_task("training", total=total, completed=training.finished_epochs)

        def show(epoch: int, loss: float) -> None:
            text = f"epoch {epoch}/{total}, loss {loss:.4f}"
            progress.update(task, completed=epoch, description=text)

        training.run(show)


def main(
    bits: Annotated[
        int, typer.Option(min=1, max=32, help="1: binary inner layers; 32: full precision.")
    ] = Settings.bits,
    epochs: Annotated[int, typer.Option(min=1)] = Settings.epochs,
    batch_size: Annotated[int, typer.Option(min=1, max=4000)] = Settings.batch_size,
    learning_rate: Annotated[float, typer.Option()] = Settings.learning_rate,
    clip_threshold: Annotated[
        float, typer.Option(help="Gradients stop where |x| is above this.")
    ] = Settings.clip_threshold,
    seed: Annotated[int, typer.Option()] = Settings.seed,
    output: Annotated[Path, typer.Option(help="Folder of the exported model.")] = Path("models"),
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoints; inside the output by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
) -> None:
    """Train LeNet on MNIST digits and export the model of the last epoch."""
    console = Console()
    settings = Settings(bits, epochs, batch_size, learning_rate, clip_threshold, seed)
    name = f"lenet-{bits}bit"
    try:
        train, held_out = load_digits()
        training = Training(settings, train, checkpoints or output / "checkpoints" / name)
        if resume:
            training.resume()
        train_with_progress(training, console)
    except UserError as error:
        console.print(f"error: {error}", style="red")
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        console.print("interrupted; the same command with --resume goes on after the last epoch")
        raise typer.Exit(_INTERRUPTED) from error
    result = accuracy(training.net, held_out)
    record = {"held_out_accuracy": result, "settings": asdict(settings), "versions": versions()}
    export(training.net, output, name, record)
    console.print(f"held-out accuracy {result:.4f}; exported to {output / name}-symbol.json")


if __name__ == "__main__":
    typer.run(main)
