"""The launcher: parent of every container of one stack. Standard library only, one thread; see docs/architecture.md."""
