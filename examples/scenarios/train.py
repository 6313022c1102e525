"""Train one scenario: `python train.py OUT.yaml` compiles it.

`seamline run submit OUT.yaml --scenarios scenarios.yaml` runs it for all of them, in one run.
"""

import sys

from kfp import compiler, dsl
from steps import evaluate, prepare, register, train


@dsl.pipeline(description="How long are this carrier's flights on this route in the air?")
def train_scenario(
    origin: str,
    carrier: str,
    dest: str,
    flights: str = "datasets://flights",
    since: str = "",
    until: str = "",
    min_rows: int = 100,
    fail: str = "",
    mended: str = "",
):
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    prepared = prepare(
        flights=flown.output, origin=origin, carrier=carrier, dest=dest, since=since, until=until
    )
    history = prepared.outputs["history"]
    # Few flights teach nothing: such a scenario is skipped, which is no failure.
    with dsl.If(prepared.outputs["rows"] >= min_rows, name="enough-rows"):
        trained = train(history=history, fail=fail, mended=mended)
        judged = evaluate(history=history, model=trained.outputs["model"])
        register(model=trained.outputs["model"], scores=judged.outputs["scores"])


if __name__ == "__main__":
    compiler.Compiler().compile(train_scenario, sys.argv[1])
