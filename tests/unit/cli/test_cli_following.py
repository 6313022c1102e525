"""News are asked for again while a server starts anew, and not for ever while there is none."""

from __future__ import annotations

from typing import Any

import pytest

from seamline.cli.following import Patient, read_news
from seamline.domain.errors import Unavailable


class Server:
    """Answers in this order; an error is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def get(self, path: str, **query: Any) -> Any:
        self.asked.append(query)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(state: str = "running", cursor: str = "1.0.a", has_more: bool = False) -> dict[str, Any]:
    return {"state": state, "cursor": cursor, "has_more": has_more, "tasks": {}}


def test_a_server_that_starts_anew_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    away = Unavailable("No Seamline server answers.")
    server = Server(answer(), away, away, answer("succeeded"))
    patient = Patient(server, ask_again_s=0.0)  # type: ignore[arg-type]
    assert patient.get("/runs/1/progress")["state"] == "running"
    assert patient.get("/runs/1/progress")["state"] == "succeeded"
    assert capsys.readouterr().err == "The server does not answer; asking again for a minute.\n"


def test_one_that_never_answered_is_told_at_once() -> None:
    server = Server(Unavailable("No Seamline server answers."))
    with pytest.raises(Unavailable):
        Patient(server).get("/runs/1/progress")  # type: ignore[arg-type]
    assert len(server.asked) == 1


def test_pages_follow_one_another_and_only_then_a_request_is_held() -> None:
    server = Server(
        answer(has_more=True, cursor="1.0.a"),
        answer(cursor="2.0.b"),
        answer("succeeded", cursor="3.0.c", has_more=True),
        answer("succeeded", cursor="4.0.d"),
    )
    assert len(list(read_news(server, "1"))) == 4  # type: ignore[arg-type]
    assert [one.get("cursor") for one in server.asked] == [None, "1.0.a", "2.0.b", "3.0.c"]
    assert [bool(one.get("wait_s")) for one in server.asked] == [False, False, True, False]


def test_who_wants_the_newest_only_asks_for_them_each_time() -> None:
    server = Server(answer(), answer("failed"))
    list(read_news(server, "1", newest=8))  # type: ignore[arg-type]
    assert [(one["limit"], one["newest"]) for one in server.asked] == [(8, True), (8, True)]
