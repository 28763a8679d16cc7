"""`make image-check`: builds deploy/Containerfile and runs the image as a hardened host would.

That is with a read-only root, as its own user, without capabilities, in a network of its own, and with nothing to write
to but its state and /tmp.

It needs root and Debian's packages buildah, runc and debootstrap, and takes some minutes; it is no part of `make test`.
The base image is made by debootstrap, for where no registry of images is in reach (BASE=… names another one).

Rules of this file:
- How a container runs is read from the image (user, environment, command, health check), never repeated here.
- Whatever is made is in a temporary folder, or among buildah's images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
BASE: Final = os.environ.get("BASE", "localhost/debian:12-slim")
IMAGE: Final = "localhost/pal-gateway:check"
STATE: Final = "/var/lib/pal-gateway"
PATIENCE: Final = 60.0  # seconds until a gateway that was started is healthy
NAMESPACES: Final = ("pid", "network", "ipc", "uts", "mount")


def main() -> int:
    """Build and run; 0 when all went well."""
    with tempfile.TemporaryDirectory(prefix="pal-gateway-image-") as name:
        folder = Path(name)
        _say("base", _base(folder))
        _say("image", _build())
        with _mounted() as root:
            config = json.loads(_output("buildah", "inspect", "--type", "image", IMAGE))["Docker"]["config"]
            for what, check in (("demo", _demo), ("serve", _serve), ("root", _root)):
                _say(what, check(_bundle(folder / what, root, config), config))
    return 0


def _base(folder: Path) -> str:
    """Make the base image, unless it is there."""
    if subprocess.run(["buildah", "inspect", "--type", "image", BASE], capture_output=True, check=False).returncode:
        _output("debootstrap", "--variant=minbase", "bookworm", str(folder / "debian"))
        working = _output("buildah", "from", "scratch").strip()
        _output("buildah", "add", "--quiet", working, str(folder / "debian"), "/")
        _output("buildah", "commit", "--quiet", "--rm", working, BASE)
    return BASE


def _build() -> str:
    """The image; BUILD_OPTIONS may have what this machine needs to reach its package index, as --volume."""
    began = time.monotonic()
    more = os.environ.get("BUILD_OPTIONS", "").split()
    command = ["buildah", "build", "--isolation", "chroot", "--pull-never", "--format", "docker", "--tag", IMAGE]
    _output(*command, "--build-arg", f"BASE={BASE}", "--file", "deploy/Containerfile", *more, ".")
    return f"{IMAGE}, {time.monotonic() - began:.0f} s"


def _bundle(folder: Path, root: str, config: dict[str, Any]) -> Path:
    """A bundle for runc that runs the image's own command."""
    user, _, group = config["User"].partition(":")
    state = folder / "state"
    state.mkdir(parents=True)
    os.chown(state, int(user), int(group))
    _output("runc", "spec", cwd=folder)
    spec = json.loads((folder / "config.json").read_text("utf-8"))
    spec["root"] = {"path": root, "readonly": True}
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": int(user), "gid": int(group)},
        "args": config["Entrypoint"] + config["Cmd"],
        "env": config["Env"],
        "cwd": config["WorkingDir"],
        "capabilities": {},
        "noNewPrivileges": True,
    }
    spec["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"]},  # noqa: S108
        {"destination": STATE, "type": "bind", "source": str(state), "options": ["bind", "rw"]},
    ]
    spec["linux"]["namespaces"] = [{"type": one} for one in NAMESPACES]
    (folder / "config.json").write_text(json.dumps(spec), "utf-8")
    return folder


def _demo(bundle: Path, config: dict[str, Any]) -> str:
    """One invitation, from mail to call."""
    said = _run_once(bundle, [*config["Entrypoint"], "demo"])
    assert "Anna is in the call" in said, said
    return next(line for line in said.splitlines() if "in the call" in line)


def _root(bundle: Path, config: dict[str, Any]) -> str:
    """Whoever breaks in cannot change the gateway, and there is no pip and no shell history of a build."""
    looked = "import os, sys; sys.exit(os.access('/opt/pal-gateway', os.W_OK) or os.path.exists('/src'))"
    _run_once(bundle, ["python3", "-c", looked])
    denied = subprocess.run(
        ["runc", "run", f"pal-gateway-{os.getpid()}-write"],
        cwd=_with_args(bundle, ["python3", "-c", "open('/etc/x', 'w')"]), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Read-only file system" in denied.stderr, denied.stderr
    return f"read-only for {config['User']}"


def _serve(bundle: Path, config: dict[str, Any]) -> str:
    """It becomes healthy by the image's own health check, and ends with 0 at the image's own signal."""
    name = f"pal-gateway-{os.getpid()}-serve"
    check = config["Healthcheck"]["Test"][1:]
    began = time.monotonic()
    with subprocess.Popen(["runc", "run", name], cwd=bundle, stdout=subprocess.DEVNULL) as running:
        try:
            healthy = _healthy(name, check, began + PATIENCE)
            _output("runc", "kill", name, config["StopSignal"].removeprefix("SIG"))
            assert running.wait(PATIENCE) == 0
        finally:
            subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)
    return (
        f"`{' '.join(check)}` says {healthy} after {time.monotonic() - began:.1f} s with the stop, which ended with 0"
    )


def _healthy(name: str, check: list[str], end: float) -> str:
    """What the health check says as soon as it is content."""
    while True:
        done = subprocess.run(["runc", "exec", name, *check], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        assert time.monotonic() < end, done.stdout + done.stderr
        time.sleep(0.1)


def _with_args(bundle: Path, args: list[str]) -> Path:
    spec = json.loads((bundle / "config.json").read_text("utf-8"))
    spec["process"]["args"] = args
    (bundle / "config.json").write_text(json.dumps(spec), "utf-8")
    return bundle


def _run_once(bundle: Path, args: list[str]) -> str:
    return _output("runc", "run", f"pal-gateway-{os.getpid()}-once", cwd=_with_args(bundle, args))


@contextmanager
def _mounted() -> Iterator[str]:
    working = _output("buildah", "from", "--pull-never", IMAGE).strip()
    try:
        yield _output("buildah", "mount", working).strip()
    finally:
        _output("buildah", "rm", working)


def _output(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def _say(what: str, found: str) -> None:
    print(f"{what:6} ok  {found}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
