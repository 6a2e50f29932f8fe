"""Second step: makes a lab's two programs.

    judge    runtime, judge's half of the test file, Check
    subject  runtime, subject's half of the test file, the student's object

The kit's parts are the same for every student and are cached by content in
build/cache.  The student's file is compiled in the run's folder, where nothing
but the student's files and the lab's headers can be seen.  Its object then
keeps only the functions that the tests call (a function of the student's that
is called write or fork stays private), and its calls to libc go to the kit's
shim.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, List, Sequence, Set, Tuple

from grader import process, sight, text
from grader.errors import KitError
from grader.model import NOT_BUILT, Build, Kit, Lab, Submission
from grader.sandbox import (
    COMPILER, CONFINE, ENVIRONMENT, NAMESPACES, Mount, Place,
)

FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O0", "-g", "-fno-omit-frame-pointer",
         "-Wall", "-Wextra", "-Wpedantic", "-Wmissing-prototypes")
STUDENT_FLAGS = FLAGS + ("-Wno-unused-parameter",)
LIBRARIES = ("-pthread", "-lrt", "-lm")
# All of libc's functions are found at the start: each of a test's processes would
# have to do it again.  No library is loaded that is not used: Valgrind would read
# all that is known of it.
SUBJECT_LIBRARIES = ("-Wl,-z,now,--as-needed", *LIBRARIES)
TIMEOUT_S = 90  # of which 3 s of processor time: others may take the rest
# What puts the kit's hooks into the object (common/subject/witness.c).
WITNESS_FLAGS = ("-fsanitize=thread", "-Wno-tsan")
# Calls that move bytes; the hooks do not see into them.
_WITNESSED = ("memcpy", "memmove", "memset", "memcmp", "strcpy", "strncpy", "strlen")
_MAX_MESSAGES = 5
_MAX_ERRORS = 20
_CACHE_ENTRIES = 80

_PACKAGES = {"cc": "gcc", "gcc": "gcc", "clang": "clang", "ld": "binutils",
             "readelf": "binutils", "objcopy": "binutils", "pkg-config": "pkg-config"}


def compiler() -> str:
    """The C compiler, by its full path: $CC, else cc."""
    name = os.environ.get("CC") or "cc"
    path = shutil.which(name)
    if not path:
        package = _PACKAGES.get(name, name)
        raise KitError(f"no C compiler: {name} was not found "
                       f"(apt-get install {package} libc6-dev)")
    return path


def own_flags(cc: str) -> Tuple[str, ...]:
    """clang leaves out the table by which elfutils finds an address's line; gcc
    tells of every error, were it a million."""
    is_clang = "clang" in os.path.basename(os.path.realpath(cc))
    return ("-gdwarf-aranges",) if is_clang else (f"-fmax-errors={_MAX_ERRORS}",)


def build(kit: Kit, lab: Lab, submission: Submission, place: Place,
          quick: bool = False) -> Build:
    """The kit's parts from the cache, then the student's in the run's folder;
    quick: no more than the native run needs."""
    parts = build_kit_parts(kit, lab)
    place.add(parts.judge, "bin", 0o750)
    add_confine(kit, place)
    return build_student(lab, submission, parts, place, quick)


def build_confine(kit: Kit) -> Path:
    source = kit.root / "common" / CONFINE / f"{CONFINE}.c"
    cc = compiler()

    def make(folder: Path) -> None:
        tool([cc, *FLAGS, str(source), "-o", str(folder / CONFINE)], folder, str(source))

    made = cached(kit, f"{CONFINE}-{key_of(cc, named(kit.root, [source]))}", make)
    return made / CONFINE


def add_confine(kit: Kit, place: Place) -> None:
    """Puts the program in place that Place.confined() names."""
    place.add(build_confine(kit), "bin", 0o750)


# ------------------------------------------------------------ the kit's parts


@dataclass(frozen=True)
class KitParts:
    """A lab's cached parts."""

    folder: Path

    @property
    def judge(self) -> Path:
        return self.folder / "judge"

    @property
    def subject(self) -> Path:
        """One object: everything of the subject but the student's functions."""
        return self.folder / "subject.o"

    @property
    def shims(self) -> Path:
        """For objcopy: `read shim_read`."""
        return self.folder / "shims"

    @property
    def witnesses(self) -> Path:
        """For objcopy, beside the shims: `memcpy witness_memcpy`."""
        return self.folder / "witnesses"

    @property
    def api(self) -> Tuple[str, ...]:
        """The functions that the tests call: the student's to define."""
        return tuple((self.folder / "api").read_text().split())


