"""Text from the bucket and from queues, for people to look at."""


def printable(text: str) -> str:
    """Return the text without characters that would repaint a terminal or that XML does not allow: each is replaced."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
