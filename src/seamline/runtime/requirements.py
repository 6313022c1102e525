"""What a task's Python environment is made from, as a value with a digest."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from seamline.domain.digests import Digest, digest_of
from seamline.domain.errors import InvalidInput, MachineryError

_ASK = (
    "import importlib.metadata as m, json, platform\n"
    "print(json.dumps({'python': platform.python_version(), 'distributions':"
    " [[d.metadata['Name'], d.version] for d in m.distributions() if d.metadata['Name']]}))"
)
#: Isolated: neither PYTHONPATH nor the user's site-packages belong to an environment.
ISOLATED = ("-I", "-X", "utf8")


@dataclass(frozen=True)
class RequirementSet:
    """Sorted, normalised PEP 508 requirements and a Python version (`3.11`).

    `bare` holds what is installed without its dependencies: lightweight KFP components need only
    the `kfp` package's own files at run time, none of the thirty packages it depends on.
    """

    requirements: tuple[str, ...]
    bare: tuple[str, ...]
    python: str

    @classmethod
    def of(
        cls, requirements: Iterable[str] = (), *, bare: Iterable[str] = (), python: str = ""
    ) -> RequirementSet:
        """
        >>> RequirementSet.of(["B >1, <2", "a", "b<2,>1"], python="3.11").requirements
        ('a', 'b<2,>1')
        """
        wanted = sorted({normalise(text) for text in requirements})
        names = {canonicalize_name(Requirement(text).name) for text in wanted}
        extra = sorted({normalise(text) for text in bare})
        return cls(
            tuple(wanted),
            # Asked for in full, it comes in full.
            tuple(text for text in extra if canonicalize_name(Requirement(text).name) not in names),
            python or minor_version(platform.python_version()),
        )

    @cached_property
    def digest(self) -> Digest:
        """sha256 of the canonical JSON: the environment's name."""
        value = {"bare": self.bare, "python": self.python, "requirements": self.requirements}
        return digest_of(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())

    def is_satisfied_by(self, installed: Mapping[str, str]) -> bool:
        """Whether the installed distributions (name → version) hold everything asked for.

        Extras and direct URLs cannot be read off a list of versions, so they count as missing.

        >>> RequirementSet.of(["numpy>=2"]).is_satisfied_by({"NumPy": "2.1"})
        True
        >>> RequirementSet.of(["numpy>=2"]).is_satisfied_by({"numpy": "1.26"})
        False
        >>> RequirementSet.of(["numpy[fast]"]).is_satisfied_by({"numpy": "2.1"})
        False
        >>> RequirementSet.of(["tomli; python_version < '3.0'"]).is_satisfied_by({})
        True
        """
        return not self.missing_from(installed)

    def missing_from(self, installed: Mapping[str, str]) -> tuple[str, ...]:
        """What of it is not installed, or in another version.

        >>> RequirementSet.of(["numpy>=2", "click"]).missing_from({"numpy": "1.26", "click": "8"})
        ('numpy>=2',)
        """
        present = {str(canonicalize_name(name)): version for name, version in installed.items()}
        asked = self.requirements + self.bare
        return tuple(text for text in asked if not _is_met(Requirement(text), present))


def _is_met(wanted: Requirement, present: Mapping[str, str]) -> bool:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    version = present.get(canonicalize_name(wanted.name))
    if version is None or wanted.url or wanted.extras:
        return False
    try:
        return wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def normalise(text: str) -> str:
    """One spelling per requirement; raises InvalidInput for what pip could not read either.

    >>> normalise("Scikit_Learn == 1.6.*")
    'scikit-learn==1.6.*'
    """
    try:
        wanted = Requirement(text)
        if wanted.marker is not None:
            wanted.marker.evaluate({"extra": ""})
    except (InvalidRequirement, UndefinedEnvironmentName) as error:
        raise InvalidInput(
            f"{text!r} is not a requirement: {str(error).splitlines()[0]}.",
            next_step="Write it as in a requirements file, for example scikit-learn>=1.6,<2.",
        ) from error
    wanted.name = canonicalize_name(wanted.name)
    return str(wanted)


def minor_version(version: str) -> str:
    """
    >>> minor_version("3.11.7")
    '3.11'
    """
    return ".".join(version.split(".")[:2])


@dataclass(frozen=True)
class InstalledPython:
    """What an interpreter says about itself."""

    version: str
    distributions: Mapping[str, str]

    @property
    def lock(self) -> tuple[str, ...]:
        """Exact `name==version` of everything installed, sorted."""
        return tuple(sorted(f"{name}=={version}" for name, version in self.distributions.items()))


def ask_interpreter(python: Path) -> InstalledPython:
    """Starts the interpreter once (about 0.1 s); callers keep the answer."""
    asked = subprocess.run(
        [str(python), *ISOLATED, "-c", _ASK], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise MachineryError(
            f"The interpreter {python} does not start: {asked.stderr.strip()[-500:]}",
            next_step="Delete that environment's folder; it is made again when needed.",
        )
    answer = json.loads(asked.stdout)
    found: dict[str, str] = {}
    for name, version in answer["distributions"]:
        # The first on sys.path is the one that an import finds.
        found.setdefault(canonicalize_name(name), version)
    return InstalledPython(answer["python"], found)


def pin_to(text: str, installed: InstalledPython) -> str:
    """The requirement in the very version that an interpreter has, when that meets it.

    >>> here = InstalledPython("3.11.7", {"kfp": "2.17.0"})
    >>> pin_to("KFP>=2.14,<3", here), pin_to("kfp>=3", here)
    ('kfp==2.17.0', 'kfp>=3')
    """
    wanted = Requirement(text)
    name = canonicalize_name(wanted.name)
    if name in installed.distributions and _is_met(wanted, installed.distributions):
        return f"{name}=={installed.distributions[name]}"
    return text
