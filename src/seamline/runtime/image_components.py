"""A lightweight KFP component in the image that it names (`fidelity: container`).

Nothing is built: the image's own Python runs component_main.py, which is mounted into the
container read-only together with what it shares with forked tasks and, for images without one,
a kfp. The task's
folder is mounted at the path that it has here, so the executor input is that of a forked task.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from seamline.runtime.commands import write_private
from seamline.runtime.containers import ContainerRun, Mount, container_name
from seamline.runtime.specs import Limits, TaskSpec, write_request

_INSIDE = Path("/seamline")
#: One thread each, as forked tasks have: with more, sums come out in another order.
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@dataclass(frozen=True)
class ComponentImage:
    """What running a component in its image takes, besides what forking it takes."""

    #: A reference or, to run the very bytes that were looked at, a digest.
    image: str
    #: How messages call it.
    reference: str = ""
    #: `packages_to_install`: the image's pip installs what the image does not have.
    requirements: tuple[str, ...] = ()
    #: The first stands in for the index that the image's pip is set up with.
    index_urls: tuple[str, ...] = ()
    #: None: the hosts of these indexes, as the SDK has it.
    trusted_hosts: tuple[str, ...] | None = None
    #: What the executor input names outside of the task's folder; mounted read-only.
    inputs: tuple[Path, ...] = ()
    #: Other folders, such as a volume or a run's workspace.
    mounts: tuple[Mount, ...] = ()


def component_run(spec: TaskSpec, image: ComponentImage, kfp_dir: Path) -> ContainerRun:
    """The run that does what this task, forked, would do; writes what component_main.py reads.

    The source and the executor input of `spec` lie in its work_dir, which is absolute. Its limits
    hold for the container. `kfp_dir` holds the kfp package alone: `EnvironmentCache.ensure_folder`.
    """
    told = {
        # The container's environment and its limits are the engine's to set.
        "request": write_request(
            replace(spec, env={}, limits=Limits(cpu_s=spec.limits.cpu_s)), 0, ()
        ),
        "requirements": image.requirements,
        "index_urls": image.index_urls,
        "trusted_hosts": image.trusted_hosts,
        "kfp_dir": str(_INSIDE / "packages"),
    }
    settings = spec.work_dir / "tmp" / "component.json"
    # Private: an index's address may hold a password.
    write_private(settings, json.dumps(told).encode())
    scripts = _INSIDE / "runtime"
    return ContainerRun(
        name=container_name(spec.task_id),
        image=image.image,
        command=("python3", str(scripts / "component_main.py"), str(settings)),
        env={**dict.fromkeys(_ONE_THREAD, "1"), **spec.env},
        mounts=(
            Mount.same(spec.work_dir),
            Mount(Path(__file__).parent, scripts, is_read_only=True),
            Mount(kfp_dir, _INSIDE / "packages", is_read_only=True),
            *(Mount.same(path, is_read_only=True) for path in image.inputs),
            *image.mounts,
        ),
        work_dir=spec.work_dir,
        memory_bytes=spec.limits.memory_bytes,
        cpus=spec.limits.cpu_cores,
        reference=image.reference,
    )