def build_kit_parts(kit: Kit, lab: Lab) -> KitParts:
    cc = compiler()
    sources = sorted((kit.root / "common").rglob("*.[ch]"))
    sources = [path for path in sources
               if not {"tests", "bench", CONFINE} & set(path.relative_to(kit.root).parts)]
    contents = [*named(kit.root, sources), *named(lab.dir, [lab.test_file, *lab.headers])]
    key = key_of(cc, contents)
    common_key = key_of(cc, named(kit.root, sources))

    def make(folder: Path) -> None:
        runtime = cached(kit, f"runtime-{common_key}",
                         lambda into: _make_runtime(kit, cc, into))
        _make_parts(kit, lab, cc, runtime, folder)

    return KitParts(cached(kit, f"{lab.id}-{key}", make))


def named(base: Path, paths: Iterable[Path]) -> List[Tuple[str, bytes]]:
    try:
        return [(str(path.relative_to(base)), path.read_bytes()) for path in paths]
    except OSError as error:
        raise KitError(f"{error.filename}: {error.strerror}") from None


def key_of(cc: str, contents: Iterable[Tuple[str, bytes]]) -> str:
    """A hash of the compiler, the flags and all that goes in."""
    real = os.path.realpath(cc)
    info = os.stat(real)
    digest = hashlib.sha256()
    for part in (real, str(info.st_mtime_ns), str(info.st_size), *STUDENT_FLAGS,
                 *own_flags(cc),
                 *LIBRARIES):
        digest.update(part.encode() + b"\0")
    for name, data in contents:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:32]


def cached(kit: Kit, name: str, make: Callable[[Path], None]) -> Path:
    """build/cache/name, made in a temporary folder and renamed, once."""
    cache = kit.build_dir / "cache"
    target = cache / name
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with process.FileLock(str(cache / f".lock-{name.split('-')[0]}")):
            if not target.is_dir():
                _prune(cache)
                new = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
                try:
                    make(new)
                    new.chmod(0o755)
                    new.rename(target)
                finally:
                    shutil.rmtree(new, ignore_errors=True)
    except PermissionError as error:
        raise KitError(f"can't write to {kit.build_dir} ({error.strerror}); was it "
                       "made by another user? remove it and try again") from None
    return target


def _prune(cache: Path) -> None:
    """Keeps the cache from growing with every edit of a test file."""
    entries = sorted((entry for entry in cache.iterdir()
                      if entry.is_dir() and not entry.name.startswith(".")),
                     key=lambda entry: entry.stat().st_mtime)
    for entry in entries[:-_CACHE_ENTRIES]:
        shutil.rmtree(entry, ignore_errors=True)


