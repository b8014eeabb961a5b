"""The mistakes that tools/mutate.py plants: how tools/mutations.txt is read."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What train_test does not link.
ABOVE_TRAIN = {"plan", "compare", "doctor", "cli"}
# Tests that take long and rarely tell what others do not; a gtest filter of those left out.
LEFT_OUT = {
    "cli_test": "Killed.In*",
    "data_test": "Prepare.ALineOf50MegabytesIsFine:Sources.ThousandsOf*",
}


class Problem(Exception):
    """What the caller has to mend: the list, the command line, or tests that fail anyway."""


@dataclasses.dataclass(frozen=True)
class TestRun:
    program: str
    filter: str  # of gtest; empty: all tests


@dataclasses.dataclass
class Mutation:
    name: str
    path: str  # relative to the root
    line: int  # in the list
    old: list[str] = dataclasses.field(default_factory=list)  # consecutive lines
    new: list[str] = dataclasses.field(default_factory=list)
    tests: list[TestRun] = dataclasses.field(default_factory=list)  # empty: those of the layer
    equivalent: str = ""  # why no test can notice it

    @property
    def layer(self) -> str:
        parts = pathlib.PurePath(self.path).parts
        return "kernels" if parts[0] == "kernels" else parts[2 if parts[0] == "include" else 1]

    def test_runs(self) -> list[TestRun]:
        """In the order in which they run, the nearest first."""
        if self.tests:
            return self.tests
        programs = [f"{self.layer}_test"]
        if self.layer == "kernels":
            programs.append("ops_test")  # where gradients are
        programs.append("cli_test" if self.layer in ABOVE_TRAIN else "train_test")
        left_out = {program: LEFT_OUT.get(program) for program in dict.fromkeys(programs)}
        return [TestRun(program, f"-{tests}" if tests else "") for program, tests in left_out.items()]

    def nearest_tests(self) -> str:
        """A gtest filter of the suites of the file's own tests; empty when there are none."""
        if self.tests:
            return ""
        stem = pathlib.PurePath(self.path).stem
        suites = set()
        for file in (ROOT / "tests" / self.layer).rglob(f"{stem}_test.cpp"):
            suites |= set(re.findall(r"^TEST(?:_F|_P)?\((\w+),", file.read_text(), re.MULTILINE))
        return ":".join(f"{suite}.*:*/{suite}.*" for suite in sorted(suites))

    def applied_to(self, text: str) -> str:
        """`text` with the mistake. Throws Problem unless the old text is there exactly once."""
        old = "\n".join(self.old)
        if (count := text.count(old)) != 1:
            raise Problem(f"{self.name}: its text is {count} times in {self.path}, expected once: {old}")
        return text.replace(old, "\n".join(self.new))


def read_list(path: pathlib.Path) -> list[Mutation]:
    """The mistakes in their order; the head of the list says how it is written."""
    mutations: list[Mutation] = []
    in_paragraph = False
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        key, _, rest = line.partition(" ")
        if not line.strip():
            in_paragraph = False
        elif line.startswith("#"):
            pass
        elif not in_paragraph:
            if not re.fullmatch(r"[a-z0-9-]+ [\w./-]+", line):
                raise Problem(f"{path.name}:{number}: expected 'name path/of/a/file', found: {line}")
            mutations.append(Mutation(name=key, path=rest, line=number))
            in_paragraph = True
        elif key == "-":
            mutations[-1].old.append(rest)
        elif key == "+":
            mutations[-1].new.append(rest)
        elif key == "test":
            program, _, tests = rest.partition(" ")
            mutations[-1].tests.append(TestRun(program, tests))
        elif key == "equivalent":
            mutations[-1].equivalent = rest
        else:
            raise Problem(f"{path.name}:{number}: expected '-', '+', 'test' or 'equivalent': {line}")
    return mutations


def check_list(mutations: list[Mutation], root: pathlib.Path) -> None:
    """Throws Problem with every mistake that does not fit the code below `root`."""
    problems = []
    names: set[str] = set()
    for mutation in mutations:
        if mutation.name in names:
            problems.append(f"{mutation.name}: twice in the list")
        names.add(mutation.name)
        if not any(line.strip() for line in mutation.old):
            problems.append(f"{mutation.name}: no line begins with '- '")
        elif mutation.old == mutation.new:
            problems.append(f"{mutation.name}: changes nothing")
        elif not (root / mutation.path).is_file():
            problems.append(f"{mutation.name}: there is no {mutation.path}")
        else:
            try:
                mutation.applied_to((root / mutation.path).read_text())
            except Problem as problem:
                problems.append(str(problem))
    if problems:
        raise Problem("\n".join(problems))
