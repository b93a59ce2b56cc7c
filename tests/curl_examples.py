"""README's curl examples, run as they stand there, but for the port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx

from tests.patience import PATIENCE, awaited
from tests.serving import PATH, client_of

README = Path(__file__).parent.parent / "README.md"
_WRITTEN = "http://127.0.0.1:8000"


def examples() -> str:
    """The block of README that talks to the API, as a script."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    [block] = [text for text in blocks if f"api={_WRITTEN}/" in text]
    return str(block)


def run_examples(url: str, key: str, folder: Path) -> str:
    """Run them against the API at `url`, with `folder` as working directory; what was printed.
    AssertionError when one fails, or leaves a tar that standard tools refuse."""
    bash = shutil.which("bash")
    assert bash is not None
    with client_of(url, key) as client:
        # A worker that was just started is not at once known to be online.
        awaited(lambda: client.get(f"{PATH}/verify").status_code == httpx.codes.OK)
    script = folder / "examples.sh"
    script.write_text("set -euo pipefail\n" + examples().replace(_WRITTEN, url))
    done = subprocess.run(
        [bash, str(script)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(folder), "CONVAULT_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    for command in (["tar", "-xf", "../backup.tar"], ["sha256sum", "-c", "--quiet", "SHA256SUMS"]):
        subprocess.run(command, cwd=unpacked, check=True, capture_output=True, timeout=PATIENCE)
    return done.stdout
