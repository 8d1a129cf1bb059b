"""Unpacks TARBALL into FOLDER as AWX does with a project of type "Remote Archive".

Its folder of the first level goes; modes are not kept; a link becomes an empty file; a file needs its folder to come first.
"""

import pathlib
import sys
import tarfile

with tarfile.open(sys.argv[1]) as archive:
    for member in archive:
        path = pathlib.Path(sys.argv[2], *pathlib.Path(member.name).parts[1:])
        if member.isdir():
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(tarfile.ExFileObject(archive, member).read())
