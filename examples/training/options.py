"""The command line of the training script, made from the fields of the settings."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from training.settings import RECIPES, Settings


def make_parser(description: str) -> ArgumentParser:
    """Return the parser; an option that is not given is absent from the result's settings."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    _add_run_options(parser)
    group = parser.add_argument_group("settings", "They decide the result.")
    for field in fields(Settings):
        _add_setting(group, field)
    return parser


def settings_of(arguments: Namespace) -> Settings:
    """Return the recipe's settings, changed by the options that were given."""
    base = RECIPES[arguments.recipe] if arguments.recipe else Settings()
    names = [field.name for field in fields(Settings)]
    values = {name: getattr(arguments, name) for name in names}
    return replace(base, **{name: value for name, value in values.items() if value is not None})


def _add_run_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--recipe", choices=sorted(RECIPES), metavar="NAME", help=f"One of: {', '.join(RECIPES)}.")
    add("--data-dir", type=Path, help="Folder of CIFAR or ImageNet.")
    add("--output", type=Path, default=Path("models"), help="Folder of the exported model.")
    add("--checkpoints", type=Path, help="Their folder; inside the output by default.")
    add("--resume", action="store_true", help="Go on from the last checkpoint.")
    add("--gpus", default="", metavar="0,1", help="Numbers of the GPUs; without, the CPU.")
    add("--workers", type=int, default=4, help="Threads that decode photographs.")
    add("--dry-run", action="store_true", help="Show the layers and stop.")


def _add_setting(group: Any, field: Any) -> None:
    meta = field.metadata
    aliases = [meta["alias"]] if meta["alias"] else []
    names = ["--" + field.name.replace("_", "-"), *aliases]
    default = "" if field.default in (None, "") else f" [{_text(field.default)}]"
    common = {"dest": field.name, "default": None, "help": meta["help"] + default}
    if meta["parse"] is bool:
        group.add_argument(*names, action=BooleanOptionalAction, **common)
    else:
        choices = meta["choices"] or None
        metavar = None if choices else field.name.upper()
        group.add_argument(*names, type=meta["parse"], choices=choices, metavar=metavar, **common)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
