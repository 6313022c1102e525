"""A serving worker that holds many models of one requirement set, and answers for each.

Started like `worker_main.py` beside it, whose parts it uses: standard library only, NumPy when the
models bring it. A model is loaded in a second thread, so that those that are loaded go on
answering. Each request and each reply is one frame with an `id`; predictions are answered in the
order in which they came.

Models packaged by one version of the platform carry the same loader, byte for byte: it is imported
once for all of them.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import importlib.util
import io
import json
import os
import queue
import resource
import sys
import threading
import zipfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seamline.serve.workers import worker_main
else:

    def _beside(name: str) -> ModuleType:
        """This script runs isolated, by the interpreter of the models: its folder is no place to
        import from."""
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    worker_main = _beside("worker_main")

LOADER = "_loader"
#: A thread that wants to predict waits no longer than this for one that loads.
SWITCH_S = 0.0005

Header = dict[str, Any]


class ManyFrames(worker_main.Frames):
    """Two threads write."""

    def __init__(self, frames: worker_main.Frames) -> None:
        super().__init__(frames.source, frames.sink)
        self.lock = threading.Lock()

    def write(self, header: Header, body: bytes = b"") -> None:
        with self.lock:
            super().write(header, body)


class LoadedModel(worker_main.Worker):
    def __init__(self, start: Header) -> None:
        super().__init__(start)
        self.importer: worker_main.WheelImporter | None = None

    def load(self) -> Header:
        """As `Worker.load`, without setting aside what the collector looks at: this one may go."""
        data = Path(self.start["wheel_path"]).read_bytes()
        actual = "sha256:" + hashlib.sha256(data).hexdigest()
        if actual != self.start["package_digest"]:
            raise worker_main.DigestMismatch(self.start["package_digest"], actual)
        module = str(self.start["module"])
        importer = worker_main.WheelImporter(self.start["wheel_path"], data)
        sys.meta_path.insert(0, importer)
        self.importer = importer
        share_loader(importer, module)
        self.model = importlib.import_module(module).load()
        samples = f"{module}/samples.json"
        rows = []
        if samples in importer.files:
            rows = self.prove(json.loads(importer.archive.read(samples)))
        return {"op": "loaded", "samples": len(rows), "probe": rows[0] if rows else None}

    def forget(self) -> None:
        """Nothing of it is left that could be imported or be in memory."""
        self.model = None
        module = str(self.start["module"])
        for name in [one for one in sys.modules if one == module or one.startswith(f"{module}.")]:
            del sys.modules[name]
        if self.importer is not None:
            sys.meta_path.remove(self.importer)
            self.importer = None


class Shelf:
    """What is loaded. `models` is read by the thread that predicts, and changed by both."""

    def __init__(self, frames: ManyFrames) -> None:
        self.frames = frames
        self.models: dict[int, LoadedModel] = {}
        self.to_load: queue.SimpleQueue[Header] = queue.SimpleQueue()
        self.is_warm = False

    def load_all(self) -> None:
        """The second thread: one after another, for good."""
        while True:
            header = self.to_load.get()
            self.reply(header, *self.load(header))

    def load(self, header: Header) -> tuple[Header, bytes]:
        model = LoadedModel(header)
        try:
            if not self.is_warm:
                model.load()
                model.forget()
                self.set_aside()
            ready = model.load()
        except BaseException as error:  # sys.exit() would end the thread that loads
            model.forget()
            return worker_main.failure(error), b""
        self.models[header["member"]] = model
        return ready, b""

    def set_aside(self) -> None:
        """What the first model has imported stays: the collector need not look at it whenever a
        model goes. The model itself is not among it, so it can go, too."""
        gc.collect()
        gc.freeze()
        self.is_warm = True

    def drop(self, header: Header) -> tuple[Header, bytes]:
        for member in header["members"]:
            if (model := self.models.pop(member, None)) is not None:
                model.forget()
        gc.collect()
        give_back_memory()
        return {"op": "dropped"}, b""

    def predict(self, header: Header, body: bytearray) -> tuple[Header, bytes]:
        model = self.models.get(header["member"])
        if model is None:
            return {"op": "absent"}, b""
        try:
            columns = model.tensors.of_frame(header, body, model.start["inputs"])
            return model.answer(columns, header["rows"])
        except BaseException as error:
            return worker_main.failure(error), b""

    def reply(self, asked: Header, header: Header, body: bytes) -> None:
        told = {} if asked["op"] == "predict" else {"memory_bytes": memory_bytes()}
        self.frames.write({**header, **told, "id": asked["id"]}, body)

    def serve(self) -> None:
        threading.Thread(target=self.load_all, name="load", daemon=True).start()
        while (frame := self.frames.read()) is not None:
            header, body = frame
            if header["op"] == "load":
                self.to_load.put(header)
            elif header["op"] == "drop":
                self.reply(header, *self.drop(header))
            else:
                self.reply(header, *self.predict(header, body))


def share_loader(importer: worker_main.WheelImporter, module: str) -> None:
    """Import the loader that lies in this wheel, unless one of the same bytes is imported already,
    and let the wheel's package find it."""
    folder = f"{module}/{LOADER}/"
    files = {
        name.removeprefix(folder): importer.archive.read(name)
        for name in sorted(importer.files)
        if name.startswith(folder) and name.endswith(".py")
    }
    if not files:
        return
    hashed = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    shared = f"{LOADER}_{hashed}"
    if shared not in sys.modules:
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w") as archive:
            for path, text in files.items():
                archive.writestr(f"{shared}/{path}", text)
        sys.meta_path.insert(0, worker_main.WheelImporter(shared, memory.getvalue()))
    sys.modules[f"{module}.{LOADER}"] = importlib.import_module(shared)


def memory_bytes() -> int:
    """What this process occupies now; where the system does not say, the most that it ever did."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return pages * resource.getpagesize()


def give_back_memory() -> None:
    """glibc keeps what was freed; others give it back by themselves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def main() -> None:
    frames = ManyFrames(worker_main.take_standard_streams())
    first = frames.read()
    if first is None:
        return
    worker_main.die_with_parent(first[0]["parent"])
    sys.setswitchinterval(SWITCH_S)
    frames.write({"op": "ready", "id": first[0]["id"], "memory_bytes": memory_bytes()})
    Shelf(frames).serve()
    os._exit(0)  # a model that is being loaded is not waited for


if __name__ == "__main__":
    main()
