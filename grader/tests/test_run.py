"""Runs that go wrong on the kit's side: the judge dies, is late, has no test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from grader import build, checkkit, discover, process, run, sandbox
from grader.checkkit import labs
from grader.errors import KitError
from grader.model import BROKEN, CRASHED, NOT_BUILT, PASSED, Kit
from grader.pipeline import Job, grade_lab
from grader.tests.conftest import FIXTURES, ROOT
from grader.tests.students import HONEST


@pytest.fixture
def changed_kit(tiny_kit, tmp_path):
    """changed_kit(old, new) is the tiny kit with another test file or lab.toml."""
    def change(name: str, old: str, new: str) -> Kit:
        root = tmp_path / "kit"
        shutil.copytree(FIXTURES / "labs", root / "labs")
        (root / "common").symlink_to(ROOT / "common")
        (root / "build").symlink_to(tiny_kit.build_dir)
        path = root / "labs" / "lab1-tiny" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return discover.find_kit(root)
    return change


def grade(kit, tmp_path, isolation, quick=True, source=""):
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "tiny.c").write_text(source + HONEST["right"].source)
    lab = discover.find_labs(kit)[0]
    return grade_lab(Job(kit, lab, folder, isolation, quick))


@pytest.mark.parametrize("quick", (True, False))
def test_a_judge_that_dies_costs_one_test(quick, changed_kit, tmp_path, isolation):
    kit = changed_kit("test_tiny.c", 'INT("number", -5));', 'INT("number", -5));\n'
                      "    _exit(3);")
    score = grade(kit, tmp_path, isolation, quick)
    status = {outcome.test.name: outcome.status for outcome in score.outcomes}
    assert status.pop("refuses_a_negative_number") == CRASHED
    assert set(status.values()) == {PASSED}
    if not quick:
        assert score.memory_score == 7


def test_a_judge_that_dies_at_once_is_the_kits_fault(changed_kit, tmp_path, isolation):
    kit = changed_kit("test_tiny.c", '#include "tiny.h"', '#include "tiny.h"\n'
                      "#ifdef KIT_JUDGE\n__attribute__((constructor)) static void "
                      "dies(void)\n{\n    _exit(3);\n}\n#endif")
    assert grade(kit, tmp_path, isolation).status == BROKEN


def test_a_test_that_lab_toml_alone_has_is_the_kits_fault(changed_kit, tmp_path,
                                                          isolation):
    kit = changed_kit("lab.toml", "copies_every_byte", "copies_every_bit")
    score = grade(kit, tmp_path, isolation)
    assert score.status == BROKEN
    lab = discover.find_labs(kit)[0]
    found = labs._tests(kit, lab)
    assert any("lab.toml has copies_every_bit" in finding for finding in found)
    assert any("TEST(copy, copies_every_byte)" in finding for finding in found)


def test_a_test_file_that_does_not_compile_is_the_kits_fault(changed_kit, tmp_path,
                                                             isolation):
    kit = changed_kit("test_tiny.c", "finish(s);", "finish(s)")
    with pytest.raises(KitError, match=r"test_tiny\.c:18: .*error") as caught:
        grade(kit, tmp_path, isolation)
    assert "\n" not in str(caught.value)


def test_two_graders_make_one_cache(changed_kit, tiny_kit):
    from concurrent.futures import ThreadPoolExecutor
    kit = changed_kit("test_tiny.c", "TEST(answer, answers", "\n\nTEST(answer, answers")
    lab = discover.find_labs(kit)[0]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: build.build_kit_parts(kit, lab).folder, range(4)))
    assert len(set(made)) == 1
    assert build.build_kit_parts(kit, lab).api == ("tiny_answer", "tiny_copy")
    assert not list((tiny_kit.build_dir / "cache").glob(".new-*/judge"))


def test_mistakes_are_found_out(changed_kit, tmp_path, isolation):
    """check-kit finds what a mistake's patch promises and does not keep."""
    kit = changed_kit("lab.toml", "points = 20", "points = 20")
    home = kit.root / "solutions" / "lab1-tiny" / "mistakes"
    home.mkdir(parents=True)
    source = HONEST["right"].source
    (home.parent / "tiny.c").write_text(source)
    at = source.splitlines().index("    return number + 1;")
    body = ("--- a/tiny.c\n+++ b/tiny.c\n"
            f"@@ -{at + 1},2 +{at + 1},2 @@\n-    return number + 1;\n"
            "+    return number + 2;\n }\n")
    headers = {
        "good": "Misconception: x\nFails: answers_with_the_next_number\n"
                "Shows: What comes after a number?\n",
        "tests": "Misconception: x\nFails: copies_every_byte\nShows: expected:\n",
        "words": "Misconception: x\nShows: never said\n",
        "names": "Misconception: x\nFails: no_such_test\nShows: expected:\n",
    }
    for name, header in headers.items():
        (home / f"{name}.patch").write_text(f"{header}\n{body}")
    (home / "stale.patch").write_text(headers["good"] + "\n" + body.replace(
        "-    return number + 1;", "-    return number + 9;"))
    lab = discover.find_labs(kit)[0]
    checks = [check for check in checkkit.checks_of_lab(kit, lab, isolation)
              if ": mistake " in check.name]
    found = "\n".join(checkkit.run_checks(checks, 1))
    assert len(checks) == 5
    assert "mistake good" not in found
    assert "copies_every_byte passed with this mistake; it must fail" in found
    assert "the report does not say: never said" in found
    assert "Fails: names no test of lab.toml: no_such_test" in found
    assert "mistake stale: does not apply to the reference" in found


