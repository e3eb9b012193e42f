"""All parts of the suite run, whatever becomes of one of them, and the names of the package are counted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools import check_names, run_tests

MAKEFILE = """
good:
\t@echo it works
bad:
\t@echo it breaks; false
last:
\t@touch last-has-run
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    return tmp_path


def test_a_failure_does_not_keep_other_parts_from_running(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_tests, "STAGES", ((("bad", "good"),), (("last",), ("good",))))
    assert run_tests.main([]) == 1
    assert (project / "last-has-run").exists()
    out = capfd.readouterr().out
    assert "it breaks" in out
    assert out.count("it works") == 2
    table = [line.split()[:2] for line in out.splitlines()[-5:-1]]
    assert sorted(table) == [["bad", "FAILED"], ["good", "passed"], ["good", "passed"], ["last", "passed"]]


def test_success_is_status_0(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "STAGES", ((("good",),),))
    assert run_tests.main([]) == 0


def test_every_part_is_a_target() -> None:
    makefile = (run_tests.ROOT / "Makefile").read_text("utf-8")
    for part in [part for lanes in run_tests.STAGES for lane in lanes for part in lane]:
        assert f"\n{part}: setup" in makefile


def test_each_way_to_bind_a_name_is_counted() -> None:
    source = """
a = 1
b: int = 2
for c, d in []: pass
with open("x") as e: pass
[f for f in []]
def function(g, *h, i=1, **j): (k := 1)
try: pass
except ValueError as m: pass
"""
    names = [name for name, _ in check_names.bindings(ast.parse(source))]
    assert sorted(names) == list("abcdefghijkm")


def test_too_many_pronouns_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "instructrec").mkdir()
    file = tmp_path / "instructrec" / "x.py"
    file.write_text("row = 1\n" * 300 + "found = 1\n")
    assert check_names.main(["--root", str(tmp_path)]) == 0
    file.write_text("row = 1\n" * 100 + "found = 1\n")
    assert check_names.main(["--root", str(tmp_path)]) == 1
    assert "instructrec/x.py:101: found" in capsys.readouterr().out
