"""What commands print: nothing in it steers a terminal, whoever wrote it."""

from hypothesis import given
from hypothesis import strategies as st

from rea.cli import output


@given(st.text(max_size=200))
def test_no_text_of_a_command_holds_anything_that_steers_a_terminal(words):
    shown = output._shown(f"garbage \x1b[2J\x1b]0;title\x07 {words}")
    assert all(c.isprintable() or c in "\n\t\u00a0\u2060" or c.isspace() for c in shown), repr(shown)
    assert "\x1b" not in shown and "\x07" not in shown and "\r" not in shown


def test_lines_tabs_and_letters_of_every_language_stay():
    assert output._shown("a\tb\nÄ日本 ─ → é\n") == "a\tb\nÄ日本 ─ → é"
