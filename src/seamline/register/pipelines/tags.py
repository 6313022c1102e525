"""What a tag can be called, and which tags never move: the same for pipelines and datasets."""

from __future__ import annotations

from seamline.domain.tags import check_tag, is_immutable_tag, is_tag

__all__ = ["check_tag", "is_immutable_tag", "is_tag"]
