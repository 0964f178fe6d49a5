"""Makes text from the bucket and from queues safe to print."""


def printable(text: str) -> str:
    """Replace unprintable characters by U+FFFD: they may control a terminal, and XML (SVG) does not allow them."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
