from __future__ import annotations

import errno
from pathlib import Path

import pytest
from PIL import Image

from trainables.data.bad_samples import SampleError
from trainables.workers.causes import LONGEST, GroupFailed, cause_of, is_of_the_machine


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Traceback:\n  line 1\nValueError: no such model\n", "ValueError: no such model"),
        ("", "RuntimeError"),
        ("The actor died. End of file. Some common causes include: (1) ...", "The actor died. End of file."),
        ("x" * LONGEST, "x" * LONGEST),
        ("first\n" + "x" * LONGEST + "yz", "x" * LONGEST + "... (Ray's logs have the rest)"),
    ],
)
def test_the_cause_is_one_line_of_bounded_length(text: str, cause: str) -> None:
    assert cause_of(RuntimeError(text)) == cause


def raised(error: Exception, *then: Exception) -> Exception:
    """Return the last of errors, each of which was raised in place of the one before, as the code does it."""
    for each in then:
        try:
            try:
                raise error
            except Exception:
                raise each from None
        except Exception as raised_last:
            error = raised_last
    return error


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_a_disk_a_mount_and_what_a_process_may_are_the_machine_s(number: int) -> None:
    error = OSError(number, "gone wrong", "/data/3.png")
    assert is_of_the_machine(error)
    # What reads a sample tells its user of the sample, and drops the rest.
    assert is_of_the_machine(raised(error, ValueError("can't be read"), SampleError("3", "can't be read")))


def test_a_file_that_is_missing_or_damaged_is_the_user_s(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "none").read_bytes()
    (tmp_path / "file").write_bytes(b"no image")
    with pytest.raises(NotADirectoryError) as below:
        (tmp_path / "file" / "other").read_bytes()
    with pytest.raises(OSError, match="cannot identify") as damaged:
        Image.open(tmp_path / "file")
    assert not any(is_of_the_machine(each.value) for each in (missing, below, damaged))
    assert not is_of_the_machine(raised(ValueError("loss"), GroupFailed("nothing of the system's")))
