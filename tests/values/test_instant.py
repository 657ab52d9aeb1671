"""Moments as texts by RFC 3339, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.values.instant import date_text, read_time, time_text

# To the end of the year 9999, in microseconds.
MICROS = st.integers(0, 253_402_300_799_999_999)


@given(MICROS)
def test_a_text_is_read_as_the_moment_that_it_was_made_of(micros: int) -> None:
    """To the microsecond as far as a float has them, and otherwise cut, never rounded up."""
    seconds = micros // 1_000_000
    assert read_time(time_text(seconds)) == seconds
    assert read_time(f"{date_text(seconds)}T00:00:00Z") == seconds // 86_400 * 86_400
    assert time_text(seconds, "microseconds") == time_text(seconds).replace("Z", ".000000Z")
    assert time_text(seconds + 0.9375, "milliseconds") == time_text(seconds).replace("Z", ".937Z")
    assert time_text(seconds + 0.9375) == time_text(seconds)


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T12:00:00Z", "2026-01-31t13:00:00+01:00", "2026-01-31 12:00:00.000z", "2026-01-31T10:30:00-01:30"],
)
def test_any_offset_and_precision_is_read(text: str) -> None:
    """All forms that RFC 3339 has name the same moment."""
    assert time_text(read_time(text)) == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-31", "2026-01-31T12:00:00", "20260131T120000Z", "2026-02-30T12:00:00Z", "٢026-01-31T12:00:00Z"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """A time without its offset, in another form, or of a day that there is not, is no time."""
    with pytest.raises(ValueError, match=r".+"):
        read_time(text)
