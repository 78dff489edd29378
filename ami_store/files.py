"""Durable files: reads nothing, gives atomic writes that survive a kill at any line, and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ami_contract.errors import LakeError, LockHeldError

TEMPORARY_PREFIX = ".writing-"
REPLACED_PREFIX = ".replaced-"


def check_folders(folders: Iterable[Path]) -> None:
    """Raise LakeError for the first of the folders that is there, but is no folder."""
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise LakeError(
                f"{folder} is a file where a folder belongs; move it away, or set AMI_DATA_DIR to "
                "another folder"
            )


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_path(target: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `target` that takes its name when the block ends well.

    The block writes the file; it is fsynced and renamed, so that `target` holds either what it
    held before or all of the new content. When the block raises, the temporary file is removed.

    Args:
        target: final path; its folder is made when absent.
        durable: False leaves out the fsync of the folder, for callers that sync it once for many
            files.

    Raises:
        LakeError: the disk is full or the folder cannot be written; names the path.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f"{TEMPORARY_PREFIX}{uuid4().hex}-{target.name}"
        try:
            yield temporary
            handle = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            fsync_folder(target.parent)
    except OSError as error:
        raise LakeError(
            f"cannot write {target}: {error.strerror or error}; free space or mend the folder's "
            "permissions: nothing is lost"
        ) from error


def write_bytes(target: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write `content`, whole or in pieces, to `target` atomically and durably; raises LakeError."""
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        file.writelines([content] if isinstance(content, bytes) else content)


def write_with(target: Path, writer: Callable[[Path], object], *, durable: bool = True) -> None:
    """Let `writer` fill a temporary path that then becomes `target`; raises LakeError."""
    with atomic_path(target, durable=durable) as temporary:
        writer(temporary)


def replace_folder(fresh: Path, target: Path) -> None:
    """Put the folder `fresh`, which lies beside `target`, in its place.

    What was there is moved aside first and deleted last. Killed in between, it comes back by
    `recover_folder`, which the next call for `target` begins with. One process at a time.

    Raises:
        OSError: a folder cannot be renamed.
    """
    recover_folder(target)
    if target.exists():
        target.replace(_aside(target))
    fresh.replace(target)
    fsync_folder(target.parent)
    shutil.rmtree(_aside(target), ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Give `target` back what a killed `replace_folder` had moved aside; raises OSError."""
    aside = _aside(target)
    if aside.exists() and not target.exists():
        aside.replace(target)
        fsync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(f"{REPLACED_PREFIX}{target.name}")


@contextmanager
def locked(
    path: Path, *, shared: bool = False, wait: bool = True, held: str = ""
) -> Iterator[None]:
    """Hold a lock between processes for the block; a killed holder's lock is free again.

    Args:
        path: the lock's file, made when absent.
        shared: several may hold it, but none beside an exclusive one.
        wait: False raises instead of waiting for another holder.
        held: what that error says.

    Raises:
        LockHeldError: somebody else holds it and `wait` is False.
        LakeError: the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LakeError(f"cannot make the lock {path}: {error.strerror or error}") from error
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise LockHeldError(held or f"{path} is held by another process") from error
        yield
    finally:
        os.close(handle)
