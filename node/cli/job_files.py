"""Job files on the command line: read, checked, and their image pinned where the user's own images are."""

from pathlib import Path

from capanode.node.cli.output import note
from capanode.node.data_folder import DataFolder, data_folder, private_folder
from capanode.node.jobfile.job_file import JobFile
from capanode.node.jobfile.parse import parse
from capanode.node.units import size
from capanode.protocol.faults import Refused


def checked(text: str, path: Path) -> JobFile:
    """The job of a file's text; what deserves a thought is noted, what is wrong is raised with its lines."""
    job = parse(text, path=path)
    for warning in job.warnings:
        note(f"{path}: {warning}")
    if job.env:
        note("env is public: everybody who sees the job can read it")
    return job


def pinned_image(text: str, path: Path, data: Path | None) -> str:
    """The pinned image of a job file: `name@sha256:…`, or the absolute path of an archive."""
    return pinned(checked(text, path).image, path.absolute().parent, data_folder(data))


def pinned(image: str, base: Path, folder: DataFolder) -> str:
    """Pin an image: a registry's tag becomes its digest, an image of the local engine an archive; both are said.

    Raises:
        Refused: nobody has the image.
        Unavailable: a tag has to be looked up, and no engine answers.
    """
    if "@sha256:" in image:
        return image
    if image.endswith(".tar") or image.startswith((".", "/")):
        archive = base / image
        if not archive.is_file():
            raise Refused(f"the image archive {archive} is not there: make it with `docker save`, or correct the path.")
        return str(archive)
    return _by_engine(image, folder)


def _by_engine(image: str, folder: DataFolder) -> str:
    from capanode.node.images.export import NeedsArchive, PinnedByDigest, export_image, pin_image

    match pin_image(image):
        case PinnedByDigest(image=found, asked_registry=asked):
            note(f"{image} is {found}" + ("" if asked else " as this machine knows it; its registry was not asked"))
            return str(found)
        case NeedsArchive(local_id=local_id, size_bytes=size_bytes):
            target = folder.root / "exports" / f"{local_id.removeprefix('sha256:')[:32]}.tar"
            if not target.is_file():
                private_folder(folder.root)
                private_folder(target.parent)
                note(f"{image} exists on this machine only: it travels as an archive of about {size(size_bytes)}")
                draft = target.with_suffix(".new")
                export_image(image, draft)
                draft.replace(target)
            return str(target)
