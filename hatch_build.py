"""The wheel's build hook: adds the compiled helpers where a C compiler is there.

Without one the wheel is pure Python and works all the same.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _compiling() -> Any:
    """scripts/compile_extensions.py, by its path: a project being built is not importable."""
    path = Path(__file__).parent / "scripts" / "compile_extensions.py"
    spec = importlib.util.spec_from_file_location("compile_extensions", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ExtensionsHook(BuildHookInterface[Any]):
    """Compiles into a temporary folder and hands the modules to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files of a target."""
        if version == "editable":
            return
        compiling = _compiling()
        self._folder = tempfile.TemporaryDirectory()
        try:
            built = compiling.compile_extensions(Path(self._folder.name))
        except compiling.CannotCompileError as reason:
            self.app.display_warning(f"A pure-Python wheel is built: {reason}")
            return
        if built:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
        for module, place in built.items():
            build_data["force_include"][str(module)] = place.as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Called by hatchling when the target is written."""
        if version != "editable":
            self._folder.cleanup()
