"""Train small PyTorch modules: `train_torch.py FOLDER` prints what each says of its rows.

Runs where PyTorch is; it is no test module.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file, save_model

folder = Path(sys.argv[1])
rng = np.random.default_rng(5)
torch.manual_seed(5)
rows = np.stack([rng.integers(0, 24, 300), rng.normal(10, 3, 300)], axis=1)
late = ((rows[:, 0] > 14) ^ (rows[:, 1] > 11)).astype(np.float32)
minutes = (rows[:, 0] * 3 + rows[:, 1]).astype(np.float32)
NET = """
from torch import nn

from .layers.dense import dense


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.inner = dense(2, width)
        self.out = nn.Linear(width, 1)

    def forward(self, rows):
        return self.out(self.inner(self.norm(rows)))


def build_model(width):
    return Net(width)
"""
DENSE = """
import torch
from torch import nn


def dense(begin, end):
    return nn.Sequential(nn.Linear(begin, end), nn.Dropout(0.5), nn.ReLU())
"""
TIED = """
import torch


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(2, 2, dtype=torch.float64)
        self.second = torch.nn.Linear(2, 2, dtype=torch.float64)
        self.second.weight = self.first.weight

    def forward(self, rows):
        return self.second(self.first(rows))


def build_model():
    return Tied()
"""
expected = {}


def build(name, files, settings):
    """As a task does that trains what it also hands over: through the very source."""
    place = folder / name
    for path, text in {**files, "settings.json": json.dumps(settings)}.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    where = [str(place)]
    spec = importlib.util.spec_from_loader(name, None, is_package=True)
    package = importlib.util.module_from_spec(spec)
    package.__path__ = where
    sys.modules[name] = package
    return importlib.import_module(f"{name}.model").build_model(**settings.get("build", {}))


def fit(module, wanted, loss, steps=60):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    taken = torch.as_tensor(rows, dtype=next(module.parameters()).dtype)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module(taken), torch.as_tensor(wanted, dtype=taken.dtype)).backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        return module(taken[:50])


def keep(name, said):
    samples = [{"wind": wind, "hour": int(hour)} for hour, wind in rows[:50].tolist()]
    (folder / f"{name}.samples").write_text("".join(json.dumps(row) + "\n" for row in samples))
    expected[name] = np.asarray(said.double(), np.float64).reshape(-1).tolist()


files = {"model.py": NET, "layers/dense.py": DENSE}
told = {"inputs": ["hour", "wind"], "build": {"width": 8}}
module = build("net_number", files, {"task": "regression", **told})
said = fit(module, minutes[:, None], torch.nn.MSELoss())
save_file(module.state_dict(), folder / "net_number/state.safetensors")
keep("net_number", said)

module = build("net_logit", files, {"task": "binary_classification", "score": "logit", **told})
said = fit(module, late[:, None], torch.nn.BCEWithLogitsLoss())
save_file(module.state_dict(), folder / "net_logit/state.safetensors")
keep("net_logit", torch.sigmoid(said))

# The same, and nothing says that these are no probabilities.
module = build("net_unsaid", files, {"task": "binary_classification", **told})
save_file(module.state_dict(), folder / "net_unsaid/state.safetensors")
keep("net_unsaid", said)

pair = {"task": "binary_classification", "score": "logit", "inputs": ["hour", "wind"]}
module = build("tied_pair", {"model.py": TIED}, pair)
said = fit(module, np.stack([1 - late, late], axis=1), torch.nn.BCEWithLogitsLoss())
save_model(module, folder / "tied_pair/state.safetensors")
keep("tied_pair", torch.softmax(said, 1)[:, 1])

# A state of another width than the settings say.
build("net_unfit", files, {"task": "regression", **told, "build": {"width": 9}})
save_file(
    build("net_wide", files, {"task": "regression", **told}).state_dict(),
    folder / "net_unfit/state.safetensors",
)
keep("net_unfit", said)
print(json.dumps(expected))
