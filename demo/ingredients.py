"""What the demo needs from outside: the data set, and an image made of this machine's own Python and NumPy."""

import hashlib
import importlib.metadata
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from capanode.node.images import archive, elf, pack_python
from capanode.protocol.faults import Misconfigured, Unavailable

DATA_SET: Final = "sklearn/datasets/data/digits.csv.gz"
DATA_SHA256: Final = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
"""1,797 handwritten digits of 8 × 8 pixels. Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository."""

Report = Callable[[str], None]


def data_set(cache: Path, report: Report) -> Path:
    """The digits, out of the scikit-learn wheel of the package index; checked, and kept in the cache.

    Raises:
        Unavailable: the index cannot be reached.
        Misconfigured: the wheel holds another data set.
    """
    target = cache / "digits.csv.gz"
    if not target.exists() or _sha256(target.read_bytes()) != DATA_SHA256:
        report("downloading the data set (inside the scikit-learn wheel, 9 MB)")
        content = _from_wheel(_wheel(cache / "wheels"))
        if _sha256(content) != DATA_SHA256:
            raise Misconfigured("the scikit-learn wheel holds another digits data set: the demo needs its digest.")
        target.write_bytes(content)
    return target


def image(cache: Path, report: Report) -> Path:
    """A docker archive with Python and NumPy; made once for each version of them and of the packer."""
    target = cache / f"python-numpy-{_recipe()}.tar"
    if not target.exists():
        report("packing an image of Python and NumPy")
        draft = target.with_suffix(".new")
        pack_python.pack_python(draft, ("numpy",), lambda step: report(f"image: {step}"))
        draft.replace(target)
    return target


def _wheel(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), "scikit-learn"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("scikit_learn-*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"scikit-learn could not be downloaded ({last}): check the network, then try again.")
    return wheels[-1]


def _from_wheel(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as opened:
        return opened.read(DATA_SET)


def _recipe() -> str:
    """Changes with everything that goes into the image."""
    digest = hashlib.sha256(sys.version.encode() + importlib.metadata.version("numpy").encode())
    for module in (archive, elf, pack_python):
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:12]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