def test_a_valgrind_that_does_not_start_gives_no_points(changed_kit, tmp_path, isolation,
                                                        monkeypatch):
    """As without libc6-dbg: it ends before it runs anything."""
    kit = changed_kit("lab.toml", "points = 20", "points = 20")
    monkeypatch.setattr(run, "VALGRIND", ("valgrind", "--no-such-option"))
    with pytest.raises(KitError, match="Valgrind does not start"):
        grade(kit, tmp_path, isolation, quick=False)


# -------------------------------------------------------------------- process


def test_a_late_program_is_killed_with_what_it_started():
    done = process.run(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.2)
    assert done.status is None and done.wall_s < 5


_NEVER_ENDS = """\
import os, sys
from grader import process, run, sandbox
place = sandbox.Place(run.choose_isolation(sys.argv[1]))
place.add(sandbox.Path("/bin/sleep"), "bin", 0o750)
print(place.folder, place.uid, os.getpid(), flush=True)
sleep = f"{place.path('bin/sleep')} 600.{os.getpid()}"
argv = place.command(["sh", "-c", f"setsid {sleep} & {sleep}"],
                     sandbox.JUDGE, [sandbox.Mount("bin")], "bin")
process.run(argv, timeout_s=600, cwd=place.start_dir("bin"), env=place.environment,
            uid=place.start_as)
"""


def sleepers(pid: str) -> int:
    """How many processes execute that run's copy of sleep."""
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = sandbox.Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found += words[0].endswith(b"bin/sleep") and words[1:2] == [f"600.{pid}".encode()]
    return found


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("kind", sandbox.KINDS)
def test_what_a_killed_grader_has_left_the_next_one_removes(kind, isolation):
    if (kind == sandbox.UID and os.geteuid() != 0
            or kind == sandbox.NAMESPACES and isolation.kind != kind):
        pytest.skip("not here")
    proc = subprocess.Popen([sys.executable, "-c", _NEVER_ENDS, kind], cwd=ROOT,
                            stdout=subprocess.PIPE, text=True)
    folder, uid, pid = proc.stdout.readline().split()
    wait_for(lambda: sleepers(pid) == 2)
    alive = sandbox.Place(run.choose_isolation(kind))  # this one is left alone
    assert os.path.isdir(folder)
    proc.kill()
    proc.communicate()
    run.end_dead_runs()
    wait_for(lambda: not os.path.exists(folder))  # another grader may be at it
    assert alive.folder.is_dir()
    wait_for(lambda: sleepers(pid) == 0)
    if uid != "None":
        wait_for(lambda: not sandbox.processes_of(int(uid)))
    alive.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_processes_that_are_not_seen_are_ended_as_well(monkeypatch):
    """Each may have started the next one and ended between list and look."""
    place = sandbox.Place(run.choose_isolation("uid"))
    try:
        process.run(["sh", "-c", "sleep 60 >&- 2>&- & exit 0"], timeout_s=10, cwd="/",
                    uid=place.uid)
        (pid,) = sandbox.processes_of(place.uid)
        with monkeypatch.context() as blind:
            blind.setattr(run, "processes_of", lambda uid: [])
            run.sweep(place)
        wait_for(lambda: not process._is_alive(pid))
        run.sweep(place)  # if it came back to this process, it is reaped now
    finally:
        place.close()


def test_the_last_run_leaves_no_folder_of_runs(monkeypatch):
    monkeypatch.setattr(sandbox, "_names_of_runs", lambda: [f"kit-test-{os.getpid()}"])
    places = [sandbox.Place(sandbox.Isolation(sandbox.NONE)) for _ in range(3)]
    home = places[0].folder.parent
    assert list(sandbox.dead_runs()) == []
    for place in places:
        assert place.folder.parent == home and home.is_dir()
        place.close()
    assert not home.exists()


