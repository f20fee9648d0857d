import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mistral_client.server.weights import WeightsError
from mistral_client.server.weights.once import make_once

BUILDER = """
import sys, time
from pathlib import Path
from mistral_client.server.weights.once import make_once

target, log = Path(sys.argv[1]), Path(sys.argv[2])

def make(folder):
    with log.open("a") as file:
        file.write("made\\n")
    time.sleep(1.5)
    (folder / "half").write_text("whole")
    return folder / "half"

make_once(target, is_made=Path.exists, make=make)
print(target.read_text())
"""


def finished(folder: Path, content: str = "whole") -> Path:
    (folder / "half").write_text(content)
    return folder / "half"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"model.lock"}


def test_of_several_processes_one_builds_and_the_others_wait_for_it(tmp_path):
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "model"), str(tmp_path / "log")]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [builder.communicate(timeout=30) for builder in builders]
    assert [out for out, _ in outputs] == ["whole\n"] * 3
    assert (tmp_path / "log").read_text() == "made\n"
    said = [err for _, err in outputs if err]
    assert said == ["another process builds the model, waiting\n"] * 2
    assert names(tmp_path) == {"model", "log"}


def test_of_several_threads_one_builds(tmp_path):
    made = []

    def make(folder: Path) -> Path:
        made.append(folder)
        return finished(folder)

    threads = [
        threading.Thread(target=make_once, args=[tmp_path / "model"], kwargs={"is_made": Path.exists, "make": make})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert names(tmp_path) == {"model"}


def test_what_is_made_is_not_made_again(tmp_path):
    make_once(tmp_path / "model", is_made=Path.exists, make=finished)
    make_once(tmp_path / "model", is_made=Path.exists, make=lambda folder: finished(folder, "again"))
    assert (tmp_path / "model").read_text() == "whole"
    make_once(tmp_path / "model", is_made=lambda _: False, make=lambda folder: finished(folder, "again"))
    assert (tmp_path / "model").read_text() == "again"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_making_leaves_nothing(tmp_path, error):
    def make(folder: Path) -> Path:
        finished(folder)
        raise error

    with pytest.raises(error):
        make_once(tmp_path / "model", is_made=Path.exists, make=make)
    assert names(tmp_path) == set()
    make_once(tmp_path / "model", is_made=Path.exists, make=finished)


def test_what_a_killed_process_left_goes_with_the_next_making(tmp_path):
    leftover = tmp_path / "model.building-killed"
    leftover.mkdir()
    finished(leftover)
    make_once(tmp_path / "model", is_made=Path.exists, make=finished)
    assert names(tmp_path) == {"model"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "cache" / "model"
    with pytest.raises(WeightsError, match=r"cache cannot be written.*set XDG_CACHE_HOME"):
        make_once(target, is_made=Path.exists, make=finished)
