"""The two ways to pin an image: a registry digest, or an archive by CID with the image id inside it."""

import re
from dataclasses import dataclass
from typing import Final, NewType

from capanode.protocol.faults import Refused
from capanode.protocol.ids import Cid

ImageId = NewType("ImageId", str)
"""`sha256:<64 hex>`: digest of the image's config. Names the same bytes on every machine."""

_PINNED: Final = re.compile(
    r"(?P<name>[a-z0-9]+(?:[._:-][a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*){0,15})"
    r"@(?P<digest>sha256:[0-9a-f]{64})"
)
_IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_NAME_CHARS: Final = 255


class ImageRejected(Refused):
    """This image may not run here, whoever asks; the sentence says why and what to change."""


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """`name@sha256:…` as any registry serves it; the digest is of the manifest."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """An archive in the format of `docker save`, found by CID; `image_id` is what it must load as."""

    cid: Cid
    image_id: ImageId

    def __str__(self) -> str:
        return f"{self.cid}#{self.image_id}"


ImageRef = RegistryImage | ArchivedImage


def registry_image(text: str) -> RegistryImage:
    """Read `name@sha256:…`; raises ImageRejected for anything that a registry could change later."""
    pinned = _PINNED.fullmatch(text) if len(text) <= _MAX_NAME_CHARS + 72 else None
    if pinned is None:
        raise ImageRejected(
            f"{text[:120]!r} does not pin an image; write name@sha256:<digest> (`capanode run` turns a tag into that)"
        )
    return RegistryImage(pinned["name"], pinned["digest"])


def image_id(text: str) -> ImageId:
    """Read `sha256:<64 hex>`; raises ImageRejected otherwise."""
    if not _IMAGE_ID.fullmatch(text):
        raise ImageRejected(f"{text[:90]!r} is not an image id; it must be sha256: and 64 hex digits")
    return ImageId(text)


def archived_image(cid: Cid, loads_as: str) -> ArchivedImage:
    """An archive by CID that must load as the image id given; raises ImageRejected for a malformed id."""
    return ArchivedImage(cid, image_id(loads_as))
