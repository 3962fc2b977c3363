"""With NOID_WHEEL_BINARY and NOID_WHEEL_ARCH, the wheel carries noid itself, and is for that machine alone."""

import os
from typing import Any, Dict

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# noid is linked statically: it needs no C library.
PLATFORMS = "manylinux2014_{0}.manylinux_2_17_{0}.musllinux_1_1_{0}"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: Dict[str, Any]) -> None:
        binary = os.environ.get("NOID_WHEEL_BINARY")
        if binary:
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-" + PLATFORMS.format(os.environ["NOID_WHEEL_ARCH"])
            build_data["force_include"][os.path.abspath(binary)] = "noid/_bin/noid"
