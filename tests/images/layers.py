"""Small image archives, good and hostile, made by hand."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from capanode.node.images.archive import machine_architecture

Json = dict[str, Any]


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, content


def config_of(layers: Sequence[bytes], **changes: Any) -> bytes:
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    image: Json = {
        "architecture": machine_architecture(),
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    return orjson.dumps(image | changes)


def archive_of(path: Path, config: bytes, layers: Sequence[bytes], **manifest: Any) -> Path:
    names = [f"{index}/layer.tar" for index in range(len(layers))]
    only = {"Config": "config.json", "RepoTags": ["python:latest"], "Layers": names} | manifest
    entries = [entry("config.json", config), entry("manifest.json", orjson.dumps([only]))]
    entries += [entry(name, layer) for name, layer in zip(names, layers, strict=True)]
    path.write_bytes(tar_of(*entries))
    return path
