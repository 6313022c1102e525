"""Keys introduce one another: nobody else can, and an ended key signs nothing new."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, Refused
from seamline.trust.key_history import (
    check_in_time,
    check_pin,
    make_entry,
    read_history,
    seal,
)
from seamline.trust.keys import SigningKey, create_key, parse_public_key

AT = "2026-01-01T00:00:00.000000Z"
SEALED = seal([digest_of(b"one"), digest_of(b"two")])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[SigningKey, ...]:
    folder = tmp_path_factory.mktemp("keys")
    return tuple(create_key(folder / f"{number}.pem") for number in range(4))


@pytest.fixture(scope="module")
def envelopes(keys: tuple[SigningKey, ...]) -> list[bytes]:
    """Three keys, the second after the first had signed two statements."""
    made = [make_entry(keys[0], AT)]
    for number in (1, 2):
        before = read_history(made).current
        made.append(make_entry(keys[number], AT, (before, keys[number - 1]), digest_of(SEALED)))
    return made


def test_each_key_leads_to_all(keys: tuple[SigningKey, ...], envelopes: list[bytes]) -> None:
    history = read_history(envelopes)
    assert [entry.public.key_id for entry in history.entries] == [
        key.public.key_id for key in keys[:3]
    ]
    for key in keys[:3]:
        assert check_pin(history, key.public.key_id) == check_pin(history, key.public.text)
    with pytest.raises(Refused, match=keys[3].public.key_id):
        check_pin(history, keys[3].public.key_id)
    assert history.end_of(history.current.public) is None


def test_nobody_else_can_introduce_a_key(
    keys: tuple[SigningKey, ...], envelopes: list[bytes]
) -> None:
    stranger, last = keys[3], read_history(envelopes).current
    forged = make_entry(stranger, AT, (last, stranger), digest_of(SEALED))
    with pytest.raises(Refused, match="Entry 3"):
        read_history([*envelopes, forged])
    # An ended key cannot hand over once more, either: not behind its successor's back …
    late = make_entry(stranger, AT, (last, keys[0]), digest_of(SEALED))
    with pytest.raises(Refused, match="Entry 3"):
        read_history([*envelopes, late])
    # … and a stranger's history cannot lead to a key that did not agree.
    own = [make_entry(stranger, AT)]
    taken = make_entry(stranger, AT, (read_history(own).current, stranger))
    with pytest.raises(Refused):
        check_pin(read_history(own), keys[0].public.key_id)
    assert read_history([*own, taken]).find(keys[0].public.key_id) is None
    for broken in ([], envelopes[1:], [envelopes[0], envelopes[2]], envelopes[::-1]):
        with pytest.raises(Refused):
            read_history(broken)


def test_an_ended_key_vouches_for_what_it_had_signed_only(
    keys: tuple[SigningKey, ...], envelopes: list[bytes]
) -> None:
    history, lists = read_history(envelopes), {digest_of(SEALED): SEALED}
    first, current = keys[0].public, keys[2].public
    check_in_time(history, first, digest_of(b"one"), lists)
    check_in_time(history, current, digest_of(b"three"), {})
    with pytest.raises(Refused, match="ended"):
        check_in_time(history, first, digest_of(b"three"), lists)
    longer = SEALED + f"{digest_of(b'three')}\n".encode()
    for altered in ({}, {digest_of(SEALED): longer}, {digest_of(longer): longer}):
        with pytest.raises(Refused, match="missing or altered"):
            check_in_time(history, first, digest_of(b"three"), altered)


@given(st.data())
def test_a_flipped_byte_anywhere_in_a_history_breaks_it(
    envelopes: list[bytes], data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, 2))
    position = data.draw(st.integers(0, len(envelopes[number]) - 1))
    flipped = bytearray(envelopes[number])
    flipped[position] ^= data.draw(st.integers(1, 255))
    told = [*envelopes[:number], bytes(flipped), *envelopes[number + 1 :]]
    try:
        history = read_history(told)
    except Refused:
        return
    # What base64 and JSON let through unseen says the very same, and nothing follows it.
    assert history.entries[:2] == read_history(envelopes).entries[:2]
    assert history.current.public == history.entries[-1].public
    assert number == 2


def test_what_is_no_public_key() -> None:
    for text in ("", "c0ffee", "A" * 44, "é" * 44):
        with pytest.raises(InvalidInput, match="not a public key"):
            parse_public_key(text)


def test_a_new_key_is_private(tmp_path: Path) -> None:
    create_key(tmp_path / "next.pem")
    assert (tmp_path / "next.pem").stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["next.pem"]
