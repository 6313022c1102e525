"""Alarms and the triggers that look at them."""

from __future__ import annotations

import pytest

from seamline.app.retrain.retrain_once import on_alarm
from seamline.domain.errors import Unavailable
from seamline.domain.facts import AlarmRaised
from seamline.project.plan import apply_project
from seamline.retrain.retrainings import list_retrainings
from seamline.server import ControlPlane
from seamline.store.facts import read_facts

PROJECT = """
project = "shop"
team = "shop"

[models.demand]
pipeline = "demand-training"
output = "train.model"
samples = "train.samples"

[deployments.demand]
model = "demand"

[monitors.demand]
deployment = "demand"

[triggers.broken]
monitor = "demand"
model = "demand"
pipeline = "demand-training"
[triggers.broken.arguments]
since = "{no_such_day}"

[triggers.sound]
monitor = "demand"
model = "demand"
pipeline = "demand-training"
"""


def test_a_trigger_that_cannot_be_decided_holds_up_no_other(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    apply_project(stores, PROJECT, "seamline.toml", by="ada")
    with stores.db.transaction() as tx:
        alarm = AlarmRaised("demand", "2013-09", "mae <= 10", "m1", "The error is too large.")
        stores.facts.append(tx, alarm, by="ada")
    with stores.db.read() as connection:
        fact = read_facts(connection, kinds=[AlarmRaised.kind])[0]
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"broken: .*no_such_day"):
            on_alarm(plane.platform, fact)
        assert [one["trigger"] for one in list_retrainings(stores)] == ["sound"]
