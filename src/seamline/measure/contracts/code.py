"""Python code that is written by doing to it what it says."""

from __future__ import annotations


class Written:
    """
    >>> pl = Written("pl")
    >>> str((pl.col("a") >= pl.lit(1)) & ~pl.col("b").is_null())
    "((pl.col('a') >= pl.lit(1)) & (~pl.col('b').is_null()))"
    """

    def __init__(self, code: str) -> None:
        self._code = code

    def __str__(self) -> str:
        return self._code

    def __getattr__(self, name: str) -> Written:
        return Written(f"{self._code}.{name}")

    def __call__(self, *arguments: object) -> Written:
        said = (str(one) if isinstance(one, Written) else repr(one) for one in arguments)
        return Written(f"{self._code}({', '.join(said)})")

    def __neg__(self) -> Written:
        return Written(f"(-{self})")

    def __invert__(self) -> Written:
        return Written(f"(~{self})")

    def __or__(self, other: object) -> Written:
        return self._with("|", other)

    def __and__(self, other: object) -> Written:
        return self._with("&", other)

    def __lt__(self, other: object) -> Written:
        return self._with("<", other)

    def __le__(self, other: object) -> Written:
        return self._with("<=", other)

    def __gt__(self, other: object) -> Written:
        return self._with(">", other)

    def __ge__(self, other: object) -> Written:
        return self._with(">=", other)

    def __add__(self, other: object) -> Written:
        return self._with("+", other)

    def __sub__(self, other: object) -> Written:
        return self._with("-", other)

    def __mul__(self, other: object) -> Written:
        return self._with("*", other)

    def __truediv__(self, other: object) -> Written:
        return self._with("/", other)

    def __mod__(self, other: object) -> Written:
        return self._with("%", other)

    def __eq__(self, other: object) -> Written:  # type: ignore[override]
        return self._with("==", other)

    def __ne__(self, other: object) -> Written:  # type: ignore[override]
        return self._with("!=", other)

    __hash__ = None  # type: ignore[assignment]

    def _with(self, mark: str, other: object) -> Written:
        return Written(f"({self} {mark} {other})")
