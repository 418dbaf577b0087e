"""The journal calls of systemd's own library by ctypes, for hosts without systemd-python: the same few methods.

Each call is slow, so that it is used to follow a journal, not to catch up with one. Errors are OSErrors, as from
systemd-python. See sd_journal_open(3) and the pages that it names.
"""

import ctypes
import errno
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from functools import cache
from typing import Final

NAME: Final = "libsystemd.so.0"
_SIGNATURES = {
    "sd_journal_open_directory": (POINTER(c_void_p), c_char_p, c_int),
    "sd_journal_open_files": (POINTER(c_void_p), POINTER(c_char_p), c_int),
    "sd_journal_set_data_threshold": (c_void_p, c_size_t),
    "sd_journal_seek_cursor": (c_void_p, c_char_p),
    "sd_journal_seek_realtime_usec": (c_void_p, c_uint64),
    "sd_journal_get_fd": (c_void_p,),
    "sd_journal_process": (c_void_p,),
    "sd_journal_next": (c_void_p,),
    "sd_journal_get_data": (c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_size_t)),
    "sd_journal_restart_data": (c_void_p,),
    "sd_journal_enumerate_available_data": (c_void_p, POINTER(c_void_p), POINTER(c_size_t)),
    "sd_journal_get_cursor": (c_void_p, POINTER(c_void_p)),
    "sd_journal_get_realtime_usec": (c_void_p, POINTER(c_uint64)),
}


@cache
def library() -> ctypes.CDLL:
    """Return the library with its calls' types. Raises: ImportError."""
    try:
        loaded = ctypes.CDLL(NAME)
        for name, arguments in _SIGNATURES.items():
            call = getattr(loaded, name)
            call.argtypes, call.restype = arguments, c_int
        loaded.sd_journal_restart_data.restype = None
    except (OSError, AttributeError) as error:
        raise ImportError(f"{NAME} cannot be used: {error}") from error
    return loaded


def is_there() -> bool:
    """Tell whether this host has the library."""
    try:
        library()
    except ImportError:
        return False
    return True


class Journal:
    """Journal files, open for reading for as long as the process lives; ``journal_reader.Journal`` is its contract."""

    def __init__(self, *, directory: str = "", files: tuple[str, ...] = ()) -> None:
        self._sd = library()
        self._handle = c_void_p()
        if files:
            names = (c_char_p * (len(files) + 1))(*map(os.fsencode, files), None)
            _checked(self._sd.sd_journal_open_files(byref(self._handle), names, 0))
        else:
            _checked(self._sd.sd_journal_open_directory(byref(self._handle), os.fsencode(directory), 0))
        self._data, self._length, self._usec = c_void_p(), c_size_t(), c_uint64()
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = (c_void_p,)

    @property
    def data_threshold(self) -> int:
        """How much of a value is read, in bytes."""
        raise AttributeError("write only")

    @data_threshold.setter
    def data_threshold(self, most: int) -> None:
        _checked(self._sd.sd_journal_set_data_threshold(self._handle, most))

    def seek_cursor(self, cursor: str) -> None:
        try:
            _checked(self._sd.sd_journal_seek_cursor(self._handle, cursor.encode()))
        except OSError as error:
            raise ValueError(f"invalid cursor: {cursor[:100]}") from error

    def seek_realtime(self, usec: int) -> None:
        _checked(self._sd.sd_journal_seek_realtime_usec(self._handle, usec))

    def fileno(self) -> int:
        return _checked(self._sd.sd_journal_get_fd(self._handle))

    def process(self) -> int:
        return _checked(self._sd.sd_journal_process(self._handle))

    def _next(self) -> int:
        return _checked(self._sd.sd_journal_next(self._handle))

    def _get(self, field: str) -> bytes:
        status = self._sd.sd_journal_get_data(self._handle, field.encode(), byref(self._data), byref(self._length))
        if status == -errno.ENOENT:
            raise KeyError(field)
        _checked(status)
        return ctypes.string_at(self._data.value or 0, self._length.value).partition(b"=")[2]

    def _get_all(self) -> dict[str, bytes | list[bytes]]:
        sd, handle, data, length = self._sd, self._handle, self._data, self._length
        step, at, size = sd.sd_journal_enumerate_available_data, byref(data), byref(length)
        found: dict[str, bytes | list[bytes]] = {}
        sd.sd_journal_restart_data(handle)
        while _checked(step(handle, at, size)):
            name, _, value = ctypes.string_at(data.value or 0, length.value).partition(b"=")
            key = name.decode()
            known = found.get(key)
            if known is None:
                found[key] = value
            else:
                found[key] = [*known, value] if isinstance(known, list) else [known, value]
        return found

    def _get_cursor(self) -> str:
        text = c_void_p()
        _checked(self._sd.sd_journal_get_cursor(self._handle, byref(text)))
        try:
            return ctypes.string_at(text.value or 0).decode()
        finally:
            self._free(text)

    def _get_realtime(self) -> int:
        _checked(self._sd.sd_journal_get_realtime_usec(self._handle, byref(self._usec)))
        return self._usec.value


def _checked(status: int) -> int:
    if status < 0:
        raise OSError(-status, os.strerror(-status))
    return status