def _make_runtime(kit: Kit, cc: str, folder: Path) -> None:
    """judge.o and subject.o of common/, and the names of the shims."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for half in ("judge", "subject"):
            sources = sorted([*(kit.root / "common" / half).glob("*.c"),
                              *(kit.root / "common").glob("*.c")])
            objects = list(pool.map(
                lambda source, half=half: _compile(
                    kit, cc, half, source, kit.root, folder), sources))
            tool(["ld", "-r", "-o", f"{half}.o", *objects], folder, "the runtime")
            if half == "subject":
                symbols = {name for obj in objects
                           for kind, name in parse_symbols(
                               tool(symbols_of(obj), folder, obj)) if kind == "T"}
                _write_renames(folder / "shims", "shim_", symbols)
                _write_renames(folder / "witnesses", "witness_",
                               {f"witness_{name}" for name in _WITNESSED} & symbols)
                (folder / "hooks").write_text("".join(
                    f"{name}\n" for name in sorted(symbols)
                    if name.startswith(sight.HOOK)))
            for name in objects:
                (folder / name).unlink()


def _write_renames(path: Path, prefix: str, symbols: Set[str]) -> None:
    """Lines for objcopy --redefine-syms: NAME becomes PREFIX_NAME."""
    path.write_text("".join(f"{name[len(prefix):]} {name}\n"
                            for name in sorted(symbols) if name.startswith(prefix)))


def _compile(kit: Kit, cc: str, half: str, source: Path, cwd: Path, into: Path) -> str:
    """Compiles one file of the kit; the object's name."""
    relative = source.relative_to(cwd)
    name = f"{half}-{str(relative).replace('/', '-')}.o"
    check = _pkg_config("--cflags") if half == "judge" else []
    tool([cc, *FLAGS, *own_flags(cc), f"-DKIT_{half.upper()}",
          f"-I{kit.root / 'common'}", *check, "-c", str(relative),
          "-o", str(into / name)], cwd, str(source))
    return name


def _make_parts(kit: Kit, lab: Lab, cc: str, runtime: Path, folder: Path) -> None:
    judge = _compile(kit, cc, "judge", lab.test_file, lab.dir, folder)
    tool([cc, "-o", "judge", judge, str(runtime / "judge.o"), *_pkg_config("--libs"),
          *LIBRARIES], folder, f"the judge of {lab.id}")
    half = _compile(kit, cc, "subject", lab.test_file, lab.dir, folder)
    tool(["ld", "-r", "-o", "whole.o", half, str(runtime / "subject.o")],
         folder, f"the subject of {lab.id}")
    # Nothing of the kit but main and the shims is there for the student's
    # object to call or to replace.
    shims, witnesses, hooks = ((runtime / name).read_text()
                               for name in ("shims", "witnesses", "hooks"))
    keep = ["main", *(line.split()[1] for line in (shims + witnesses).splitlines()),
            *hooks.split()]
    (folder / "keep").write_text("\n".join(keep) + "\n")
    tool(["objcopy", "--keep-global-symbols=keep", "whole.o", "subject.o"],
         folder, f"the subject of {lab.id}")
    (folder / "shims").write_text(shims)
    (folder / "witnesses").write_text(shims + witnesses)
    (folder / "api").write_text("\n".join(missing_names(cc, folder, "subject.o")) + "\n")
    for name in (judge, half, "whole.o", "keep"):
        (folder / name).unlink()


_UNDEFINED = re.compile(r"undefined reference to [`'‘]([^'’]+)['’]")


def missing_names(cc: str, folder: Path, obj: str) -> List[str]:
    """What a program of the kit's object lacks: the student's to define."""
    done = _run_tool([cc, "-o", "incomplete", obj, *LIBRARIES], folder)
    names = sorted(set(_UNDEFINED.findall(text.decode(done.stderr))))
    if done.status != 0 and not names:
        raise KitError(f"{obj} does not link: " + text.clean(done.stderr, 1000, 6))
    (folder / "incomplete").unlink(missing_ok=True)
    return names


def _run_tool(argv: Sequence[str], cwd: Path) -> process.Finished:
    env = {**ENVIRONMENT, "TMPDIR": tempfile.gettempdir()}
    try:
        return process.run(argv, timeout_s=2 * TIMEOUT_S, cwd=str(cwd), env=env)
    except FileNotFoundError:
        package = _PACKAGES.get(argv[0], argv[0])
        raise KitError(f"{argv[0]} was not found (apt-get install {package})") from None


def tool(argv: Sequence[str], cwd: Path, what: str) -> bytes:
    """Runs a tool over the kit's own files; a failure is the kit's fault."""
    done = _run_tool(argv, cwd)
    if done.status == 0:
        return done.stdout
    words = text.clean(done.stderr, 2000, 12)
    if "check.h: No such file" in words or "cannot find -lcheck" in words:
        raise KitError("Check is not installed (apt-get install check)")
    if "stdio.h: No such file" in words or "errno.h: No such file" in words:
        raise KitError("libc's headers are not installed (apt-get install libc6-dev)")
    raise KitError(f"{what} does not build: {_first_error(words, Path(what).name)}")


