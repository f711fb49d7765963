"""Programs that end before anybody has looked at them: what they did counts all the same."""

from __future__ import annotations

from tests.support import TestStack


def test_programs_that_end_at_once_have_run(stack: TestStack) -> None:
    stack.write(
        """
services:
  good:
    command: "true"
    scale: 20
  bad:
    command: "false"
    scale: 10
  last:
    command: sleep MARK
    depends_on: {good: {condition: service_completed_successfully}}
"""
    )
    stack.run("up", "-d", "--wait", check=False)
    ends = {}
    for record in stack.ps().values():
        ends.setdefault(record["Service"], []).append((record["State"], record["ExitCode"]))
    assert ends["good"] == [("exited", 0)] * 20
    assert ends["bad"] == [("exited", 1)] * 10
    assert ends["last"] == [("running", 0)]
