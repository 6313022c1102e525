import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seamline.runtime.preload_file import PreloadFile


def test_what_was_learned_is_there_for_the_next_server(tmp_path: Path) -> None:
    path = tmp_path / "preload.json"
    first = PreloadFile(path)
    assert first.read() == {}
    first.keep(lambda: {"kfp:host": ("numpy", "sklearn.linear_model")})
    assert PreloadFile(path).read() == {"kfp:host": ("numpy", "sklearn.linear_model")}


def test_nothing_is_written_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "preload.json"
    kept = PreloadFile(path)
    kept.keep(lambda: {"kfp:host": ("numpy",)})
    path.unlink()
    kept.keep(lambda: {"kfp:host": ("numpy",)})
    assert not path.exists()


def test_a_broken_file_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "preload.json"
    for text in ("{", "[]", '{"a": 3}', "\x00"):
        path.write_text(text)
        assert PreloadFile(path).read() == {}


def test_threads_may_keep_at_once(tmp_path: Path) -> None:
    """Each commit of the database does, in whatever thread: none fails for another's file."""
    path = tmp_path / "preload.json"
    kept = PreloadFile(path)
    at_once = threading.Barrier(8, timeout=120)

    def keep(thread: int) -> None:
        for turn in range(200):
            at_once.wait()
            kept.keep({"kfp:host": (f"{thread}.{turn}",)}.copy)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(keep, range(8)))
    [(_, [last])] = PreloadFile(path).read().items()
    assert last.endswith(".199")


def test_what_cannot_be_written_fails_nobody(tmp_path: Path, caplog) -> None:
    kept = PreloadFile(tmp_path / "gone" / "preload.json")
    kept.keep(lambda: {"kfp:host": ("numpy",)})
    assert "not kept for the next start" in caplog.text
