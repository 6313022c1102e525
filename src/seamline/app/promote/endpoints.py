"""What an endpoint answers with: one model, or all of a family by the values of its scenarios."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seamline.app.declarations import DeploymentDeclaration, ModelDeclaration, family_of
from seamline.app.platform import Platform
from seamline.app.serve.serving_rules import ServingRules, input_rules
from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound
from seamline.promote.release import Pin, StoredRelease
from seamline.register.models.catalogue import ModelVersion, verify_model_version
from seamline.runtime.requirements import RequirementSet
from seamline.serve.snapshots.families import Family, KeyValue, Member
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, Signature, TwinPolicy
from seamline.store.canonical import digest_of_json
from seamline.train.ir.quantities import parse_bytes

_LOG = logging.getLogger("seamline.deployments")
#: What a value of a scenario is sent as, where the models take no column of that name.
_DATATYPES: Mapping[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


def make_endpoints(platform: Platform, release: StoredRelease) -> tuple[EndpointSpec, ...]:
    """Of every deployment whose model the release holds. Packages are verified while they are made
    (law 2)."""
    declared, packages = platform.declarations(), release.release.packages
    found = []
    for deployment in declared.deployments.values():
        pins = pins_of(deployment, packages, declared.models)
        if not pins:
            continue
        declaration = declared.models.get(deployment.model)
        versions = [_verify(platform, pin) for pin in pins]
        if declaration is not None and declaration.per:
            found.append(_family_endpoint(platform, deployment, declaration.per, versions))
        else:
            found.append(_endpoint(platform, deployment, versions[0]))
    return tuple(found)


def pins_of(
    deployment: DeploymentDeclaration,
    packages: Iterable[Pin],
    models: Mapping[str, ModelDeclaration],
) -> list[Pin]:
    """Those of a release's packages that the deployment is about.

    >>> fares = ModelDeclaration("fares", "train", "fit.model", "fit.rows", per=("route",))
    >>> packages = [Pin("fares-a", "1", ""), Pin("fares-b", "1", ""), Pin("late", "1", "")]
    >>> def names(model):
    ...     found = pins_of(DeploymentDeclaration("x", model), packages, {"fares": fares})
    ...     return [pin.name for pin in found]
    >>> names("fares"), names("fares-b")
    (['fares-a', 'fares-b'], ['fares-b'])
    """
    declaration = models.get(deployment.model)
    if declaration is None or not declaration.per:
        return [pin for pin in packages if pin.name == deployment.model]
    return [pin for pin in packages if family_of(pin.name, models) == deployment.model]


def _verify(platform: Platform, pin: Pin) -> ModelVersion:
    # What the plane obeys is signed here: so it is what was signed when it was made.
    found = verify_model_version(platform.stores, pin.name, pin.version, platform.key.public)
    if found.wheel_digest != pin.digest:
        what = f"package {pin.name} {pin.version}"
        raise DigestMismatch(what, expected=pin.digest, actual=found.wheel_digest)
    return found


def _endpoint(
    platform: Platform, deployment: DeploymentDeclaration, found: ModelVersion
) -> EndpointSpec:
    document = found.document
    held_to = _held_to(platform, deployment, found)
    return EndpointSpec(
        endpoint=deployment.name,
        model=found.model,
        model_version=found.version,
        package_digest=found.wheel_digest,
        payload_digest=found.payload_digest,
        # Hashed a moment ago, and by whoever loads it.
        wheel_path=_wheel_path(platform, found),
        wheel_name=found.filename,
        module=document["module"],
        task=document["task"],
        signature=_signature(found),
        python=_python(platform, document["requirements"]),
        requirements=tuple(document["requirements"]),
        event_time=deployment.event_time,
        context=_context(deployment, _signature(found).inputs),
        private=deployment.private,
        unlogged=deployment.unlogged,
        on_log_full=deployment.on_log_full,
        rules=held_to.rules,
        expressions=held_to.expressions,
        twin=_twin_policy(deployment, document),
    )


def _twin_policy(deployment: DeploymentDeclaration, document: Mapping[str, Any]) -> TwinPolicy:
    """What has no twin is not looked through for one."""
    has_one = (document.get("twin") or {}).get("digest") is not None
    if has_one or deployment.twin is TwinPolicy.REQUIRE:
        return deployment.twin
    return TwinPolicy.NEVER


def _family_endpoint(
    platform: Platform,
    deployment: DeploymentDeclaration,
    per: Sequence[str],
    versions: Sequence[ModelVersion],
) -> EndpointSpec:
    """The keys come before the models' own inputs. InvalidInput where its models cannot stand
    behind one name."""
    signature = _common_signature(deployment.name, versions)
    keys = _key_columns(deployment.name, per, signature.inputs, versions)
    own = {column.name for column in signature.inputs}
    members = _members(platform, versions, keys)
    if deployment.default not in (None, *(one.model for one in versions)):
        raise NotFound(
            f"[deployments.{deployment.name}] names the default {deployment.default!r}, which the "
            f"release does not hold.",
            next_step=f"It holds {len(versions)} models of {deployment.model}.",
        )
    held_to = _held_to_by_all(platform, deployment, versions)
    listed = [[list(one.key), one.model, one.model_version, one.package_digest] for one in members]
    return EndpointSpec(
        endpoint=deployment.name,
        model=deployment.model,
        model_version=f"{len(members)}-models",
        package_digest=digest_of_json(listed),
        payload_digest=digest_of_json([one.payload_digest for one in members]),
        wheel_path="",
        wheel_name="",
        module="",
        task=versions[0].document["task"],
        signature=Signature(
            (*(key for key in keys if key.name not in own), *signature.inputs), signature.outputs
        ),
        python="",
        event_time=deployment.event_time,
        context=_context(deployment, (*keys, *signature.inputs)),
        private=deployment.private,
        unlogged=deployment.unlogged,
        on_log_full=deployment.on_log_full,
        rules=held_to.rules,
        expressions=held_to.expressions,
        family=Family(
            tuple(per),
            signature.inputs,
            members,
            parse_bytes(deployment.memory),
            deployment.default,
        ),
    )


def _members(
    platform: Platform, versions: Sequence[ModelVersion], keys: Sequence[Column]
) -> tuple[Member, ...]:
    pythons = {
        requirements: _python(platform, requirements)
        for requirements in {tuple(one.document["requirements"]) for one in versions}
    }
    return tuple(
        Member(
            _key_of(one, keys), one.model, one.version, one.wheel_digest, one.payload_digest,
            _wheel_path(platform, one), one.filename, one.document["module"],
            pythons[tuple(one.document["requirements"])],
        )
        for one in versions
    )  # fmt: skip


def _common_signature(name: str, versions: Sequence[ModelVersion]) -> Signature:
    first = _signature(versions[0])
    for one in versions:
        if _signature(one) != first:
            raise InvalidInput(
                f"Endpoint {name}: {one.model} {one.version} takes or gives other columns than "
                f"{versions[0].model} {versions[0].version}.",
                next_step="Train them again, all by one version of the pipeline.",
            )
    return first


def _key_columns(
    name: str, per: Sequence[str], inputs: Sequence[Column], versions: Sequence[ModelVersion]
) -> list[Column]:
    """A column that the models take keeps their type; the values say it of the others."""
    taken = {column.name: column.datatype for column in inputs}
    columns = []
    for field in per:
        kinds = {type(one.scenario.get(field)) for one in versions}
        if kinds == {int, float}:
            kinds = {float}
        if len(kinds) > 1 or not kinds <= _DATATYPES.keys():
            told = ", ".join(sorted(one.__name__ for one in kinds))
            raise InvalidInput(
                f"Endpoint {name}: {field} is {told} in the scenarios of its models; a column has "
                "one type.",
                next_step="Give each scenario a value of one type.",
            )
        columns.append(Column(field, taken.get(field, _DATATYPES[kinds.pop()])))
    return columns


def _key_of(version: ModelVersion, keys: Sequence[Column]) -> tuple[KeyValue, ...]:
    """As a request's values of those columns are read."""
    kinds: Mapping[str, type] = {"FP64": float, "FP32": float, "BYTES": str}
    values = (version.scenario[key.name] for key in keys)
    return tuple(
        kinds[key.datatype](value) if key.datatype in kinds else value
        for key, value in zip(keys, values, strict=True)
    )


