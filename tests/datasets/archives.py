"""NumPy files for tests, also ones that NumPy would not write."""

import io
import zipfile

import numpy as np


def ramp(*shape):
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def npy(array, shape=None, **header):
    """Return an array as in a file, with another shape or other entries in its header."""
    file = io.BytesIO()
    stated = {"descr": "|u1", "fortran_order": False, "shape": shape or array.shape} | header
    np.lib.format.write_array_header_1_0(file, stated)
    return file.getvalue() + array.tobytes()


def pack(path, *members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


IMAGES = ramp(4, 8, 8)
GOOD = npy(IMAGES)
