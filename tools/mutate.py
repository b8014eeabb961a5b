#!/usr/bin/env python3
"""Plants the mistakes of tools/mutations.txt, one at a time, and says which test notices each.

    tools/mutate.py [--layer LAYER ...] [--only NAME ...] [--jobs N]
    tools/mutate.py --list      what there is
    tools/mutate.py --check     does every mistake still fit the code? (at once, builds nothing)

Works on copies of the working tree (build/mutations/1 to N, uncommitted changes included), never on
the tree itself. The copies are built incrementally: a mistake costs the unit it is in, the links
and the tests of its layer, those of its own file first (for kernels those of ops, too); then, when
those pass, train_test (cli_test for what is above train).
Before the first one, all of these tests must pass without a mistake. Logs: build/mutations/logs.

Exit status: 0 when every mistake was caught, 1 when one survived, 2 when the list or the command
line is wrong or the tests fail by themselves. A mistake that does not compile is one of the list.
"""

import argparse
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from mutation_list import ROOT, Mutation, Problem, TestRun, check_list, read_list

Item = TypeVar("Item")

LIST = ROOT / "tools/mutations.txt"
WORK = ROOT / "build/mutations"

# Its processes are ranks, as tests/CMakeLists.txt starts them.
BY_MPIRUN = {"comm_mpi_test"}
# A test program that takes this many times longer than without a mistake, and these seconds, hangs.
HANG_FACTOR = 4
HANG_SECONDS = 60


def find_failure(output: str) -> str:
    """The first test that failed, else the one that was running at the end."""
    if failed := re.search(r"^\[  FAILED  \] ([^\s,]+)", output, re.MULTILINE):
        return failed[1]
    running = re.findall(r"^\[ RUN      \] (\S+)", output, re.MULTILINE)
    return f"{running[-1]} (crashed)" if running else "(it did not start)"


