"""Tasks that make and delete volume claims (`kubernetes.CreatePVC`, `kubernetes.DeletePVC`).

They have images that no registry holds: on a cluster, the driver does their work. Here, a claim is
a directory that is made when it is first mounted, so that there is nothing left to do but name it.
"""

from __future__ import annotations

from seamline.train.ir.lightweight import PythonFunction

_CREATE = '''
import uuid
from kfp import dsl

def create_claim(
    name: dsl.OutputPath(str), pvc_name: str = None, pvc_name_suffix: str = None
):
    """A claim is a directory, made when it is first mounted: here it only gets its name."""
    with open(name, "w") as file:
        file.write(pvc_name or f"claim-{uuid.uuid4().hex[:12]}{pvc_name_suffix or ''}")
'''
_DELETE = """
from kfp import dsl

def keep_claim(pvc_name: str):
    print(f"The directory of {pvc_name} is kept; whoever owns it may remove it.")
"""
_FUNCTIONS = {
    "argostub/createpvc": PythonFunction(_CREATE, "create_claim", ()),
    "argostub/deletepvc": PythonFunction(_DELETE, "keep_claim", ()),
}
_NOTES = {
    "create_claim": "size, access modes and storage class of a volume claim have no effect.",
    "keep_claim": "volume claims are not deleted: their directories are kept.",
}


def claim_function(image: str) -> PythonFunction | None:
    """What such a task does here; None for any other image."""
    return _FUNCTIONS.get(image)


def claim_notes(function: PythonFunction | None, label: str) -> tuple[str, ...]:
    if function is None or not makes_claims(function):
        return ()
    return (f"{label}: {_NOTES[function.function]}",)


def makes_claims(function: PythonFunction | None) -> bool:
    """Then it must not be taken from a cache: the claim of an earlier run is not this run's."""
    return function in _FUNCTIONS.values()
