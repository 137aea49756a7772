"""The admin of this app: what came in, what was learned from it, and what one user sees."""

from recommendations.admin import content, learned, readers

__all__ = ["content", "learned", "readers"]
