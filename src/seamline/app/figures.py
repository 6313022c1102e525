"""Figures about the platform itself, for its operators."""

from __future__ import annotations

from sqlalchemy import func, select

from seamline.app.platform import Platform
from seamline.promote.environments import list_environments
from seamline.store.schema import FACTS, OUTBOX
from seamline.train.counts import count_runs

Figures = dict[str, tuple[str, dict[str, float]]]


def platform_figures(platform: Platform) -> Figures:
    """metric name → (help, {labels: value}); labels are in Prometheus' form, or empty."""
    with platform.stores.db.read() as connection:
        facts = connection.execute(select(func.count()).select_from(FACTS)).scalar_one()
        due = connection.execute(
            select(func.count()).select_from(OUTBOX).where(OUTBOX.c.done.is_(False))
        ).scalar_one()
        live = {
            f'{{environment="{one.name}"}}': float(one.release is not None)
            for one in list_environments(connection)
        }
    runs = {
        f'{{state="{state}"}}': float(count) for state, count in count_runs(platform.stores).items()
    }
    return {
        "seamline_facts": ("Facts in the ledger.", {"": float(facts)}),
        "seamline_outbox_open": ("Effects not done yet.", {"": float(due)}),
        "seamline_environment_live": ("1 when a release is live.", live),
        "seamline_runs": ("Runs by state.", runs),
    }
