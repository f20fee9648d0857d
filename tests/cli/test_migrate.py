"""`mistral-client migrate`"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mistral_client.cli.whole_file import Failure, replace_files

from ..conftest import http

EARLY = "from mistralai.client import MistralClient\n\nclient = MistralClient()\n"
MOVED = "from mistral_client import MistralClient\n\nclient = MistralClient()\n"
OCR = "from mistralai import Mistral\n\nMistral().ocr.process()\n"
BROKEN = "import mistralai\nx = = 1\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes files, by their names, into the folder that the command is run in."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str | bytes) -> Path:
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return write


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}


def test_a_diff_is_shown_and_nothing_changed(invoke, folder):
    before = contents(folder(early=EARLY))
    result = invoke("migrate", "early.py")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == (
        "early.py: mistralai 0.x: runs when its imports are rewritten\n"
        "--- early.py\n"
        "+++ early.py\n"
        "@@ -1,3 +1,3 @@\n"
        "-from mistralai.client import MistralClient\n"
        "+from mistral_client import MistralClient\n"
        " \n"
        " client = MistralClient()\n"
        "1 to rewrite, 0 to be looked at by a person\n"
    )
    assert contents(Path()) == before


def test_write_and_again(invoke, folder):
    there = folder(early=EARLY, other="x = 1\n")
    first = invoke("migrate", "--write", ".")
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout.endswith("1 rewritten, 0 to be looked at by a person\n")
    assert "+from mistral_client import MistralClient\n" in first.stdout
    assert contents(there) == {"early.py": MOVED.encode(), "other.py": b"x = 1\n"}
    for again in (invoke("migrate", "--write", "."), invoke("migrate", ".")):
        assert again.exit_code == 0
        assert again.stdout in {f"0 {done}, 0 to be looked at by a person\n" for done in ("rewritten", "to rewrite")}
    assert contents(there)["early.py"] == MOVED.encode()


def test_what_would_not_run_stays(invoke, folder):
    there = folder(early=EARLY, ocr=OCR)
    result = invoke("migrate", "--write", there)
    assert result.exit_code == 1
    assert (
        f"{there}/ocr.py: mistralai 1.x: stays as it is\n{there}/ocr.py:3: outside: Mistral has no ocr here"
        in result.stdout
    )
    assert result.stdout.endswith("1 rewritten, 1 to be looked at by a person\n")
    assert contents(there) == {"early.py": MOVED.encode(), "ocr.py": OCR.encode()}


def test_hints_leave_nothing_to_do(invoke, folder):
    folder(other="from openai import OpenAI\n")
    result = invoke("migrate", "other.py")
    assert result.exit_code == 0
    assert result.stdout.startswith("other.py: openai: nothing to rewrite\nother.py:1: hint: its client stays as it is")


def test_an_import_of_nothing(invoke, folder):
    folder(bare="import mistralai\n")
    assert invoke("migrate", "bare.py").stdout.startswith(
        "bare.py: mistralai: runs when its imports are rewritten\n--- bare.py"
    )


def test_a_broken_file_is_named_and_nothing_written(invoke, folder):
    before = contents(folder(a__broken=BROKEN, early=EARLY))
    result = invoke("migrate", "--write", ".")
    assert result.exit_code == 1
    assert result.stderr == "error: a/broken.py:2: invalid syntax\nerror: nothing was written\n"
    assert "+from mistral_client import MistralClient\n" in result.stdout
    assert contents(Path()) == before


def test_a_file_that_cannot_be_read(invoke, folder, monkeypatch):
    before = contents(folder(early=EARLY, secret=EARLY))
    read = Path.read_bytes

    def reads(path):  # nothing is forbidden to root
        if path.name == "secret.py":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", reads)
        result = invoke("migrate", "--write", ".")
    assert (result.exit_code, result.stderr) == (1, "error: secret.py: Permission denied\nerror: nothing was written\n")
    assert contents(Path()) == before


def test_a_path_that_is_not_there(invoke, folder):
    folder(early=EARLY)
    result = invoke("migrate", "--write", "early.py", "none.py")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "error: 'none.py' is not there\n")
    assert invoke("migrate").exit_code == 2


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encoding_newlines_and_permissions_stay(invoke, folder, newline, encoding):
    def program(import_):
        text = f"# coding: {encoding.removesuffix('-sig')}\n{import_}\nx = 'Comté'\n\n\t"
        return text.replace("\n", newline).encode(encoding)

    path = folder(early=program("from mistralai.client import MistralClient")) / "early.py"
    path.chmod(0o750)
    assert invoke("migrate", "--write", path).exit_code == 0
    assert path.read_bytes() == program("from mistral_client import MistralClient")
    assert path.stat().st_mode & 0o777 == 0o750
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.skipif(shutil.which("patch") is None, reason="there is no patch")
def test_the_diff_is_one_that_patch_takes(invoke, folder):
    red = "# \x1b[31m, \f\n"
    there = folder(early=EARLY.rstrip("\n"), b__windows=EARLY.replace("\n", "\r\n"), red=EARLY + red)
    diff = invoke("migrate", ".").stdout_bytes
    assert b"\\ No newline at end of file\n" in diff
    ran = subprocess.run(["patch", "-p0", "--binary"], input=diff, cwd=there, capture_output=True)
    assert ran.returncode == 0, ran.stdout
    assert contents(there) == {
        "early.py": MOVED.rstrip("\n").encode(),
        "b/windows.py": MOVED.replace("\n", "\r\n").encode(),
        "red.py": (MOVED + red).encode(),
    }


def test_which_files_are_programs(invoke, folder):
    there = folder(
        a=EARLY, b__c=EARLY, _x=EARLY, env__lib=EARLY, build__d=EARLY, x__node_modules__e=EARLY, x__site_packages=EARLY
    )
    (there / ".hidden").mkdir()
    (there / ".hidden" / "f.py").write_text(EARLY)
    (there / "env" / "pyvenv.cfg").touch()
    (there / "notes.txt").write_text(EARLY)
    (there / "link.py").symlink_to(there / "a.py")
    (there / "loop").symlink_to(there)
    out = invoke("migrate", ".", "a.py", there / "a.py", "b").stdout
    found = [
        line.partition(":")[0] for line in out.splitlines() if line.endswith("runs when its imports are rewritten")
    ]
    assert found == ["_x.py", "a.py", "b/c.py", "x/site_packages.py"]
    assert "notes.txt: mistralai 0.x" in invoke("migrate", "notes.txt").stdout


def test_a_link_that_is_named_stays_one(invoke, folder):
    there = folder(early=EARLY)
    (there / "link").symlink_to("early.py")
    assert invoke("migrate", "--write", "link").exit_code == 0
    assert (there / "link").is_symlink()
    assert (there / "early.py").read_text() == MOVED


def test_a_namesake(invoke, folder):
    package = folder(early=EARLY, mistral_client="x = 1\n", package__a=EARLY, package__mistral_client="") / "package"
    (package / "__init__.py").touch()
    result = invoke("migrate", ".")
    assert "early.py:1: by hand: mistral_client.py would be imported in place of mistral_client" in result.stdout
    assert "package/a.py: mistralai 0.x: runs when its imports are rewritten" in result.stdout


def test_a_terminal_is_not_steered(folder):
    pty = pytest.importorskip("pty")
    there = folder(early=EARLY + "# \x1b[2J\n")
    (there / "ev\x1b[2Jil.py").write_text(OCR)
    ours, its = pty.openpty()
    with open(ours, "rb", 0) as shown:
        command = [sys.executable, "-m", "mistral_client.cli", "migrate", "."]
        subprocess.run(command, stdout=its, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
        os.close(its)
        text = shown.read(10_000)
    assert b"ev[2Jil.py:3: outside" in text
    assert b"\x1b" not in text


def test_without_libcst_it_says_what_to_install(folder):
    folder(early=EARLY)
    code = "import sys; sys.modules['libcst'] = None; sys.argv = ['x', 'migrate', 'early.py']\nimport mistral_client.cli as c; c.main()"
    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "error: migrate needs: pip install 'mistral-client[migrate]'\n"


def test_it_does_what_run_does(command, invoke, folder, raw_server):
    program = "import sys\nfrom mistralai import Mistral\n\nfor model in Mistral().models.list().data:\n    print(model.id, sys.argv[1:])\n"
    path = folder(program=program) / "program.py"
    card = b'{"object": "list", "data": [{"id": "mistral-tiny", "object": "model", "created": 1}]}'
    server = raw_server([http(card)], [http(card)])
    unchanged = command("run", "--endpoint", server.url, path, "a").finish()
    assert unchanged == (0, "mistral-tiny ['a']\n", "")
    assert invoke("migrate", "--write", path).exit_code == 0
    ran = subprocess.run(
        [sys.executable, "-W", "error", path, "a"],
        env=os.environ | {"MISTRAL_ENDPOINT": server.url, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == unchanged


# --- all files or none ---


@pytest.fixture
def three(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(b"old")
    return paths


def test_all_are_replaced(three):
    replace_files(dict.fromkeys(three, (b"old", b"new")))
    assert [path.read_bytes() for path in three] == [b"new"] * 3
    assert sorted(three[0].parent.iterdir()) == three


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("error", [OSError(30, "Read-only file system", "c"), KeyboardInterrupt()])
def test_none_is_replaced_when_one_cannot_be(three, monkeypatch, failing, error):
    replace, count = os.replace, iter(range(100))

    def fails(source, target):
        if next(count) == failing:
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises((Failure, KeyboardInterrupt)):
        replace_files(dict.fromkeys(three, (b"old", b"new")))
    assert [path.read_bytes() for path in three] == [b"old"] * 3
    assert sorted(three[0].parent.iterdir()) == three


def test_none_is_replaced_when_one_has_changed(three):
    three[1].write_bytes(b"other")
    with pytest.raises(Failure, match=r"b has changed meanwhile"):
        replace_files(dict.fromkeys(three, (b"old", b"new")))
    assert [path.read_bytes() for path in three] == [b"old", b"other", b"old"]
    assert sorted(three[0].parent.iterdir()) == three
