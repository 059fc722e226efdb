"""Train a network of the zoo for image classification and export it.

    python examples/train.py --recipe mnist-resnete18 --output build/trained
    python examples/train.py --recipe cifar10-resnete18 --data-dir cifar-10-batches-bin
    python examples/train.py --recipe imagenet-meliusnet22 --data-dir imagenet --gpus 0,1

A recipe is a set of defaults; every option that is given goes before it. After each epoch a
checkpoint is written, from which --resume goes on to the same parameters, bit for bit, as a run
without the break. With --validation, the epoch that is best on that share of the training images
is exported, else the last. The test images are looked at once, at the end.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import mxnet as mx
from rich.console import Console

from bnn_tvm.errors import DeviceError, UserError
from bnn_tvm.zoo.summary import summarize
from training.datasets import load_data
from training.display import print_summary, train_with_progress
from training.files import export, versions
from training.loop import Training, accuracy
from training.options import make_parser, settings_of

_INTERRUPTED = 130  # what shells give for an interrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = make_parser(__doc__ or "").parse_args(arguments)
    console = Console()
    try:
        with ThreadPoolExecutor(max(options.workers, 1)) as pool:
            train(options, console, pool)
    except UserError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("interrupted; the same command with --resume goes on after the last epoch")
        return _INTERRUPTED
    return 0


def train(options: Namespace, console: Console, pool: ThreadPoolExecutor) -> None:
    """Train, test and export."""
    settings = settings_of(options)
    name = f"{settings.model}-{settings.bits}bit"
    data = load_data(settings, options.data_dir, pool)
    checkpoints = options.checkpoints or options.output / "checkpoints" / name
    training = Training(settings, data, checkpoints, find_devices(options.gpus))
    print_summary(console, summarize(training.net, (1, *data.shape)))
    if options.dry_run:
        return
    if options.resume:
        training.resume()
    train_with_progress(training, console)
    record = test(training)
    export(training.net, options.output, name, record)
    console.print(
        f"held-out accuracy {record['held_out_accuracy']:.4f} with epoch {record['epoch']}; "
        f"exported to {options.output / name}-symbol.json"
    )


def test(training: Training) -> dict[str, object]:
    """Return what is to be known about the parameters that are kept."""
    epoch = training.keep_best()
    top1, top5 = accuracy(training.net, training.data.test, training.devices) or (None, None)
    return {
        "held_out_accuracy": top1,
        "held_out_accuracy_of_first_five": top5,
        "epoch": epoch,
        "settings": training.settings.as_record(),
        "versions": versions(),
        "history": list(training.progress.history),
    }


def find_devices(gpus: str) -> list[mx.Context]:
    """Return the GPUs of a list such as ``0,1``, or the CPU for an empty one.

    Raises
    ------
    DeviceError
        MXNet cannot use one of them.
    """
    if not gpus:
        return [mx.cpu()]
    wanted = gpus.split(",")
    present = [str(number) for number in range(mx.context.num_gpus())]
    missing = [number for number in wanted if number not in present]
    if missing:
        raise DeviceError(
            f"GPU '{missing[0]}' cannot be used: MXNet finds {len(present)} GPUs. "
            "Leave --gpus out, or install an MXNet for CUDA."
        )
    return [mx.gpu(int(number)) for number in wanted]


if __name__ == "__main__":
    sys.exit(main())
