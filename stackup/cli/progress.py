"""What the supervisor reports while it works, as lines on standard error: one for each change, or JSON, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stackup.cli.invocation import Progress
from stackup.cli.output import CYAN, DIM, GREEN, RED, YELLOW, Output, paint
from stackup.cli.render import exit_text, published_line

Event = Mapping[str, Any]

_ACTION_COLOURS = {"start": GREEN, "create": GREEN, "stop": YELLOW, "kill": RED, "remove": YELLOW}
_HEALTH_COLOURS = {"healthy": GREEN, "unhealthy": RED}


class ProgressWriter:
    """Writes events. What was said of a container or an address is not said again until it changes."""

    def __init__(self, output: Output, mode: Progress) -> None:
        self._output, self._mode = output, mode
        self._colour = output.err_colour and mode in (Progress.AUTO, Progress.TTY)
        self._said: dict[tuple[str, str], str] = {}
        self._published: set[tuple[str, int, int]] = set()
        self.actions = 0
        """Actions heard of so far."""

    def __call__(self, event: Event) -> None:
        self.actions += event["type"] == "action"
        if self._mode is Progress.JSON:
            self._output.note(json.dumps(event, separators=(",", ":"), ensure_ascii=False))
        elif self._mode is not Progress.QUIET:
            line = self._line(event)
            if line is not None:
                self._output.note(line)

    def say(self, text: str) -> None:
        """A sentence of the command itself, kept out of JSON and quiet modes."""
        if self._mode not in (Progress.JSON, Progress.QUIET):
            self._output.note(text)

    def _line(self, event: Event) -> str | None:
        match event["type"]:
            case "action":
                return self._action(event)
            case "state":
                return self._once("state", event["container"], self._state(event))
            case "hold":
                text = f"{event['container']}  {event['reason']}"
                return self._once("hold", event["container"], paint(text, DIM, self._colour))
            case "note":
                warning = event.get("level") == "warning"
                return f"{paint('warning: ', YELLOW, self._colour) if warning else ''}{event['text']}"
            case "published":
                return self._published_line(event)
            case "watch":
                files = ", ".join(event.get("files") or ())
                spent = f" in {event['duration'] * 1000:.0f} ms" if event.get("duration") is not None else ""
                return f"{event['service']}  {event['action']}{spent}  ({files} changed)"
        return None

    def _action(self, event: Event) -> str:
        verb = event["action"]
        coloured = paint(verb, _ACTION_COLOURS.get(verb.split(" ")[0], CYAN), self._colour)
        self._said.pop(("hold", event["object"]), None)
        cause = f"  ({event['cause']})" if event.get("cause") else ""
        return f"{coloured} {event['object']}{paint(cause, DIM, self._colour)}"

    def _state(self, event: Event) -> str | None:
        health = event.get("health")
        if event["state"] == "running":
            text = health if health in ("healthy", "unhealthy") else "running"
            return f"{event['container']}  {paint(text, _HEALTH_COLOURS.get(text, ''), self._colour)}"
        if event["state"] == "exited" and event.get("exit"):
            return f"{event['container']}  {exit_text(event['exit'])}"
        return None

    def _published_line(self, event: Event) -> str | None:
        """One line for a port that is published on 127.0.0.1 and ::1 alike: the first of the two."""
        port = int(str(event["url"] if "url" in event else event["port"]).rpartition(":")[2])
        key = (event["service"], event["target"], port)
        if key in self._published:
            return None
        self._published.add(key)
        return paint(published_line(event), CYAN, self._colour)

    def _once(self, kind: str, container: str, text: str | None) -> str | None:
        if text is None or self._said.get((kind, container)) == text:
            return None
        self._said[kind, container] = text
        return text


def summarise(stack: str, result: Mapping[str, Any], progress: ProgressWriter) -> None:
    """Say what `up` came to: warnings, whether anything was done, where to reach it."""
    for warning in result.get("warnings") or ():
        progress({"type": "note", "level": "warning", "text": warning})
    if not progress.actions:
        count = len(result.get("containers") or ())
        progress.say(f"{stack}: nothing to do ({count} container{'' if count == 1 else 's'})")
    for published in result.get("published") or ():
        progress({"type": "published", **published})