def _first_error(words: str, file: str) -> str:
    """One line for the compiler's many; where the error is in a macro of a
    header, the line of the file that uses it as well."""
    errors = _messages(words, "error")
    if not errors:
        return " / ".join(words.splitlines()[:3])
    used_at = re.search(rf"^{re.escape(file)}:\d+", words, re.MULTILINE)
    if used_at and not errors[0].startswith(file):
        return f"{used_at.group()}: {errors[0]}"
    return errors[0]


def symbols_of(obj: str) -> List[str]:
    """The command that lists an object's symbols.  nm would load each plugin of
    the linker first, as LLVM's of 100 MB."""
    return ["readelf", "-sW", obj]


def parse_symbols(out: bytes) -> List[Tuple[str, str]]:
    """(kind, name) of each: nm's letters, as far as they are needed."""
    pairs = []
    for line in text.decode(out).splitlines():
        words = line.split()
        if len(words) == 8 and words[0].rstrip(":").isdigit():
            _, _, _, sort, bind, _, section, name = words
            pairs.append((_kind(sort, bind, section), name))
    return pairs


def _kind(sort: str, bind: str, section: str) -> str:
    if section == "UND":
        return "w" if bind == "WEAK" else "U"
    if sort not in ("FUNC", "NOTYPE"):
        return "d" if bind == "LOCAL" else "D"
    return {"LOCAL": "t", "WEAK": "W"}.get(bind, "T")


def _pkg_config(what: str) -> List[str]:
    done = _run_tool(["pkg-config", what, "check"], Path("/"))
    if done.status != 0:
        raise KitError("Check is not installed (apt-get install check)")
    return text.decode(done.stdout).split()


# --------------------------------------------------------- the student's part


# The subject as it is, and the one whose accesses are recorded: that runs
# natively, and the other one under Valgrind.
_PLAIN, _WITNESS = "subject", "witness"


def _variants(lab: Lab, quick: bool) -> Tuple[str, ...]:
    if not lab.witness:
        return (_PLAIN,)
    return (_WITNESS,) if quick else (_PLAIN, _WITNESS)


def build_student(lab: Lab, submission: Submission, parts: KitParts,
                  place: Place, quick: bool = False) -> Build:
    """Compiles the student's files and links the subject."""
    judge = place.folder / "bin" / "judge"
    variants = _variants(lab, quick)

    def failed(errors: Sequence[str]) -> Build:
        return Build(judge, None, NOT_BUILT, tuple(errors))

    place_sources(lab, submission, place)
    place.make("obj")
    look_at = [file.name for file in submission.files
               if lab.witness and sight.may_hide(file.data)]
    done = in_place(place, _compile_script(lab, place, variants, look_at), "src",
                    [Mount("src"), Mount("obj", writable=True)])
    diagnostics = text.clean(done.stderr, 60_000, 2000)
    if done.status != 0:
        return failed(compile_errors(lab, done, diagnostics))
    symbols = [(kind, name) for kind, name in parse_symbols(done.stdout)
               if kind not in "Uw" or not name.startswith(sight.HOOK)]
    defined = {name for kind, name in symbols if kind in "TW"}
    undefined = {name for kind, name in symbols if kind in "Uw"}
    errors = [*_not_defined(lab, parts.api, defined, symbols),
              *_forbidden(lab, undefined)]
    unseen: List[str] = []
    if lab.witness:
        hidden, unseen = _out_of_sight(submission, place, look_at)
        errors += [*sight.names_hooks(symbols), *hidden]
        unseen += sight.takes_no_turns(" or ".join(lab.files), undefined)
    if errors:
        return failed(errors)
    errors = _link(place, parts, defined, variants)
    if errors:
        return failed(errors)
    made = {variant: place.folder / "out" / variant for variant in variants}
    return Build(judge, made.get(_PLAIN), witness=made.get(_WITNESS),
                 warnings=(*_messages(diagnostics, "warning"), *unseen),
                 missing_calls=_missing_calls(lab, undefined))


