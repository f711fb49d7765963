"""stackup: Compose stacks as plain Linux processes in namespaces. Every entry point pays for what this file does."""

__version__ = "0.1.0"
