"""minimal"""


def install(channel) -> None:
    """minimal"""
