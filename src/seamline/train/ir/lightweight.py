"""Recognise a lightweight Python component in a container's command line.

The KFP SDK compiles a function into `sh -c '<pip install …>' sh -ec '<write $0 to a file, run
kfp.dsl.executor_main>' '<SOURCE>'`. The source and the requirements are taken out of it, so that
the function runs in a process of our own: no shell, no pip per task, no argument-length limit.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from seamline.domain.errors import InvalidInput

#: Where SDKs had it before 2.0 was released.
_RUNS_KFP = ("kfp.dsl.executor_main", "kfp.components.executor_main")
_WRITES_SOURCE = '"$program_path/ephemeral_component.py"'
_PIP_INSTALL = "-m pip install"
_INDEX_OPTIONS = ("--index-url", "--extra-index-url", "-i")
_TRUSTED_HOST = "--trusted-host"
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([\w, \t]+)", re.MULTILINE)
#: What every component imports, and the standard library but for what may load anything.
_NO_LIBRARIES = frozenset({"kfp", *sys.stdlib_module_names}) - {"importlib", "pickle", "shelve"}


@dataclass(frozen=True)
class PythonFunction:
    source: str
    function: str
    #: PEP 508, without the `kfp` that the compiler adds by itself.
    requirements: tuple[str, ...]
    index_urls: tuple[str, ...] = ()
    #: Hosts whose certificates the author would not have checked; the compiler adds the URLs of
    #: the indexes by itself, which mean nothing as hosts and are left out here.
    trusted_hosts: tuple[str, ...] = ()

    @cached_property
    def imports_libraries(self) -> bool:
        """Whether it says so in a statement of its own; what it calls may do so all the same."""
        return any(name not in _NO_LIBRARIES for name in _imported_names(self.source))


def _imported_names(source: str) -> Iterator[str]:
    """
    >>> list(_imported_names("import os, numpy as np\\n\\tfrom sklearn.svm import SVC"))
    ['os', 'numpy', 'sklearn']
    """
    for names in _IMPORT.findall(source):
        for name in names.split(" import ")[0].split(","):
            yield from name.split()[:1]


def recognise_function(command: Sequence[str], args: Sequence[str]) -> PythonFunction | None:
    """The function inside a lightweight Python component; None for any other container."""
    at = next(
        (
            i
            for i, word in enumerate(command)
            if _WRITES_SOURCE in word and any(module in word for module in _RUNS_KFP)
        ),
        None,
    )
    if at is None or at + 1 >= len(command):
        return None
    requirements: list[str] = []
    indexes: list[str] = []
    trusted: list[str] = []
    for script in command[:at]:
        for words in _pip_installs(script):
            _sort_words(words, requirements, indexes, trusted)
    return PythonFunction(
        source=command[at + 1],
        function=_function_name(args),
        requirements=tuple(dict.fromkeys(requirements)),
        index_urls=tuple(dict.fromkeys(indexes)),
        trusted_hosts=tuple(host for host in dict.fromkeys(trusted) if host not in indexes),
    )


def _function_name(args: Sequence[str]) -> str:
    flag = "--function_to_execute"
    if flag not in args or list(args).index(flag) + 1 >= len(args):
        raise InvalidInput(
            f"A lightweight Python component without {flag}: its arguments are {list(args)!r}.",
            next_step="Compile the pipeline with the KFP SDK.",
        )
    name = args[list(args).index(flag) + 1]
    if not name.isidentifier():
        raise InvalidInput(
            f"{name!r} is not the name of a Python function.",
            next_step="Compile the pipeline with the KFP SDK.",
        )
    return name


def _pip_installs(script: str) -> Iterator[list[str]]:
    """The words after each `pip install` of a shell script.

    >>> list(_pip_installs("X=1 python3 -m pip install -q 'a>1' 'b' && python3 -m pip install 'c'"))
    [['-q', 'a>1', 'b'], ['c']]
    """
    for line in script.splitlines():
        if _PIP_INSTALL not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&")
        lexer.whitespace_split = True
        for is_separator, words in groupby(lexer, key=lambda word: word == "&&"):
            command = list(words)
            if not is_separator and _PIP_INSTALL in " ".join(command):
                yield command[command.index("install") + 1 :]


def _sort_words(
    words: Sequence[str], requirements: list[str], indexes: list[str], trusted: list[str]
) -> None:
    pending = iter(words)
    added_by_compiler = "--no-deps" in words
    for word in pending:
        option, _, value = word.partition("=")
        if word in _INDEX_OPTIONS:
            indexes.append(next(pending, ""))
        elif word.startswith("--") and option in _INDEX_OPTIONS:
            indexes.append(value)
        elif word == _TRUSTED_HOST:
            trusted.append(next(pending, ""))
        elif not word.startswith("-") and not added_by_compiler:
            requirements.append(word)
