"""Checkpoints of a training: after an interruption the last complete one is in force."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx
from mxnet.gluon import HybridBlock, Trainer

from bnn_tvm.errors import InputError
from training.files import write_json
from training.settings import Settings

_STATE_FILE = "checkpoint.json"


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes
    ----------
    finished_epochs : int
        Complete passes.
    history : tuple of dict
        What each epoch gave: ``epoch``, ``loss``, ``learning_rate``, ``validation``.
    best_epoch : int
        The epoch with the highest accuracy on the validation part; 0 where there is none.
    """

    finished_epochs: int = 0
    history: tuple[dict[str, Any], ...] = ()
    best_epoch: int = 0

    def with_epoch(self, result: dict[str, Any]) -> Progress:
        """Return the progress after one more epoch; the earliest of the best stays the best."""
        done, accuracy = self.finished_epochs + 1, result["validation"]
        better = accuracy is not None and (
            not self.best_epoch or accuracy > self.history[self.best_epoch - 1]["validation"]
        )
        best = done if better else self.best_epoch
        return Progress(done, (*self.history, {"epoch": done, **result}), best)


class Checkpoints:
    """A folder with the last checkpoint and the best parameters.

    Parameters
    ----------
    folder : pathlib.Path
        Made when the first checkpoint is written.
    settings : Settings
        Only a training with the same settings may go on from a checkpoint.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings.as_record()

    def save(self, net: HybridBlock, trainer: Trainer, progress: Progress) -> None:
        """Write a checkpoint. The one before stays in force until the last file is renamed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self._file("epoch", progress.finished_epochs)
        net.save_parameters(str(last))
        trainer.save_states(str(last.with_suffix(".states")))
        if progress.best_epoch == progress.finished_epochs:
            net.save_parameters(str(self._file("best", progress.best_epoch)))
        state = {
            "finished_epochs": progress.finished_epochs,
            "best_epoch": progress.best_epoch,
            "settings": self._settings,
            "history": list(progress.history),
        }
        write_json(self.folder / _STATE_FILE, state)
        self._remove_old({last.stem, self._file("best", progress.best_epoch).stem})

    def restore(self, net: HybridBlock, trainer: Trainer, devices: list[mx.Context]) -> Progress:
        """Go back to the last checkpoint.

        Raises
        ------
        InputError
            There is none, it is broken, or it was made with other settings.
        """
        state = self._read()
        last = self._file("epoch", state["finished_epochs"])
        net.load_parameters(str(last), ctx=devices)
        trainer.load_states(str(last.with_suffix(".states")))
        return Progress(state["finished_epochs"], tuple(state["history"]), state["best_epoch"])

    def load_best(self, net: HybridBlock, progress: Progress, devices: list[mx.Context]) -> int:
        """Put the best parameters into the network, if a best is known; return their epoch."""
        if not progress.best_epoch:
            return progress.finished_epochs
        net.load_parameters(str(self._file("best", progress.best_epoch)), ctx=devices)
        return progress.best_epoch

    def _read(self) -> dict[str, Any]:
        file = self.folder / _STATE_FILE
        if not file.is_file():
            raise InputError(f"Checkpoint '{file}' does not exist. Start without --resume.")
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"Checkpoint '{file}' is broken. Start without --resume.") from error
        if state["settings"] != self._settings:
            raise InputError(
                f"Checkpoint '{file}' was made with other settings: "
                f"{_differences(state['settings'], self._settings)}. "
                "Give the same, or start without --resume."
            )
        return state

    def _file(self, kind: str, epoch: int) -> Path:
        return self.folder / f"{kind}-{epoch:04d}.params"

    def _remove_old(self, kept: set[str]) -> None:
        for kind in ("epoch-*", "best-*"):
            for file in self.folder.glob(kind):
                if file.stem not in kept:
                    file.unlink()


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)} and not {new.get(name)}" for name in names)
