"""The composition root: store, launcher, codebase and knowledge put together, and what engineers do with them.

Every face (the command line, Python) calls this room and holds no decision of its own.
"""

from rea.workspace.compose import Workspace, open_workspace

__all__ = ["Workspace", "open_workspace"]
