"""Prompts that begin with `@`, and files that a command would write over."""

import pytest

from pipelines.errors import BadInput
from serving.cli.options import check_free, text_of


def test_a_file_is_read_and_an_escape_begins_a_text_with_at(tmp_path):
    (tmp_path / "my prompt.txt").write_text("a steel bottle\n")
    assert text_of(f"@{tmp_path}/my prompt.txt") == "a steel bottle"
    assert text_of("@@nike") == "@nike"
    assert text_of("@@@x") == "@@x"
    assert text_of("a mug @ home") == "a mug @ home"


@pytest.mark.parametrize(
    "text", ["@nike style summer sale", "@acme v2.0 launch", "@home, " + "word " * 2000, "@a\nb c"]
)
def test_words_that_name_no_file_are_a_text(text):
    assert text_of(text) == text


@pytest.mark.parametrize("value", ["@missing.txt", "@nike", "@my missing prompt.txt", "@" + "x" * 5000, "@a\0b"])
def test_a_file_that_is_not_there_is_refused_with_the_escape(value):
    with pytest.raises(BadInput, match=r"write @@ for a prompt that begins with @"):
        text_of(value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(BadInput, match="is not UTF-8"):
        text_of(f"@{tmp_path}/a.png")


def test_files_that_are_there_are_written_over_only_when_told_to(tmp_path):
    there, free = tmp_path / "a.png", tmp_path / "b.png"
    there.write_bytes(b"mine")
    check_free(False, free)
    check_free(True, there, free)
    with pytest.raises(BadInput, match=r"a\.png' is there already: .* --overwrite"):
        check_free(False, free, there)
