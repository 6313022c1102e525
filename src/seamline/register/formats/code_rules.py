"""What the source of a model would import and define, told from its text alone.

Source is arbitrary code, whatever this finds. What it is for: the imports are named in model.json,
where a person reads them, and what starts processes, opens files or the network, or evaluates text
is refused before anybody has to look.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from seamline.domain.errors import InvalidInput
from seamline.register.formats.pickle_rules import is_dangerous_module

ENTRY = "model.py"
BUILDER = "build_model"
MAX_FILES = 100
MAX_CODE_BYTES = 1 << 20
#: Of the modules that no pickle may name, these only describe or measure: sources import them.
_HARMLESS = frozenset({"concurrent", "inspect", "logging", "operator", "trace"})
#: Parts of the framework itself that load, fetch or compile.
_DANGEROUS_PARTS = (
    *("torch.hub", "torch.package", "torch.utils.cpp_extension", "torch.utils.model_zoo"),
    *("torch.distributed", "torch.multiprocessing", "numpy.ctypeslib", "numpy.f2py"),
)
_DANGEROUS_NAMES = frozenset(
    {"__builtins__", "__import__", "__loader__", "__spec__", "breakpoint", "compile", "eval"}
    | {"exec", "globals", "input", "open"}
)
_DANGEROUS_ATTRIBUTES = frozenset(
    {"__globals__", "__subclasses__", "__builtins__", "__code__", "load_library", "load_inline"}
)
_LONGEST = 8
_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class CodeScan:
    #: Modules from elsewhere that importing it imports, sorted.
    imports: tuple[str, ...]
    #: Sentences; empty when nothing is found, which is no proof of anything.
    findings: tuple[str, ...]


def check_code_path(path: str) -> str:
    """The path itself, if it can be a module's; InvalidInput if it leads elsewhere.

    >>> check_code_path("layers/attention.py")
    'layers/attention.py'
    """
    parts = PurePosixPath(path).parts
    stems = [*parts[:-1], parts[-1].removesuffix(".py")] if parts else [""]
    is_plain = "/".join(parts) == path and path.endswith(".py")
    if not is_plain or not all(_PART.fullmatch(stem) for stem in stems):
        raise InvalidInput(
            f"{path!r} cannot be a file of a model's code.",
            next_step="Use modules whose names are identifiers, in folders below the model's own, "
            "as in layers/attention.py.",
        )
    return path


def scan_code(files: Mapping[str, bytes]) -> CodeScan:
    """Reads, and runs nothing. InvalidInput for what is no Python, or defines no `build_model`.

    >>> found = scan_code({"model.py": b"import os, torch\\ndef build_model(): ..."})
    >>> found.imports, found.findings
    (('os', 'torch'), ('model.py line 1 imports os',))
    """
    _check_files(files)
    trees = {path: _parse(path, files[path]) for path in sorted(files)}
    _check_builder(trees[ENTRY])
    beside = {PurePosixPath(path).parts[0].removesuffix(".py") for path in files}
    imports: set[str] = set()
    findings: list[str] = []
    for path, tree in trees.items():
        for line, module in _imports(tree):
            if module.partition(".")[0] in beside:
                raise InvalidInput(
                    f"{path} line {line} imports {module} as if it were installed, and it lies "
                    "beside it.",
                    next_step=f"Write from . import {module.partition('.')[0]}.",
                )
            imports.add(module)
            if _is_dangerous(module):
                findings.append(f"{path} line {line} imports {module}")
        findings += [f"{path} line {line} uses {name}" for line, name in _odd_names(tree)]
    return CodeScan(tuple(sorted(imports)), tuple(findings))


def _check_files(files: Mapping[str, bytes]) -> None:
    for path in files:
        check_code_path(path)
    if ENTRY not in files:
        raise InvalidInput(
            f"A model's code has to hold {ENTRY}; there is {', '.join(sorted(files)) or 'none'}.",
            next_step=f"Define {BUILDER}(**settings) in {ENTRY}, beside the state.",
        )
    size = sum(map(len, files.values()))
    if len(files) > MAX_FILES or size > MAX_CODE_BYTES:
        raise InvalidInput(
            f"A model's code of {len(files)} files and {size:,} bytes is too much: "
            f"{MAX_FILES} files and {MAX_CODE_BYTES:,} bytes are the limit.",
            next_step="Leave what is a library to packages_to_install.",
        )
    folded = {path.casefold() for path in files}
    modules = {path.removesuffix(".py").removesuffix("/__init__") for path in files}
    folders = {str(one) for path in files for one in PurePosixPath(path).parents}
    is_twice = not len(folded) == len(modules) == len(files)
    if is_twice or any(path.removesuffix(".py") in folders for path in files):
        raise InvalidInput(f"Two files of a model's code are one module: {', '.join(files)}.")


def _parse(path: str, source: bytes) -> ast.Module:
    try:
        text = source.decode("utf-8")
        return ast.parse(text, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{path} is no Python source: {error}.") from error


def _check_builder(tree: ast.Module) -> None:
    defined: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            defined.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            defined |= {one.asname or one.name for one in statement.names}
        elif isinstance(statement, ast.Assign):
            defined |= {one.id for one in statement.targets if isinstance(one, ast.Name)}
    if BUILDER not in defined:
        raise InvalidInput(
            f"{ENTRY} defines no {BUILDER}: {', '.join(sorted(defined)) or 'nothing at all'}.",
            next_step=f"Add a function {BUILDER}(**settings) that returns the torch.nn.Module "
            "whose state this is.",
        )


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module) of each import from elsewhere, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.lineno, node.module
            # What is imported from it may be a module as well: from torch import hub.
            below = (f"{node.module}.{one.name}" for one in node.names)
            yield from ((node.lineno, one) for one in below if _is_part(one))


def _is_dangerous(module: str) -> bool:
    is_listed = is_dangerous_module(module) and module.partition(".")[0] not in _HARMLESS
    return is_listed or _is_part(module)


def _is_part(module: str) -> bool:
    return any(f"{module}.".startswith(f"{part}.") for part in _DANGEROUS_PARTS)


def _odd_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _DANGEROUS_NAMES:
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            if node.attr in _DANGEROUS_ATTRIBUTES or dotted in _DANGEROUS_PARTS:
                yield node.lineno, dotted or node.attr
            elif dotted == "torch.load":
                yield node.lineno, dotted


def _dotted(node: ast.expr) -> str:
    """
    >>> _dotted(ast.parse("torch.utils.model_zoo", mode="eval").body)
    'torch.utils.model_zoo'
    """
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < _LONGEST:
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
