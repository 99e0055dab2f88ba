"""Text out of files shows as it stands."""

import re
import string

import pytest

from dashboard.formatting import plain, with_code


def seen(text):
    """What a reader of the escaped text sees: CommonMark takes the backslashes away."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text)).replace("\u200b", "")


@pytest.mark.parametrize("text", [string.printable.strip(), "![x](http://x/y)", "a @ b, me@x.org", "10:30", "café: 5 µm"])
def test_text_shows_as_it_stands(text):
    assert seen(text) == re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("http://x.example/y", r"https?://"),
        ("WWW.x.example", r"www\."),
        ("me@x.example", r"\w@\w"),
        (":material/delete:", r":[a-z]"),
        (":red[x]", r":[a-z]"),
        (":+1: and :100:", r":[+1]"),
        ("a\n\n# b", r"\n"),
        ("\u202egnp.exe\u2066", "[\u202e\u2066]"),
    ],
)
def test_what_is_found_when_the_escapes_are_gone_is_parted(text, markup):
    assert not re.search(markup, plain(text).replace("\\", ""), re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Predicts `fault` (a*b).", r"Predicts `fault` \(a\*b\)\."),
        ("`a`![b](c)`d`", r"`a`\!\[b\]\(c\)`d`"),
        ("`a\n# b` c", "`a # b` c"),
    ],
)
def test_names_between_backticks_show_as_code_and_never_as_markup(text, shown):
    assert with_code(text) == shown
