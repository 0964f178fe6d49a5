"""The walls of the house: which room may import which, how deep the floors go, and how large a module is."""

import ast
import functools
import sys
from pathlib import Path

import pytest

from local.program import ROOT

SHARED = {"stack", "transfers", "threads", "folders"}
# What each room of `trainq` may import, besides itself.
ROOMS = {
    "threads": set(),
    "protocol": set(),
    "folders": {"protocol"},
    "stack": {"protocol"},
    "transfers": {"protocol", "threads"},
    "client": {"protocol", *SHARED},
    "worker": {"protocol", *SHARED},
    "machine": {"protocol", "worker", *SHARED},
    "cli": {"protocol", "client", "worker", "machine", *SHARED},
    "testing": {"protocol", "worker", *SHARED},
    "__main__": {"cli"},
    # For type checkers: at run time the names are loaded when they are asked for.
    "__init__": {"stack", "worker"},
}
# Edges of the longest chain of imports.
FLOORS_BELOW_THE_WORKER, FLOORS = 6, 9
MAX_LINES = 250


def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "trainq").rglob("*.py"):
        found[path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """The names of modules that a file imports, wherever in it: also for types, and within functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{each.name}" for each in node.names}
            found.update(name if name in MODULES else node.module for name in names)
    return found


@functools.cache
def below(module: str) -> frozenset[str]:
    return frozenset(imported(MODULES[module]) & MODULES.keys() - {module})


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def longest(module: str, above: tuple[str, ...] = ()) -> tuple[str, ...]:
    assert module not in above, f"a circle of imports: {' > '.join([*above, module])}"
    chains = [longest(each, (*above, module)) for each in below(module)]
    return (module, *max(chains, key=len, default=()))


def test_every_room_is_known() -> None:
    assert {room(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_what_is_below_it(name: str) -> None:
    through = {
        f"{module} imports {each}"
        for module in MODULES
        if room(module) == name
        for each in below(module)
        if room(each) not in ROOMS[name] | {name}
    }
    assert not through


def test_the_floors_are_few_and_there_is_no_circle() -> None:
    worker = longest("trainq.worker.worker")
    assert len(worker) - 1 <= FLOORS_BELOW_THE_WORKER, " > ".join(worker)
    deepest = max((longest(module) for module in MODULES), key=len)
    assert len(longest("trainq.__main__")) - 1 <= FLOORS, " > ".join(longest("trainq.__main__"))
    assert len(deepest) - 1 <= FLOORS, " > ".join(deepest)


def test_the_function_imports_the_protocol_alone() -> None:
    for path in (ROOT / "lambda_src").glob("*.py"):
        ours = {name for name in imported(path) if name.split(".")[0] == "trainq"}
        assert {".".join(name.split(".")[:2]) for name in ours} <= {"trainq.protocol"}, path.name


def test_the_protocol_needs_what_the_functions_runtime_has() -> None:
    for path in (ROOT / "trainq" / "protocol").glob("*.py"):
        foreign = {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names
        assert foreign <= {"trainq", "boto3", "botocore"}, path.name


def test_the_program_imports_nothing_of_trainq() -> None:
    """Its settings and the messages have validators of their own: that wall is worth more than the lines it costs."""
    program = [*ROOT.glob("*.py"), *(ROOT / "policies").glob("*.py")]
    assert len(program) >= 15
    for path in program:
        assert not any(name.split(".")[0] == "trainq" for name in imported(path)), path.name


def test_the_guards_process_needs_the_standard_library_alone() -> None:
    """It is run by path, without site packages."""
    path = ROOT / "trainq" / "machine" / "guard_process.py"
    assert {name.split(".")[0] for name in imported(path)} <= sys.stdlib_module_names


def test_no_module_is_large() -> None:
    sources = [
        path
        for path in ROOT.rglob("*.py")
        if not {"venv", "build", "node_modules"} & set(path.relative_to(ROOT).parts) and ".egg" not in str(path)
    ]
    assert len(sources) > 150
    large = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in sources}
    assert {name: lines for name, lines in large.items() if lines > MAX_LINES} == {}
