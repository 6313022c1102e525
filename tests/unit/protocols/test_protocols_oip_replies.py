"""The reply that is made ready once says what the one that is made anew says, byte for byte."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seamline.protocols.oip_tensors import PlainReply, write_reply
from seamline.serve.predict import Prediction
from seamline.serve.routing import Target
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, Signature

OUTPUTS = (Column('a "score"', "FP64"), Column("label", "INT64"), Column("why", "BYTES"))


def target_of(*outputs, endpoint='late "arrival" ü'):
    spec = EndpointSpec(
        endpoint, "m", "1.0", "sha256:" + "0" * 64, "", "", "", "m", "regression",
        Signature((Column("x", "FP64"),), outputs), "python",
    )  # fmt: skip
    return Target("production", "sha256:" + "ab" * 32, spec, model=None)


@pytest.mark.parametrize("request_id", [None, "", 'id "1"\n'])
@pytest.mark.parametrize("rows", [1, 3])
def test_ready_or_anew_it_is_the_same(rows, request_id):
    target = target_of(*OUTPUTS)
    values = ([0.1, math.nan, 1e300], [1, 0, -5], ["x", None, '"ü'])
    outputs = {one.name: held[:rows] for one, held in zip(OUTPUTS, values, strict=True)}
    prediction = Prediction("019b76da-a800-7000-8000-000000000000", target, outputs)
    anew, _ = write_reply(prediction, request_id, [(one, False) for one in OUTPUTS])
    for _ in range(2):
        assert PlainReply.of(target).write(prediction, request_id) == anew


def test_what_has_a_shape_is_left_to_the_other():
    target = target_of(OUTPUTS[0])
    prediction = Prediction("p", target, {'a "score"': np.zeros((2, 2))})
    assert PlainReply.of(target).write(prediction, None) is None
