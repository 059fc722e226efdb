"""Networks to train and compile, by name."""

from __future__ import annotations

from .catalogue import get_model, model_names, model_options

__all__ = ["get_model", "model_names", "model_options"]
