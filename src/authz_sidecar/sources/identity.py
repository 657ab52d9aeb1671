"""What tells a file from another in its place, and from itself before a change."""

import os


def file_identity(facts: os.stat_result) -> tuple[int, ...]:
    """Device, inode, size and both times. The time of change is there for tools that set the time of modification
    back."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
