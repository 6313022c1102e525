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
