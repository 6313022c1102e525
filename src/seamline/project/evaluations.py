"""What types cannot say of `[models.NAME.evaluation]`: checks that read, and parts that fit."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import partial
from typing import Any

from seamline.app.evaluate.declaration import EvaluationDeclaration
from seamline.data.contracts.located import Located, read_yaml
from seamline.domain.errors import InvalidInput
from seamline.measure.evaluation.checks import parse_check
from seamline.project.reader import Source, read_declared

WINDOWS = ("day", "week", "month")


def check_evaluation(declared: EvaluationDeclaration, here: str, source: Source) -> None:
    """Raises InvalidInput that names the line, and points at the character of a check."""
    own = {name: metric.higher_is_better for name, metric in declared.business.items()}
    parse = partial(parse_check, own=own)
    for key in ("checks", "against_incumbent"):
        for check in getattr(declared, key):
            source.pointing(f"{here}.{key}", parse, check)
    try:
        declared.specification()
    except InvalidInput as error:
        raise source.error(here, error.message, error.next_step) from error
    tested = declared.backtest
    if tested is None:
        return
    for check in tested.checks:
        source.pointing(f"{here}.backtest.checks", parse, check)
    if tested.window not in WINDOWS:
        where = f"{here}.backtest.window"
        raise source.error(where, f"{where} has to be day, week or month.")
    if not 2 <= tested.windows <= 100:
        where = f"{here}.backtest.windows"
        raise source.error(where, f"{where} has to be 2 to 100, not {tested.windows}.")
    is_told = any("{window" in one for one in tested.arguments.values())
    if (tested.retrain or tested.retrain_incumbent) and not is_told:
        where = f"{here}.backtest"
        raise source.error(
            where,
            f"{where} trains anew for each window, and no argument says on what.",
            'Add arguments = { until = "{window_start}" }, as the training pipeline takes them.',
        )


def read_evaluation_file(text: str, name: str) -> EvaluationDeclaration:
    """What would stand in `[models.NAME.evaluation]`, as YAML or TOML: checks of somebody's own.

    Raises InvalidInput that names file and line.
    """
    if name.endswith(".toml"):
        source = Source(name, f"[{_HERE}]\n{text}")
        try:
            table: Any = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InvalidInput(f"{name}: {error}.", next_step="It is not TOML.") from error
    else:
        root = read_yaml(text, name)
        source, table = _YamlSource(name, text, root), _plain(root)
    declared = read_declared(EvaluationDeclaration, table, _HERE, source)
    check_evaluation(declared, _HERE, source)
    return declared


#: What the file's table is called in messages.
_HERE = "evaluation"


@dataclass(frozen=True)
class _YamlSource(Source):
    root: Located

    def _line_of(self, where: str) -> int:
        found = self.root
        for part in where.split(".")[1:]:
            entries = dict(found.entries()) if found.is_table else {}
            if part not in entries:
                break
            found = entries[part]
        return found.at_key.line


def _plain(located: Located) -> Any:
    """Tables, lists, and scalars by how they are written."""
    if located.is_table:
        return {key: _plain(value) for key, value in located.entries()}
    if isinstance(located.node.value, list):
        return [_plain(one) for one in located.items()]
    for read in (located.flag, located.integer, located.number):
        try:
            return read()
        except InvalidInput:
            continue
    return located.text()
