"""Names that a file uses and somebody has to declare: a mistyped one would be silent for ever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from seamline.app.declarations import Declarations, family_of
from seamline.domain.errors import nearest
from seamline.hooks.declaration import split_secret
from seamline.project.file import ProjectFile


def check_references(
    file: ProjectFile, applied: Mapping[str, ProjectFile], environments: Iterable[str]
) -> None:
    """Raises InvalidInput that points at the line of the first name that nothing declares."""
    files = [file, *applied.values()]
    models = {key: one for each in files for key, one in each.declarations.models.items()}
    for where, section, name in _references(file.declarations):
        known = {one for each in files for one in getattr(each.declarations, section)}
        if section == "environments":
            known |= set(environments)
        family = family_of(name, models) if section == "models" else None
        takes_families = where.startswith("releases.") or (
            where.startswith("deployments.") and where.endswith(".model")
        )
        if family == name and models[name].per and not takes_families:
            raise file.source.error(
                where,
                f"{where}: {name} has one model per scenario ({', '.join(models[name].per)}).",
                f"Name one of them, as in {name}-{'-'.join(models[name].per)}.",
            )
        if name not in known and family is None:
            raise file.source.error(
                where,
                f"{where}: there is no {section.removesuffix('s')} {name!r}.",
                nearest(name, known),
            )


def _references(declarations: Declarations) -> Iterator[tuple[str, str, str]]:
    """(the key that refers, the section it refers to, the name)."""
    for name, model in declarations.models.items():
        if model.evaluation is not None:
            yield f"models.{name}.evaluation.data", "datasets", model.evaluation.data
    for name, release in declarations.releases.items():
        for model_name in release.models:
            yield f"releases.{name}.models", "models", model_name
    for name, deployment in declarations.deployments.items():
        yield f"deployments.{name}.model", "models", deployment.model
        if deployment.default is not None:
            yield f"deployments.{name}.default", "models", deployment.default
    for name, monitor in declarations.monitors.items():
        yield f"monitors.{name}.deployment", "deployments", monitor.deployment
        yield f"monitors.{name}.environment", "environments", monitor.environment
    for name, hook in declarations.hooks.items():
        yield f"hooks.{name}.secret", "environments", split_secret(hook.secret)[0]
    for name, trigger in declarations.triggers.items():
        yield f"triggers.{name}.monitor", "monitors", trigger.monitor
        yield f"triggers.{name}.model", "models", trigger.model
