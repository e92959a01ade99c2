"""Build the compiled modules.  ``MTPFAST_DEBUG=1`` checks bounds and invariants, and traces lines."""

import contextlib
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("MTPFAST_DEBUG", "0") not in ("", "0")

# No -ffast-math and no contraction into fused operations: the certificates need IEEE arithmetic.
UNIX_FLAGS = ["-O1" if DEBUG else "-O3", "-Wall", "-Wextra", "-fopenmp-simd", "-ffp-contract=off"]
MSVC_FLAGS = ["/Od" if DEBUG else "/O2", "/W3", "/fp:precise"]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "linetrace": DEBUG,
    "embedsignature": True,
    "freethreading_compatible": False,
}


class BuildCore(build_ext):
    """Choose the flags by compiler, and never mistake a debug build for a release build."""

    def finalize_options(self):
        super().finalize_options()
        self.force = True  # time stamps do not tell a debug build from a release build

    def run(self):
        super().run()
        if not (self.inplace or DEBUG):
            # The checkout itself gets the release build too: scripts and ``python -m pytest``
            # started in it import the package from there.
            with contextlib.suppress(OSError):
                self.copy_extensions_to_source()

    def build_extensions(self):
        flags = MSVC_FLAGS if self.compiler.compiler_type == "msvc" else UNIX_FLAGS
        for extension in self.extensions:
            extension.extra_compile_args = flags
        super().build_extensions()


EXTENSIONS = [
    Extension(
        f"mtpfast.{source.stem}",
        [source.as_posix()],
        include_dirs=["mtpfast"],
        depends=["mtpfast/_simd.h"],
        define_macros=[("MTP_DEBUG", "1"), ("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if DEBUG else [],
    )
    for source in sorted(Path("mtpfast").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        EXTENSIONS,
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        compiler_directives=DIRECTIVES,
    ),
    cmdclass={"build_ext": BuildCore},
)
