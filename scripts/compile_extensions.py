"""Compiles the package's optional Cython helpers (`*.pyx`).

Each helper has a pure-Python twin beside it, so that nothing depends on a compiler being there. Run
as a program it builds in place, beside the sources; the wheel's build hook calls the same code.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "plugins"
OPTIMISE = ["-O3", "-DNDEBUG", "-fwrapv", "-fno-strict-aliasing", "-fPIC"]


class CannotCompileError(Exception):
    """Something that compiling needs is not on this machine; the text says what."""


def compiler() -> list[str]:
    """The C compiler's command: `$CC`, else the system's, else the one of the `ziglang` wheel."""
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise CannotCompileError(
        "no C compiler (cc, gcc or clang; the PyPI package ziglang also has one)"
    )


def compile_extension(source: Path, folder: Path) -> Path:
    """Compile one `.pyx` file into `folder`; returns the extension module's path.

    Raises CannotCompileError when Cython, Python's headers or a compiler is missing or refuses.
    """
    command = compiler()
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").exists():
        raise CannotCompileError("Python's headers are missing (Debian: package python3-dev)")
    if not importlib.util.find_spec("Cython"):
        raise CannotCompileError("the Python package cython is missing")
    folder.mkdir(parents=True, exist_ok=True)
    generated = folder / f"{source.stem}.c"
    module = folder / (source.stem + sysconfig.get_config_var("EXT_SUFFIX"))
    shared = (
        ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    )
    # zig compiles for the very processor it runs on unless told otherwise; a wheel may travel.
    portable = ["-mcpu=baseline"] if "ziglang" in command else []
    unfinished = module.with_suffix(".unfinished")
    try:
        _run([sys.executable, "-m", "cython", "-3", str(source), "-o", str(generated)])
        flags = [*OPTIMISE, *portable, *shared, f"-I{headers}"]
        _run([*command, *flags, str(generated), "-o", str(unfinished)])
        # A running process keeps the old file: never write into a loaded library.
        unfinished.replace(module)
    finally:
        generated.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    return module


def compile_extensions(folder: Path | None = None) -> dict[Path, Path]:
    """Compile every `.pyx` of the package; returns module path -> path inside the package tree.

    With no folder the modules are built in place and those newer than their source are left alone.
    """
    built: dict[Path, Path] = {}
    for source in sorted(PACKAGES.rglob("*.pyx")):
        place = source.with_name(source.stem + sysconfig.get_config_var("EXT_SUFFIX"))
        if folder is None and place.exists() and place.stat().st_mtime > source.stat().st_mtime:
            continue
        module = compile_extension(source, folder or source.parent)
        built[module] = place.relative_to(PACKAGES)
    return built


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as reason:
        raise CannotCompileError(f"{command[0]}: {reason.strerror}") from reason
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise CannotCompileError(f"{shlex.join(command[:3])} … failed:\n{last}")


def main() -> int:
    """Build in place; exit code 0 when all modules are there, 3 when this machine cannot."""
    try:
        for module in compile_extensions():
            print(f"compiled {module.relative_to(ROOT)}")
    except CannotCompileError as reason:
        print(f"not compiled, the pure-Python code is used instead: {reason}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