def _held_to(
    platform: Platform, deployment: DeploymentDeclaration, version: ModelVersion
) -> ServingRules:
    held_to = input_rules(platform.stores, version, deployment.on_breach)
    for one in held_to.left_out:
        _LOG.warning("endpoint %s is not held to what its contract says: %s", deployment.name, one)
    return held_to


def _held_to_by_all(
    platform: Platform, deployment: DeploymentDeclaration, versions: Sequence[ModelVersion]
) -> ServingRules:
    """What the contracts of all its models say; what only some say cannot be asked of every row."""
    trained_on: dict[str, ModelVersion] = {}
    for one in versions:
        data = one.document.get("lineage", {}).get("dataset_versions", ())
        trained_on.setdefault(digest_of_json(list(data)), one)
    each = [_held_to(platform, deployment, one) for one in trained_on.values()]
    return ServingRules(
        tuple(rule for rule in each[0].rules if all(rule in one.rules for one in each)),
        tuple(rule for rule in each[0].expressions if all(rule in one.expressions for one in each)),
    )


def _context(deployment: DeploymentDeclaration, inputs: Sequence[Column]) -> tuple[Column, ...]:
    """What the model takes by now is no context any more: it is logged with the other inputs."""
    taken = {column.name for column in inputs}
    return tuple(
        Column(name, "BYTES", nullable=True) for name in deployment.context if name not in taken
    )


def _wheel_path(platform: Platform, version: ModelVersion) -> str:
    return str(platform.stores.blobs.path_of(version.wheel_digest).resolve())


def _python(platform: Platform, requirements: Sequence[str]) -> str:
    return str(platform.environments.ensure(RequirementSet.of(requirements)).python)


def _signature(version: ModelVersion) -> Signature:
    document: dict[str, Any] = version.document["signature"]

    def columns(part: str) -> tuple[Column, ...]:
        return tuple(
            Column(one["name"], one["datatype"], one.get("nullable", False))
            for one in document[part]
        )

    return Signature(columns("inputs"), columns("outputs"))
