"""The control plane's root: wires the rooms together, serves the API, runs the loop."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import APIRouter, FastAPI

from seamline import __version__
from seamline.app.declarations import Declarations
from seamline.app.loop import Loop
from seamline.app.platform import Changes, Platform
from seamline.app.reactions import REACTING
from seamline.app.register.resolve_images import image_to_start
from seamline.app.serve.data_plane import (
    DataPlane,
    find_data_plane,
    start_or_adopt,
    stop_data_plane,
)
from seamline.app.serve.far.trusted import check_no_origin
from seamline.app.serve.keep_plane import PlaneKeeper
from seamline.app.train.package_index import index_for
from seamline.app.train.resolve_uri import resolve_uri
from seamline.app.train.run_schedule import request_scheduled
from seamline.app.train.team_slots import TeamSlots
from seamline.app.trust.keep_access import AccessKeeper
from seamline.app.trust.rotate_key import finish_rotation
from seamline.app.workspace_lock import hold_workspace
from seamline.data.recovery import finish_all_pending
from seamline.domain.clock import Clock, SystemClock
from seamline.domain.errors import Conflict, InvalidInput
from seamline.domain.settings import Settings
from seamline.hooks.sender import HookSender
from seamline.project.plan import load_declarations
from seamline.promote.environments import apply_policies, list_environments
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.protocols.application import make_application
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.imports import WithoutPandas
from seamline.runtime.preload_file import PreloadFile
from seamline.runtime.processes import current_identity
from seamline.runtime.server_file import ServerFile
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import Stores, open_stores
from seamline.train.attempts.machine import Machine
from seamline.train.engine.engine import Engine, task_environ
from seamline.train.schedule.scheduler import Scheduler
from seamline.trust.keys import KEYS, load_or_create_key
from seamline.trust.principals import ensure_owner
from seamline.trust.requests import is_loopback

LOOPBACK = "127.0.0.1"
#: For requests that a command was interrupted at; what they began is finished by the next server.
IN_PROCESS_END_S = 10.0


@dataclass(frozen=True)
class ControlPlane:
    platform: Platform
    loop: Loop
    make_app: Callable[[], FastAPI]

    @cached_property
    def app(self) -> FastAPI:
        """Made when somebody is to be answered: its routes take longer than all the rest."""
        return self.make_app()


def build_control_plane(
    settings: Settings, clock: Clock, pages: Sequence[APIRouter] = (), url: str = ""
) -> ControlPlane:
    """`pages`: what is served beside the protocols (the console sits above this module).

    `url`: where this server answers; its tasks' packages come from there.
    """
    root = settings.workspace.resolve()
    stores = open_stores(root, clock, database_url=settings.database_url or None, reacting=REACTING)
    owner = getpass.getuser()
    _set_up_workspace(stores, owner)
    changes = Changes()
    stores.db.on_commit(changes.notify)
    environments = EnvironmentCache(root / "environments", Path(sys.executable))
    declarations = _declarations_of(stores)
    team_slots = TeamSlots(declarations)
    learned = PreloadFile(root / "preload.json")
    runner = TaskRunner(clock, root / "zygotes", learned.read(), environ=task_environ(os.environ))
    stores.db.on_commit(lambda: learned.keep(lambda: runner.preload))
    engine = Engine(
        stores,
        runner,
        environments,
        lambda uri, context: resolve_uri(stores, uri, context, declarations),
        slots=settings.slots or os.cpu_count() or 1,
        team_slots=team_slots,
        machine=Machine(task_environ(os.environ), host_containers=settings.host_containers),
        find_index=lambda environment, requirements: index_for(
            stores, url, environment, requirements
        ),
        pin_image=lambda context, reference: image_to_start(stores, context, reference),
    )
    platform = Platform(
        stores=stores,
        owner=owner,
        changes=changes,
        declarations=declarations,
        team_slots=team_slots,
        environments=environments,
        runner=runner,
        engine=engine,
        access=AccessKeeper(stores),
        # `platform` exists by the time that anything is due.
        scheduler=Scheduler(stores, lambda *due: request_scheduled(platform, *due)),
        data_plane_url=_data_plane_url_of(root),
        counts=engine.counts,
    )
    return ControlPlane(
        platform, Loop(platform), lambda: make_application(platform, settings.host, pages)
    )


@contextmanager
def running(
    settings: Settings,
    pages: Sequence[APIRouter] = (),
    *,
    url: str = "",
    with_schedules: bool = True,
    serve_tokens: bool | None = None,
) -> Iterator[ControlPlane]:
    """The control plane with its engine, loop, scheduler and hooks, stopped in order at the end.

    `with_schedules`: what nobody waits for, schedules and hooks, goes on, too. `serve_tokens`:
    whether the data plane asks everybody for a token; None leaves that as it was.
    """
    check_no_origin(settings.workspace.resolve())
    plane = build_control_plane(settings, SystemClock(), pages, url)
    platform = plane.platform
    with ExitStack() as stack:
        stack.callback(platform.stores.db.close)
        stack.callback(platform.runner.close)
        stack.callback(platform.engine.close)
        stack.callback(platform.access.stop)
        platform.access.start(serve_tokens)
        platform.engine.start()
        stack.callback(plane.loop.stop)
        plane.loop.start()
        if with_schedules:
            stack.callback(platform.scheduler.stop)
            platform.scheduler.start()
            hooks = HookSender(platform.stores)
            stack.callback(hooks.stop)
            hooks.start()
        yield plane


def serve(
    settings: Settings,
    announce: Callable[[ServerFile, bool], None],
    pages: Sequence[APIRouter] = (),
) -> None:
    """`seamline up`: until SIGINT or SIGTERM. Ends the data plane too; kill -9 does not. A data
    plane that ends by itself is started again."""
    workspace = settings.workspace.resolve()
    sys.meta_path.insert(0, WithoutPandas())
    _check_serve_host(settings)
    with hold_workspace(workspace):
        listener = _listen(settings.host, settings.port)
        url = f"http://{settings.host}:{listener.getsockname()[1]}"
        serving = running(settings, pages, url=url, serve_tokens=settings.serve_tokens)
        with serving as plane, listener:
            server = _server(plane.app)
            # Before there is a data plane: it would outlive a Ctrl-C that comes while it starts.
            server.stop_on_signals()

            def start_plane(port: int) -> tuple[DataPlane, bool]:
                return start_or_adopt(
                    workspace,
                    settings.serve_host,
                    port,
                    settings.grpc_port,
                    settings.workers,
                    require_tokens=settings.serve_tokens,
                )

            data_plane, adopted = start_plane(settings.serve_port)
            keeper = PlaneKeeper(data_plane, start_plane)
            server_file = ServerFile(
                current_identity(),
                url,
                data_plane.url,
                __version__,
                data_plane.grpc,
                data_plane.workers,
            )

            def started() -> None:
                server_file.write(workspace)
                announce(server_file, adopted)

            keeper.begin()
            server.run_until_stopped(listener, started)
            stop_data_plane(keeper.stop())


@contextmanager
def serve_in_process(settings: Settings) -> Iterator[str]:
    """The same app inside this process, for a command that found no server.

    Holds the workspace's lock; ends when the block does and nothing is left to do. What is due
    by a schedule waits for a server: a command is not to end up running last night's training.
    """
    with hold_workspace(settings.workspace.resolve()):
        listener = _listen(LOOPBACK, 0)
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        with running(settings, url=url, with_schedules=False) as plane, listener:
            server = _server(plane.app)
            ready = threading.Event()
            thread = threading.Thread(
                target=server.run_until_stopped, args=(listener, ready.set), daemon=True
            )
            thread.start()
            ready.wait()
            try:
                yield url
                plane.platform.changes.wait_until(plane.loop.is_idle, timeout_s=3600)
            except KeyboardInterrupt:
                server.force_exit = True  # nobody waits for what is being answered
                raise
            finally:
                # A loop that still turns when Python ends may take the process with it.
                server.should_exit = True
                thread.join(IN_PROCESS_END_S)


def _check_serve_host(settings: Settings) -> None:
    if not settings.serve_tokens and not is_loopback(settings.serve_host):
        raise InvalidInput(
            f"On {settings.serve_host} the data plane would answer anybody who reaches it.",
            next_step="Add --serve-tokens, so that it asks for tokens, or leave out --serve-host.",
        )


class _Server(uvicorn.Server):
    """uvicorn on a socket that is open already, telling when it answers.

    Signals are ours: uvicorn's own handling raises them again at the end, which would end the
    process before the data plane is stopped and the workspace let go.
    """

    def __init__(self, config: uvicorn.Config, let_go: Callable[[], None]) -> None:
        super().__init__(config)
        self._let_go = let_go

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Requests that are held until something happens are answered first."""
        self._let_go()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop_on_signals(self) -> None:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self.should_exit = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def run_until_stopped(self, listener: socket.socket, started: Callable[[], None]) -> None:
        self._started = started
        self.run(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()


def _server(app: FastAPI) -> _Server:
    def let_go() -> None:
        state = app.state
        for waiters in (state.run_ends, state.run_news, state.packagings, state.signed_file_polls):
            waiters.close()

    return _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=3,
            # Whatever FORWARDED_ALLOW_IPS says: a stranger's header must not make them loopback.
            forwarded_allow_ips=LOOPBACK,
        ),
        let_go=let_go,
    )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # two that have bound the same free port would both go on
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else "ports go from 0 to 65535"
        raise Conflict(
            f"Port {port} on {host} cannot be used: {why}.",
            next_step="Choose another with --port (0 takes a free one).",
        ) from error
    return listener


def _set_up_workspace(stores: Stores, owner: str) -> None:
    with stores.db.transaction() as tx:
        ensure_owner(tx, stores.facts, stores.clock, owner)
        if not list_environments(tx):
            apply_policies(tx, stores.facts, DEFAULT_POLICIES, by=owner)
    load_or_create_key(stores.root / KEYS)
    finish_rotation(stores)
    finish_all_pending(stores)
    _clear_unfinished(stores.root)


def _clear_unfinished(root: Path) -> None:
    """What was being received when a server was killed: its sender has to send it again. What gates
    were trying then: they are asked again."""
    for name in ("incoming", "gates"):
        shutil.rmtree(root / name, ignore_errors=True)


def _declarations_of(stores: Stores) -> Callable[[], Declarations]:
    def load() -> Declarations:
        with stores.db.read() as connection:
            return load_declarations(connection)

    return load


def _data_plane_url_of(root: Path) -> Callable[[], str | None]:
    def url() -> str | None:
        found = find_data_plane(root)
        return found.url if found else None

    return url
