"""The state of a PyTorch module, around which the model's own source builds the module.

Runs on the processor. The state is in safetensors' format: nothing of it is unpickled.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any

from .scores import both_classes
from .source import import_sources, local_name, verified_sources

#: So many rows go through the module at a time.
BATCH_ROWS = 4096
_NAMED = 5
Kind = tuple[str, tuple[int, ...]]


def open_payload(
    document: Mapping[str, Any], payload: bytes, code: Mapping[str, bytes]
) -> TorchModel:
    return TorchModel(document["code"], payload, code)


class TorchModel:
    """A module that takes one matrix of numbers, and gives a number a row, or two scores."""

    takes = "numbers"

    def __init__(self, told: Mapping[str, Any], payload: bytes, code: Mapping[str, bytes]) -> None:
        sources = verified_sources(told["files"], code)
        self._torch = importlib.import_module("torch")
        self.settings = told["settings"]
        self.task = str(self.settings["task"])
        self.parameters = dict(self.settings["build"])
        self.feature_names_in_ = self.settings["inputs"] or None
        build = import_sources(sources, "model").build_model
        # Numbers that are drawn to begin with are overwritten: the caller's own go on as they were.
        with self._torch.random.fork_rng(devices=[]):
            self.module = build(**self.parameters)
        if not isinstance(self.module, self._torch.nn.Module):
            raise ValueError(
                f"build_model gave a {type(self.module).__name__}, no torch.nn.Module."
            )
        self.module.to("cpu")
        self._fill(importlib.import_module("safetensors.torch").load(payload))
        self.module.eval()
        floats = [one.dtype for one in self.module.parameters() if one.is_floating_point()]
        self._dtype = floats[0] if floats else self._torch.float32

    @property
    def class_name(self) -> str:
        """As the source calls it: "model.Net", "torch.nn.modules.container.Sequential"."""
        kind = type(self.module)
        return f"{local_name(kind.__module__)}.{kind.__qualname__}"

    def predict(self, matrix: Any) -> Any:
        return self._run(matrix, (1,))[:, 0]

    def predict_proba(self, matrix: Any) -> Any:
        np = importlib.import_module("numpy")
        found = self._run(matrix, (1, 2))
        if self.settings["score"] == "logit":
            one = self._torch.from_numpy(found)
            is_pair = found.shape[1] == 2
            found = (self._torch.softmax(one, 1) if is_pair else self._torch.sigmoid(one)).numpy()
        elif np.any((found < 0) | (found > 1)):
            raise ValueError(
                f"The module gave {found.min():g} to {found.max():g}, and these are no "
                'probabilities: if they are logits, write "score": "logit" into settings.json.'
            )
        return found if found.shape[1] == 2 else both_classes(found[:, 0])

    def _run(self, matrix: Any, widths: Collection[int]) -> Any:
        """Shape (rows, 1 or 2), float64."""
        np = importlib.import_module("numpy")
        if matrix.dtype == object:
            raise ValueError("A PyTorch module takes numbers, and there are columns of texts.")
        parts = []
        with self._torch.inference_mode():
            for start in range(0, len(matrix), BATCH_ROWS):
                rows = self._torch.as_tensor(matrix[start : start + BATCH_ROWS], dtype=self._dtype)
                found = self.module(rows)
                shape = tuple(getattr(found, "shape", ()))
                shape = shape if len(shape) == 2 else (*shape, 1)
                if len(shape) != 2 or shape[0] != len(rows) or shape[1] not in widths:
                    wanted = " or ".join(f"({len(rows)}, {width})" for width in widths)
                    said = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
                    raise ValueError(f"The module gave {said} for {len(rows)} rows, not {wanted}.")
                parts.append(found.double().reshape(shape).numpy())
        return np.concatenate(parts)

    def _fill(self, state: Mapping[str, Any]) -> None:
        own = self.module.state_dict()
        places = {_place(own[name]) for name in state if name in own}
        # One tensor under two names is in the file once.
        tied = {name for name, one in own.items() if _place(one) in places} - set(state)
        wanted = {name: _kind(one) for name, one in own.items() if name not in tied}
        complaint = why_unfit(wanted, {name: _kind(one) for name, one in state.items()})
        if complaint:
            raise ValueError(
                f"The state does not fit the module that build_model gives: {complaint}."
            )
        self.module.load_state_dict(state, strict=False)


def why_unfit(wanted: Mapping[str, Kind], held: Mapping[str, Kind]) -> str:
    """Empty when each tensor has its place, of the same type and shape.

    >>> why_unfit({"w": ("float32", (2, 3))}, {"w": ("float32", (2, 3))})
    ''
    >>> why_unfit({"w": ("float32", (2, 3)), "b": ("float32", (2,))}, {"w": ("float32", (3, 2))})
    'b is not in the state; w is float32 (3, 2), wanted float32 (2, 3)'
    """
    found = [f"{name} is not in the state" for name in wanted if name not in held]
    found += [f"{name} is not in the module" for name in held if name not in wanted]
    found += [
        f"{name} is {_say(held[name])}, wanted {_say(kind)}"
        for name, kind in wanted.items()
        if held.get(name, kind) != kind
    ]
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + more


def _say(kind: Kind) -> str:
    return f"{kind[0]} {kind[1]}"


def _kind(tensor: Any) -> Kind:
    """What a module keeps besides tensors has no shape, and fits nothing that a file can hold."""
    dtype = getattr(tensor, "dtype", type(tensor).__name__)
    return str(dtype).removeprefix("torch."), tuple(getattr(tensor, "shape", ()))


def _place(tensor: Any) -> tuple[Any, ...]:
    if not hasattr(tensor, "data_ptr") or not tensor.numel():
        return (id(tensor),)
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
