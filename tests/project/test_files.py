"""Atomic writes: the old or the new version, never a part of it, and a one-line error for an unwritable path."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from instructrec.errors import InputError, one_of
from instructrec.files import atomic_directory, atomic_write, digest


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    with atomic_write(tmp_path / "new" / "a.txt") as handle:
        handle.write("推荐\nline\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "推荐\nline\n".encode()
    with atomic_write(tmp_path / "b.bin", "wb") as handle:
        handle.write(b"\r\n\x00")
    assert (tmp_path / "b.bin").read_bytes() == b"\r\n\x00"


@pytest.mark.parametrize("stop", [RuntimeError("stop"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_only(tmp_path, stop):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted():
        with atomic_write(target) as handle:
            handle.write("half of the ne")
            handle.flush()
            assert target.read_text() == "old"
            raise stop

    with pytest.raises(type(stop)):
        interrupted()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def raise_disk_full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", raise_disk_full)
    full_disk = pytest.raises(InputError, match=r"cannot write .*a.txt': No space left on device")
    with full_disk, atomic_write(tmp_path / "a.txt") as handle:
        handle.write("x")
    assert names(tmp_path) == []


def test_unwritable_paths(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    for target, reason in (
        (tmp_path / "file" / "a.txt", "cannot write"),
        (tmp_path / "folder", "Is a directory"),
    ):
        with pytest.raises(InputError, match=reason) as caught, atomic_write(target) as handle:
            handle.write("x")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="Not a directory"), atomic_directory(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "in the way"
    assert names(tmp_path) == ["file", "folder"]


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.txt") as handle:
            handle.write("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_complete_folder_replaces_the_old_folder(tmp_path):
    target = tmp_path / "model"
    for version in ("one", "two"):
        with atomic_directory(target) as part:
            (part / f"{version}.txt").write_text(version)
            assert not (target / f"{version}.txt").exists()
        assert names(target) == [f"{version}.txt"]
    assert names(tmp_path) == ["model"]


def test_an_interrupted_folder_leaves_the_old_folder(tmp_path):
    target = tmp_path / "model"
    with atomic_directory(target) as part:
        (part / "a.txt").write_text("old")

    def interrupted():
        with atomic_directory(target) as part:
            (part / "a.txt").write_text("new")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        interrupted()
    assert (target / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_failed_replacement_leaves_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.txt").write_text("old")
    replace = Path.replace

    def interrupt_new(self, path):
        if path == target and (self / "a.txt").read_text() == "new":
            raise KeyboardInterrupt
        return replace(self, path)

    def interrupted():
        with atomic_directory(target) as part:
            (part / "a.txt").write_text("new")

    monkeypatch.setattr(Path, "replace", interrupt_new)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (target / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert digest(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_input_errors_are_one_line_and_suggest_similar_names():
    assert str(InputError("two\n lines\tand tabs ")) == "two lines and tabs"
    message = str(one_of("model", "most-populr", ["most-popular", *map(str, range(20))]))
    assert message.startswith("unknown model 'most-populr': did you mean most-popular?")
    assert "(21 in all)" in message