def test_a_folder_of_runs_that_is_somebody_elses_is_not_used(monkeypatch, tmp_path):
    names = [f"kit-test-{os.getpid()}", f"kit-test-{os.getpid()}-1"]
    monkeypatch.setattr(sandbox, "_names_of_runs", lambda: names)
    (tmp_path / "elsewhere").mkdir()
    link = sandbox.Path("/tmp") / names[0]
    link.symlink_to(tmp_path / "elsewhere")
    try:
        place = sandbox.Place(sandbox.Isolation(sandbox.NONE))
        assert place.folder.parent == sandbox.Path("/tmp") / names[1]
        place.close()
        assert not place.folder.parent.exists()
        assert not list((tmp_path / "elsewhere").iterdir())
        monkeypatch.setattr(sandbox, "_names_of_runs", lambda: names[:1])
        with pytest.raises(KitError, match="somebody else's; they have to be removed"):
            sandbox.Place(sandbox.Isolation(sandbox.NONE))
    finally:
        link.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_run_that_looks_for_a_user_id_is_not_taken_for_a_dead_one(monkeypatch):
    """Whoever took it for one would remove the file of the next run's lock."""
    seen = []

    def one_has_a_process(uid):
        seen.append((uid, list(sandbox.dead_runs())))
        return [1] if len(seen) == 1 else []

    monkeypatch.setattr(sandbox, "_names_of_runs", lambda: [f"kit-test-{os.getpid()}"])
    monkeypatch.setattr(sandbox, "processes_of", one_has_a_process)
    place = sandbox.Place(sandbox.Isolation(sandbox.UID))
    place.close()
    (first, dead), (second, dead_then) = seen
    assert dead == dead_then == [] and place.uid == second != first
    assert not place.folder.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_folder_of_runs_that_another_user_made_is_left_alone(monkeypatch):
    """What lies in it could be a link, or the name of a run that goes on."""
    name = f"kit-test-{os.getpid()}"
    monkeypatch.setattr(sandbox, "_names_of_runs", lambda: [name])
    root = sandbox.Path("/tmp") / name
    (root / ".locks").mkdir(parents=True)
    (root / ".locks" / "59990").touch()
    (root / "59990").mkdir()
    os.chown(root, 59999, 59999)
    try:
        assert list(sandbox.dead_runs()) == []
    finally:
        shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_orphan_that_comes_back_is_ended_and_reaped():
    """It does once a run without isolation has made this process adopt them."""
    run.adopt_orphans()
    place = sandbox.Place(run.choose_isolation("uid"))
    try:
        process.run(["sh", "-c", "sleep 60 >&- 2>&- & exit 0"], timeout_s=10, cwd="/",
                    uid=place.uid)
        assert sandbox.processes_of(place.uid)
        run.sweep(place)
        assert sandbox.processes_of(place.uid) == []
    finally:
        place.close()


def test_an_orphan_that_holds_the_output_is_not_waited_for():
    done = process.run(["sh", "-c", "echo out; sleep 3 & exit 7"], timeout_s=20)
    assert (done.status, done.stdout) == (7, b"out\n")
    assert done.wall_s < 2


def test_output_is_kept_up_to_a_cap():
    done = process.run(["sh", "-c", "yes | head -c 3000000"], timeout_s=20, cap=1000)
    assert len(done.stdout) == 1000 and done.status == 0


def test_extra_pipes_and_their_lines():
    lines = []
    done = process.run(
        lambda pipes: ["sh", "-c", f"printf 'a\\nb\\nc' >/dev/fd/{pipes['extra']}"],
        timeout_s=20, pipes=("extra",), on_line=lambda name, line: lines.append(line))
    assert done.out["extra"] == b"a\nb\nc"
    assert lines == [b"a", b"b"]


def test_no_descriptor_is_left_open():
    import os
    before = os.listdir("/proc/self/fd")
    process.run(["true"], timeout_s=5, pipes=("one", "two"))
    with pytest.raises(FileNotFoundError):
        process.run(["no-such-program"], timeout_s=5, pipes=("one",))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_isolation_that_is_asked_for_and_not_there(monkeypatch):
    monkeypatch.setattr(run, "bubblewrap", lambda: None)
    with pytest.raises(KitError, match="apt-get install bubblewrap"):
        run.choose_isolation("namespaces")
    monkeypatch.setattr(sandbox, "is_root", lambda: False)
    with pytest.raises(KitError, match="needs root"):
        run.choose_isolation("uid")


@pytest.fixture
def witness_kit(changed_kit):
    return changed_kit("lab.toml", "[points]", "witness = true\n[points]")


def test_a_lab_with_a_witness(witness_kit, tmp_path, isolation):
    score = grade(witness_kit, tmp_path, isolation, quick=False)
    assert score.score == 100, [o.message for o in score.outcomes]


