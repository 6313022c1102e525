"""The data plane's OpenAPI document, for names that would break one."""

from __future__ import annotations

import re
from types import SimpleNamespace

import jsonschema

from seamline.protocols.oip_openapi import describe, sample_row
from seamline.serve.routing import RoutingTable
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, Signature


def target(name, probe):
    signature = Signature(
        (
            Column('say "hi"\n', "BYTES", nullable=True),
            Column("${x}", "UINT8"),
            Column("ok", "BOOL"),
        ),
        (Column("</script>", "FP32"),),
    )
    digest = "sha256:" + "a" * 64
    spec = EndpointSpec(
        name, name, "1.0.0", digest, digest, "/w", "w", "m", "regression", signature, "python"
    )  # fmt: skip
    model = SimpleNamespace(worker=SimpleNamespace(probe=probe))
    return SimpleNamespace(spec=spec, model=model, environment="staging", release=digest)


def plane_of(*targets):
    table = {one.spec.endpoint: one for one in targets}
    routes = SimpleNamespace(targets=table)
    return SimpleNamespace(table=RoutingTable({"staging": routes}))


def test_names_are_characters_and_nothing_else():
    probe = {'say "hi"\n': None, "${x}": 7, "ok": True, "beyond": 1}
    document = describe(plane_of(target("a{b}?c#d e", probe)), "staging")
    paths = [path for path in document["paths"] if path.endswith("/predict")]
    assert paths == ["/staging/v2/models/a%7Bb%7D%3Fc%23d%20e/predict"]
    assert not any(re.search(r"[{}?# ]", path) for path in document["paths"])
    content = document["paths"][paths[0]]["post"]["requestBody"]["content"]["application/json"]
    assert content["example"] == [{"${x}": 7, "ok": True}]
    jsonschema.validate(content["example"], content["schema"])
    infer = document["paths"][paths[0].replace("predict", "infer")]["post"]
    example = infer["requestBody"]["content"]["application/json"]["example"]
    assert [(one["name"], one["data"]) for one in example["inputs"]] == [
        ("${x}", [7]),
        ("ok", [True]),
        ('say "hi"\n', [None]),
    ]


def test_without_a_sample_a_row_of_zeros():
    assert sample_row(target("m", None)) == {'say "hi"\n': "", "${x}": 0, "ok": False}
