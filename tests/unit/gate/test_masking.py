"""A masked value shows its shape and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medallion_ops.gate.masking import masked


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        ("ada.l@example.org", "xxx.x@xxxxxxx.xxx"),
        (-31.5, "-99.9"),
        ("Zoë\u202e<b>", "xxx??x?"),
        ("", ""),
        ("y" * 300, "x" * 40 + "... (300 characters)"),
    ],
)
def test_shapes(value: object, shown: str) -> None:
    assert masked(value) == shown


@given(st.text(max_size=40))
def test_letters_and_digits_never_show(text: str) -> None:
    assert set(masked(text)) <= set("x9? .,:;+-/@_()")
    assert len(masked(text)) == len(text)