@pytest.mark.parametrize("line,says", (
    ("void __tsan_read4(void *at) { (void)at; }", "keeps for itself"),
    ("#define HIDE(x) __attribute__((no_sani##x))\nHIDE(tize_thread) static void f(void) {}",
     "tiny.c:2: no_sanitize: the tests of this lab have to see"),
    ('#line 3 "/usr/include/stdio.h"\n__attribute__((no_sanitize_thread)) void f(void) {}',
     "tiny.c:1: a line directive: the tests of this lab tell your lines"),
    ('/* */ # 1 "x.h" 1', "tiny.c:1: a line directive"),
    ("#\\\nli\\\nne 7", "tiny.c:1: a line directive"),
    ("__attribute__((no_san\\\nitize_thread)) void f(void) {}", "no_sanitize"),
))
def test_code_that_hides_from_the_witness_is_not_built(line, says, witness_kit, tmp_path,
                                                       isolation):
    score = grade(witness_kit, tmp_path, isolation, source=f"{line}\n")
    assert score.status == NOT_BUILT
    assert says in "\n".join(score.build_errors)


@pytest.mark.parametrize("line,says", (
    ('#define PAUSE __asm__ volatile("")\nvoid f(void);\nvoid f(void) { PAUSE; }',
     "tiny.c:3: inline assembly"),
    ("#include <unistd.h>\nvoid f(void);\nvoid f(void) { syscall(39); }",
     "tiny.c:3: syscall()"),
    ("#include <unistd.h>\nvoid f(void);\nvoid f(void) { if (fork() == 0) _exit(0); }",
     "tiny.c calls fork: what it starts takes no turns"),
))
def test_what_the_witness_does_not_see_is_told(line, says, witness_kit, tmp_path, isolation):
    score = grade(witness_kit, tmp_path, isolation, source=f"{line}\n")
    assert score.passed == 4
    assert any(warning.startswith(says)
               for warning in score.build_warnings), score.build_warnings


def test_a_futex_is_seen_by_the_witness(witness_kit, tmp_path, isolation):
    source = ("#include <linux/futex.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n"
              "void f(int *at);\n"
              "void f(int *at) { syscall(SYS_futex, at, FUTEX_WAIT, 1, NULL); }\n")
    score = grade(witness_kit, tmp_path, isolation, source=source)
    assert score.passed == 4 and score.build_warnings == ()


def make_segment() -> str:
    made = subprocess.run(["ipcmk", "-M", "4096"], check=True, capture_output=True,
                          text=True).stdout
    return made.split()[-1]


@pytest.mark.parametrize("boot,removed", (("", True), ("an earlier one", False)))
def test_a_journal_names_what_the_next_grader_removes(boot, removed, tmp_path):
    noted, other = make_segment(), make_segment()
    try:
        journal = run._begin_journal(tmp_path)
        journal.write_text((boot or journal.read_text().strip()) +
                           f"\nm {noted}\nq {other}\n/no-such-name\nnonsense\n")
        run._remove_noted_objects(tmp_path)
        left = run.sysv_objects("shm", "shmid", os.geteuid())
        assert (noted not in left) is removed
        assert other in left
    finally:
        for segment in (noted, other):
            subprocess.run(["ipcrm", "-m", segment], check=False, capture_output=True)


_LEAVES_A_QUEUE = """\
import ctypes, os, sys
from grader import process, run, sandbox
kind, name = sys.argv[1:]
place = sandbox.Place(run.choose_isolation(kind))
make = "import ctypes, os, sys; sys.exit(ctypes.CDLL(None).mq_open("
make += "sys.argv[1].encode(), os.O_CREAT | os.O_RDWR, 0o600, None) < 0)"
done = process.run([sys.executable, "-c", make, name], timeout_s=60, uid=place.uid)
assert done.status == 0, done.stderr
is_there = lambda: ctypes.CDLL(None).mq_open(name.encode(), os.O_RDONLY) >= 0
assert is_there() and not os.path.ismount("/dev/mqueue")
if kind == sandbox.NONE:
    with open(run._begin_journal(place.folder), "a") as journal:
        journal.write(name + "\\n")
run.sweep(place)
place.close()
assert not is_there()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
@pytest.mark.parametrize("kind", (sandbox.UID, sandbox.NONE))
def test_a_queue_is_removed_where_queues_are_not_mounted(kind):
    name = f"/kit-test-{os.getpid()}"
    script = 'umount -q /dev/mqueue; exec "$@"'
    done = process.run(["unshare", "--mount", "sh", "-c", script, "sh", sys.executable,
                        "-c", _LEAVES_A_QUEUE, kind, name], timeout_s=60, cwd=str(ROOT),
                       env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.status == 0, done.stderr
