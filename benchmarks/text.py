"""Sizes of messages as people write them."""

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def parse_size(text: str) -> int:
    """Bytes of `8`, `64K`, `128M`."""
    text = text.strip().upper()
    return int(text.rstrip("KMG")) * UNITS.get(text[-1:], 1)


def parse_sizes(text: str) -> list[int]:
    """Bytes of a list such as `8,64K,128M`."""
    return [parse_size(one) for one in text.split(",")]


def parse_names(text: str) -> list[str]:
    """Names of a list such as `bcast,scan`."""
    return [one.strip() for one in text.split(",")]


def size_text(size: int) -> str:
    """64 KiB for 65536."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"
