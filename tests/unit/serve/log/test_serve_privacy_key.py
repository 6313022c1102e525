import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seamline.serve.log.privacy import load_or_create_privacy_key, privacy_key_path


def test_whoever_comes_at_once_has_the_same_key(tmp_path: Path) -> None:
    at_once = threading.Barrier(8, timeout=120)

    def load(root: Path) -> bytes:
        at_once.wait()
        return load_or_create_privacy_key(privacy_key_path(root))

    with ThreadPoolExecutor(8) as threads:
        for turn in range(50):
            root = tmp_path / str(turn)
            [key] = set(threads.map(load, [root] * 8))
            assert len(key) == 32
            assert [one.name for one in (root / "keys").iterdir()] == ["privacy.key"]
    assert stat.S_IMODE(privacy_key_path(root).stat().st_mode) == 0o600
