"""Stock MXNet as the peer: runs exported models for comparison and timing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import SymbolBlock

from ..errors import InputError, ModelError


class MXNetModel:
    """An exported model that MXNet itself runs, on the CPU.

    Parameters
    ----------
    symbol_file, params_file : path
        ``*-symbol.json`` and ``*-NNNN.params`` of one export.
    input_name : str
        Name of the input variable.

    Raises
    ------
    ModelError
        A file is missing, or MXNet cannot load the model.

    Notes
    -----
    MXNet reads ``OMP_NUM_THREADS`` when it is first imported: set it before that for timings on
    one thread.
    """

    def __init__(
        self, symbol_file: str | Path, params_file: str | Path, input_name: str = "data"
    ) -> None:
        for file in (symbol_file, params_file):
            if not Path(file).is_file():
                raise ModelError(f"Model file '{file}' does not exist. Check the path.")
        self._params_file = str(params_file)
        self._input_name = input_name
        try:
            self._symbol = mx.sym.load(str(symbol_file))
            self._run = self._block(self._symbol)
        except (mx.MXNetError, ValueError, OSError, AssertionError) as error:
            reason = str(error).strip().splitlines()[-1].rstrip(".")
            raise ModelError(
                f"Model '{symbol_file}' cannot be run by MXNet: {reason}. "
                "Check that both files come from the same export with stock operators."
            ) from error

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Run one batch.

        Parameters
        ----------
        x : numpy.ndarray
            float32, in the layout that the model was trained with.

        Returns
        -------
        numpy.ndarray
            The model's output.
        """
        return self._run(mx.nd.array(x)).asnumpy()

    def node_names(self, operator: str | None = None) -> list[str]:
        """Names of the graph's nodes in topological order, of one operator or of all.

        Parameters
        ----------
        operator : str, optional
            Such as ``Convolution``; variables are never listed.
        """
        nodes = json.loads(self._symbol.tojson())["nodes"]
        found = [node["name"] for node in nodes if node["op"] == operator or operator is None]
        variables = {node["name"] for node in nodes if node["op"] == "null"}
        return [name for name in found if name not in variables]

    def internals(self, x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Run one batch and return the outputs of some nodes.

        Parameters
        ----------
        x : numpy.ndarray
            As of a call.
        names : sequence of str
            Node names, such as ``lenet_qconv0__divscalar0``.

        Returns
        -------
        dict of str to numpy.ndarray
            The first output of each node.

        Raises
        ------
        InputError
            The model has no node of that name.
        """
        unknown = sorted(set(names) - set(self.node_names()))
        if unknown:
            raise InputError(
                f"Node '{unknown[0]}' is not in the model. List them with node_names()."
            )
        outputs = mx.sym.Group([self._first_output(name) for name in names])
        values = self._block(outputs)(mx.nd.array(x))
        values = [values] if isinstance(values, mx.nd.NDArray) else values
        return {name: value.asnumpy() for name, value in zip(names, values, strict=True)}

    def _first_output(self, name: str) -> mx.sym.Symbol:
        nodes = self._symbol.get_internals()
        single = f"{name}_output"
        return nodes[single if single in nodes.list_outputs() else f"{single}0"]

    def _block(self, outputs: mx.sym.Symbol) -> SymbolBlock:
        block = SymbolBlock(outputs, mx.sym.var(self._input_name, dtype="float32"))
        block.collect_params().load(self._params_file, ignore_extra=True, cast_dtype=True)
        block.hybridize(static_alloc=True, static_shape=True)
        return block