def place_sources(lab: Lab, submission: Submission, place: Place) -> None:
    """The student's files and the lab's headers, and nothing else, in src/."""
    for header in lab.headers:
        place.add(header, "src")
    for file in submission.files:
        place.write("src", file.name, file.data)


def in_place(place: Place, script: str, cwd: str,
             mounts: Sequence[Mount]) -> process.Finished:
    argv = ["sh", "-ec", script]
    if place.isolation.kind != NAMESPACES:
        argv = place.confined(argv, mounts)
    argv = place.command(argv, COMPILER, mounts, cwd)
    done = process.run(argv, timeout_s=TIMEOUT_S, cwd=place.start_dir(cwd),
                       env=place.environment, uid=place.start_as, cap=1 << 20)
    if done.status != 0 and done.stderr.startswith(b"bwrap: "):
        raise KitError("bubblewrap worked before and does not now: "
                       f"{text.one_line(done.stderr)} (make clean, and try again)")
    return done


def _compile_script(lab: Lab, place: Place, variants: Sequence[str],
                    look_at: Sequence[str]) -> str:
    """The variants' objects, look_at preprocessed, and the symbols on stdout."""
    cc, obj = compiler(), place.path("obj")
    lines: List[str] = []
    quiet: Tuple[str, ...] = ()  # the first one gives the warnings
    for variant in variants:
        flags = STUDENT_FLAGS + own_flags(cc) + quiet
        if variant == _WITNESS:
            flags += WITNESS_FLAGS
        lines += object_lines(lab, place, variant, flags)
        quiet = ("-w",)
    lines += [f"'{cc}' {' '.join(STUDENT_FLAGS)} -w -E '{name}' -o '{obj}/{name}.i'"
              for name in look_at]
    return "\n".join([*lines, " ".join(symbols_of(f"'{obj}/{variants[0]}.o'"))])


def object_lines(lab: Lab, place: Place, variant: str,
                 flags: Sequence[str]) -> List[str]:
    """A script's lines that make obj/VARIANT.o of the student's files."""
    cc, obj = compiler(), place.path("obj")
    objects = " ".join(f"'{obj}/{name}.o'" for name in lab.files)
    return [*(f"'{cc}' {' '.join(flags)} -c '{name}' -o '{obj}/{name}.o'"
              for name in lab.files),
            f"ld -r -o '{obj}/{variant}.o' {objects}" if len(lab.files) > 1
            else f"mv {objects} '{obj}/{variant}.o'"]


def compile_errors(lab: Lab, done: process.Finished, diagnostics: str) -> List[str]:
    if done.status is None:
        return [f"{lab.files[0]}: the compiler did not end within {TIMEOUT_S} s"]
    found = list(_messages(diagnostics, "error"))
    if found:
        return found
    first = next((line for line in diagnostics.splitlines() if line.strip()),
                 f"status {done.status}")
    return [f"{lab.files[0]}: the compiler gave up, at a limit of time, memory or "
            f"size: {text.one_line(first)}"]


def _messages(diagnostics: str, kind: str) -> Tuple[str, ...]:
    """The first messages of a kind, file:line in front, and how many more."""
    # Of the compiler's notes one matters: where the header says otherwise.
    pattern = re.compile(rf"^[^:]+:\d+:\d+: (?:(?:fatal )?{kind}:|note: previous) ")
    lines = [text.one_line(line, 300) for line in diagnostics.splitlines()
             if pattern.match(line)]
    more = len(lines) - _MAX_MESSAGES
    if more > 0:
        most = kind == "error" and len(lines) >= _MAX_ERRORS
        lines = lines[:_MAX_MESSAGES] + [f"({more} more{', or more' if most else ''})"]
    return tuple(lines)


