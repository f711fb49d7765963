"""The environment of a service: its env files, then its `environment`, with the project environment for null values.

Reads env files; everything else is given. Source: Compose specification, "environment" and "env_file".
"""

from __future__ import annotations

import os

from stackup.errors import StackupError
from stackup.stackfile.envfile import parse_raw
from stackup.stackfile.interpolate import unset_warning
from stackup.stackfile.nodes import Mark, Report, find, written
from stackup.stackfile.source import read_env_file, read_text, shown
from stackup.stackfile.stack import Stack


def service_environment(stack: Stack, name: str, report: Report) -> dict[str, str]:
    """The variables, sorted by name. Missing and faulty env files are reported."""
    service = stack.file.services[name]
    project = stack.environment
    written_here: dict[str, str | None] = {
        key: project.get(key) if value is None else value for key, value in service.environment.items()
    }
    given = {key: value for key, value in written_here.items() if value is not None}
    inherited = {**given, **project}
    values: dict[str, str] = {}
    for index, env_file in enumerate(service.env_file):
        key_path = ("services", name, "env_file", index)
        path = stack.absolute(env_file.path)
        if not os.path.exists(path):
            if env_file.required:
                mark, _ = find(stack.document, key_path)
                reason = f"env file {path} not found"
                report.problem(mark, written(stack.document, key_path), reason, "create it, or say required: false")
            continue
        try:
            if env_file.format == "raw":
                parsed = parse_raw(read_text(path, "env file"), inherited)
            else:
                parsed = read_env_file(path, inherited, values)
        except StackupError as error:
            mark, _ = find(stack.document, key_path)
            report.problem(mark, written(stack.document, key_path), error.message, error.hint)
            continue
        for fault in parsed.faults:
            report.problem(Mark(shown(stack.source, path), fault.line, fault.column), (), fault.reason)
        for variable in parsed.unset:
            report.warn(unset_warning(variable))
        values.update((key, value) for key, value in parsed.values.items() if key)
    for key, value in written_here.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
    for key in values:
        if "=" in key or not key:
            variable_path = ("services", name, "environment", key)
            reason = f"{key!r} cannot be the name of a variable"
            report.problem(find(stack.document, variable_path)[0], variable_path, reason)
    return dict(sorted(values.items()))
