"""What the applied seamline.toml files declare, merged over all projects of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from seamline.app.evaluate.declaration import EvaluationDeclaration
from seamline.data.declaration import DatasetDeclaration, check_units
from seamline.domain.errors import not_found
from seamline.domain.states import Fidelity, Promotes, Role
from seamline.hooks.declaration import HookDeclaration
from seamline.promote.gate_rules import GateRules
from seamline.promote.policy import Party
from seamline.register.formats.kinds import ModelFormat
from seamline.serve.snapshots.input_rules import ServingPolicy
from seamline.serve.snapshots.snapshot import LogPolicy, TwinPolicy

Declared = TypeVar("Declared")


@dataclass(frozen=True)
class ApprovalDeclaration:
    """How many people have to say yes, who can, and who cannot, because of what they did."""

    count: int = 1
    roles: tuple[Role, ...] = (Role.APPROVER, Role.ADMIN)
    not_: tuple[Party, ...] = tuple(Party)


@dataclass(frozen=True)
class BreakGlassDeclaration:
    """Who can promote in an emergency, past all but what concerns the bytes."""

    roles: tuple[Role, ...] = (Role.ADMIN,)
    longest: str = "4h"


@dataclass(frozen=True)
class ExternalGateDeclaration:
    """Asked by HTTP: a POST of JSON, answered by JSON with `verdict` and `sentence`."""

    url: str
    #: Name of a secret of the environment, whose key `signing` the question is signed with.
    secret: str | None = None
    timeout: str = "10s"


@dataclass(frozen=True)
class CheckDeclaration:
    """The gate `check:NAME`: a pipeline of the release is run in the environment, and its outputs
    `verdict`, `sentence` and `evidence` are what the gate says.
    """

    #: Name of the pipeline, which has to be in the release; by default the check's.
    pipeline: str | None = None
    #: After that long without an end: an error.
    timeout: str = "30m"
    #: Only releases that hold one of these models are asked; without it, every release.
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnvironmentDeclaration:
    """A file that declares one environment declares all: what it leaves out goes, unless a release
    is live there. Without such a file the shipped policies stand.
    """

    name: str
    after: str | None = None
    gates: tuple[str, ...] = ()
    #: Without it nobody has to approve.
    approvals: ApprovalDeclaration | None = None
    soak: str = "0s"
    automatic: bool = False
    #: Runs of the release's pipelines that have to succeed in `after` (gate `successes`).
    min_successes: int = 1
    fidelity: Fidelity | None = None
    #: When promotions may be applied: "mon-thu 08:00-16:00 Europe/Paris".
    windows: tuple[str, ...] = ()
    #: Name → a gate that somebody else decides.
    external: Mapping[str, ExternalGateDeclaration] = field(default_factory=dict)
    #: Name → a check of the team's own, which a pipeline of the release makes.
    check: Mapping[str, CheckDeclaration] = field(default_factory=dict)
    #: Limits of single gates.
    gate: GateRules = field(default_factory=GateRules)
    break_glass: BreakGlassDeclaration = field(default_factory=BreakGlassDeclaration)
    #: Formats of models that run code when they are loaded, and that may come in all the same.
    formats: tuple[ModelFormat, ...] = ()
    #: Releases kept loaded beside the live one, so that applying is a swap: the one before it, then
    #: the one on its way in. Each costs the memory of its models.
    warm: int = 2
    #: Address of the server that the environment is live on, when that is another one.
    url: str | None = None
    #: Name of a secret of the environment, whose key `token` is sent to that server.
    secret: str | None = None
    #: Public key of the one server that releases for this environment come from.
    origin: str | None = None
    #: `model`: the trained bytes; `code`: the training pipelines, which are run in the environment
    #: while the promotion is checked, and what they make goes live.
    promotes: Promotes = Promotes.MODEL
    #: Reach the environment's runs as arguments, where their pipeline has a parameter of that name
    #: and whoever asks for the run gives none.
    parameters: Mapping[str, object] = field(default_factory=dict)
    #: Where the environment's data lies: its runs' parameter `data_root`.
    data_root: str | None = None

    @property
    def arguments(self) -> dict[str, object]:
        root = {} if self.data_root is None else {"data_root": self.data_root}
        return {**root, **self.parameters}


@dataclass(frozen=True)
class TeamDeclaration:
    """A share of the slots that tasks run in; runs of other teams go on when it is used up."""

    name: str
    #: How many of the team's tasks run at the same time, at the most; no declaration, no limit.
    slots: int


@dataclass(frozen=True)
class ModelDeclaration:
    name: str
    pipeline: str
    #: "task.output" of that pipeline's runs: the model, and rows as it takes them. The task may be
    #: in a loop ("for-loop-1/train.model"), or be put into one by scenarios.
    output: str
    samples: str
    #: "task.output" with the training rows (features, and `ds`): what served rows are held against.
    profile: str | None = None
    version: str = "1.0.{n}"
    #: One model per scenario, called NAME-VALUE-VALUE-…: the fields of a loop's item, or parameters
    #: of the pipeline, that tell them apart.
    per: tuple[str, ...] = ()
    #: Column of the model → the unit that it is in; goes before what its datasets say of columns of
    #: that name, and "" says that it is in none.
    units: Mapping[str, str] = field(default_factory=dict)
    evaluation: EvaluationDeclaration | None = None

    def __post_init__(self) -> None:
        check_units(f"Model {self.name}", self.units)


@dataclass(frozen=True)
class ReleaseDeclaration:
    """A release of each successful run of a pipeline: what it has trained, with what serves it.

    It is called NAME-1, NAME-2 and so on. A run that made nothing new makes no release; one that a
    trigger asked for is released when its candidate has won.
    """

    name: str
    #: The training pipeline.
    pipeline: str
    #: Those of the run; a family (`per`) stands for all of its models. Without it: all of them.
    models: tuple[str, ...] = ()
    #: NAME@TAG of what goes with them: prediction pipelines, or the training pipeline itself.
    pipelines: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeploymentDeclaration:
    """An endpoint: named like the deployment, in every environment that holds its model.

    A family (`per`) stands for all of its models that the release holds: each row is answered by
    the one that its values of `per` name.
    """

    name: str
    model: str
    #: Of a family: the model that answers rows which name none. Without it they are refused.
    default: str | None = None
    #: Of a family: what the processes that hold its models may occupy. Models are loaded when they
    #: are asked for, and those not asked for the longest make room.
    memory: str = "512Mi"
    event_time: str | None = None
    #: Columns that callers may add; they are logged, and the model does not see them.
    context: tuple[str, ...] = ()
    #: Columns whose values are hashed in the prediction log.
    private: tuple[str, ...] = ()
    #: Columns that callers send and the prediction log does not hold, not even as hashes. Drift of
    #: them cannot be measured.
    unlogged: tuple[str, ...] = ()
    #: Where a row cannot be logged, because the disk is full or too slow: `drop` answers and counts
    #: the rows that there is no room for, `block` answers nothing until rows can be written again.
    on_log_full: LogPolicy = LogPolicy.DROP
    #: How long its rows stay in the logs of predictions and feedback ("90d"); not said: for good.
    keep: str | None = None
    #: Inputs that break the contract of the training data: `warn` counts and answers, `refuse`
    #: answers with an error, `contract` refuses what the contract refuses or sets aside and counts
    #: the rest, `ignore` does not look.
    on_breach: ServingPolicy = ServingPolicy.WARN
    #: Whether the model's ONNX twin answers in the data plane's own process: `prefer` (where there
    #: is one that says what the model says), `never` (always the model itself, in a worker), or
    #: `require` (the twin or nothing).
    twin: TwinPolicy = TwinPolicy.PREFER


@dataclass(frozen=True)
class MonitorDeclaration:
    name: str
    deployment: str
    environment: str = "production"
    #: Length of a window in event time: "day", "week" or "month".
    window: str = "month"
    #: Checks on performance, decided once feedback has come. `model` is a slice: who answered.
    checks: tuple[str, ...] = ()
    #: Population stability index above which a feature has drifted; 0 = not looked at.
    drift: float = 0.0
    #: What a prediction over the threshold says, in sentences ("late").
    positive: str = "positive"


@dataclass(frozen=True)
class TriggerDeclaration:
    name: str
    monitor: str
    #: Training pipeline and tag to run when the monitor raises an alarm on one of `checks`.
    pipeline: str
    model: str
    tag: str = "1.0.0"
    checks: tuple[str, ...] = ()
    cool_down: str = "7d"
    #: Arguments; {window_start}, {window_end} and {window_start-3m} (months) are filled in.
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Declarations:
    environments: Mapping[str, EnvironmentDeclaration] = field(default_factory=dict)
    teams: Mapping[str, TeamDeclaration] = field(default_factory=dict)
    datasets: Mapping[str, DatasetDeclaration] = field(default_factory=dict)
    models: Mapping[str, ModelDeclaration] = field(default_factory=dict)
    releases: Mapping[str, ReleaseDeclaration] = field(default_factory=dict)
    deployments: Mapping[str, DeploymentDeclaration] = field(default_factory=dict)
    monitors: Mapping[str, MonitorDeclaration] = field(default_factory=dict)
    triggers: Mapping[str, TriggerDeclaration] = field(default_factory=dict)
    hooks: Mapping[str, HookDeclaration] = field(default_factory=dict)
    #: "section.name" → who applied the file that declares it.
    owners: Mapping[str, str] = field(default_factory=dict)
    #: "section.name" → the team of the project that declares it.
    team_of: Mapping[str, str] = field(default_factory=dict)

    def dataset(self, name: str) -> DatasetDeclaration:
        return _get("dataset", self.datasets, name)

    def model(self, name: str) -> ModelDeclaration:
        """Also by the name of one of a family's models."""
        return _get("model", self.models, family_of(name, self.models) or name)

    def deployment(self, name: str) -> DeploymentDeclaration:
        return _get("deployment", self.deployments, name)

    def monitor(self, name: str) -> MonitorDeclaration:
        return _get("monitor", self.monitors, name)


def family_of(name: str, models: Mapping[str, ModelDeclaration]) -> str | None:
    """The declaration that a model called so comes from.

    >>> air_time = ModelDeclaration("air-time", "train", "fit.model", "fit.rows", per=("origin",))
    >>> family_of("air-time-jfk", {"air-time": air_time}), family_of("air-times", {})
    ('air-time', None)
    """
    if name in models:
        return name
    families = [one for one in models if models[one].per and name.startswith(f"{one}-")]
    return max(families, key=len, default=None)


def _get(kind: str, known: Mapping[str, Declared], name: str) -> Declared:
    if name not in known:
        raise not_found(kind, name, known)
    return known[name]
