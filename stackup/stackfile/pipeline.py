"""The pipeline from files to a checked Stack: parse, interpolate, canonical forms, merge, models, consistency.

Each stage goes on as far as it can, so that one run reports the problems of all files.
"""

from __future__ import annotations

from functools import reduce

from stackup.errors import StackupError
from stackup.stackfile import source as sources
from stackup.stackfile.canonical import canonical
from stackup.stackfile.interpolate import interpolate_node
from stackup.stackfile.merge import merge
from stackup.stackfile.nodes import Mapping, Mark, Node, Report, Scalar, is_invalid, kind
from stackup.stackfile.parse import parse
from stackup.stackfile.source import Location, Source
from stackup.stackfile.stack import Stack


def load(source: Source) -> Stack:
    """Load and check a stack.

    Raises:
        StackFileError: the files have problems; all of them.
        StackupError: there is no stack file, it cannot be read, or the stack's name is not valid.
    """
    # Inside the function: these import pydantic, and parsing alone must not.
    from stackup.stackfile.check import Checker
    from stackup.stackfile.selection import enabled
    from stackup.stackfile.validate import validate

    location = sources.locate(source)
    report = Report(warnings=list(location.warnings))
    documents, readable = _documents(source, location, report)
    name = _name(source, location, documents, report)
    environment = {**location.environment, "COMPOSE_PROJECT_NAME": name, "STACKUP_PROJECT_NAME": name}
    interpolated = [interpolate_node(document, environment, report) for document in documents]
    if not readable:
        report.raise_problems()
    long_forms = [canonical(document, report) for document in interpolated]
    empty: Node = Mapping({}, long_forms[0].mark)
    merged = reduce(lambda base, override: merge(base, override, report), long_forms, empty)
    assert isinstance(merged, Mapping)
    file = validate(merged, report)
    if file is None:
        report.raise_problems()
        raise AssertionError("a file without models and without problems")
    if file.version is not None:
        report.warn("the attribute `version` is obsolete and has no effect; remove it")
    stack = Stack(name, source, location, environment, merged, file, ())
    Checker(merged, file, report).check(enabled(file.services, stack.profiles))
    report.raise_problems()
    return Stack(name, source, location, environment, merged, file, tuple(report.warnings))


def stack_name(source: Source) -> str:
    """Only the name of a stack. Reads the files where neither -p nor the environment gives it.

    Raises:
        StackFileError: a file is no YAML.
        StackupError: there is no stack file, or the name is not valid.
    """
    location = sources.locate(source)
    chosen = sources.chosen_name(source, location)
    if chosen:
        return chosen
    report = Report()
    documents, readable = _documents(source, location, report)
    if not readable:
        report.raise_problems()
    return sources.default_name(location, _written_name(documents, location, Report()))


def _documents(source: Source, location: Location, report: Report) -> tuple[list[Mapping], bool]:
    """The documents of all files in order, and whether all of them could be read."""
    documents: list[Mapping] = []
    readable = True
    for path in location.files:
        shown = sources.shown(source, path)
        parsed = parse(sources.read_bytes(path, "stack file"), shown, report)
        readable = readable and parsed is not None
        for document in parsed or ():
            if isinstance(document, Mapping):
                documents.append(document)
            elif not is_invalid(document):
                report.problem(document.mark, (), f"top-level object must be a mapping, not {kind(document)}")
                readable = False
    if not documents and readable:
        reason = "empty compose file"
        report.problem(
            Mark(sources.shown(source, location.files[0]), 1, 1), (), reason, "describe a service below services:"
        )
        readable = False
    return documents, readable


def _name(source: Source, location: Location, documents: list[Mapping], report: Report) -> str:
    chosen = sources.chosen_name(source, location)
    if chosen:
        return chosen
    try:
        return sources.default_name(location, _written_name(documents, location, report))
    except StackupError:
        if report.problems:
            report.raise_problems()
        raise


def _written_name(documents: list[Mapping], location: Location, report: Report) -> str | None:
    """The last `name:` of the files. Anything but a text is left to the models to report."""
    for document in reversed(documents):
        node = document.get("name")
        if node is not None:
            result = interpolate_node(node, location.environment, report, path=("name",))
            if isinstance(result, Scalar) and isinstance(result.value, str):
                return result.value
    return None
