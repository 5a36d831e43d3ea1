"""The product reads easily: short files and functions, plain names, and errors that are told of."""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = ("schemas", "projections", "services", "deploy")
GENERATED = {ROOT / "deploy/client/creditwell_client/bodies.py"}
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for package in PRODUCT
    for path in sorted((ROOT / package).rglob("*.py"))
    if path not in GENERATED
}
TREES = {file: ast.parse(source) for file, source in FILES.items()}

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 40
PROSE_LINE_MAX = 120

# Each with its reason. The list may only shrink: a file that has become shorter must leave it.
LONG_FILES = {
    "deploy/verifier/creditwell_verify.py": "one file, so that it may be carried anywhere",
    "services/money/top_ups/charging.py": "the way of an attempt through Stripe, step by step",
    "services/runtime/settings.py": "one declaration for each setting, with its words and its example",
}
LONG_FUNCTIONS = {
    "schemas/emitter/__init__.py:Emitter.__init__": "most of it says what each option is for",
}

# They say what was done to something, and not what it is.
PARTICIPLES = {"said", "told", "wanted", "found", "known", "asked", "given", "taken", "left", "seen"}

# Each of them stood for two or three things.
UNQUALIFIED = {"World", "Record", "Hold", "Card", "Row", "Work", "Step", "Told", "Kind"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its name, those of classes and of other functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{prefix}{child.name}", child
            yield from functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from functions(child, f"{prefix}{child.name}.")
        else:
            yield from functions(child, prefix)


def names_given(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a file gives to something, and where."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno


def docstring_lines(tree: ast.AST) -> Iterator[int]:
    """The numbers of the lines on which docstrings stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            yield from range(docstring.lineno, (docstring.end_lineno or 0) + 1)


def test_files_are_short() -> None:
    long = {file for file, source in FILES.items() if len(source.splitlines()) > FILE_LINES_MAX}

    assert long == LONG_FILES.keys(), "split it where it has a seam, or take it off the list"


def test_functions_are_short() -> None:
    long = {
        f"{file}:{name}"
        for file, tree in TREES.items()
        for name, function in functions(tree)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    }

    assert long == LONG_FUNCTIONS.keys(), "split it, or take it off the list"


def comment_lines(source: str) -> Iterator[int]:
    """The numbers of the lines that are comments."""
    return (number for number, line in enumerate(source.splitlines(), 1) if line.lstrip().startswith("# "))


def test_lines_of_docstrings_and_comments_are_short() -> None:
    long = [
        f"{file}:{number}"
        for file, tree in TREES.items()
        for number in (*docstring_lines(tree), *comment_lines(FILES[file]))
        if len(FILES[file].splitlines()[number - 1]) > PROSE_LINE_MAX
    ]

    assert long == []


def test_a_name_says_what_it_holds() -> None:
    assert not [file for file in FILES if Path(file).stem in PARTICIPLES]
    participles = [
        f"{file}:{number}: {name}"
        for file, tree in TREES.items()
        for name, number in names_given(tree)
        if name.strip("_").lower() in PARTICIPLES
    ]

    assert participles == []


def test_a_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{file}:{node.lineno}")

    assert {name: where for name, where in places.items() if len(where) > 1 or name in UNQUALIFIED} == {}


def our_errors() -> set[str]:
    """The exceptions that this code base defines, by name."""
    bases = {
        node.name: [base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases]
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    errors = {name for name, base in vars(builtins).items() if isinstance(base, type) and issubclass(base, Exception)}
    while more := {name for name, parents in bases.items() if name not in errors and errors.intersection(parents)}:
        errors |= more
    return errors & bases.keys()


def public_functions(node: ast.AST) -> Iterator[Function]:
    """The functions of a module and the methods of its classes that others may call.

    Not handlers of routes: their docstrings are the text of the API, which lists how each route fails.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child)
        elif isinstance(child, Function) and not child.name.startswith("_") and not handles_a_route(child):
            yield child


def handles_a_route(function: Function) -> bool:
    return any(ast.unparse(decorator).startswith("route(") for decorator in function.decorator_list)


def raised_by(function: Function) -> set[str]:
    """The names of what a function raises by its own statements, not by those of a function inside it."""
    raised, rest = set(), list[ast.AST](function.body)
    while rest:
        match rest.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                pass
            case ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))):
                raised.add(name)
            case node:
                rest += ast.iter_child_nodes(node)
    return raised


def test_a_public_function_tells_which_of_our_errors_it_raises() -> None:
    ours = our_errors()
    silent = [
        f"{file}:{function.lineno}: {function.name} raises {error}"
        for file, tree in TREES.items()
        for function in public_functions(tree)
        for error in raised_by(function) & ours
        if not re.search(rf"\braises?\b.*\b{error}\b", ast.get_docstring(function) or "", re.IGNORECASE | re.DOTALL)
    ]

    assert silent == []