def _not_defined(lab: Lab, api: Sequence[str], defined: Set[str],
                 symbols: Sequence[Tuple[str, str]]) -> List[str]:
    where = " or ".join(lab.files)
    private = {name for kind, name in symbols if kind == "t"}
    return [f"{name} is static in {where}: the tests can't call it" if name in private
            else f"{name} is not defined in {where}"
            for name in api if name not in defined]


def _out_of_sight(submission: Submission, place: Place, preprocessed: Sequence[str]
                  ) -> Tuple[List[str], List[str]]:
    """(errors, warnings): what of the student's code the witness would not see."""
    errors: List[str] = []
    warnings: List[str] = []
    for file in submission.files:
        errors += sight.names_lines(file.name, file.data)
    for name in preprocessed:
        with (place.folder / "obj" / f"{name}.i").open("rb") as lines:
            found = sight.hidden(name, lines)
        errors += found[0]
        warnings += found[1]
    return errors, warnings


def _refers(call: str, undefined: Set[str]) -> bool:
    return not undefined.isdisjoint((call, f"{call}64", f"__{call}_chk", f"__{call}_2"))


def _forbidden(lab: Lab, undefined: Set[str]) -> List[str]:
    where = " or ".join(lab.files)
    return [f"{where} calls {call}, which this lab rules out: {lab.calls.why[call]}"
            for call in lab.calls.forbidden if _refers(call, undefined)]


def _missing_calls(lab: Lab, undefined: Set[str]) -> Tuple[str, ...]:
    where = " or ".join(lab.files)
    return tuple(
        f"{where} never calls {call}, which this lab is about"
        + (f": {lab.calls.why[call]}" if call in lab.calls.why else "")
        for call in lab.calls.required if not _refers(call, undefined))


def _link(place: Place, parts: KitParts, defined: Set[str],
          variants: Sequence[str]) -> List[str]:
    """objcopy and link; the errors, none where all is well."""
    place.add(parts.subject, "kit")
    place.make("out")
    api = [name for name in parts.api if name in defined]
    place.write("kit", "api", "".join(f"{name}\n" for name in api).encode())
    renames = {_PLAIN: parts.shims, _WITNESS: parts.witnesses}
    script = ""
    for variant in variants:
        place.add(renames[variant], "kit")
        script += _link_script(place, variant, renames[variant].name)
    done = in_place(place, script, "obj", [
        Mount("kit"), Mount("obj", writable=True), Mount("out", writable=True)])
    if done.status == 0:
        return []
    return link_errors(text.clean(done.stderr, 20_000, 400))


def _link_script(place: Place, variant: str, renames: str) -> str:
    kit, obj, out = place.path("kit"), place.path("obj"), place.path("out")
    return (
        # A section of the kit's tables in a student's object is not ours.
        f"objcopy --keep-global-symbols='{kit}/api' --redefine-syms='{kit}/{renames}' "
        "-R kit_scenarios -R kit_tests "
        f"'{obj}/{variant}.o' '{obj}/{variant}-linked.o'\n"
        f"'{compiler()}' -o '{out}/{variant}' '{kit}/subject.o' "
        f"'{obj}/{variant}-linked.o' " + " ".join(SUBJECT_LIBRARIES) + "\n")


def link_errors(diagnostics: str) -> List[str]:
    """What ld says, in words for a student.  (Its newer versions put the offset in
    the section behind the line: "tiny.c:16:(.text+0x15): undefined reference".)"""
    errors = []
    for line in diagnostics.splitlines():
        match = re.search(r"([^\s/:]+\.c:\d+):(?:\([^)]*\):)? "
                          r"undefined reference to [`']([^']+)'", line)
        if match:
            where, name = match.groups()
            name = name[len("shim_"):] if name.startswith("shim_") else name
            errors.append(f"{where}: {name} is defined nowhere (is it misspelled?)")
    if not errors:
        errors = [text.one_line(line, 300) for line in diagnostics.splitlines()
                  if line.strip()]
    unique = list(dict.fromkeys(errors))
    return unique[:_MAX_MESSAGES] or ["the linker failed"]
