"""Patterns found by their literal beginning: one probe per distinct length, however many patterns there are."""

from collections.abc import Iterable

import msgspec

from authz_sidecar.model.patterns import compile_pattern


class PatternBuckets(msgspec.Struct, frozen=True):
    """Patterns of one matching function by literal prefix; `lengths` are the prefix lengths in use, ascending."""

    function: str
    lengths: tuple[int, ...]
    patterns: dict[str, tuple[str, ...]]

    def matching(self, value: str) -> list[str]:
        """The patterns that match `value`."""
        found: list[str] = []
        size = len(value)
        for length in self.lengths:
            if length > size:
                break
            patterns = self.patterns.get(value[:length], ())
            found += [pattern for pattern in patterns if compile_pattern(self.function, pattern).test(value)]
        return found


def bucket_patterns(function: str, texts: Iterable[str]) -> PatternBuckets:
    """Buckets of those `texts` that are patterns; a text that only equals itself is left out."""
    buckets: dict[str, list[str]] = {}
    for text in texts:
        pattern = compile_pattern(function, text)
        # `^alice$` matches one name too, but not the one that it is.
        if pattern.kind != "exact" or pattern.literal != text:
            buckets.setdefault(pattern.literal, []).append(text)
    return PatternBuckets(
        function,
        tuple(sorted({len(prefix) for prefix in buckets})),
        {prefix: tuple(patterns) for prefix, patterns in buckets.items()},
    )