class Copy:
    """A copy of the working tree with a build folder of its own."""

    def __init__(self, number: int) -> None:
        self.folder = WORK / str(number)
        self.build_folder = self.folder / "build/release"
        self.temporary = self.folder / "tmp"
        self.process: subprocess.Popen[bytes] | None = None  # the tests that run

    def bring_up_to_date(self) -> None:
        """Touches only files that differ, so that the next build is incremental."""
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout.split("\0")
        wanted = {name for name in listed if name and (ROOT / name).is_file()}
        for folder, folders, files in os.walk(self.folder):
            here = pathlib.Path(folder)
            if here == self.folder:
                folders[:] = [name for name in folders if name not in ("build", "tmp")]
            for file in files:
                if str((here / file).relative_to(self.folder)) not in wanted:
                    (here / file).unlink()
        for name in wanted:
            source, target = ROOT / name, self.folder / name
            if target.is_file() and target.read_bytes() == source.read_bytes():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)  # not the times: what changed must look new
            shutil.copymode(source, target)

    def configure(self) -> None:
        """Throws Problem with what CMake said."""
        # As elsewhere, and so that the compiler's cache serves the copies: what warns is caught, too.
        strict = os.environ.get("SWITCHYARD_WERROR", "OFF")
        command = ["cmake", "--preset", "release", f"-DSWITCHYARD_WERROR={strict}"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise Problem(f"{self.folder} cannot be configured:\n{done.stdout}{done.stderr}")

    def build(self, programs: list[str], log: pathlib.Path, processes: int = 1) -> bool:
        with log.open("a") as output:
            command = ["cmake", "--build", str(self.build_folder), "--parallel", str(processes), "--target"]
            return subprocess.run(command + programs, stdout=output, stderr=output).returncode == 0

    def run(self, test: TestRun, log: pathlib.Path, limit: float | None) -> str:
        """Empty when the tests pass, else what failed. `limit`: seconds until they count as hanging."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        temporary = str(self.temporary)
        settings = {"GTEST_FAIL_FAST": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        settings |= {"TMPDIR": temporary, "TEST_TMPDIR": temporary}
        if test.program.endswith("_mpi_test"):
            settings |= {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1"}
            settings |= {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
        command = [str(self.build_folder / "tests" / test.program), f"--gtest_filter={test.filter or '*'}"]
        if test.program in BY_MPIRUN:
            command = ["mpirun", "-n", "4", *command, "checked"]
        begin = log.stat().st_size if log.exists() else 0
        with log.open("a") as output:
            process = self.process = subprocess.Popen(
                command, cwd=self.folder, env=os.environ | settings, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )
            try:
                hangs = False
                busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
                process.wait(limit and limit * busy)
            except subprocess.TimeoutExpired:
                hangs = True
                self.stop()
        shutil.rmtree(self.temporary, ignore_errors=True)
        if process.returncode == 0 and not hangs:
            return ""
        said = log.read_bytes()[begin:].decode(errors="replace")
        if hangs:
            return find_failure(said).replace("(crashed)", "(hangs)")
        return find_failure(said)


    def stop(self) -> None:
        """Ends the tests that run, and what they started."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Runner:
    """Plants mistakes in copies, several at a time, and prints a line for each."""

    def __init__(self, mutations: list[Mutation], jobs: int) -> None:
        self.mutations = mutations
        self.copies = [Copy(number) for number in range(1, jobs + 1)]
        self.seconds: dict[TestRun, float] = {}  # without a mistake
        self.results: dict[str, list[str]] = {"caught": [], "SURVIVED": [], "DOES NOT BUILD": []}
        self.printing = threading.Lock()

    def prepare(self) -> None:
        """Builds the copies and runs all tests without a mistake. Throws Problem when one fails."""
        (WORK / "logs").mkdir(parents=True, exist_ok=True)
        tests = list(dict.fromkeys(test for each in self.mutations for test in each.test_runs()))
        programs = sorted({test.program for test in tests})
        for copy in self.copies:  # before any is built: the tree may be worked on meanwhile
            copy.bring_up_to_date()
        for copy in self.copies:
            start = time.monotonic()
            log = self._log_without_a_mistake(copy)
            log.unlink(missing_ok=True)
            copy.configure()
            if not copy.build(programs, log, len(self.copies)):
                raise Problem(f"the tests do not build: {log}")
            print(f"built in {copy.folder.relative_to(ROOT)}: {time.monotonic() - start:.0f} s", flush=True)
        failures: list[str] = []

        def measure(copy: Copy, test: TestRun) -> None:
            if failures:
                return
            start = time.monotonic()
            log = self._log_without_a_mistake(copy)
            if failed := copy.run(test, log, None):
                failures.append(f"{test.program}: {failed} fails without a mistake: {log}")
                return
            self.seconds[test] = time.monotonic() - start
            print(f"passes: {test.program} {test.filter} {self.seconds[test]:.1f} s", flush=True)

        self._in_copies(measure, tests)
        if failures:
            raise Problem("\n".join(failures))

    def run(self) -> bool:
        """True when every mistake was caught."""
        start = time.monotonic()

        def plant(copy: Copy, mutation: Mutation) -> None:
            begin = time.monotonic()
            result, by = self._plant(copy, mutation)
            with self.printing:
                self.results[result].append(mutation.name)
                print(f"{result:<14} {mutation.name:<40} {time.monotonic() - begin:4.0f} s  {by}", flush=True)

        self._in_copies(plant, self.mutations)
        counts = ", ".join(f"{len(names)} {result.lower()}" for result, names in self.results.items())
        print(f"mistakes: {counts}, in {time.monotonic() - start:.0f} s")
        for result in ("SURVIVED", "DOES NOT BUILD"):
            for name in self.results[result]:
                print(f"{result}: {name}")
        return sum(map(len, self.results.values())) == len(self.results["caught"]) == len(self.mutations)

    @staticmethod
    def _log_without_a_mistake(copy: Copy) -> pathlib.Path:
        return WORK / f"logs/without-a-mistake-{copy.folder.name}.log"

    def _in_copies(self, work: Callable[[Copy, Item], None], items: list[Item]) -> None:
        """`work` with every item, each in the copy that is free first."""
        waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        for item in items:
            waiting.put(item)

        def take_from_queue(copy: Copy) -> None:
            while True:
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    return
                work(copy, item)

        workers = [
            threading.Thread(target=take_from_queue, args=(copy,), daemon=True) for copy in self.copies
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _plant(self, copy: Copy, mutation: Mutation) -> tuple[str, str]:
        log = WORK / f"logs/{mutation.name}.log"
        log.unlink(missing_ok=True)
        file = copy.folder / mutation.path
        right = file.read_text()
        file.write_text(mutation.applied_to(right))
        try:
            for test in mutation.test_runs():
                if not copy.build([test.program], log):
                    return "DOES NOT BUILD", str(log.relative_to(ROOT))
                limit = HANG_FACTOR * self.seconds[test] + HANG_SECONDS
                runs = [test]
                near = mutation.nearest_tests()
                if near and test.program == f"{mutation.layer}_test":
                    runs.insert(0, TestRun(test.program, near))
                for each in runs:
                    if failed := copy.run(each, log, limit):
                        return "caught", f"{test.program} {failed}"
            return "SURVIVED", ""
        finally:
            file.write_text(right)


def choose(mutations: list[Mutation], names: list[str], layers: list[str]) -> list[Mutation]:
    """Throws Problem for a name or a layer that is not in the list."""
    known = {each.name for each in mutations} | {each.layer for each in mutations}
    if unknown := [each for each in names + layers if each not in known]:
        raise Problem(f"not in the list: {', '.join(unknown)}")
    return [
        each for each in mutations
        if (not names or each.name in names) and (not layers or each.layer in layers)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0], epilog="What it does in words: the head of this file."
    )
    parser.add_argument("--list", action="store_true", help="print the mistakes and their tests")
    parser.add_argument("--check", action="store_true", help="only see whether they all fit the code")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--layer", nargs="+", default=[], metavar="LAYER")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="mistakes at a time (default 1)")
    parser.add_argument("--file", type=pathlib.Path, default=LIST, help="another list of mistakes")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error("--jobs takes 1 or more")
    try:
        everything = read_list(arguments.file)
        check_list(everything, ROOT)
        chosen = choose(everything, arguments.only, arguments.layer)
        planted = [each for each in chosen if not each.equivalent]
        if arguments.list:
            for each in chosen:
                tests = ", ".join(f"{test.program} {test.filter}".strip() for test in each.test_runs())
                print(f"{each.name:<40} {each.path}: {each.equivalent and 'equivalent' or tests}")
        if arguments.list or arguments.check:
            beside = len(chosen) - len(planted)
            print(f"{len(planted)} mistakes fit the code, beside {beside} equivalent ones")
            return 0
        runner = Runner(planted, arguments.jobs)
        try:
            runner.prepare()
            return 0 if runner.run() else 1
        finally:  # also when it is interrupted
            for copy in runner.copies:
                copy.stop()
    except Problem as problem:
        print(f"mutate: error: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
