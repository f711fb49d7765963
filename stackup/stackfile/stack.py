"""A loaded stack: the merged file with its places, its models, and where it came from. Data only."""

from __future__ import annotations

import os
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stackup.stackfile import nodes
from stackup.stackfile.source import Location, Source, active_profiles, expand_home

if TYPE_CHECKING:
    from stackup.stackfile.models import StackFile


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """`document` is the merged tree that `file` was validated from; `warnings` are for the user."""

    name: str
    source: Source
    location: Location
    environment: Map[str, str]
    """What variables of the file see: the project environment and the stack's name."""
    document: nodes.Mapping
    file: StackFile
    warnings: tuple[str, ...]

    @property
    def profiles(self) -> frozenset[str]:
        return active_profiles(self.source, self.location)

    @property
    def directory(self) -> str:
        return self.location.project_directory

    def absolute(self, path: str) -> str:
        """A path of the file: relative to the project directory, `~` the caller's home; symlinks stay."""
        return os.path.normpath(os.path.join(self.directory, expand_home(path, self.source.environ)))
