"""stackup: Compose stacks as plain Linux processes in namespaces. Every entry point pays for this file: keep it empty."""

__version__ = "0.1.0"
