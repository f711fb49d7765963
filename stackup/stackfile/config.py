"""`stackup config`: the resolved file, in canonical form, as a document that loads again to the same Desired."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from stackup.stackfile.desired import select_services
from stackup.stackfile.environment import service_environment
from stackup.stackfile.nodes import Report, plain
from stackup.stackfile.stack import Stack

_SPECIAL = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
"""What a YAML reader refuses, or takes for the end of a line, unless it is escaped."""


def canonical_model(stack: Stack) -> dict[str, Any]:
    """The enabled services with their environments and absolute paths; networks and volumes as written.

    Raises:
        StackFileError: an env file is missing or faulty, or a dependency is disabled.
    """
    report = Report()
    enabled = select_services(stack, (), report)
    environments = {name: service_environment(stack, name, report) for name in enabled}
    report.raise_problems()
    document: dict[str, Any] = plain(stack.document)
    document.pop("version", None)
    written = document.get("services") or {}
    services = {name: _service(stack, written[name], environments[name], enabled) for name in enabled}
    rest = {key: value for key, value in document.items() if key not in ("name", "services")}
    return {"name": stack.name, "services": services, **rest}


def dump(stack: Stack, *, format: Literal["yaml", "json"] = "yaml") -> str:
    """The model as text, every `$` doubled so that it means itself.

    Raises:
        StackFileError: an env file is missing or faulty, or a dependency is disabled.
    """
    document = _escape(canonical_model(stack))
    if format == "json":
        return to_json(document) + "\n"
    return _to_yaml(document)


def to_json(document: Any) -> str:
    """JSON that YAML readers read alike: these break lines at some characters and know no surrogate pairs."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _SPECIAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _service(
    stack: Stack, data: dict[str, Any], environment: dict[str, str], enabled: tuple[str, ...]
) -> dict[str, Any]:
    service = {key: value for key, value in data.items() if key not in ("env_file", "environment")}
    if environment:
        service["environment"] = environment
    if "depends_on" in service:
        edges = {other: edge for other, edge in service["depends_on"].items() if other in enabled}
        service["depends_on"] = edges
    if service.get("working_dir"):
        service["working_dir"] = stack.absolute(service["working_dir"])
    if "volumes" in service:
        service["volumes"] = [_volume(stack, volume) for volume in service["volumes"]]
    if develop := service.get("develop"):
        rules = [{**rule, "path": stack.absolute(rule["path"])} for rule in develop.get("watch", ())]
        service["develop"] = {**develop, "watch": rules}
    return service


def _volume(stack: Stack, volume: dict[str, Any]) -> dict[str, Any]:
    return {**volume, "source": stack.absolute(volume["source"])} if volume["type"] == "bind" else volume


def _escape(value: Any) -> Any:
    match value:
        case str():
            return value.replace("$", "$$")
        case dict():
            return {key: _escape(item) for key, item in value.items()}
        case list():
            return [_escape(item) for item in value]
        case _:
            return value


def _to_yaml(document: dict[str, Any]) -> str:
    import yaml

    from stackup.stackfile.parse import resolve_scalar

    class Dumper(yaml.SafeDumper):
        """Writes for YAML 1.2 readers and 1.1 readers alike: quotes what either would take for another type."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        is_safe = isinstance(resolve_scalar(value), str) and not _SPECIAL.search(value)
        style = None if is_safe else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=4096)
